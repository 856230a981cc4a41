"""Two scans at one resolution, and the climb to the place where they tell most of each other: Mattes mutual information in nats."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..core.errors import InputError
from ..imaging.resample import bounding_box, crop, on_grid_of, voxel_mm3, widen
from . import foreground as quality

_SEED = 1
_BINS = 32
_HEAD_MM = 3.0  # at which a head's outline is found
_CLOSED_VOXELS = 3
_CLIMBS, _CLIMB_GAIN = 6, 1e-4  # at most, and in nats


@dataclass(frozen=True)
class Level:
    """A pair at one resolution.

    Attributes
    ----------
    t1, t2 : sitk.Image of float32
    mask : sitk.Image or None
        Where the metric looks, on T1's grid; None for everywhere.
    share : float
        Of the voxels that a climb looks at.
    """

    t1: sitk.Image
    t2: sitk.Image
    mask: sitk.Image | None
    share: float


def find_head(scan: sitk.Image) -> tuple[sitk.Image, bool]:
    """Find the stripped brain, or the whole head without holes.

    Parameters
    ----------
    scan : 3D sitk.Image

    Returns
    -------
    sitk.Image of uint8 on the scan's grid; and whether the scan is a stripped brain
    """
    array = sitk.GetArrayViewFromImage(scan)
    background = quality.background_value(array)
    if background is not None:
        signal = quality.foreground(array, background)
        if np.count_nonzero(signal) * voxel_mm3(scan) / 1000 <= quality.MAX_BRAIN_ML:
            return on_grid_of(scan, signal.astype(np.uint8)), True
    size = [max(1, round(n * s / _HEAD_MM)) for n, s in zip(scan.GetSize(), scan.GetSpacing(), strict=True)]
    small = sitk.Image(size, sitk.sitkFloat32)
    small.SetSpacing([n * s / m for n, s, m in zip(scan.GetSize(), scan.GetSpacing(), size, strict=True)])
    small.SetDirection(scan.GetDirection())
    middle = (np.array(small.GetSpacing()) - scan.GetSpacing()) / 2
    small.SetOrigin((np.reshape(scan.GetDirection(), (3, 3)) @ middle + scan.GetOrigin()).tolist())
    values = sitk.GetArrayFromImage(sitk.Resample(scan, small, outputPixelType=sitk.sitkFloat32))
    evened = sitk.GetImageFromArray(np.sqrt(values - values.min()))  # so that the brain does not count as dark beside bright fat
    bright = sitk.GetArrayFromImage(sitk.OtsuThreshold(evened, 0, 1, 128)) > 0
    closed = ndimage.binary_closing(np.pad(bright, _CLOSED_VOXELS), iterations=_CLOSED_VOXELS)
    solid = quality.solid_brain(closed)[(slice(_CLOSED_VOXELS, -_CLOSED_VOXELS),) * 3]
    return sitk.Resample(on_grid_of(small, solid.astype(np.uint8)), scan, interpolator=sitk.sitkNearestNeighbor), False


def points_mm(mask: sitk.Image) -> np.ndarray:
    """Give the places of at most some 20,000 of a mask's voxels.

    Parameters
    ----------
    mask : sitk.Image

    Returns
    -------
    (N, 3) array, LPS
    """
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]  # (N, 3): i, j, k
    index = index[:: 1 + len(index) // 20000]
    return (index * mask.GetSpacing()) @ np.reshape(mask.GetDirection(), (3, 3)).T + mask.GetOrigin()


def at_spacing(scan: sitk.Image, head: sitk.Image, spacing_mm: float, margin_mm: float) -> sitk.Image:
    """Give the head's box and a margin of background at another spacing, smoothed to it, without its extreme values.

    Parameters
    ----------
    scan : 3D sitk.Image
    head : sitk.Image of that grid, above 0 where the scan has signal
    spacing_mm, margin_mm : float

    Returns
    -------
    sitk.Image of float32

    Raises
    ------
    InputError
        If there is no signal.
    """
    box = bounding_box(sitk.GetArrayViewFromImage(head) > 0)
    if box is None:
        raise InputError("A scan holds no signal; wanted a head: check the file.")
    box = widen(box, 2, scan)
    part = crop(scan, box)
    values = sitk.GetArrayViewFromImage(part)
    air = values[sitk.GetArrayViewFromImage(crop(head, box)) == 0]
    outside = float(np.median(air)) if air.size else float(values.min())
    low, high = np.percentile(values, (0.5, 99.5))
    clipped = sitk.Clamp(sitk.Cast(part, sitk.sitkFloat32), sitk.sitkFloat32, float(min(low, outside)), float(high))
    smooth = sitk.SmoothingRecursiveGaussian(clipped, spacing_mm / 2)
    size = [int(np.ceil((n * s + 2 * margin_mm) / spacing_mm)) for n, s in zip(part.GetSize(), part.GetSpacing(), strict=True)]
    grid = sitk.Image(size, sitk.sitkFloat32)
    direction = np.reshape(part.GetDirection(), (3, 3))
    grid.SetSpacing([spacing_mm] * 3)
    grid.SetDirection(part.GetDirection())
    grid.SetOrigin((np.array(part.GetOrigin()) - direction @ np.full(3, margin_mm)).tolist())
    return sitk.Resample(smooth, grid, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32)


def information(level: Level, transform: sitk.Euler3DTransform) -> float:
    """Give the mutual information of a pair at one place.

    Parameters
    ----------
    level : Level
    transform : sitk.Euler3DTransform, from T1 to T2

    Returns
    -------
    float, nats; 0 where the two hardly meet
    """
    method = _method(level)
    method.SetInitialTransform(sitk.Euler3DTransform(transform), True)
    try:
        return -method.MetricEvaluate(level.t1, level.t2)
    except RuntimeError:  # ITK: too few samples map into the image
        return 0.0


def settle(level: Level, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    """Climb again and again until it gains nothing more: a single climb zigzags on a narrow ridge and stops early.

    Parameters
    ----------
    level : Level
    start : sitk.Euler3DTransform, from T1 to T2

    Returns
    -------
    sitk.Euler3DTransform
    """
    best = start
    for _ in range(_CLIMBS):
        found = climb(level, best, 0.5)
        if information(level, found) < information(level, best) + _CLIMB_GAIN:
            return found
        best = found
    return best


def climb(level: Level, start: sitk.Euler3DTransform, step_mm: float) -> sitk.Euler3DTransform:
    """Climb from a start to the nearest best place.

    Parameters
    ----------
    level : Level
    start : sitk.Euler3DTransform, from T1 to T2
    step_mm : float, the first and largest

    Returns
    -------
    sitk.Euler3DTransform, the start itself where nothing better is found
    """
    found = sitk.Euler3DTransform(start)
    method = _method(level)
    method.SetOptimizerAsRegularStepGradientDescent(step_mm, step_mm / 50, 60, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(found, True)
    try:
        method.Execute(level.t1, level.t2)
    except RuntimeError:
        return start
    return found if information(level, found) > information(level, start) else start


def _method(level: Level) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.MetricUseFixedImageGradientFilterOff()  # central differences where the metric looks: filtering the image took most of the time
    method.MetricUseMovingImageGradientFilterOff()
    if level.share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(level.share, _SEED)
    if level.mask is not None:
        method.SetMetricFixedMask(level.mask)
    method.SetInterpolator(sitk.sitkLinear)
    return method
