"""Ventricles made wider by what lies round them giving way: tissue is pushed aside and thinned, and none turns into fluid.

Each point flows away from the lateral ventricles, faster near them, and no further than the brain's hull lets it; the deep nuclei hold
their place for the most part, so that the ventricles grow into white matter. A flow neither tears nor folds, however wide.
"""

import math

import numpy as np
import torch
from scipy import ndimage

from .labelmaps import EARLY_DEEP_GM, LATE_DEEP_GM, OUTER_CSF, VENTRICLE, LabelMap
from .thickening import sample

_REACH = 26.0  # voxels from the ventricles at which nothing moves
_HULL = 8.0  # voxels below the hull at which its hold ends
_NUCLEI, _NUCLEI_BLUR = 0.7, 4.0  # share of the speed that they take, and over how many voxels
_OPENINGS = (2.0, 1.0)  # voxels; what is thinner, such as the third ventricle, is pushed aside itself
_LEAST_VOXELS = 300
_SMOOTH = 1.5  # voxels
_STEP = 2.0  # voxels at most
_SIDE = 6.0  # voxels over which a one-sided widening ends at the midline
_COARSE = 4  # voxels between those that volumes are counted on


def widening_field(label_map: LabelMap) -> np.ndarray:
    """Velocity that widens the lateral ventricles: 1 at their wall, away from them.

    Returns
    -------
    (3, X, Y, Z) float16 array; 0 where the map has no ventricles
    """
    lateral = _lateral(label_map.classes == VENTRICLE)
    if not lateral.any():
        return np.zeros((3, *lateral.shape), np.float16)
    distance = ndimage.distance_transform_edt(~lateral) - ndimage.distance_transform_edt(lateral)
    away = np.stack(np.gradient(ndimage.gaussian_filter(distance.astype(np.float32), _SMOOTH)))
    speed = np.clip(1 - np.maximum(distance, 0) / _REACH, 0, 1) ** 2
    inside = (label_map.outside == 0) | (label_map.classes > OUTER_CSF)
    speed *= np.clip(ndimage.distance_transform_edt(inside) / _HULL, 0, 1)
    nuclei = np.isin(label_map.classes, (EARLY_DEEP_GM, LATE_DEEP_GM)).astype(np.float32)
    speed *= 1 - _NUCLEI * np.clip(2 * ndimage.gaussian_filter(nuclei, _NUCLEI_BLUR), 0, 1)
    return (away * speed).astype(np.float16)


def _lateral(ventricles: np.ndarray) -> np.ndarray:
    """The wide parts of the ventricles."""
    if not ventricles.any():
        return ventricles
    depth = ndimage.distance_transform_edt(ventricles)
    for radius in _OPENINGS:
        core = depth > radius
        if np.count_nonzero(core) >= _LEAST_VOXELS:
            return ventricles & (ndimage.distance_transform_edt(~core) <= radius)
    return ventricles


def duration_of(wider: float) -> float:
    """How long the flow takes to move a wall by so many voxels, far from the hull."""
    return _REACH * wider / (_REACH - wider)


def flow_back(positions: torch.Tensor, field: torch.Tensor, wider: float, side: float = 0.0) -> torch.Tensor:
    """Where in the map that comes from which lies at `positions` once the ventricles are wider.

    Parameters
    ----------
    positions : (3, ...) float torch.Tensor, four-dimensional
        Voxels of the map.
    field : (3, X, Y, Z) float torch.Tensor
        The whole of `widening_field`.
    wider : float
        Voxels that a wall moves.
    side : float
        From -1 (the half of small x alone) over 0 (both) to 1.

    Returns
    -------
    Tensor of the shape of `positions`
    """
    duration = duration_of(wider)
    steps = max(math.ceil(duration / _STEP), 1)
    middle = (field.shape[1] - 1) / 2
    for _ in range(steps):
        velocity = sample(field, positions, (0, 0, 0))
        if side:
            velocity = velocity * (1 - abs(side) * torch.sigmoid((middle - positions[0]) / _SIDE * math.copysign(1, side)))
        positions = positions - velocity * (duration / steps)
    return positions


def widened_counts(label_map: LabelMap, field: torch.Tensor, wider: float, side: float) -> np.ndarray:
    """Voxels of each synthesis class once the ventricles are wider, about: (7,) float64."""
    axes = [torch.arange(0, n, _COARSE, device=field.device, dtype=torch.float32) for n in label_map.classes.shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    counts = []
    for source in (grid, flow_back(grid, field, wider, side)):
        index = tuple(axis.round().long().clamp(0, n - 1).cpu().numpy() for axis, n in zip(source, label_map.classes.shape, strict=True))
        counts.append(np.bincount(label_map.classes[index].ravel(), minlength=len(label_map.counts)))
    before, after = counts
    return np.asarray(label_map.counts * np.where(before > 0, after / np.maximum(before, 1), 1.0))
