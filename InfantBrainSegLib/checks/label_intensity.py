"""Labels whose intensities are another tissue's: fluid called WM or GM, or tissue called CSF; which voxels of WM and GM are fluid.

Each scan is measured on the way from GM's median (0) to that of CSF (1), and not from the median of the label itself: where ventricles
are very wide, most of what is called WM may be fluid. GM is not compared with WM: in the isointense phase their intensities overlap. Only
pieces that hold a ball of 1 mm radius count, so that the mixed voxels of a border do not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.labels import BACKGROUND, CSF, GM, WM, Tissue

MIN_SEPARATION = 1.0  # of the medians of GM and CSF in units of the brain's SD, or a scan has no say: real scans have 2.1 to 2.9
# Of the way from GM to CSF: beyond it is fluid. On both scans no piece of WM or GM of the sample, newborns and a nine-month-old reaches
# 0.6, but a newborn's WM does on T2 alone (5 ml beyond 0.8). The fluid of ventricles widened by 6 to 14 mm that was called WM, 54 to
# 212 ml, is found whole.
FLUID = 0.75
TISSUE = 0.25  # of the same way: up to it is tissue
SMOOTHING_VOXELS = 3  # side of the cube in which a label's intensities are averaged: noise alone must neither make nor break a piece
MIN_PIECE_MM3 = 500.0
FLUID_RIM_VOXELS = 2  # so far round the balls of a piece its other voxels belong to it


@dataclass(frozen=True)
class Mislabelled:
    """Pieces of one tissue that look like another.

    Attributes
    ----------
    own, other : Tissue
        What they are labelled, and whose intensities they have.
    volume_ml : float
    share : float
        Of the tissue's volume.
    middle : tuple of float
        A voxel (x, y, z) deep inside the largest piece.
    """

    own: Tissue
    other: Tissue
    volume_ml: float
    share: float
    middle: tuple[float, float, float]


def find_mislabelled(images: np.ndarray, labels: np.ndarray) -> tuple[Mislabelled, ...]:
    """Find pieces whose label and intensities disagree on each scan that tells fluid from tissue.

    Parameters
    ----------
    images : (C, X, Y, Z) float array
        The scans that were given, z-scores of the brain, 1 mm.
    labels : (X, Y, Z) uint8 array

    Returns
    -------
    tuple of Mislabelled, the largest first; none where GM and CSF look alike on all scans.
    """
    tissues = {tissue: labels == tissue.value for tissue in (CSF, GM, WM)}
    levels = _Levels.of(images, tissues)
    if levels is None:
        return ()
    found = []
    for own, inside in tissues.items():
        odd = inside.copy()
        for way in levels.ways(images, inside):
            odd &= way <= TISSUE if own is CSF else way >= FLUID
        pieces, sizes_mm3 = _pieces(odd)
        large = sizes_mm3 >= MIN_PIECE_MM3
        if large.any():
            seen = np.array([np.median(image[large[pieces]]) for image in images])  # (C,)
            other = CSF if own is not CSF else min((GM, WM), key=lambda tissue: levels.distance(seen, tissue))
            depth = ndimage.distance_transform_edt(pieces == sizes_mm3.argmax())
            x, y, z = (float(index) for index in np.unravel_index(depth.argmax(), depth.shape))
            volume_mm3 = float(sizes_mm3[large].sum())
            found.append(Mislabelled(own, other, volume_mm3 / 1000, volume_mm3 / float(inside.sum()), (x, y, z)))
    return tuple(sorted(found, key=lambda one: -one.volume_ml))


def fluid_in_tissue(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Find the voxels of GM and WM that are fluid by T1 and by T2 alike, as in ventricles wider than the networks know.

    Parameters
    ----------
    images : (2, X, Y, Z) float array
        T1 and T2, z-scores of the brain, 1 mm.
    labels : (X, Y, Z) uint8 array

    Returns
    -------
    (X, Y, Z) bool array; False everywhere where only one scan tells fluid from tissue: a newborn's WM looks like fluid on T2 alone.
    """
    nothing = np.zeros(labels.shape, bool)
    levels = _Levels.of(images, {tissue: labels == tissue.value for tissue in (CSF, GM, WM)})
    if levels is None or len(levels.telling) < 2:
        return nothing
    tissue = (labels != BACKGROUND) & (labels != CSF.value)
    odd = tissue.copy()
    for way in levels.ways(images, tissue):
        odd &= way >= FLUID
    pieces, sizes_mm3 = _pieces(odd)
    large = sizes_mm3 >= MIN_PIECE_MM3
    return ndimage.binary_dilation(large[pieces], iterations=FLUID_RIM_VOXELS, mask=odd) if large.any() else nothing


@dataclass(frozen=True)
class _Levels:
    """Median of each tissue on each scan, and the scans that tell fluid from tissue by them."""

    medians: dict[Tissue, np.ndarray]  # (C,) each
    telling: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, tissues: dict[Tissue, np.ndarray]) -> "_Levels | None":
        """None where a tissue is absent or no scan tells; every second voxel of each axis is enough."""
        seen = {tissue: images[:, ::2, ::2, ::2][:, inside[::2, ::2, ::2]] for tissue, inside in tissues.items()}  # (C, N) each
        if not all(values.size for values in seen.values()):
            return None
        medians = {tissue: np.median(values, axis=1) for tissue, values in seen.items()}
        telling = np.flatnonzero(np.abs(medians[CSF] - medians[GM]) >= MIN_SEPARATION)
        return cls(medians, telling) if telling.size else None

    def ways(self, images: np.ndarray, inside: np.ndarray) -> Iterator[np.ndarray]:
        """(X, Y, Z) of each telling scan: how far its voxels are on the way from GM (0) to CSF (1)."""
        for scan in self.telling:
            gm, csf = self.medians[GM][scan], self.medians[CSF][scan]
            yield (_averaged(images[scan], inside) - gm) / (csf - gm)

    def distance(self, seen: np.ndarray, tissue: Tissue) -> float:
        """How far (C,) intensities are from a tissue's, over the telling scans."""
        return float(np.abs(seen - self.medians[tissue])[self.telling].sum())


def _pieces(odd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the pieces that hold a ball of 1 mm radius, and give their volumes in mm³; what is outside them has 0."""
    pieces, count = ndimage.label(ndimage.binary_opening(odd))
    sizes_mm3 = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes_mm3[0] = 0
    return pieces, sizes_mm3


def _averaged(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Average an image over small cubes, of which only the voxels inside count."""
    weight = ndimage.uniform_filter(inside.astype(np.float32), SMOOTHING_VOXELS)
    sums = ndimage.uniform_filter(np.where(inside, image, 0).astype(np.float32), SMOOTHING_VOXELS)
    return np.divide(sums, weight, out=np.zeros_like(sums), where=inside)
