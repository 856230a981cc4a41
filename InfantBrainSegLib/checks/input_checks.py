"""What is checked before the network runs: each check says what was measured, what was wanted and what to do. No torch.

"stop" means that the labels could not be trusted: `segment --check-only` then exits with 2, and a run's verdict is "do not use".
The limits leave room round what 12 real pairs, two lone T1 and 15 synthetic pairs have; the figures stand beside them.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..core.check import PASS, STOP, WARN, Check, CheckCode, graded, in_order, inside_of, make_check
from ..imaging.resample import bounding_box, voxel_mm3
from ..preparation import foreground as quality
from ..preparation.normalisation import Prepared, ScanPair, pair_scans, prepare
from . import measures as integrity
from .growth import MAX_AGE_MONTHS, MIN_AGE_MONTHS, brain_range_ml
from .shift import measure_shift

CUT_WARN, CUT_STOP = 0.10, 0.40  # whole brains have up to 0.05; newborn 09, cut at its right side, has 0.17
SPACING_WARN_MM, ANISOTROPY_WARN = 2.0, 3.0  # cortex is 2 to 3 mm thick; `images` refuses voxels above 3 mm
GAP_WARN = 0.1  # of the slice thickness
SHIFT_WARN_MM, SHIFT_STOP_MM = 2.0, 5.0  # real pairs have up to 1.0, steps of a millimeter
INFORMATION_STOP = 0.05  # nats; pairs have 0.13 to 0.66, T2 of noise 0.02
LEVELS_WARN, LEVELS_STOP = 64, 16  # real scans have 370 and more; a label map has fewer than 16
SATURATED_WARN, SATURATED_STOP = 0.01, 0.30  # real scans have 0.0001, the share passed over; `normalise` clips half a percent itself
STRIPES_WARN_DB = 3.0  # a doubled power; real scans have 0.2 to 2.0, movements of 2 mm 2 to 5, stripes of a tenth of the contrast 2 to 6
MIRROR_WARN = 0.83  # whole brains have 0.87 to 0.96; with a quarter lost 0.79
WIDTH_WARN, WIDTH_STOP = (0.55, 1.2), (0.5, 1.4)  # width / length: whole 0.63 to 0.97, one hemisphere 0.45, front half 1.6
HEIGHT_WARN, HEIGHT_STOP = (0.45, 1.1), (0.3, 1.4)  # height / length: whole 0.60 to 0.88
EMPTY_WARN, EMPTY_STOP = 0.05, 0.30  # real scans have 0.005
HOLE_WARN_ML = 1.0  # 26 real scans have 0
LOOSE_WARN = 0.01  # real masks have up to 0.002; an eye is 1 to 2 % of an infant's brain
MIN_BRAIN_ML = 100.0  # below it `pair_scans` refuses


@dataclass(frozen=True)
class CheckedScans:
    """What the checks look at.

    Attributes
    ----------
    t1, t2 : sitk.Image or None
        As given.
    pair : ScanPair
    prepared : Prepared
    """

    t1: sitk.Image | None
    t2: sitk.Image | None
    pair: ScanPair
    prepared: Prepared

    def given(self) -> list[tuple[str, sitk.Image]]:
        """Name and image of each scan, as given."""
        return _given(self.t1, self.t2)

    def on_one_grid(self) -> list[tuple[str, np.ndarray]]:
        """Name and (K, J, I) array of each scan, on the mask's grid."""
        return [(n, sitk.GetArrayViewFromImage(image)) for n, image in (("T1", self.pair.t1), ("T2", self.pair.t2)) if image is not None]


def check_images(
    t1: sitk.Image | None, t2: sitk.Image | None, mask: sitk.Image | None = None, age_months: float | None = None
) -> tuple[Check, ...]:
    """Check the images of one brain, as `segment` would before its networks run.

    Parameters
    ----------
    t1, t2 : 3D sitk.Image or None
    mask : 3D sitk.Image, optional
    age_months : from birth at term, or None

    Raises
    ------
    InputError
        If the images cannot be used at all.
    """
    pair = pair_scans(t1, t2, mask)
    return inspect(CheckedScans(t1, t2, pair, prepare(pair)), age_months)


def quick_checks(t1: sitk.Image | None, t2: sitk.Image | None, pair: ScanPair) -> tuple[Check, ...]:
    """Run those checks that take no time, for a panel that must answer at once.

    Parameters
    ----------
    t1, t2 : 3D sitk.Image or None, as given
    pair : ScanPair
    """
    given = _given(t1, t2)
    return _field_of_view(pair), _spacing(given), _slice_gap(given)


def inspect(scans: CheckedScans, age_months: float | None = None) -> tuple[Check, ...]:
    """Run every check that these scans allow.

    Parameters
    ----------
    scans : CheckedScans
    age_months : from birth at term, or None
    """
    checks = [*quick_checks(scans.t1, scans.t2, scans.pair), *scans.pair.checks]
    if len(scans.given()) == 2:
        checks.append(_alignment(scans))
    checks += [_levels(scans), _clipping(scans), _stripes(scans), _volume(scans, age_months)]
    return in_order((*checks, _symmetry(scans), _shape(scans), _empty_mask(scans), _holes(scans), _loose_pieces(scans)))


def _given(t1: sitk.Image | None, t2: sitk.Image | None) -> list[tuple[str, sitk.Image]]:
    return [(name, image) for name, image in (("T1", t1), ("T2", t2)) if image is not None]


def _mask(scans: CheckedScans) -> np.ndarray:
    return sitk.GetArrayViewFromImage(scans.pair.mask) > 0  # (K, J, I)


def _worst(values: dict[str, float]) -> tuple[str, float]:
    return max(values.items(), key=lambda item: item[1])


def _field_of_view(pair: ScanPair) -> Check:
    mask = sitk.GetArrayViewFromImage(pair.mask) > 0  # (K, J, I)
    share, spacing_mm, at_border = integrity.cut_face(mask, pair.mask.GetSpacing()[::-1])
    limit = CUT_WARN * max(1.0, spacing_mm)  # a thick first slice is a large one
    return make_check(
        CheckCode.FIELD_OF_VIEW,
        graded(share, limit, max(CUT_STOP, limit)),
        f"the brain's flattest end is {100 * share:.0f} % of its cross-section{' and lies on the border' if at_border else ''}",
        f"under {100 * limit:.0f} %",
        "the brain seems cut off there: use scans and a mask that hold the whole cerebrum",
    )


def _spacing(given: list[tuple[str, sitk.Image]]) -> Check:
    spacings = {name: image.GetSpacing() for name, image in given}
    bad = any(max(mm) > SPACING_WARN_MM or max(mm) / min(mm) > ANISOTROPY_WARN for mm in spacings.values())
    return make_check(
        CheckCode.SPACING,
        WARN if bad else PASS,
        ", ".join(f"{name} {'×'.join(f'{value:.2g}' for value in mm)} mm" for name, mm in spacings.items()),
        f"up to {SPACING_WARN_MM:g} mm and {ANISOTROPY_WARN:g} times the finest axis",
        "thin cortex is lost in such voxels: use a finer, more isotropic acquisition where there is one",
    )


def _slice_gap(given: list[tuple[str, sitk.Image]]) -> Check:
    gaps = {name: gap for name, image in given if (gap := _gap_share(image)) is not None}
    if not gaps:
        return Check(CheckCode.SLICE_GAP, PASS, "not given in the files", f"under {100 * GAP_WARN:.0f} % of the thickness")
    name, gap = _worst(gaps)
    return make_check(
        CheckCode.SLICE_GAP,
        WARN if gap > GAP_WARN else PASS,
        f"{100 * gap:.0f} % of {name}'s slice thickness",
        f"up to {100 * GAP_WARN:.0f} %",
        "what lies between the slices was not measured: use an acquisition without gaps where there is one",
    )


def _gap_share(image: sitk.Image) -> float | None:
    """Give the gap as a share of DICOM's Slice Thickness (0018,0050); None where the image does not tell it."""
    if not image.HasMetaDataKey("0018|0050"):
        return None
    try:
        thickness_mm = float(image.GetMetaData("0018|0050"))
    except ValueError:
        return None
    return max(image.GetSpacing()[2] / thickness_mm - 1, 0.0) if thickness_mm > 0 else None


def _alignment(scans: CheckedScans) -> Check:
    shift = measure_shift(scans.prepared.images, scans.prepared.mask)
    limit, remedy = f"under {SHIFT_WARN_MM:g} mm", "let it be aligned (--align auto, the default), or register T2 to T1 first"
    if shift.mirrored_axis:
        return Check(CheckCode.ALIGNMENT, STOP, f"T2 fits T1 far better mirrored {shift.mirrored_axis}", limit, "repair T2's orientation")
    if shift.information < INFORMATION_STOP:
        found = f"T2 shares next to no information with T1 ({shift.information:.2f} nats)"
        return Check(CheckCode.ALIGNMENT, STOP, found, f"{INFORMATION_STOP:g} nats or more", f"check that both are of one brain; {remedy}")
    status = STOP if shift.far else graded(shift.worst_mm, SHIFT_WARN_MM, SHIFT_STOP_MM)
    return make_check(
        CheckCode.ALIGNMENT, status, f"T2 lies {shift.worst_mm:.1f} mm{' or more' if shift.far else ''} off T1", limit, remedy
    )


def _levels(scans: CheckedScans) -> Check:
    inside = _mask(scans)
    counts = {name: len(np.unique(array[inside])) for name, array in scans.on_one_grid()}
    name, count = min(counts.items(), key=lambda item: item[1])
    return make_check(
        CheckCode.INTENSITY_RANGE,
        STOP if count < LEVELS_STOP else WARN if count < LEVELS_WARN else PASS,
        f"{count} different values in {name}'s brain",
        f"{LEVELS_WARN} or more",
        "check that it is the scan and not a label map or a picture, and export it with its full range",
    )


def _clipping(scans: CheckedScans) -> Check:
    inside = _mask(scans)
    name, share = _worst({name: integrity.saturated_share(array[inside]) for name, array in scans.on_one_grid()})
    return make_check(
        CheckCode.CLIPPING,
        graded(share, SATURATED_WARN, SATURATED_STOP),
        f"{100 * share:.2f} % of {name}'s brain at its top value",
        f"under {100 * SATURATED_WARN:.0f} %",
        "contrast is lost there: export the scan again without windowing",
    )


def _stripes(scans: CheckedScans) -> Check:
    channels = [0 if name == "T1" else 1 for name, _ in scans.given()]
    images, mask = scans.prepared.images, scans.prepared.mask
    name, decibels = _worst({("T1", "T2")[channel]: integrity.stripes_db(images[channel], mask) for channel in channels})
    return make_check(
        CheckCode.MOTION_RINGING,
        graded(decibels, STRIPES_WARN_DB),
        f"stripes of {decibels:.1f} dB in {name}",
        f"under {STRIPES_WARN_DB:g} dB",
        "look for ghosts and stripes; use a repeated scan where there is one",
    )


def _volume(scans: CheckedScans, age_months: float | None) -> Check:
    volume_ml = np.count_nonzero(_mask(scans)) * voxel_mm3(scans.pair.mask) / 1000
    low, high, of_age = MIN_BRAIN_ML, quality.MAX_BRAIN_ML, ""
    if age_months is not None and MIN_AGE_MONTHS <= age_months <= MAX_AGE_MONTHS:
        (low, high), of_age = brain_range_ml(age_months), f" at {age_months:g} months"
    elif age_months is not None:
        of_age = f" (no norm for {age_months:g} months, only for {MIN_AGE_MONTHS:g} to {MAX_AGE_MONTHS:g})"
    return make_check(
        CheckCode.BRAIN_VOLUME,
        PASS if low <= volume_ml <= high else STOP if volume_ml < low / 2 or volume_ml > 2 * high else WARN,
        f"{volume_ml:.0f} ml",
        f"{low:.0f} to {high:.0f} ml{of_age}",
        "check the mask, the units of the header and the age",
    )


def _symmetry(scans: CheckedScans) -> Check:
    overlap = integrity.mirror_overlap(scans.prepared.mask)
    return make_check(
        CheckCode.SYMMETRY,
        WARN if overlap < MIRROR_WARN else PASS,
        f"left and right cover each other by {100 * overlap:.0f} %",
        f"{100 * MIRROR_WARN:.0f} % or more",
        "check that the mask holds both hemispheres, and that the header's orientation is right",
    )


def _shape(scans: CheckedScans) -> Check:
    width, length, height = integrity.extent_mm(scans.prepared.mask)
    wide, high = width / length, height / length
    stop = not inside_of(wide, WIDTH_STOP) or not inside_of(high, HEIGHT_STOP)
    warn = not inside_of(wide, WIDTH_WARN) or not inside_of(high, HEIGHT_WARN)
    return make_check(
        CheckCode.SHAPE,
        STOP if stop else WARN if warn else PASS,
        f"{width:.0f} mm wide, {length:.0f} long, {height:.0f} high",
        "width {:g} to {:g} and height {:g} to {:g} times the length".format(*WIDTH_WARN, *HEIGHT_WARN),
        "a part is missing, or the header's orientation is wrong: look at the mask in all three planes",
    )


def _empty_mask(scans: CheckedScans) -> Check:
    inside = _mask(scans)
    shares = {name: integrity.empty_share(array[inside], quality.background_value(array)) for name, array in scans.on_one_grid()}
    name, share = _worst(shares)
    return make_check(
        CheckCode.MASK_LEAKAGE,
        graded(share, EMPTY_WARN, EMPTY_STOP),
        f"{100 * share:.1f} % of the mask has no signal on {name}",
        f"under {100 * EMPTY_WARN:.0f} %",
        "the mask reaches beyond the brain, or is of another scan: look at it",
    )


def _holes(scans: CheckedScans) -> Check:
    inside, mm3 = _mask(scans), voxel_mm3(scans.pair.mask)
    holes, blanks = {}, {}
    box = bounding_box(inside) or ()
    for name, array in scans.on_one_grid():
        background = quality.background_value(array)
        empty = array[inside].min() if background is None else background  # in a whole head: the lowest value under the mask
        holes[name] = integrity.hole_mm3(inside[box] & (array[box] == empty), mm3) / 1000
        blanks[name] = integrity.blank_planes(array[box] != empty)
    name, blank = _worst(blanks)
    if blank:
        return make_check(
            CheckCode.HOLES,
            WARN,
            f"{blank:g} slice{'s' if blank > 1 else ''} without signal inside the brain on {name}",
            "none",
            "slices were lost there: export or convert the scan again",
        )
    name, hole_ml = _worst(holes)
    return make_check(
        CheckCode.HOLES,
        graded(hole_ml, HOLE_WARN_ML),
        f"a hole of {hole_ml:.1f} ml without signal inside the brain on {name}" if hole_ml >= HOLE_WARN_ML else "none inside the brain",
        f"under {HOLE_WARN_ML:g} ml",
        "something was set to the background there, often the ventricles: give the scan before that step",
    )


def _loose_pieces(scans: CheckedScans) -> Check:
    share = integrity.loose_share(scans.prepared.mask)
    return make_check(
        CheckCode.LOOSE_PIECES,
        graded(share, LOOSE_WARN),
        f"{100 * share:.1f} % of the mask hangs on by a thin neck",
        f"under {100 * LOOSE_WARN:g} %",
        "take eyes, neck and dura out of the mask",
    )
