"""The prepared space: a 1 mm RAS grid through T1's own voxel centers, and the ways between it and T1's grid.

Prepared arrays are (X, Y, Z): x grows to the Right, y to Anterior, z to Superior. SimpleITK's physical space is LPS and its
arrays are (K, J, I): the two meet in this file and nowhere else.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError
from ..preparation import foreground as quality
from .files import index_to_physical
from .resample import Box

MARGIN_VOXELS = 5  # paper, section 4.1
COINCIDE_VOXELS = 1e-3  # how far a voxel may lie off the 1 mm RAS grid and still count as on it
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Grid:
    """Where the prepared arrays lie, and the way back.

    Attributes
    ----------
    shape : tuple of int
        (X, Y, Z)
    origin_mm : tuple of float
        RAS position of voxel (0, 0, 0).
    t1_mask : sitk.Image
        The brain on T1's grid; it carries T1's geometry.
    """

    shape: tuple[int, int, int]
    origin_mm: tuple[float, float, float]
    t1_mask: sitk.Image


def to_image(array: np.ndarray, grid: Grid) -> sitk.Image:
    """Wrap an array of prepared space as an image with its true geometry.

    Parameters
    ----------
    array : (X, Y, Z) array
    grid : Grid

    Returns
    -------
    sitk.Image of 1 mm voxels
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))  # (Z, Y, X)
    image.SetOrigin((_RAS_TO_LPS @ grid.origin_mm).tolist())
    image.SetDirection(_RAS_TO_LPS.ravel().tolist())
    return image


def to_xyz(values: np.ndarray) -> np.ndarray:
    """Turn SimpleITK's axis order into the prepared one.

    Parameters
    ----------
    values : (Z, Y, X) array

    Returns
    -------
    (X, Y, Z) array, contiguous
    """
    return np.ascontiguousarray(values.transpose(2, 1, 0))  # (Z, Y, X) to (X, Y, Z)


def mask_box(mask: sitk.Image) -> Box:
    """Give the smallest box round a mask.

    Parameters
    ----------
    mask : sitk.Image, above 0 inside

    Returns
    -------
    three slices of its (K, J, I) array

    Raises
    ------
    InputError
        If the mask is empty.
    """
    box = quality.bounding_box(sitk.GetArrayViewFromImage(mask) > 0)
    if box is None:
        raise InputError("The brain mask is empty; wanted voxels above 0 in the brain: check the file.")
    return box


def plan_grid(mask: sitk.Image) -> Grid:
    """Lay the 1 mm RAS grid through one of T1's voxel centers, so that a T1 of that grid keeps its voxels, and crop it to the brain.

    Parameters
    ----------
    mask : sitk.Image, the brain on T1's grid

    Returns
    -------
    Grid
    """
    inside = sitk.GetArrayViewFromImage(mask) > 0  # (K, J, I)
    rows = inside.any(axis=2)  # (K, J)
    k, j = np.nonzero(rows)
    first = inside.argmax(axis=2)[rows]
    last = inside.shape[2] - 1 - inside[:, :, ::-1].argmax(axis=2)[rows]
    ends = np.stack([np.concatenate([first, last]), np.tile(j, 2), np.tile(k, 2)])  # (3, 2N): both ends of every row of the brain
    affine = index_to_physical(mask)
    positions_mm = _RAS_TO_LPS @ (affine[:3, :3] @ ends + affine[:3, 3:])  # (3, 2N), RAS
    anchor_mm = positions_mm[:, 0]
    low = np.floor(positions_mm.min(axis=1) - anchor_mm + COINCIDE_VOXELS).astype(int) - MARGIN_VOXELS
    high = np.ceil(positions_mm.max(axis=1) - anchor_mm - COINCIDE_VOXELS).astype(int) + MARGIN_VOXELS
    x, y, z = (int(length) for length in high - low + 1)
    origin_mm = anchor_mm + low
    return Grid((x, y, z), (float(origin_mm[0]), float(origin_mm[1]), float(origin_mm[2])), mask)


def t1_crop(grid: Grid) -> tuple[Box, np.ndarray]:
    """Give the brain's box on T1's grid, and the brain inside it.

    Parameters
    ----------
    grid : Grid

    Returns
    -------
    three slices, and a (K, J, I) bool array of that shape
    """
    box = mask_box(grid.t1_mask)
    return box, sitk.GetArrayViewFromImage(grid.t1_mask)[box] > 0


def t1_index(grid: Grid, ras_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Give the index (i, j, k) of T1's grid at a place.

    Parameters
    ----------
    grid : Grid
    ras_mm : three floats

    Returns
    -------
    three floats
    """
    i, j, k = grid.t1_mask.TransformPhysicalPointToContinuousIndex((_RAS_TO_LPS @ ras_mm).tolist())
    return i, j, k


def exact_way(grid: Grid) -> np.ndarray | None:
    """Give the whole-number affine from T1's (i, j, k) to prepared (x, y, z), or None where voxels do not coincide.

    Parameters
    ----------
    grid : Grid

    Returns
    -------
    (3, 4) int array, or None
    """
    affine = _RAS_TO_LPS @ index_to_physical(grid.t1_mask)[:3]  # to RAS mm
    affine[:, 3] -= grid.origin_mm
    way = np.rint(affine).astype(int)
    if not (np.abs(way[:, :3]).sum(axis=0) == 1).all() or not (np.abs(way[:, :3]).sum(axis=1) == 1).all():
        return None
    ends = np.array(
        [[part.start for part in reversed(mask_box(grid.t1_mask))], [part.stop - 1 for part in reversed(mask_box(grid.t1_mask))]]
    ).T
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1)  # (3, 8), (i, j, k)
    error = (affine - way)[:, :3] @ corners + (affine - way)[:, 3:]
    return way if np.abs(error).max() < COINCIDE_VOXELS else None


def transfer(values: np.ndarray, way: np.ndarray, box: Box) -> np.ndarray:
    """Cut T1's box out of a prepared array, voxel by voxel.

    Parameters
    ----------
    values : (X, Y, Z) array
    way : (3, 4) int array of `exact_way`
    box : three slices of T1's (K, J, I) array

    Returns
    -------
    (K, J, I) array of the box's shape
    """
    order = np.abs(way[:, :3]).argmax(axis=0)  # prepared axis of i, j, k
    cut = [slice(None)] * 3
    flips = []
    for axis, part in enumerate(reversed(box)):  # i, j, k
        sign, offset = way[order[axis], axis], way[order[axis], 3]
        low, high = sorted((sign * part.start + offset, sign * (part.stop - 1) + offset))
        cut[order[axis]] = slice(int(low), int(high) + 1)
        flips.append(slice(None, None, int(sign)))
    return values[tuple(cut)].transpose(order)[tuple(flips)].transpose(2, 1, 0)
