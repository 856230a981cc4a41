"""The working space, in which the networks see the brain, and the one way between it and T1's voxels.

Working arrays are (X, Y, Z) at 1 mm: x grows to the Right, y to Anterior, z to Superior of the upright head. SimpleITK's physical space
is LPS and its arrays are (K, J, I): the two meet in this file and nowhere else. A head that lies turned keeps its header; the working
grid then lies obliquely in T1's physical space, along the head's own axes.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError
from ..core.labels import BACKGROUND
from .files import index_to_physical
from .resample import Box, bounding_box, crop, fill_from_nearest, on_grid_of, paste, resample_inside, resample_linearly, widen

MARGIN_VOXELS = 5  # paper, section 4.1
COINCIDE_VOXELS = 1e-3  # how far a voxel may lie off the working grid and still count as on it
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])  # and LPS to RAS


@dataclass(frozen=True, eq=False)
class WorkingSpace:
    """Where the working arrays lie, and the way back to T1's voxels.

    Attributes
    ----------
    shape : tuple of int
        (X, Y, Z)
    origin_mm : tuple of float
        RAS position of voxel (0, 0, 0) in the upright head.
    t1_mask : sitk.Image
        The brain on T1's grid; it carries T1's geometry.
    rotation : sitk.Euler3DTransform or None
        From a point of the upright head to its point in the head as given (LPS, mm); None where both are the same.
    """

    shape: tuple[int, int, int]
    origin_mm: tuple[float, float, float]
    t1_mask: sitk.Image
    rotation: sitk.Euler3DTransform | None = None

    @property
    def affine(self) -> np.ndarray:
        """From voxel (x, y, z) to LPS mm of the head as given: (4, 4)."""
        affine = np.eye(4)
        affine[:3, :3] = _axes(self.rotation)
        affine[:3, 3] = self._physical_mm((0, 0, 0))
        return affine

    @property
    def from_t1(self) -> np.ndarray:
        """From index (i, j, k) of T1's grid to voxel (x, y, z): (4, 4)."""
        return np.linalg.solve(self.affine, index_to_physical(self.t1_mask))

    def to_image(self, values: np.ndarray) -> sitk.Image:
        """Wrap a working array as an image with its true geometry.

        Parameters
        ----------
        values : (X, Y, Z) array

        Returns
        -------
        sitk.Image of 1 mm voxels
        """
        image = sitk.GetImageFromArray(to_kji(values))
        image.SetOrigin(self._physical_mm((0, 0, 0)))
        image.SetDirection(_axes(self.rotation).ravel().tolist())
        return image

    def labels_to_scan(self, labels: np.ndarray, probabilities: np.ndarray, mask: np.ndarray) -> sitk.Image:
        """Bring labels to T1's exact grid.

        Where T1's voxels lie on the working grid, flipped or permuted, labels transfer as they are. Elsewhere each class's probability is
        resampled linearly and the largest wins; where `labels` disagrees with the probabilities (after clean-up) the label counts as
        certain. Only voxels of the brain vote, so the rim keeps its tissue.

        Parameters
        ----------
        labels : (X, Y, Z) uint8 array
        probabilities : (C, X, Y, Z) float array
            Of each class of the network.
        mask : (X, Y, Z) bool array, the brain

        Returns
        -------
        sitk.Image of uint8, 0 outside T1's mask
        """
        box, inside = self.t1_crop()
        way = self.exact_way()
        if way is not None:
            values = transfer(labels, way, box)
        else:
            target = crop(self.t1_mask, box)
            disputed = probabilities.argmax(axis=0) != labels
            values = np.zeros(inside.shape, np.uint8)  # (K, J, I)
            best = np.zeros(inside.shape, np.float32)
            for value in (*range(1, len(probabilities)), BACKGROUND):  # background last: it loses ties
                vote = np.where(disputed, labels == value, probabilities[value]).astype(np.float32) * mask
                resampled = resample_linearly(self.to_image(vote), target)
                wins = resampled > best
                values[wins] = value
                np.maximum(best, resampled, out=best)
            fill_from_nearest(values, best > 0, inside)
        values = np.where(inside, values, BACKGROUND).astype(np.uint8)
        return paste(values, box, self.t1_mask)

    def labels_from_scan(self, labels: sitk.Image) -> np.ndarray:
        """Bring labels of T1's grid to the working grid.

        A voxel of which half is tissue, as those of the working mask are, gets the tissue with the largest share of it.

        Parameters
        ----------
        labels : sitk.Image of uint8, on T1's grid

        Returns
        -------
        (X, Y, Z) uint8 array
        """
        values = sitk.GetArrayViewFromImage(labels)
        best, tissue = np.zeros((2, *self.shape), np.float32)
        winners = np.zeros(self.shape, np.uint8)
        for value in np.unique(values[values != BACKGROUND]).tolist():
            share = self.share_from_scan(values == value)
            winners[share > best] = value
            np.maximum(best, share, out=best)
            tissue += share
        return np.where(tissue >= 0.5, winners, np.uint8(BACKGROUND))

    def share_from_scan(self, places: np.ndarray) -> np.ndarray:
        """Tell how much of each working voxel some places of T1's grid fill, resampled as the scans are.

        Parameters
        ----------
        places : (K, J, I) bool array

        Returns
        -------
        (X, Y, Z) float32 array, from 0 to 1
        """
        found = bounding_box(places)
        if found is None:
            return np.zeros(self.shape, np.float32)
        box = widen(found, 2, self.t1_mask)  # two voxels more, for the smoothing
        grid = crop(self.t1_mask, box)
        everywhere = on_grid_of(grid, np.ones(places[box].shape, np.uint8))
        target = self.to_image(np.zeros(self.shape, np.uint8))
        (share,), _ = resample_inside([on_grid_of(grid, places[box].astype(np.uint8))], everywhere, target)
        return to_xyz(share)

    def map_to_scan(self, values: np.ndarray, mask: np.ndarray) -> sitk.Image:
        """Bring one class's probability, or any map of the brain, to T1's exact grid.

        Parameters
        ----------
        values : (X, Y, Z) float array
        mask : (X, Y, Z) bool array, the brain

        Returns
        -------
        sitk.Image of float32, 0 outside T1's mask
        """
        box, inside = self.t1_crop()
        way = self.exact_way()
        if way is not None:
            restored = transfer(values, way, box).astype(np.float32)
        else:
            target = crop(self.t1_mask, box)
            restored = resample_linearly(self.to_image(values.astype(np.float32) * mask), target)
            weight = resample_linearly(self.to_image(mask.astype(np.float32)), target)
            np.divide(restored, weight, out=restored, where=weight > 0)
            fill_from_nearest(restored, weight > 0, inside)
        restored = np.where(inside, restored, 0).astype(np.float32)
        return paste(restored, box, self.t1_mask)

    def place_to_scan(self, voxel: tuple[float, ...]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Tell where a voxel of the working space lies in the head as given.

        Parameters
        ----------
        voxel : (x, y, z)

        Returns
        -------
        its RAS position in mm, and its index (i, j, k) on T1's grid
        """
        left_mm, back_mm, up_mm = self._physical_mm(voxel)
        i, j, k = self.t1_mask.TransformPhysicalPointToContinuousIndex((left_mm, back_mm, up_mm))
        return (-left_mm, -back_mm, up_mm), (i, j, k)

    def t1_crop(self) -> tuple[Box, np.ndarray]:
        """Give the brain's box on T1's grid, three slices, and the brain inside it, a (K, J, I) bool array of that shape."""
        box = mask_box(self.t1_mask)
        return box, sitk.GetArrayViewFromImage(self.t1_mask)[box] > 0

    def exact_way(self) -> np.ndarray | None:
        """Give the whole-number affine from T1's (i, j, k) to (x, y, z), (3, 4) int, or None where voxels do not coincide."""
        affine = self.from_t1[:3]
        way = np.rint(affine).astype(int)
        if not (np.abs(way[:, :3]).sum(axis=0) == 1).all() or not (np.abs(way[:, :3]).sum(axis=1) == 1).all():
            return None
        box = mask_box(self.t1_mask)[::-1]  # i, j, k
        corners = np.array(np.meshgrid(*((part.start, part.stop - 1) for part in box))).reshape(3, -1)  # (3, 8)
        error = (affine - way)[:, :3] @ corners + (affine - way)[:, 3:]
        return way if np.abs(error).max() < COINCIDE_VOXELS else None

    def _physical_mm(self, voxel: tuple[float, ...]) -> tuple[float, float, float]:
        """LPS position of a voxel in the head as given."""
        x_mm, y_mm, z_mm = (float(origin + index) for origin, index in zip(self.origin_mm, voxel, strict=True))
        upright = (-x_mm, -y_mm, z_mm)
        return upright if self.rotation is None else self.rotation.TransformPoint(upright)


def plan_space(mask: sitk.Image, rotation: sitk.Euler3DTransform | None = None) -> WorkingSpace:
    """Lay the working grid through one of T1's voxel centers, so that a T1 of that grid keeps its voxels, and crop it to the brain.

    Parameters
    ----------
    mask : sitk.Image, the brain on T1's grid
    rotation : sitk.Euler3DTransform, from a point of the upright head to its point in the head as given; None where both are the same
    """
    inside = sitk.GetArrayViewFromImage(mask) > 0  # (K, J, I)
    rows = inside.any(axis=2)  # (K, J)
    k, j = np.nonzero(rows)
    first = inside.argmax(axis=2)[rows]
    last = inside.shape[2] - 1 - inside[:, :, ::-1].argmax(axis=2)[rows]
    ends = np.stack([np.concatenate([first, last]), np.tile(j, 2), np.tile(k, 2)])  # (3, 2N): both ends of every row of the brain
    affine = index_to_physical(mask)
    positions_mm = RAS_TO_LPS @ _set_upright(affine[:3, :3] @ ends + affine[:3, 3:], rotation)  # (3, 2N), RAS
    anchor_mm = positions_mm[:, 0]
    low = np.floor(positions_mm.min(axis=1) - anchor_mm + COINCIDE_VOXELS).astype(int) - MARGIN_VOXELS
    high = np.ceil(positions_mm.max(axis=1) - anchor_mm - COINCIDE_VOXELS).astype(int) + MARGIN_VOXELS
    x, y, z = (int(length) for length in high - low + 1)
    origin_mm = anchor_mm + low
    return WorkingSpace((x, y, z), (float(origin_mm[0]), float(origin_mm[1]), float(origin_mm[2])), mask, rotation)


def ras_grid(points_mm: np.ndarray, spacing_mm: float, margin_mm: float, rotation: sitk.Euler3DTransform | None = None) -> sitk.Image:
    """Give an empty grid along the axes of the upright head round some points.

    Parameters
    ----------
    points_mm : (3, N) array, LPS positions in the head as given
    spacing_mm, margin_mm : float
    rotation : sitk.Euler3DTransform, from a point of the upright head to its point in the head as given; None where both are the same

    Returns
    -------
    sitk.Image of uint8, in the physical space of the head as given
    """
    points_mm = _set_upright(points_mm, rotation)
    low, high = points_mm.min(axis=1) - margin_mm, points_mm.max(axis=1) + margin_mm
    size = [int(n) for n in np.ceil((high - low) / spacing_mm) + 1]
    grid = sitk.Image(size, sitk.sitkUInt8)
    origin_mm = (float(high[0]), float(high[1]), float(low[2]))  # x and y run against LPS
    grid.SetSpacing([spacing_mm] * 3)
    grid.SetDirection(_axes(rotation).ravel().tolist())
    grid.SetOrigin(origin_mm if rotation is None else rotation.TransformPoint(origin_mm))
    return grid


def centered_image(values: np.ndarray) -> sitk.Image:
    """Wrap an (X, Y, Z) array at 1 mm RAS as an image whose middle lies at 0."""
    image = sitk.GetImageFromArray(to_kji(values))
    image.SetDirection(RAS_TO_LPS.ravel().tolist())
    image.SetOrigin((-RAS_TO_LPS @ (np.array(values.shape) - 1) / 2).tolist())
    return image


def ras_position(image: sitk.Image, index: np.ndarray) -> np.ndarray:
    """Give the RAS position, (3,) mm, of an index (i, j, k), which need not be whole."""
    return RAS_TO_LPS @ image.TransformContinuousIndexToPhysicalPoint(index.tolist())


def rotation_about(middle_mm: np.ndarray, to_upright: np.ndarray) -> sitk.Euler3DTransform:
    """Give the rotation from a point of the upright head to its point in the head as given.

    Parameters
    ----------
    middle_mm : (3,) array, the RAS position that stays
    to_upright : (3, 3) array, the rotation that sets the head upright, in RAS

    Returns
    -------
    sitk.Euler3DTransform (LPS, mm)
    """
    rotation = sitk.Euler3DTransform()
    rotation.SetCenter((RAS_TO_LPS @ middle_mm).tolist())
    rotation.SetMatrix((RAS_TO_LPS @ to_upright.T @ RAS_TO_LPS).ravel().tolist())
    return rotation


def to_xyz(values: np.ndarray) -> np.ndarray:
    """Turn SimpleITK's axis order (K, J, I) of an image along RAS into (X, Y, Z), contiguous."""
    return np.ascontiguousarray(values.transpose(2, 1, 0))


def to_kji(values: np.ndarray) -> np.ndarray:
    """Turn (X, Y, Z) into SimpleITK's axis order (K, J, I), contiguous."""
    return np.ascontiguousarray(values.transpose(2, 1, 0))


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
    box = bounding_box(sitk.GetArrayViewFromImage(mask) > 0)
    if box is None:
        raise InputError("The brain mask is empty; wanted voxels above 0 in the brain: check the file.")
    return box


def transfer(values: np.ndarray, way: np.ndarray, box: Box) -> np.ndarray:
    """Cut T1's box out of a working array, voxel by voxel.

    Parameters
    ----------
    values : (X, Y, Z) array
    way : (3, 4) int array of `WorkingSpace.exact_way`
    box : three slices of T1's (K, J, I) array

    Returns
    -------
    (K, J, I) array of the box's shape
    """
    order = np.abs(way[:, :3]).argmax(axis=0)  # working axis of i, j, k
    cut = [slice(None)] * 3
    flips = []
    for axis, part in enumerate(reversed(box)):  # i, j, k
        sign, offset = way[order[axis], axis], way[order[axis], 3]
        low, high = sorted((sign * part.start + offset, sign * (part.stop - 1) + offset))
        cut[order[axis]] = slice(int(low), int(high) + 1)
        flips.append(slice(None, None, int(sign)))
    return values[tuple(cut)].transpose(order)[tuple(flips)].transpose(2, 1, 0)


def _axes(rotation: sitk.Euler3DTransform | None) -> np.ndarray:
    """LPS directions, in the head as given, of the upright head's Right, Anterior and Superior: the columns of a (3, 3) array."""
    return RAS_TO_LPS if rotation is None else np.reshape(rotation.GetMatrix(), (3, 3)) @ RAS_TO_LPS


def _set_upright(points_mm: np.ndarray, rotation: sitk.Euler3DTransform | None) -> np.ndarray:
    """LPS positions (3, N) of the head as given to those of the upright one."""
    if rotation is None:
        return points_mm
    offset_mm = np.array(rotation.TransformPoint((0.0, 0.0, 0.0)))
    return np.reshape(rotation.GetMatrix(), (3, 3)).T @ (points_mm - offset_mm[:, None])
