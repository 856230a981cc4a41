"""Cropping, pasting and resampling of `sitk.Image`s between grids, with geometry as the only guide.

Arrays here are SimpleITK's, (K, J, I); a box is three slices of such an array.
"""

import numpy as np
import SimpleITK as sitk

from .nifti_place import HEADER_KEY

Box = tuple[slice, ...]


def voxel_mm3(image: sitk.Image) -> float:
    """Give the volume of one voxel, sheared or not."""
    return float(np.prod(image.GetSpacing()) * abs(np.linalg.det(np.reshape(image.GetDirection(), (3, 3)))))


def bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """Give the slices of the smallest box round a mask, or None when it is empty.

    Parameters
    ----------
    mask : 3D bool array

    Returns
    -------
    Three slices, or None
    """
    box = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if hit.size == 0:
            return None
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


def widen(box: Box, voxels: int, image: sitk.Image) -> Box:
    """Grow a box on each side, as far as the image goes.

    Parameters
    ----------
    box : three slices
    voxels : int
    image : sitk.Image

    Returns
    -------
    three slices
    """
    sizes = image.GetSize()[::-1]  # (K, J, I)
    return tuple(slice(max(part.start - voxels, 0), min(part.stop + voxels, size)) for part, size in zip(box, sizes, strict=True))


def crop(image: sitk.Image, box: Box) -> sitk.Image:
    """Cut a box out of an image; its voxels stay where they are in space.

    Parameters
    ----------
    image : sitk.Image
    box : three slices
    """
    starts = [part.start for part in reversed(box)]  # (i, j, k)
    sizes = [part.stop - part.start for part in reversed(box)]
    return sitk.RegionOfInterest(image, sizes, starts)


def paste(values: np.ndarray, box: Box, like: sitk.Image) -> sitk.Image:
    """Make an image on another's exact grid that is 0 but for one box.

    Parameters
    ----------
    values : (K, J, I) array of the box's shape
    box : three slices
    like : sitk.Image that gives the grid

    Returns
    -------
    sitk.Image of the array's number type
    """
    whole = np.zeros(like.GetSize()[::-1], values.dtype)
    whole[box] = values
    return on_grid_of(like, whole)


def on_grid_of(like: sitk.Image, values: np.ndarray) -> sitk.Image:
    """Wrap an array as an image on another's exact grid.

    Parameters
    ----------
    like : sitk.Image
    values : (K, J, I) array
    """
    image = sitk.GetImageFromArray(values)
    image.SetOrigin(like.GetOrigin())
    image.SetSpacing(like.GetSpacing())
    image.SetDirection(like.GetDirection())
    if like.HasMetaDataKey(HEADER_KEY):  # so that a result's file tells each reader what the scan's does
        image.SetMetaData(HEADER_KEY, like.GetMetaData(HEADER_KEY))
    return image


def resample_linearly(image: sitk.Image, target: sitk.Image) -> np.ndarray:
    """Sample an image at another's voxel centers, 0 where it does not reach.

    Parameters
    ----------
    image : sitk.Image
    target : sitk.Image that gives the grid

    Returns
    -------
    (K, J, I) float32 array on the target's grid
    """
    moved = sitk.Resample(image, target, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    return sitk.GetArrayFromImage(moved)


def resample_inside(images: list[sitk.Image], weight: sitk.Image, target: sitk.Image) -> tuple[list[np.ndarray], np.ndarray]:
    """Resample images so that only voxels of a mask count: the background does not darken the rim, nor the skull brighten it.

    Where the target is coarser, the source is smoothed first, so that each result is a mean over its voxel.

    Parameters
    ----------
    images : list of sitk.Image on one grid
    weight : sitk.Image of that grid, 1 inside and 0 outside
    target : sitk.Image that gives the new grid

    Returns
    -------
    list of (K, J, I) float32 arrays, 0 where no voxel counts; and the resampled weight from 0 to 1, (K, J, I) float32
    """
    variances = _smoothing_variances(weight, target)
    inside = sitk.GetArrayFromImage(weight).astype(np.float32)
    total = resample_linearly(on_grid_of(weight, _smooth(inside, variances)), target)
    results = []
    for image in images:
        weighted = sitk.GetArrayFromImage(image).astype(np.float32) * inside
        values = resample_linearly(on_grid_of(weight, _smooth(weighted, variances)), target)
        np.divide(values, total, out=values, where=total > 0)
        results.append(values)
    return results, total


def fill_from_nearest(values: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> None:
    """Give the wanted voxels without a value that of the nearest known one, in place.

    Parameters
    ----------
    values : (K, J, I) array
    known, wanted : (K, J, I) bool arrays
    """
    from scipy import ndimage
    from scipy.spatial import cKDTree

    missing = np.argwhere(wanted & ~known)  # (N, 3)
    if missing.size == 0 or not known.any():
        return
    rim = np.argwhere(known & ~ndimage.binary_erosion(known))  # the nearest known voxel lies on the rim
    _, nearest = cKDTree(rim).query(missing)
    values[tuple(missing.T)] = values[tuple(rim[nearest].T)]


def _smoothing_variances(source: sitk.Image, target: sitk.Image) -> list[float]:
    """Give the smoothing's variance along each source axis, in voxels², (K, J, I) order.

    The mean over a target voxel of width t has the variance t²/12 of a box; linear interpolation from spacing s brings s²/6 of it.
    """
    source_axes = np.reshape(source.GetDirection(), (3, 3))
    target_axes = np.reshape(target.GetDirection(), (3, 3))
    nearest = np.abs(np.linalg.inv(target_axes) @ source_axes).argmax(axis=0)  # the target axis that each source axis runs along
    widths_mm = [target.GetSpacing()[int(axis)] for axis in nearest]
    variances = [max((width / spacing) ** 2 / 12 - 1 / 6, 0.0) for width, spacing in zip(widths_mm, source.GetSpacing(), strict=True)]
    return variances[::-1]


def _smooth(values: np.ndarray, variances: list[float]) -> np.ndarray:
    """Smooth by three taps, repeated: exact in variance also below one voxel, where a sampled Gaussian is not."""
    from scipy import ndimage

    for axis, variance in enumerate(variances):
        passes = int(np.ceil(2 * variance))
        for _ in range(passes):
            side = variance / passes / 2  # at most a quarter
            values = ndimage.convolve1d(values, [side, 1 - 2 * side, side], axis, mode="constant")
    return values
