"""From two scans to the network's arrays."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..core.check import Check, warnings_of
from ..core.errors import ErrorCode, InputError
from ..imaging.files import check_image, same_grid
from ..imaging.resample import bounding_box, crop, on_grid_of, paste, resample_inside, voxel_mm3, widen
from ..imaging.space import WorkingSpace, mask_box, plan_space, to_xyz
from . import foreground as quality

MIN_BRAIN_ML = 100.0  # a preterm brain of 25 weeks has about 100 ml
CLIP_PERCENTILES = (0.5, 99.5)  # bright vessels and dark stripping errors lie beyond
_EDGE_MM = 2.0  # in which a stripped brain of voxels up to that size fades out once it was resampled
_EMPTY_MASK = "The brain mask is empty; wanted voxels above 0 in the brain: check the file."


@dataclass(frozen=True)
class ScanPair:
    """A checked T1 and T2 with the brain mask, all on T1's grid; or one of them alone with a mask on its own.

    Attributes
    ----------
    t1, t2 : sitk.Image or None
    mask : sitk.Image of uint8, 1 in the brain
    checks : tuple of Check
        Of overlap (of the mask's cover where one was given; neither for one scan, nor where no background tells the brains), contrasts
        and skull.
    """

    t1: sitk.Image | None
    t2: sitk.Image | None
    mask: sitk.Image
    checks: tuple[Check, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before trusting the result."""
        return warnings_of(self.checks)


@dataclass(frozen=True)
class Prepared:
    """What the network sees.

    Attributes
    ----------
    images : (2, X, Y, Z) float32 array
        T1 and T2, normalised, 0 outside the brain; an absent one is 0 everywhere.
    mask : (X, Y, Z) bool array
    space : WorkingSpace
    """

    images: np.ndarray
    mask: np.ndarray
    space: WorkingSpace


def pair_scans(t1: sitk.Image | None, t2: sitk.Image | None, mask: sitk.Image | None = None) -> ScanPair:
    """Bring T1, T2 and mask onto T1's grid, find the brain and check all three.

    Without a mask the brain is where both images exceed their background, in one solid piece.

    Parameters
    ----------
    t1, t2 : 3D sitk.Image, skull-stripped unless there is a mask; one of them may be None
    mask : 3D sitk.Image, above 0 in the brain, on any grid

    Raises
    ------
    InputError
        If there is no image, one is not a finite 3D one or is constant, the mask is empty, the images do not overlap, or there
        are fewer than 100 ml of brain.
    """
    if t1 is None or t2 is None:
        return _lone_scan(t1, t2, mask)
    t1, t2 = _check_scan(t1, "T1"), _check_scan(t2, "T2")
    t1_array, t2_array = sitk.GetArrayViewFromImage(t1), sitk.GetArrayViewFromImage(t2)  # (K, J, I)
    t1_background, t2_background = quality.background_value(t1_array), quality.background_value(t2_array)
    t2_signal = quality.foreground(t2_array, t2_background) if t2_background is not None or mask is None else np.ones(t2_array.shape, bool)
    brain = quality.foreground(t1_array, t1_background) if mask is None else _mask_on_grid(mask, t1)
    _check_meets(brain, "T1")
    t2, t2_signal = _t2_on_grid(t2, t2_signal, t1, brain)
    if not (brain & t2_signal).any():
        raise InputError(
            "T1 and T2 do not overlap in space; wanted two scans of one brain: check that they are of one patient and registered.",
            ErrorCode.SCANS_APART,
        )
    if mask is not None:
        t2_signal = quality.solid_brain(t2_signal)  # the mask decides inside; T2 only where it ends
    checks: list[Check] = []
    stripped = t1_background is not None or t2_background is not None
    if mask is not None:
        checks.append(quality.check_cover(quality.mask_cover(brain, t2_signal)))
    elif t1_background is not None and t2_background is not None:
        checks.append(quality.check_overlap(quality.brain_overlap(brain, t2_signal)))
    brain &= t2_signal
    if mask is None:
        brain = quality.solid_brain(brain)
    brain_ml = _check_size(brain, t1, f"T1, T2{' and mask' if mask is not None else ''} share")
    pair_mask = on_grid_of(t1, brain.astype(np.uint8))
    t1_values, t2_values = t1_array[brain], sitk.GetArrayViewFromImage(t2)[brain]  # (N,)
    _check_varies(t1_values, "T1", "in the whole brain")
    _check_varies(t2_values, "T2", "in the whole brain")
    skull = quality.no_skull() if mask is not None else quality.check_skull(stripped, brain_ml)
    find_inner = partial(_inner, brain, t1.GetSpacing()[::-1])
    checks += [quality.check_contrasts(t1_values, t2_values, not skull.passes, find_inner), skull]
    return ScanPair(t1, t2, pair_mask, tuple(checks))


def _inner(brain: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Which voxels of a (K, J, I) bool brain lie further than `_EDGE_MM` from its edge: (N,) bool."""
    box = bounding_box(brain) or ()
    return (ndimage.distance_transform_edt(np.pad(brain[box], 1), spacing_mm)[1:-1, 1:-1, 1:-1] > _EDGE_MM)[brain[box]]


def _lone_scan(t1: sitk.Image | None, t2: sitk.Image | None, mask: sitk.Image | None) -> ScanPair:
    """Check one scan on its own grid; the network then sees nothing in the place of the other."""
    name, other = ("T1", "T2") if t2 is None else ("T2", "T1")
    given = t1 if t2 is None else t2
    if given is None:
        raise InputError("Neither T1 nor T2 was given; wanted both, or one of them: name the files.", ErrorCode.NO_SCAN)
    scan = _check_scan(given, name)
    array = sitk.GetArrayViewFromImage(scan)  # (K, J, I)
    background = quality.background_value(array)
    brain = quality.solid_brain(quality.foreground(array, background)) if mask is None else _mask_on_grid(mask, scan)
    _check_meets(brain, name)
    brain_ml = _check_size(brain, scan, f"{name} holds" if mask is None else f"{name} and mask share")
    _check_varies(array[brain], name, "in the whole brain")
    skull = quality.no_skull() if mask is not None else quality.check_skull(background is not None, brain_ml)
    checks = (quality.check_single_scan(name, other), skull)
    return ScanPair(scan if t2 is None else None, scan if t1 is None else None, on_grid_of(scan, brain.astype(np.uint8)), checks)


def normalise(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Z-score an image by its brain, after clipping to the brain's 0.5 and 99.5 percentiles.

    Parameters
    ----------
    image : array of any shape
    mask : bool array of that shape

    Returns
    -------
    float32 array of that shape, 0 outside the mask.
    """
    result = np.zeros(image.shape, np.float32)
    if not mask.any():
        return result
    brain = image[mask].astype(np.float32)  # (N,)
    brain = np.clip(brain, *np.percentile(brain, CLIP_PERCENTILES))
    spread = float(brain.std(dtype=np.float64))
    result[mask] = (brain - brain.mean(dtype=np.float64)) / (spread if spread > 0 else 1.0)
    return result


def prepare(pair: ScanPair, rotation: sitk.Euler3DTransform | None = None) -> Prepared:
    """Bring a pair into the working space, cropped to the brain, and normalise it.

    Parameters
    ----------
    pair : ScanPair
    rotation : sitk.Euler3DTransform, from a point of the upright head to its point in the head as given; None where both are the same
    """
    space = plan_space(pair.mask, rotation)
    box = widen(mask_box(pair.mask), 2, pair.mask)  # two voxels more, for the smoothing
    target = space.to_image(np.zeros(space.shape, np.uint8))
    channels, scans = zip(*((index, scan) for index, scan in enumerate((pair.t1, pair.t2)) if scan is not None), strict=True)
    resampled, weight = resample_inside([crop(scan, box) for scan in scans], crop(pair.mask, box), target)
    mask = to_xyz(weight) >= 0.5  # (X, Y, Z)
    images = np.zeros((2, *mask.shape), np.float32)
    for channel, values in zip(channels, resampled, strict=True):
        images[channel] = normalise(to_xyz(values), mask)
    return Prepared(images, mask, space)


def _check_meets(brain: np.ndarray, name: str) -> None:
    if not brain.any():
        raise InputError(
            f"The brain mask has no voxel on {name}'s grid; wanted one that covers the brain: check that it is of the same scan.",
            ErrorCode.MASK_ELSEWHERE,
        )


def _check_size(brain: np.ndarray, scan: sitk.Image, holders: str) -> float:
    """Give the brain's volume in ml, which must be a real brain's."""
    brain_ml = np.count_nonzero(brain) * voxel_mm3(scan) / 1000
    if brain_ml < MIN_BRAIN_ML:
        raise InputError(
            f"{holders} {brain_ml:.1f} ml of brain; wanted {MIN_BRAIN_ML:.0f} ml or more: "
            "check the units of the headers, and that the scans are registered.",
            ErrorCode.SMALL_BRAIN,
        )
    return float(brain_ml)


def _check_scan(image: sitk.Image, name: str) -> sitk.Image:
    image = check_image(image, name)
    _check_varies(sitk.GetArrayViewFromImage(image), name, "is empty: every voxel")
    return image


def _check_varies(values: np.ndarray, name: str, place: str) -> None:
    if values.min() == values.max():
        raise InputError(f"{name} {place} is {values.min():g}; wanted an image of the brain: check the file.", ErrorCode.CONSTANT_IMAGE)


def _mask_on_grid(mask: sitk.Image, t1: sitk.Image) -> np.ndarray:
    """Give a mask on T1's grid as a (K, J, I) bool array, resampled where its own grid differs."""
    mask = check_image(mask, "The brain mask")
    inside = sitk.GetArrayViewFromImage(mask) > 0
    if not inside.any():
        raise InputError(_EMPTY_MASK, ErrorCode.EMPTY_MASK)
    if same_grid(mask, t1):
        return inside
    return resample_inside([], on_grid_of(mask, inside.astype(np.uint8)), t1)[1] >= 0.5


def _t2_on_grid(t2: sitk.Image, signal: np.ndarray, t1: sitk.Image, brain: np.ndarray) -> tuple[sitk.Image, np.ndarray]:
    """Give T2 and where it has signal on T1's grid; on another grid it is resampled, in the box of T1's brain."""
    if same_grid(t2, t1):
        t2 = sitk.Image(t2)
        t2.CopyInformation(t1)
        return t2, signal
    signal_box = bounding_box(signal)
    brain_box = bounding_box(brain)
    if signal_box is None or brain_box is None:
        return on_grid_of(t1, np.zeros(brain.shape, np.float32)), np.zeros(brain.shape, bool)
    source_box = widen(signal_box, 2, t2)
    weight = crop(on_grid_of(t2, signal.astype(np.uint8)), source_box)
    (values,), cover = resample_inside([crop(t2, source_box)], weight, crop(t1, brain_box))
    inside = cover >= 0.5
    on_t1 = np.zeros(brain.shape, bool)
    on_t1[brain_box] = inside
    return paste(np.where(inside, values, 0).astype(np.float32), brain_box, t1), on_t1
