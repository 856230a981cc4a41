"""What the images of a T1/T2 pair are, and the checks that follow from it.

All arrays here may be in any axis order, T1, T2 and mask in the same one.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from ..core.check import PASS, STOP, WARN, Check, CheckCode, make_check
from ..imaging.resample import bounding_box

MIN_BACKGROUND_SHARE = 0.2  # of the volume; iSeg's and the neonates' stripped images have 0.5 to 0.97
MIN_FACE_SHARE = 0.5  # of the six outer faces; a stripped brain rarely touches them
MIN_BELOW_SHARE = 0.1  # more voxels than this below the background: the intensities are centered, as z-scores are
STRIPPED_SHARE = 0.6  # of the signal is brain: the scan was stripped; whole heads have up to 0.5
MAX_BRAIN_ML = 1700.0  # a brain of two years has about 1200 ml, large adult ones 1700: more holds skull and scalp
MIN_PART_SHARE = 0.1  # of the largest part; two hemispheres that were cut apart stay, an eye (7 ml) goes
OVERLAP_STOP = 0.5  # of either measure below
MIN_OVERLAP = 0.9  # Dice of the two brains; the twelve real pairs checked have 0.99 or more
MIN_MASK_COVER = 0.95  # share of a given mask where T2 has signal
TOGETHER_WARN, TOGETHER_STOP = 0.0, 0.3  # correlation without outliers: 13 pairs, from birth to nine months, have -0.75 to -0.42
SAME_CORRELATION = 0.999  # real T1/T2 pairs correlate at -0.7 to -0.4
SWAP_SKEWNESS = -0.5  # twelve real pairs: 1.02 to 1.88 as they should be, so -1.88 to -1.02 when swapped
TAIL_PERCENTILES = (0.5, 99.5)  # a few bright vessels must not decide the skewness
_CONTRASTS = "one T1 and one T2, CSF dark on T1 and bright on T2"


def background_value(image: np.ndarray) -> float | None:
    """Find the exact value outside a skull-stripped brain.

    Parameters
    ----------
    image : 3D array

    Returns
    -------
    The one value that fills most of the outer faces and a good share of the volume, or None for an image with a noisy background.
    """
    faces = [np.take(image, end, axis).ravel() for axis in range(3) for end in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    candidate = values[counts.argmax()]
    if counts.max() < MIN_FACE_SHARE * counts.sum() or np.count_nonzero(image == candidate) < MIN_BACKGROUND_SHARE * image.size:
        return None
    return float(candidate)


def foreground(image: np.ndarray, background: float | None) -> np.ndarray:
    """Tell which voxels hold signal.

    Parameters
    ----------
    image : 3D array
    background : the value of `background_value`; with None, signal is what exceeds 0

    Returns
    -------
    3D bool array
    """
    if background is None:
        return image > 0
    above = image > background
    below_count = int(np.count_nonzero(image < background))
    return image != background if below_count > MIN_BELOW_SHARE * max(int(above.sum()), 1) else above


def solid_brain(mask: np.ndarray) -> np.ndarray:
    """Keep a mask's large parts and fill its holes.

    Parameters
    ----------
    mask : 3D bool array

    Returns
    -------
    3D bool array
    """
    solid = np.zeros_like(mask)
    box = bounding_box(mask)
    if box is None:
        return solid
    parts, _ = ndimage.label(np.pad(mask[box], 1), np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    kept = (sizes >= MIN_PART_SHARE * sizes.max())[parts]
    outside, _ = ndimage.label(~kept)
    solid[box] = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return solid


def check_skull(stripped: bool, brain_ml: float) -> Check:
    """Check that the brain found without a mask holds no skull and scalp.

    Parameters
    ----------
    stripped : whether T1 or T2 has an exact background round the brain
    brain_ml : volume of what would be segmented
    """
    if not stripped:
        return _skull(STOP, "skull and scalp seem to be in the image (the background is not one exact value)")
    if brain_ml > MAX_BRAIN_ML:
        return _skull(STOP, f"skull and scalp seem to be in the image ({brain_ml:.0f} ml hold signal)")
    return no_skull()


def no_skull() -> Check:
    """Give the check of a brain whose mask says where it ends."""
    return _skull(PASS, "none found, or a mask was given")


def _skull(status: str, found: str) -> Check:
    remedy = "strip the skull, or give a brain mask: without one the labels cannot be trusted"
    return make_check(CheckCode.SKULL, status, found, "a stripped brain with background 0, or a brain mask", remedy)


def check_single_scan(name: str, other: str) -> Check:
    """Warn that one contrast has to do for two.

    Parameters
    ----------
    name, other : "T1" and "T2", or the reverse
    """
    remedy = f"give both where both were scanned; without {other} the labels are less accurate, above all at six months (see MODEL_CARD.md)"
    return Check(CheckCode.SINGLE_SCAN, WARN, f"only {name}", _CONTRASTS, remedy)


def brain_overlap(t1_brain: np.ndarray, t2_brain: np.ndarray) -> float:
    """Give the Dice coefficient of two brains.

    Parameters
    ----------
    t1_brain, t2_brain : 3D bool arrays on one grid

    Returns
    -------
    float, 0 to 1
    """
    return 2 * int((t1_brain & t2_brain).sum()) / max(int(t1_brain.sum()) + int(t2_brain.sum()), 1)


def mask_cover(mask: np.ndarray, t2_signal: np.ndarray) -> float:
    """Give the share of a mask where T2 has signal.

    Parameters
    ----------
    mask, t2_signal : 3D bool arrays on one grid

    Returns
    -------
    float, 0 to 1
    """
    return int((mask & t2_signal).sum()) / max(int(mask.sum()), 1)


def check_overlap(overlap: float) -> Check:
    """Check that the two brains cover the same place.

    Parameters
    ----------
    overlap : what `brain_overlap` gives
    """
    return make_check(
        CheckCode.OVERLAP,
        _graded_overlap(overlap, MIN_OVERLAP),
        f"T1 and T2 share {100 * overlap:.0f} % of the brain",
        f"{100 * MIN_OVERLAP:.0f} % or more",
        "check that they are of one patient and registered to each other; only the part in both is segmented",
    )


def check_cover(cover: float) -> Check:
    """Check that T2 has signal in the given brain mask.

    Parameters
    ----------
    cover : what `mask_cover` gives
    """
    return make_check(
        CheckCode.MASK_COVER,
        _graded_overlap(cover, MIN_MASK_COVER),
        f"T2 has signal in {100 * cover:.0f} % of the brain mask",
        f"{100 * MIN_MASK_COVER:.0f} % or more",
        "check that T1, T2 and mask are of one patient and registered to each other",
    )


def _graded_overlap(share: float, least: float) -> str:
    return STOP if share < OVERLAP_STOP else WARN if share < least else PASS


def correlation(t1: np.ndarray, t2: np.ndarray) -> float:
    """Correlate two scans.

    Parameters
    ----------
    t1, t2 : (N,) arrays, the brain's voxels; neither constant

    Returns
    -------
    float, -1 to 1
    """
    return float(np.corrcoef(t1.astype(np.float32), t2.astype(np.float32))[0, 1])


def check_contrasts(t1: np.ndarray, t2: np.ndarray, has_skull: bool, find_inner: Callable[[], np.ndarray]) -> Check:
    """Check that T1 and T2 are two images of two contrasts, whatever their scale, not swapped and neither of them inverted.

    Parameters
    ----------
    t1, t2 : (N,) arrays, the brain's voxels
    has_skull : bool
        Fat and air would decide then, and only the same image is looked for.
    find_inner : callable
        Gives an (N,) bool array: which of the voxels do not lie at the brain's edge, where a brain that was resampled fades on both scans.
    """
    found = correlation(_z_scores(t1.astype(np.float32)), _z_scores(t2.astype(np.float32)))  # without outliers
    if abs(found) > SAME_CORRELATION:
        text = f"the same image{'' if found > 0 else ', turned over'} (correlation {found:.3f})"
        return Check(CheckCode.SAME_IMAGE, STOP, text, _CONTRASTS, "check which files were given")
    skewness = difference_skewness(t1, t2)
    swapped = skewness < SWAP_SKEWNESS and not has_skull
    if swapped:
        return Check(CheckCode.CONTRASTS, STOP, f"swapped (skewness of T2 - T1 {skewness:.1f})", _CONTRASTS, "check which file is which")
    if found > TOGETHER_WARN and not has_skull:
        inner = find_inner()
        if inner.any():
            found = correlation(_z_scores(t1[inner].astype(np.float32)), _z_scores(t2[inner].astype(np.float32)))
    if found > TOGETHER_WARN and not has_skull:
        return Check(
            CheckCode.SAME_CONTRAST,
            STOP if found > TOGETHER_STOP else WARN,
            f"T1 and T2 are bright in the same places (correlation {found:.2f})",
            _CONTRASTS,
            "check that one is T1-weighted and the other T2-weighted, and that neither is inverted",
        )
    return Check(CheckCode.CONTRASTS, PASS, f"as they should be (skewness of T2 - T1 {skewness:.1f})", _CONTRASTS)


def difference_skewness(t1: np.ndarray, t2: np.ndarray) -> float:
    """Give the skewness of T2 minus T1, each as z-scores of the brain.

    CSF has the strongest contrast in a pair: darkest on T1, brightest on T2. So the difference has its long tail on the bright side,
    and on the dark side when the two are swapped.

    Parameters
    ----------
    t1, t2 : (N,) arrays, the brain's voxels
    """
    difference = _z_scores(t2.astype(np.float32)) - _z_scores(t1.astype(np.float32))
    difference -= difference.mean(dtype=np.float64)
    return float((difference**3).mean(dtype=np.float64)) / max(float(difference.var(dtype=np.float64)), 1e-12) ** 1.5


def _z_scores(values: np.ndarray) -> np.ndarray:
    clipped = np.clip(values, *np.percentile(values, TAIL_PERCENTILES))
    spread = float(clipped.std(dtype=np.float64))
    return (clipped - clipped.mean(dtype=np.float64)) / (spread if spread > 0 else 1.0)
