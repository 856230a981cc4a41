"""How far T2 lies off T1 where it is nearly there: a parabola of the mutual information along each rigid motion, in a quarter of a second.

Points are placed at random, so that neither image is seen on its own grid alone: there interpolation would favour the place of the header.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..imaging.resample import bounding_box

_POINTS = 30_000
_BINS = 32
_STEP_MM = 1.5  # the parabola's arms
_RIM_MM = 4.0  # of background round the head: its outline counts too
_PERCENTILES = (0.5, 99.5)
_SEED = 1


@dataclass(frozen=True)
class Displacement:
    """Where T2 fits T1 best, near the place where it lies.

    Attributes
    ----------
    mean_mm : float
        Mean over the head; infinite where no best place is within the arms of the parabolas.
    information : float
        Mutual information at the place where it lies, nats.
    """

    mean_mm: float
    information: float


def measure_displacement(t1: sitk.Image, t2: sitk.Image, head: sitk.Image) -> Displacement:
    """Measure how far T2 lies off T1.

    Parameters
    ----------
    t1, t2 : 3D sitk.Image
    head : sitk.Image on T1's grid
        Above 0 where T1 is looked at, with a rim round it.
    """
    places_mm, index = _places(t1, head)
    if len(index) == 0:
        return Displacement(np.inf, 0.0)
    first = _binned(ndimage.map_coordinates(_values(t1), index.T, order=1, mode="nearest"))
    values = _values(t2)
    to_index = np.linalg.inv(np.reshape(t2.GetDirection(), (3, 3)) * np.array(t2.GetSpacing()))
    origin = np.array(t2.GetOrigin())
    limits = np.percentile(values[::2, ::2, ::2], _PERCENTILES) if values.size > 8 else (values.min(), values.max())

    def information(motion: np.ndarray) -> float:
        """Of a motion of each point, (N, 3) or (3,), in mm."""
        at = (places_mm + motion - origin) @ to_index.T  # (N, 3): i, j, k
        second = _binned(ndimage.map_coordinates(values, at.T[::-1], order=1, mode="nearest"), limits)
        return _mutual_information(first, second)

    from_middle = places_mm - places_mm.mean(axis=0)
    reach_mm = np.sqrt((from_middle**2).sum(axis=1).mean())
    axes = np.eye(3)
    motions = [*axes, *(np.cross(axis, from_middle) / reach_mm for axis in axes)]  # a move or turn of about 1 mm each
    here = information(np.zeros(3))
    best = np.zeros_like(places_mm)
    for motion in motions:
        below, above = information(-_STEP_MM * motion), information(_STEP_MM * motion)
        if here <= max(below, above):
            return Displacement(np.inf, here)
        best += _STEP_MM * (above - below) / (2 * (2 * here - above - below)) * motion
    return Displacement(float(np.linalg.norm(best, axis=1).mean()), here)


def _places(t1: sitk.Image, head: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Random points in the head and its rim: (N, 3) LPS in mm, and (N, 3) index (k, j, i)."""
    inside = sitk.GetArrayViewFromImage(head) > 0
    box = bounding_box(inside)
    if box is None:
        return np.empty((0, 3)), np.empty((0, 3))
    spacing_mm = np.array(t1.GetSpacing())[::-1]
    stride = [max(1, round(2.0 / step)) for step in spacing_mm]
    low = np.array([part.start for part in box])
    cells = inside[box][tuple(slice(None, None, step) for step in stride)]
    margin = [round(_RIM_MM / (step * jump)) for step, jump in zip(spacing_mm, stride, strict=True)]
    cells = ndimage.maximum_filter(np.pad(cells, [(side, side) for side in margin]), size=[2 * side + 1 for side in margin])
    rng = np.random.default_rng(_SEED)
    found = np.argwhere(cells)
    found = found[rng.integers(len(found), size=_POINTS)] - margin
    index = low + (found + rng.uniform(-0.5, 0.5, found.shape)) * stride
    affine = np.reshape(t1.GetDirection(), (3, 3)) * np.array(t1.GetSpacing())
    return index[:, ::-1] @ affine.T + np.array(t1.GetOrigin()), index


def _values(image: sitk.Image) -> np.ndarray:
    values = sitk.GetArrayViewFromImage(image)
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)


def _binned(values: np.ndarray, limits: tuple[float, float] | np.ndarray | None = None) -> np.ndarray:
    low, high = np.percentile(values, _PERCENTILES) if limits is None else limits
    return np.clip((values - low) * (_BINS / max(high - low, 1e-9)), 0, _BINS - 1).astype(np.intp)


def _mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    joint = np.bincount(first * _BINS + second, minlength=_BINS**2).reshape(_BINS, _BINS) / len(first)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum())
