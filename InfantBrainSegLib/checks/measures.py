"""Measures of whether a scan is whole: cut, mirrored badly, saturated, striped, or with a mask that holds more than brain.

Arrays of one function share their axis order and shape; lengths are in mm.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..imaging.resample import bounding_box
from ..preparation import foreground as quality

_BLANK_SHARE, _BLANK_REACH = 0.1, 10  # of the signal of planes within so many on both sides
_COARSE_VOXELS = 4  # for the mirror: 4 mm voxels show half a brain
_TILTS_DEGREES = range(-30, 31, 6)  # heads lie up to 30 degrees askew, in yaw and in roll
_LOOSE_EROSION = 3  # voxels of 2 mm: necks thinner than 12 mm break, as an optic nerve's
_STRIPE_PERIODS_MM = (2, 32)  # coarser waves are anatomy
_STRIPE_BINS = 256
_STRIPE_WINDOW = 33  # bins; wider than a peak, narrower than the slope of anatomy
_MIN_LINE_VOXELS = 40  # shorter lines hold too few periods
_TOP_QUANTILE = 0.9999
_EMPTY_SHARE = 0.1  # of the median signal; the darkest CSF of a real T1 has 0.25


def cut_face(mask: np.ndarray, spacing_mm: Sequence[float]) -> tuple[float, float, bool]:
    """Find the flattest end of a brain: a whole brain ends in a small cap, a cut one in a large face.

    Parameters
    ----------
    mask : 3D bool array
    spacing_mm : three floats, in the array's axis order

    Returns
    -------
    share of the largest cross-section along the same axis, spacing of that axis in mm, whether that end lies on the volume's border
    """
    worst = (0.0, float(spacing_mm[0]), False)
    for axis in range(3):
        areas = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))  # (N,)
        ends = np.flatnonzero(areas)[[0, -1]]
        for end in ends:
            share = float(areas[end] / areas.max())
            if share > worst[0]:
                worst = (share, float(spacing_mm[axis]), bool(end in (0, len(areas) - 1)))
    return worst


def mirror_overlap(mask: np.ndarray) -> float:
    """Give the share of a brain that falls on brain when mirrored across the best sagittal plane near its middle.

    Parameters
    ----------
    mask : (X, Y, Z) bool array, 1 mm RAS

    Returns
    -------
    float, 0 to 1
    """
    coarse = mask[::_COARSE_VOXELS, ::_COARSE_VOXELS, ::_COARSE_VOXELS]
    points = np.argwhere(coarse).astype(float)  # (N, 3)
    if not len(points):
        return 0.0
    centered = points - points.mean(axis=0)
    best = 0
    for yaw, roll in itertools.product(np.deg2rad(_TILTS_DEGREES), repeat=2):
        normal = np.array([1.0, np.tan(yaw), np.tan(roll)])
        normal /= np.linalg.norm(normal)
        along = centered @ normal  # (N,)
        for offset in (-1, 0, 1):
            mirrored = np.rint(points - 2 * np.outer(along - offset, normal)).astype(int)
            inside = ((mirrored >= 0) & (mirrored < coarse.shape)).all(axis=1)
            best = max(best, int(np.count_nonzero(coarse[tuple(mirrored[inside].T)])))
    return best / len(points)


def extent_mm(mask: np.ndarray) -> tuple[float, float, float]:
    """Give a brain's width, length and height, without the outermost percent at each end.

    Parameters
    ----------
    mask : (X, Y, Z) bool array, 1 mm RAS

    Returns
    -------
    three floats
    """
    spans = []
    for axis in range(3):
        counts = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis)).cumsum()  # (N,)
        spans.append(float(np.searchsorted(counts, 0.99 * counts[-1]) - np.searchsorted(counts, 0.01 * counts[-1]) + 1))
    return spans[0], spans[1], spans[2]


def saturated_share(values: np.ndarray) -> float:
    """Give the share of voxels at the top value and beyond it, or within a thousandth of the range below it.

    The top value is that of the brightest voxels but for one in ten thousand, so that a few stray ones do not hide the others.

    Parameters
    ----------
    values : (N,) array, the brain's voxels

    Returns
    -------
    float, 0 to 1
    """
    low, high = (float(value) for value in np.quantile(values, (0.0, _TOP_QUANTILE), method="lower"))
    return float(np.count_nonzero(values >= high - 0.001 * (high - low)) / values.size)


def empty_share(values: np.ndarray, background: float | None) -> float:
    """Give the share of a mask that holds no signal: the exact background, or next to nothing where air is noisy.

    Parameters
    ----------
    values : (N,) array, the brain's voxels
    background : the value of `quality.background_value`

    Returns
    -------
    float, 0 to 1
    """
    empty = values == background if background is not None else values < _EMPTY_SHARE * max(float(np.median(values)), 0.0)
    return float(np.count_nonzero(empty) / values.size)


def hole_mm3(empty: np.ndarray, voxel_mm3: float) -> float:
    """Give the volume of the largest hole: a connected piece of voxels without signal, thin sheets and lone voxels left out.

    Parameters
    ----------
    empty : 3D bool array
        Inside the brain's mask and at the scan's exact background.
    voxel_mm3 : float
    """
    box = bounding_box(empty)
    if box is None:
        return 0.0
    pieces, count = ndimage.label(ndimage.binary_opening(empty[box]))
    return float(np.bincount(pieces.ravel())[1:].max() * voxel_mm3) if count else 0.0


def blank_planes(signal: np.ndarray) -> float:
    """Give the number of planes inside a brain that have next to no signal though planes on both sides do, along the worst axis.

    Parameters
    ----------
    signal : 3D bool array
        Of the brain's box: where a scan is not at its background.

    Returns
    -------
    float, a whole number
    """
    most = 0
    for axis in range(3):
        counts = np.count_nonzero(signal, axis=tuple(other for other in range(3) if other != axis))  # (N,)
        reach = np.pad(counts, _BLANK_REACH)
        before = np.array([reach[i : i + _BLANK_REACH].max() for i in range(len(counts))])
        after = np.array([reach[i + _BLANK_REACH + 1 : i + 2 * _BLANK_REACH + 1].max() for i in range(len(counts))])
        beside = np.minimum(before, after)
        blank = (beside > _BLANK_SHARE * counts.max()) & (counts < _BLANK_SHARE * beside)
        most = max(most, int(np.count_nonzero(blank)))
    return float(most)


def loose_share(mask: np.ndarray) -> float:
    """Give the share of a brain in pieces that hang on it by a thin neck, as an eye does; two cut hemispheres are no such pieces.

    Parameters
    ----------
    mask : (X, Y, Z) bool array, 1 mm

    Returns
    -------
    float, 0 to 1
    """
    coarse = np.pad(mask, 2)[::2, ::2, ::2]
    pieces, _ = ndimage.label(ndimage.binary_erosion(coarse, iterations=_LOOSE_EROSION))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    loose = (sizes < quality.MIN_PART_SHARE * sizes.max())[pieces] & (pieces > 0)
    whole = ndimage.binary_dilation(loose, iterations=_LOOSE_EROSION) & coarse
    return int(np.count_nonzero(whole)) / max(int(np.count_nonzero(coarse)), 1)


def stripes_db(image: np.ndarray, mask: np.ndarray) -> float:
    """Measure how far one period stands out of the spectrum of an image's second differences, on its worst axis.

    Anatomy and noise have smooth spectra. Motion between lines of k-space, spikes and slices acquired in turn leave stripes.

    Parameters
    ----------
    image : (X, Y, Z) float array
    mask : (X, Y, Z) bool array, 1 mm

    Returns
    -------
    float, decibels above the neighbouring periods
    """
    deep = ndimage.binary_erosion(mask, iterations=3)
    worst = 0.0
    for axis in range(3):
        curvature = (np.roll(image, 1, axis) + np.roll(image, -1, axis) - 2 * image) * deep
        lines = np.moveaxis(curvature, axis, -1)[::2, ::2].reshape(-1, image.shape[axis])  # every fourth one
        lines = lines[np.count_nonzero(lines, axis=1) >= _MIN_LINE_VOXELS]
        if not lines.size:
            continue
        first = _STRIPE_BINS // _STRIPE_PERIODS_MM[1]
        power = (np.abs(np.fft.rfft(lines, _STRIPE_BINS, axis=1)) ** 2).mean(axis=0)[first:]
        if not power.min() > 0:
            continue
        decibels = 10 * np.log10(power)
        worst = max(worst, float((decibels - ndimage.median_filter(decibels, _STRIPE_WINDOW, mode="reflect")).max()))
    return worst
