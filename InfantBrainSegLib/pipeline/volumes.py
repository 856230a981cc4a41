"""How much of each tissue there is, and how sure the network was of it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError
from ..core.labels import TISSUES, Tissue
from ..imaging.files import same_grid
from ..imaging.resample import voxel_mm3


@dataclass(frozen=True)
class TissueVolume:
    """One row of the table.

    Attributes
    ----------
    tissue : str
        Its short name: CSF, GM or WM.
    voxels : int
    volume_mm3, volume_ml : float
    fraction : float
        Share of the three tissues together; 0 when there is none.
    mean_confidence : float or None
        Mean probability of the label given, over the tissue's voxels; None without a confidence map or without voxels.
    """

    tissue: str
    voxels: int
    volume_mm3: float
    volume_ml: float
    fraction: float
    mean_confidence: float | None


def measure(labels: sitk.Image, confidence: sitk.Image | None = None, tissues: Sequence[Tissue] = TISSUES) -> list[TissueVolume]:
    """Measure each tissue of a labelmap on its own grid.

    Parameters
    ----------
    labels : sitk.Image with our labels
    confidence : sitk.Image on the same grid with each voxel's probability of its label, or None
    tissues : those to measure

    Returns
    -------
    list of TissueVolume, in the order of the tissues

    Raises
    ------
    InputError
        If the two images have different grids.
    """
    if confidence is not None and not same_grid(labels, confidence):
        raise InputError("The confidence map lies on another grid than the labels; wanted one grid: restore both with the same T1.")
    label_array = sitk.GetArrayViewFromImage(labels)  # (K, J, I)
    confidence_array = None if confidence is None else sitk.GetArrayViewFromImage(confidence)
    places = {tissue.value: label_array == tissue.value for tissue in tissues}
    counts = {value: int(place.sum()) for value, place in places.items()}
    total = sum(counts.values())
    mm3 = voxel_mm3(labels)
    rows = []
    for tissue in tissues:
        voxels = counts[tissue.value]
        mean = None
        if confidence_array is not None and voxels > 0:
            mean = float(confidence_array[places[tissue.value]].mean(dtype=np.float64))
        volume_mm3 = voxels * mm3
        rows.append(TissueVolume(tissue.short_name, voxels, volume_mm3, volume_mm3 / 1000, voxels / total if total else 0.0, mean))
    return rows


def to_csv(volumes: list[TissueVolume]) -> str:
    """Write volumes as a table for a spreadsheet; an unknown confidence is an empty cell.

    Returns
    -------
    str, a header line and one line a tissue
    """
    decimals = {"volume_mm3": 1, "volume_ml": 3, "fraction": 4, "mean_confidence": 4}
    names = [field.name for field in fields(TissueVolume)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for volume in volumes:
        row = asdict(volume)
        writer.writerow(["" if row[n] is None else f"{row[n]:.{decimals[n]}f}" if n in decimals else row[n] for n in names])
    return text.getvalue()
