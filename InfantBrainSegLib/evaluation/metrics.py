"""Overlap and surface distances, as iSeg-2017 measures them, and volumes, each under its own name.

A surface is a region minus its 6-connected erosion. In the challenge's tables "MHD" behaves as the maximum Hausdorff
distance; here that one, its 95th percentile and the modified Hausdorff of Dubuisson and Jain (1994) are kept apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.errors import InputError
from ..core.labels import TISSUES

Spacing = Sequence[float]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between the surfaces of two regions, computed once for every metric that needs them.

    Attributes
    ----------
    to_reference_mm : (N,) float64 array
        From each voxel of the prediction's surface to the nearest of the reference's.
    to_prediction_mm : (M,) float64 array
        The other way.
    """

    to_reference_mm: np.ndarray
    to_prediction_mm: np.ndarray

    @property
    def average_mm(self) -> float:
        """Mean of the two directed means (iSeg's ASD)."""
        return (float(self.to_reference_mm.mean()) + float(self.to_prediction_mm.mean())) / 2

    @property
    def hausdorff_mm(self) -> float:
        """The larger of the two directed maxima."""
        return float(max(self.to_reference_mm.max(), self.to_prediction_mm.max()))

    @property
    def hausdorff95_mm(self) -> float:
        """The larger of the two directed 95th percentiles (linear between order statistics)."""
        return float(max(np.percentile(self.to_reference_mm, 95), np.percentile(self.to_prediction_mm, 95)))

    @property
    def modified_hausdorff_mm(self) -> float:
        """The larger of the two directed means (Dubuisson and Jain 1994)."""
        return float(max(self.to_reference_mm.mean(), self.to_prediction_mm.mean()))


@dataclass(frozen=True)
class TissueMetrics:
    """How well one tissue agrees; distances are NaN where it is absent from one side, and `note` says from which.

    Attributes
    ----------
    dice, average_surface_distance_mm, hausdorff_mm, hausdorff95_mm, modified_hausdorff_mm : float
        See the functions of these names.
    volume_ratio : float
        Volume of the prediction over that of the reference; NaN where the reference lacks the tissue, 1 where both do.
    note : str
    """

    dice: float
    average_surface_distance_mm: float
    hausdorff_mm: float
    hausdorff95_mm: float
    modified_hausdorff_mm: float
    volume_ratio: float
    note: str = ""


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """2|A∩B| / (|A|+|B|); 1 where both are empty.

    Parameters
    ----------
    prediction, reference : (X, Y, Z) bool arrays
    """
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 2 * np.count_nonzero(prediction & reference) / total if total else 1.0


def volume_ratio(prediction: np.ndarray, reference: np.ndarray) -> float:
    """|A| / |B|; NaN where B is empty, but 1 where both are.

    Parameters
    ----------
    prediction, reference : (X, Y, Z) bool arrays
    """
    predicted, wanted = np.count_nonzero(prediction), np.count_nonzero(reference)
    if wanted == 0:
        return math.nan if predicted else 1.0
    return predicted / wanted


def surface_distances(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> SurfaceDistances:
    """Distances between the surfaces of two regions.

    Parameters
    ----------
    prediction, reference : (X, Y, Z) bool arrays
        What lies beyond the array counts as outside.
    spacing_mm : three floats
        In the order of the arrays' axes.

    Returns
    -------
    SurfaceDistances
        Both zero where both are empty, both NaN where one is.
    """
    prediction_empty, reference_empty = not prediction.any(), not reference.any()
    if prediction_empty or reference_empty:
        value = np.array([0.0 if prediction_empty and reference_empty else math.nan])
        return SurfaceDistances(value, value)
    box = ndimage.find_objects((prediction | reference).view(np.uint8))[0]
    surfaces = _surface(prediction[box]), _surface(reference[box])
    to_reference = ndimage.distance_transform_edt(~surfaces[1], sampling=spacing_mm)[surfaces[0]]
    to_prediction = ndimage.distance_transform_edt(~surfaces[0], sampling=spacing_mm)[surfaces[1]]
    return SurfaceDistances(to_reference, to_prediction)


def _surface(region: np.ndarray) -> np.ndarray:
    return region & ~ndimage.binary_erosion(region)  # scipy's default element is the 6-connected one


def average_surface_distance_mm(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> float:
    """ASD of two bool arrays; see `SurfaceDistances.average_mm`."""
    return surface_distances(prediction, reference, spacing_mm).average_mm


def hausdorff_mm(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> float:
    """Maximum Hausdorff distance of two bool arrays; see `SurfaceDistances.hausdorff_mm`."""
    return surface_distances(prediction, reference, spacing_mm).hausdorff_mm


def hausdorff95_mm(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> float:
    """95th percentile Hausdorff distance of two bool arrays; see `SurfaceDistances.hausdorff95_mm`."""
    return surface_distances(prediction, reference, spacing_mm).hausdorff95_mm


def modified_hausdorff_mm(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> float:
    """Dubuisson-Jain distance of two bool arrays; see `SurfaceDistances.modified_hausdorff_mm`."""
    return surface_distances(prediction, reference, spacing_mm).modified_hausdorff_mm


def evaluate_labels(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing, mask: np.ndarray | None = None
) -> dict[str, TissueMetrics]:
    """Every metric of every tissue.

    Parameters
    ----------
    prediction, reference : (X, Y, Z) uint8 arrays
        In our label numbers.
    spacing_mm : three floats
        In the order of the arrays' axes.
    mask : (X, Y, Z) bool array, optional
        Voxels outside it count as background on both sides.

    Returns
    -------
    dict
        From a tissue's short name to its `TissueMetrics`, in the order of `labels.TISSUES`.

    Raises
    ------
    InputError
        If the arrays' shapes differ.
    """
    for name, array in (("prediction", prediction), ("mask", mask)):
        if array is not None and array.shape != reference.shape:
            raise InputError(f"The {name} has shape {array.shape} and the reference {reference.shape}: resample one onto the other.")
    result = {}
    for tissue in TISSUES:
        predicted, wanted = prediction == tissue.value, reference == tissue.value
        if mask is not None:
            predicted &= mask.astype(bool)
            wanted &= mask.astype(bool)
        result[tissue.short_name] = _measure(predicted, wanted, spacing_mm)
    return result


def _measure(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Spacing) -> TissueMetrics:
    absent = [name for name, region in (("prediction", prediction), ("reference", reference)) if not region.any()]
    distances = surface_distances(prediction, reference, spacing_mm)
    return TissueMetrics(
        dice(prediction, reference),
        distances.average_mm,
        distances.hausdorff_mm,
        distances.hausdorff95_mm,
        distances.modified_hausdorff_mm,
        volume_ratio(prediction, reference),
        f"absent from the {' and the '.join(absent)}" if absent else "",
    )
