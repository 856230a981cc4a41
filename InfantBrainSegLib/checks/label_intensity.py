"""Labels whose intensities are another tissue's: fluid called WM, or tissue called CSF.

GM is not compared with WM: in the isointense phase their intensities overlap. Only pieces that hold a ball of 1 mm radius count, so that
the mixed voxels of a border do not.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.labels import CSF, GM, WM, Tissue

MIN_SEPARATION = 1.0  # of two tissues' medians in units of the brain's SD, on every scan given: CSF lies 1.6 to 3.9 from the others
NEARER = 0.6  # of the way from the tissue's own median to the other's
MIN_PIECE_MM3 = 500.0
_PAIRS = tuple((own, other) for own, other in itertools.permutations((CSF, GM, WM), 2) if CSF in (own, other))


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
    """Find pieces whose label and intensities disagree.

    Parameters
    ----------
    images : (C, X, Y, Z) float array
        The scans that were given, z-scores of the brain, 1 mm.
    labels : (X, Y, Z) uint8 array

    Returns
    -------
    tuple of Mislabelled, the largest first; none where two tissues look alike on one of the scans.
    """
    tissues = {tissue: labels == tissue.value for tissue in (CSF, GM, WM)}
    if not all(inside.any() for inside in tissues.values()):
        return ()
    medians = {tissue: [float(np.median(image[inside])) for image in images] for tissue, inside in tissues.items()}
    found = []
    for own, other in _PAIRS:
        gaps = [there - here for here, there in zip(medians[own], medians[other], strict=True)]
        if min(map(abs, gaps)) < MIN_SEPARATION:
            continue
        alike = tissues[own].copy()
        for image, here, gap in zip(images, medians[own], gaps, strict=True):
            alike &= (image - here) / gap > NEARER
        pieces, count = ndimage.label(ndimage.binary_opening(alike))
        sizes_mm3 = np.bincount(pieces.ravel(), minlength=count + 1)
        sizes_mm3[0] = 0
        large = sizes_mm3 >= MIN_PIECE_MM3
        if large.any():
            depth = ndimage.distance_transform_edt(pieces == sizes_mm3.argmax())
            x, y, z = (float(index) for index in np.unravel_index(depth.argmax(), depth.shape))
            volume_mm3 = float(sizes_mm3[large].sum())
            found.append(Mislabelled(own, other, volume_mm3 / 1000, volume_mm3 / float(tissues[own].sum()), (x, y, z)))
    return tuple(sorted(found, key=lambda one: -one.volume_ml))
