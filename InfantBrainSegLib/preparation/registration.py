"""Rigid alignment of T2 to T1 by Mattes mutual information, only where the pair needs it.

A short measure tells the pairs that need none (`displacement`). The alignment moves T2's header, never its voxels: a rigid motion of a
grid is exact, so T2 is interpolated once, onto T1's grid, by `pair_scans`. All is computed on one thread with a fixed seed: the same pair
gives the same transform on every run.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..core.errors import AlignmentError, InputError
from ..imaging.files import check_image
from ..imaging.resample import bounding_box, crop, on_grid_of, resample_linearly, voxel_mm3, widen
from . import foreground as quality
from .displacement import measure_displacement

AUTO, OFF = "auto", "off"
CHOICES = (AUTO, OFF)
KEEP_MM = 0.75  # mean displacement below which a pair counts as aligned; 25 aligned pairs measured up to 0.50
MIN_HEAD_MM = 20.0  # of each side: less is no head
MAX_ANGLE_DEGREES, MAX_TRANSLATION_MM = 30.0, 45.0  # half as much again as the 20 degrees and 30 mm that are tested
MIN_OVERLAP = 0.8  # Dice of two stripped brains after alignment; whole heads are cut off where the field of view ends
MIN_INFORMATION = 0.45  # nats in the brain or head and its rim; 56 pairs of one brain have 0.76 to 1.20, 12 of two brains up to 0.27
MIN_GAIN = 0.002  # nats by which a move must beat the header's place
ALIGNED_MM, ALIGNED_INFORMATION = 0.35, 0.6  # of the short measure, by which a pair needs no search: aligned pairs have up to 0.25 mm and
# 0.84 nats or more, those that were moved by 1 mm 0.62 mm or more
_COARSE_MM, _BRAIN_MM, _HEAD_MM = 4.0, 1.5, 2.0  # steps of the coarse search, and of the fine one in a brain or in a whole head
_MARGIN_MM = 15.0  # of background round the head: its outline tells the coarse search where the head is
_REACH_MM = 48.0  # background added round a stripped T2, so that no start loses sight of it
_RIM_MM = 4.0  # of background that the fine search sees round the brain, or the head
_START_DEGREES = (-15.0, 0.0, 15.0)  # round each axis: 27 starts a place; each reaches some 10 degrees
_FINALISTS = 3
_REMEDY = "check that both are of one patient, register them by hand, or switch the alignment off (--align off)"
_SAMPLED = 0.2  # share of the fine voxels that the optimizer looks at
_SEED = 1
_BINS = 32
_OUTLINE_MM = 3.0  # at which a head's outline is found
_CLOSED_VOXELS = 3
_RUNS, _RUN_GAIN = 6, 1e-4  # at most, and in nats


@dataclass(frozen=True)
class Alignment:
    """Where T2 lies and what was done.

    Attributes
    ----------
    t2 : sitk.Image or None
        As given, or with its grid moved onto T1.
    transform : sitk.Euler3DTransform or None
        From a point of T1 to its point in T2 as given (LPS, mm); None where T2 was left as it is.
    report : dict
        Plain values that JSON takes.
    """

    t2: sitk.Image | None
    transform: sitk.Euler3DTransform | None
    report: dict[str, Any]


@dataclass(frozen=True)
class Level:
    """A pair at one resolution.

    Attributes
    ----------
    t1, t2 : sitk.Image of float32
    mask : sitk.Image or None
        Where the metric looks, on T1's grid; None for everywhere.
    share : float
        Of the voxels that the optimizer looks at.
    """

    t1: sitk.Image
    t2: sitk.Image
    mask: sitk.Image | None
    share: float


def align_pair(t1: sitk.Image | None, t2: sitk.Image | None, mask: sitk.Image | None, choice: str) -> Alignment:
    """Align T2 to T1 where both are given and the user asks for it.

    Parameters
    ----------
    t1, t2 : 3D sitk.Image or None
    mask : sitk.Image or None
    choice : "auto" or "off"

    Raises
    ------
    AlignmentError
        If T2 does not lie on T1 and cannot be brought there.
    """
    if choice == OFF or t1 is None or t2 is None:
        message = "The alignment was switched off." if choice == OFF else "There is one scan alone: nothing to align."
        return Alignment(t2, None, {"moved": False, "message": message})
    return align(t1, t2, mask)


def align(t1: sitk.Image, t2: sitk.Image, mask: sitk.Image | None = None) -> Alignment:
    """Measure whether T2 lies on T1, and move it there if not.

    Parameters
    ----------
    t1, t2 : 3D sitk.Image, stripped or whole heads
    mask : 3D sitk.Image, optional
        The brain on T1, on any grid; the fine search then looks at the brain alone.

    Raises
    ------
    AlignmentError
        If T2 does not lie on T1 and cannot be brought there.
    """
    with _one_thread():
        return _RigidSearch(check_image(t1, "T1"), check_image(t2, "T2"), mask).run()


def move_grid(image: sitk.Image, transform: sitk.Euler3DTransform) -> sitk.Image:
    """Move an image's grid so that a point lies where the inverse of the transform takes it; voxels stay as they are.

    Parameters
    ----------
    image : sitk.Image
    transform : sitk.Euler3DTransform, from the new place to the old one
    """
    back = transform.GetInverse()
    direction = np.reshape(back.GetMatrix(), (3, 3)) @ np.reshape(image.GetDirection(), (3, 3))
    moved = sitk.Image(image)
    moved.SetOrigin(back.TransformPoint(image.GetOrigin()))
    moved.SetDirection(direction.ravel().tolist())
    return moved


class _RigidSearch:
    """One pair: its levels, the starts and the decision."""

    def __init__(self, t1: sitk.Image, t2: sitk.Image, mask: sitk.Image | None):
        self._t1, self._t2 = t1, t2
        (heads, self._stripped) = zip(*(find_head(scan) for scan in (t1, t2)), strict=True)
        self._heads: tuple[sitk.Image, ...] = heads
        self._points_mm, self._t2_points_mm = (points_mm(head) for head in heads)  # (N, 3) each
        self._center_mm = self._points_mm.mean(axis=0) if self._points_mm.size else np.zeros(3)
        self._looked_at = heads[0] if mask is None else sitk.Cast(mask > 0, sitk.sitkUInt8)
        self._fine_mm = _HEAD_MM if mask is None and not self._stripped[0] else _BRAIN_MM

    def run(self) -> Alignment:
        if not self._points_mm.size or not self._t2_points_mm.size or not self._meet():
            return Alignment(self._t2, None, {"moved": False, "message": "T2 was not aligned: it does not overlap T1."})
        on_t1 = self._looked_at
        if on_t1 is not self._heads[0]:
            on_t1 = sitk.Resample(on_t1, self._t1, interpolator=sitk.sitkNearestNeighbor)
        short = measure_displacement(self._t1, self._t2, on_t1)
        if short.mean_mm < ALIGNED_MM and short.information > ALIGNED_INFORMATION:
            return self._kept(short.information, short.mean_mm)
        coarse, fine = self._level(_COARSE_MM), self._level(self._fine_mm)
        still = self._euler(np.zeros(3), np.zeros(3))
        before = information(fine, still)
        near = optimize(fine, optimize(coarse, still, 1.0), 0.5)
        starts = sorted(self._starts(), key=lambda start: -information(coarse, start))
        near_coarse = information(coarse, near)
        if self._moved_mm(near) < KEEP_MM and information(coarse, starts[0]) <= near_coarse:
            return self._kept(before, self._moved_mm(near))
        finalists = [near, *(optimize(coarse, start, 2.0) for start in starts[:_FINALISTS])]
        leader = max(finalists, key=lambda transform: information(coarse, transform))
        best = max(near, optimize_until_converged(fine, leader), key=lambda transform: information(fine, transform))
        if self._moved_mm(best) < KEEP_MM or information(fine, best) < before + MIN_GAIN:
            return self._kept(before, self._moved_mm(best))
        return self._accepted(before, information(fine, best), best)

    def _meet(self) -> bool:
        """Whether T1's and T2's heads are large enough and come near enough to each other to be sought."""
        ends = [(points.min(axis=0), points.max(axis=0)) for points in (self._points_mm, self._t2_points_mm)]
        (low, high), (other_low, other_high) = ends
        if min((high - low).min(), (other_high - other_low).min()) < MIN_HEAD_MM:
            return False
        return bool((low - MAX_TRANSLATION_MM < other_high).all() and (other_low - MAX_TRANSLATION_MM < high).all())

    def _starts(self) -> list[sitk.Euler3DTransform]:
        """Turns of T2 at the header's place and with the middles of both heads together."""
        middle = self._t2_points_mm.mean(axis=0) - self._center_mm
        places = [np.zeros(3)] + ([middle] if np.linalg.norm(middle) <= MAX_TRANSLATION_MM else [])
        rotations = [np.deg2rad(angles) for angles in itertools.product(_START_DEGREES, repeat=3)]
        return [self._euler(angles, place) for place in places for angles in rotations if angles.any() or place.any()]

    def _euler(self, angles: np.ndarray, translation_mm: np.ndarray) -> sitk.Euler3DTransform:
        return sitk.Euler3DTransform(self._center_mm.tolist(), *angles.tolist(), translation_mm.tolist())

    def _level(self, spacing_mm: float) -> Level:
        fixed = at_spacing(self._t1, self._heads[0], spacing_mm, _MARGIN_MM)
        moving = at_spacing(self._t2, self._heads[1], spacing_mm, _REACH_MM if self._stripped[1] else 0.0)
        if spacing_mm == _COARSE_MM:
            return Level(fixed, moving, None, 1.0)
        inside = resample_linearly(sitk.Cast(self._looked_at, sitk.sitkFloat32), fixed) >= 0.5
        inside = ndimage.binary_dilation(inside, iterations=round(_RIM_MM / spacing_mm))
        return Level(fixed, moving, on_grid_of(fixed, inside.astype(np.uint8)), _SAMPLED)

    def _moved_mm(self, transform: sitk.Euler3DTransform) -> float:
        """Mean displacement over T1's head."""
        rotation, shift = np.reshape(transform.GetMatrix(), (3, 3)), np.array(transform.GetTranslation())
        away = (self._points_mm - self._center_mm) @ (rotation - np.eye(3)).T + shift  # (N, 3)
        return float(np.linalg.norm(away, axis=1).mean())

    def _overlap(self, transform: sitk.Transform) -> float:
        moved = sitk.Resample(self._heads[1], self._heads[0], transform, sitk.sitkNearestNeighbor, 0)
        one, other = (sitk.GetArrayViewFromImage(head) > 0 for head in (self._heads[0], moved))
        return quality.brain_overlap(one, other)

    def _kept(self, before: float, found_mm: float) -> Alignment:
        reason = f"the best place lies {found_mm:.1f} mm away" if found_mm < KEEP_MM else "no other place fits better"
        message = f"T2 was left where its header has it: {reason}."
        report = {"moved": False, "message": message, "mean_displacement_mm": round(found_mm, 3), "information_before": round(before, 4)}
        return Alignment(self._t2, None, report)

    def _accepted(self, before: float, after: float, best: sitk.Euler3DTransform) -> Alignment:
        rotation = np.reshape(best.GetMatrix(), (3, 3))
        angle = float(np.rad2deg(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
        shift_mm = float(np.linalg.norm(best.GetTranslation()))
        still = self._euler(np.zeros(3), np.zeros(3))
        overlap_before, overlap = self._overlap(still), self._overlap(best)
        _check_distance(angle, shift_mm, overlap)
        _check_fit(overlap, MIN_OVERLAP if all(self._stripped) else 0.0, after)
        offset_mm = best.TransformPoint((0.0, 0.0, 0.0))
        report = {
            "moved": True,
            "message": f"T2 was turned by {angle:.1f} degrees and moved by {shift_mm:.1f} mm onto T1.",
            "angle_degrees": round(angle, 3),
            "translation_mm": round(shift_mm, 3),
            "mean_displacement_mm": round(self._moved_mm(best), 3),
            "information_before": round(before, 4),
            "information_after": round(after, 4),
            "overlap_before": round(overlap_before, 4),
            "overlap_after": round(overlap, 4),
            "t1_to_t2_points_lps_mm": np.column_stack([rotation, offset_mm]).tolist(),
        }
        return Alignment(move_grid(self._t2, best), best, report)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep ITK on one thread: sums in another order would give another last digit."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _check_distance(angle: float, shift_mm: float, overlap: float) -> None:
    if angle > MAX_ANGLE_DEGREES or shift_mm > MAX_TRANSLATION_MM:
        raise AlignmentError(
            f"T2 lies best on T1 turned by {angle:.0f} degrees and moved by {shift_mm:.0f} mm, overlapping by {100 * overlap:.0f} %",
            f"up to {MAX_ANGLE_DEGREES:.0f} degrees and {MAX_TRANSLATION_MM:.0f} mm",
            _REMEDY,
        )


def _check_fit(overlap: float, min_overlap: float, found: float) -> None:
    if overlap < min_overlap or found < MIN_INFORMATION:
        wanted = f"{MIN_INFORMATION:g} nats" + (f" and an overlap of {100 * min_overlap:.0f} %" if min_overlap else "")
        raise AlignmentError(
            f"T2 cannot be aligned with T1: at best they overlap by {100 * overlap:.0f} % and share {found:.2f} nats of information",
            f"{wanted} or more",
            _REMEDY,
        )


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
    size = [max(1, round(n * s / _OUTLINE_MM)) for n, s in zip(scan.GetSize(), scan.GetSpacing(), strict=True)]
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

    Returns
    -------
    (N, 3) array, LPS
    """
    inside = sitk.GetArrayViewFromImage(mask) > 0
    places = np.flatnonzero(inside)
    places = places[:: 1 + len(places) // 20000]
    index = np.stack(np.unravel_index(places, inside.shape)[::-1], axis=1)  # (N, 3): i, j, k
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


def optimize_until_converged(level: Level, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    """Optimize again and again until it gains nothing more: a single run zigzags on a narrow ridge and stops early.

    Parameters
    ----------
    level : Level
    start : sitk.Euler3DTransform, from T1 to T2
    """
    best = start
    for _ in range(_RUNS):
        found = optimize(level, best, 0.5)
        if information(level, found) < information(level, best) + _RUN_GAIN:
            return found
        best = found
    return best


def optimize(level: Level, start: sitk.Euler3DTransform, step_mm: float) -> sitk.Euler3DTransform:
    """Follow the mutual information from a start to the nearest best place.

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
