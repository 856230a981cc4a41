"""The one place with label numbers, tissue names, colours and terminology."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Tissue:
    """One segmented tissue.

    Attributes
    ----------
    value : int
        Its number in our labelmaps.
    iseg_value : int
        Its number in the iSeg-2017 challenge's labelmaps.
    short_name, name : str
        As in tables, and as a segment's name in 3D Slicer.
    color : tuple of int
        Red, green, blue from 0 to 255; chosen so that the three are told apart (Slicer's own gray and white matter are both near white).
    snomed_code, snomed_meaning : str
        SNOMED CT type, in the category "Anatomical Structure".
    bids_index : int or None
        BIDS' own number of it; None where BIDS has none.
    """

    value: int
    iseg_value: int
    short_name: str
    name: str
    color: tuple[int, int, int]
    snomed_code: str
    snomed_meaning: str
    bids_index: int | None = None


BACKGROUND = 0
CSF = Tissue(1, 10, "CSF", "Cerebrospinal fluid", (66, 135, 245), "65216001", "Cerebrospinal Fluid", 3)
GM = Tissue(2, 150, "GM", "Gray matter", (226, 122, 63), "389081007", "Gray Matter", 1)
WM = Tissue(3, 250, "WM", "White matter", (250, 240, 190), "389080008", "White Matter", 2)
TISSUES = (CSF, GM, WM)
CLASS_COUNT = 1 + len(TISSUES)

LEFT_CEREBRUM, RIGHT_CEREBRUM, INFRATENTORIAL = 1, 2, 3  # what cerebrum extraction tells apart, each with the fluid round it
PART_NAMES = ("left cerebrum", "right cerebrum", "cerebellum and brainstem")
PART_COUNT = 1 + len(PART_NAMES)  # classes of the extraction networks


def tissues_of(classes: int) -> tuple[Tissue, ...]:
    """Give the tissues that a network of so many classes, background included, tells apart: older weights may know fewer."""
    return TISSUES[: classes - 1]


def to_iseg(labels: np.ndarray) -> np.ndarray:
    """Map labels 0, 1, 2, 3 to iSeg's 0, 10, 150, 250.

    Parameters
    ----------
    labels : (X, Y, Z) uint8 array

    Returns
    -------
    (X, Y, Z) uint8 array
    """
    import numpy as np

    table = np.zeros(256, np.uint8)
    for tissue in TISSUES:
        table[tissue.value] = tissue.iseg_value
    return table[labels]


def from_any(labels: np.ndarray, name: str = "The labelmap") -> np.ndarray:
    """Map a labelmap in our numbers or in iSeg's to ours.

    Parameters
    ----------
    labels : array of any shape and number type
    name : what messages call it

    Returns
    -------
    uint8 array of the same shape, with values 0 to 3.

    Raises
    ------
    InputError
        If there is a value of neither scheme.
    """
    import numpy as np

    found = np.unique(labels)
    ours = {BACKGROUND, *(tissue.value for tissue in TISSUES)}
    iseg = {BACKGROUND, *(tissue.iseg_value for tissue in TISSUES)}
    values = set(found.tolist())
    if values <= ours:
        return labels.astype(np.uint8)
    if values <= iseg:
        mapped = np.zeros(labels.shape, np.uint8)
        for tissue in TISSUES:
            mapped[labels == tissue.iseg_value] = tissue.value
        return mapped
    listed = ", ".join(f"{value:g}" for value in found[:8])
    raise InputError(
        f"{name} holds the values {listed}{' ...' if found.size > 8 else ''}; wanted {sorted(ours)} or iSeg's {sorted(iseg)}: "
        "convert it to one of these two schemes."
    )
