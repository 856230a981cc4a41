"""Isolated islands and internal holes, cleaned per tissue by rules in mm³ (paper, section 4.1); thin rinds that are no gray matter."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ..core.labels import BACKGROUND, CSF, GM, WM, Tissue, tissues_of
from .options import CleanupConfig

_FACES = ndimage.generate_binary_structure(3, 1)  # 6 neighbours
_CORNERS = ndimage.generate_binary_structure(3, 3)  # 26 neighbours


@dataclass(frozen=True)
class CleanedLabels:
    """The labels after the clean-up, and what it did.

    Attributes
    ----------
    labels : (X, Y, Z) uint8 array
    islands_removed, holes_filled : dict
        Number of regions for each tissue's short name.
    strays_removed, brain_holes_filled, rinds_removed : int
        Pieces apart from the brain that became background; closed background regions inside it that became tissue; thin rinds of GM
        that became CSF and WM.
    voxels_changed : int
        Voxels inside the mask that differ from before.
    """

    labels: np.ndarray
    islands_removed: dict[str, int] = field(default_factory=dict)
    holes_filled: dict[str, int] = field(default_factory=dict)
    strays_removed: int = 0
    brain_holes_filled: int = 0
    rinds_removed: int = 0
    voxels_changed: int = 0


def clean(
    labels: np.ndarray, probabilities: np.ndarray, mask: np.ndarray, spacing_mm: Sequence[float], config: CleanupConfig
) -> CleanedLabels:
    """Remove strays, rinds and islands, fill holes.

    Parameters
    ----------
    labels : (X, Y, Z) uint8 array
        Left as it is.
    probabilities : (C, X, Y, Z) float array
        Say which other tissue is the best one.
    mask : (X, Y, Z) bool array
        The brain; labels outside it become background.
    spacing_mm : three floats
    config : CleanupConfig
    """
    before = np.where(mask, labels, BACKGROUND).astype(np.uint8)
    boxes = ndimage.find_objects((before != BACKGROUND).view(np.uint8))
    if not config.enabled or not boxes:
        return CleanedLabels(before)
    after = before.copy()
    box = boxes[0]
    inner, likely, brain = after[box], probabilities[(slice(None), *box)], mask[box].astype(bool)
    voxel_mm3 = float(np.prod(spacing_mm))
    strays = _remove_strays(inner, config.stray_mm3 / voxel_mm3)
    brain_holes = _fill_brain_holes(inner, likely, brain)
    rinds = _remove_rinds(inner, likely, config.rind_mm3 / voxel_mm3, config.gm_reach_mm, spacing_mm)
    tissues = tissues_of(len(probabilities))
    islands, holes = {}, {}
    for tissue, limit_mm3 in zip(tissues, config.island_mm3[: len(tissues)], strict=True):
        islands[tissue.short_name] = _remove_islands(inner, likely, tissue, limit_mm3 / voxel_mm3)
    for tissue, limit_mm3 in zip(tissues, config.hole_mm3[: len(tissues)], strict=True):
        holes[tissue.short_name] = _fill_holes(inner, brain, tissue, limit_mm3 / voxel_mm3)
    return CleanedLabels(after, islands, holes, strays, brain_holes, rinds, int(np.count_nonzero(after != before)))


def _small_pieces(region: np.ndarray, limit_voxels: float) -> tuple[np.ndarray, np.ndarray]:
    """Number the pieces of a region (26-connected) and tell which are small; the largest never is."""
    pieces, _ = ndimage.label(region, _CORNERS)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    small = sizes < limit_voxels
    small[0] = small[sizes.argmax()] = False
    return pieces, small


def _remove_strays(labels: np.ndarray, limit_voxels: float) -> int:
    pieces, small = _small_pieces(labels != BACKGROUND, limit_voxels)
    labels[small[pieces]] = BACKGROUND
    return int(small.sum())


def _fill_brain_holes(labels: np.ndarray, probabilities: np.ndarray, brain: np.ndarray) -> int:
    """Give each background voxel of the mask that tissue closes in its own most probable tissue."""
    closed = ndimage.binary_fill_holes(labels != BACKGROUND, _FACES) & (labels == BACKGROUND) & brain
    places = np.nonzero(closed)
    labels[places] = 1 + np.argmax([one[places] for one in probabilities[1:]], 0)
    return int(ndimage.label(closed, _FACES)[1])


def _remove_rinds(labels: np.ndarray, probabilities: np.ndarray, limit_voxels: float, reach_mm: float, spacing_mm: Sequence[float]) -> int:
    """Give small pieces of GM out of reach of thick GM to CSF or WM, voxel by voxel whichever is more probable."""
    gm = labels == GM.value
    thick = ndimage.binary_opening(gm, _ball(spacing_mm))
    if not thick.any():
        return 0
    steps = max(1, round(reach_mm / min(spacing_mm)))
    pieces, count = ndimage.label(gm & ~ndimage.binary_dilation(thick, _CORNERS, steps, mask=gm), _CORNERS)
    small = np.bincount(pieces.ravel(), minlength=count + 1) < limit_voxels
    small[0] = False
    rind = small[pieces]
    labels[rind] = np.where(probabilities[CSF.value][rind] > probabilities[WM.value][rind], CSF.value, WM.value)
    return int(small.sum())


def _ball(spacing_mm: Sequence[float]) -> np.ndarray:
    """Voxels within 1 mm of the middle one, at least its neighbours across a face."""
    reach = [max(1, int(1 / step)) for step in spacing_mm]
    steps_mm = [np.arange(-n, n + 1) * step for n, step in zip(reach, spacing_mm, strict=True)]
    ball = np.linalg.norm(np.meshgrid(*steps_mm, indexing="ij"), axis=0) <= 1
    middle = tuple(slice(n - 1, n + 2) for n in reach)
    ball[middle] |= _FACES
    return ball


def _remove_islands(labels: np.ndarray, probabilities: np.ndarray, tissue: Tissue, limit_voxels: float) -> int:
    """Give each small piece as a whole to the tissue that it touches and that is most probable in it."""
    pieces, small = _small_pieces(labels == tissue.value, limit_voxels)
    count = int(small.sum())
    if not count:
        return 0
    places = np.nonzero(small[pieces])
    island = np.cumsum(small)[pieces[places]] - 1  # (N,), from 0 to count - 1
    others = [value for value in range(1, len(probabilities)) if value != tissue.value]
    score = np.full((count, len(probabilities)), -np.inf)
    for value in others:
        score[:, value] = np.bincount(island, probabilities[value][places].astype(np.float64), count)
    touched = _touched(labels, places, island, score.shape)
    touches_others = touched[:, others].any(1)
    score[touches_others] = np.where(touched[touches_others], score[touches_others], -np.inf)
    labels[places] = score.argmax(1)[island]
    return count


def _touched(labels: np.ndarray, places: tuple[np.ndarray, ...], island: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(count, C) bool: which labels lie across a face of which island."""
    padded = np.pad(labels, 1, constant_values=BACKGROUND)
    touched = np.zeros(shape, bool)
    x, y, z = (axis + 1 for axis in places)
    for dx, dy, dz in ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)):
        touched[island, padded[x + dx, y + dy, z + dz]] = True
    return touched


def _fill_holes(labels: np.ndarray, brain: np.ndarray, tissue: Tissue, limit_voxels: float) -> int:
    """Give regions of other tissues that this one closes in to it; one that reaches background or the mask's rim is no hole."""
    regions, count = ndimage.label(labels != tissue.value, _FACES)
    is_hole = np.bincount(regions.ravel(), minlength=count + 1) < limit_voxels
    rim = np.ones(labels.shape, bool)
    rim[1:-1, 1:-1, 1:-1] = False
    is_hole[np.unique(regions[rim | ~brain | (labels == BACKGROUND)])] = False
    is_hole[0] = False
    labels[is_hole[regions]] = tissue.value
    return int(is_hole.sum())
