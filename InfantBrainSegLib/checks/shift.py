"""How far T2 lies off T1, measured anew from the two images: the place where they tell most of each other.

Mutual information of two contrasts over shifts of whole millimeters, for the brain and for its six halves: a turned T2 shifts its
halves apart. Both images are 1 mm RAS.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_BINS = 32
_REACH_MM = 7  # beyond it the measure only says: far
_RIM_VOXELS = 4  # of 2 mm: voxels shifted by the reach still lie in the brain
_MIN_POINTS, _MAX_POINTS = 500, 40000  # more would tell no more


@dataclass(frozen=True)
class Shift:
    """Where T2 lies.

    Attributes
    ----------
    worst_mm : float
        The largest shift of the brain or of one of its halves; to the nearest millimeter on each axis.
    far : bool
        The best place is at the end of the search, or beyond.
    information : float
        Mutual information at the best place, nats; 0 when the brain is too small to tell.
    mirrored_axis : str
        "left-right", "front-back" or "top-bottom" when T2 fits far better mirrored so; else empty.
    """

    worst_mm: float
    far: bool
    information: float
    mirrored_axis: str


def measure_shift(images: np.ndarray, mask: np.ndarray) -> Shift:
    """Measure how far T2 lies off T1.

    Parameters
    ----------
    images : (2, X, Y, Z) float array, T1 and T2
    mask : (X, Y, Z) bool array
    """
    points = 2 * np.argwhere(ndimage.binary_erosion(mask[::2, ::2, ::2], iterations=_RIM_VOXELS))  # (N, 3)
    if len(points) < _MIN_POINTS:
        return Shift(0.0, False, 0.0, "")
    points = points[:: 1 + len(points) // _MAX_POINTS]
    t1, t2 = (_ranks(image, mask) for image in images)
    whole, information = _best(t1, t2, points, (0, 0, 0), (6, 2))
    whole, information = _best(t1, t2, points, whole, (1, 1))
    shifts = [whole]
    for axis in range(3):
        first = points[:, axis] < points[:, axis].mean()
        for half in (points[first], points[~first]):
            near, _ = _best(t1, t2, half, whole, (4, 2))
            shifts.append(_best(t1, t2, half, near, (1, 1))[0])
    mirrored = [_mirrored_information(t1, t2, mask, points, axis) for axis in range(3)]
    axis = int(np.argmax(mirrored))
    fits = mirrored[axis] > 1.5 * information  # as given, real pairs have twice to ten times as much as mirrored
    return Shift(
        float(np.linalg.norm(shifts, axis=1).max()),
        bool(np.abs(whole).max() >= _REACH_MM - 1),
        information,
        ("left-right", "front-back", "top-bottom")[axis] if fits else "",
    )


def _ranks(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(X, Y, Z) floats to 32 levels that the brain fills alike."""
    edges = np.quantile(image[mask], np.linspace(0, 1, _BINS + 1)[1:-1])
    return np.digitize(image, edges).astype(np.intp)


def _best(
    t1: np.ndarray, t2: np.ndarray, points: np.ndarray, start: tuple[int, ...], search: tuple[int, int]
) -> tuple[tuple[int, ...], float]:
    """Give the shift of most information round `start`, and that information; `search` is reach and step in mm."""
    reach, step = search
    strides = np.array([t1.shape[1] * t1.shape[2], t1.shape[2], 1])
    places = points @ strides  # (N,)
    fixed, moving = t1.ravel()[places] * _BINS, t2.ravel()
    steps = range(-reach, reach + 1, step)
    candidates = [tuple(a + b for a, b in zip(start, move, strict=True)) for move in itertools.product(steps, repeat=3)]
    candidates = [shift for shift in candidates if max(map(abs, shift)) <= _REACH_MM]
    scores = [_information(fixed + moving[places + int(strides @ np.array(shift))]) for shift in candidates]
    best = int(np.argmax(scores))
    return candidates[best], scores[best]


def _information(pairs: np.ndarray) -> float:
    """Mutual information in nats of N coded pairs of levels."""
    joint = np.bincount(pairs, minlength=_BINS * _BINS).reshape(_BINS, _BINS) / pairs.size
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / apart[filled])).sum())


def _mirrored_information(t1: np.ndarray, t2: np.ndarray, mask: np.ndarray, points: np.ndarray, axis: int) -> float:
    """Give the information that T2 would have if it were mirrored about the middle of the brain."""
    ends = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))[[0, -1]]
    mirrored = np.roll(np.flip(t2, axis), int(ends.sum()) - t2.shape[axis] + 1, axis)
    return _best(t1, mirrored, points, (0, 0, 0), (4, 2))[1]
