"""What one DICOM file tells: its series, and where its slices lie, with nothing that names the patient."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .multiframe import Frame, look_at_voxels, read_frames

THICKNESS_KEY = "0018|0050"  # the checks tell the gap between slices from it
_SERIES, _DESCRIPTION = "0020|000e", "0008|103e"
_POSITION, _ORIENTATION, _FRAMES, _PHOTOMETRIC = "0020|0032", "0020|0037", "0028|0008", "0028|0004"
_SPACINGS = ("0028|0030", "0018|2010", "0018|1164")  # of the pixels; the others in secondary captures alone
_NAMING = ("0010|0010", "0010|1001", "0010|1005", "0010|1060", "0010|0020", "0010|1000", "0008|0050")  # patient, mother, IDs, accession
_STAFF = ("0008|0090", "0008|1050", "0008|1070")  # physicians, operator
_BIRTH_DATE = "0010|0030"
_NO_NAME = "(no description)"
MAX_AXES_ERROR = 0.01  # of unit vectors at right angles: headers round to some 1e-4


@dataclass(frozen=True)
class Slice:
    """One slice: a DICOM file, or a frame of one.

    Attributes
    ----------
    path : Path
    description : str
        The series' description without what names the patient.
    size, spacing_mm, origin_mm, direction : as SimpleITK would give them
    thickness : str
        As the header has it; empty when absent.
    lacks : str
        What the header should have and has not; empty where it is complete.
    frame : int or None
        Its number in the file, from 0; None where the file is one slice.
    stack, echo_ms : str
        To which of several stacks and echoes a frame belongs; empty where nothing tells.
    scale : tuple of str
        A frame's rescale slope and intercept.
    cut_off : bool
        Whether the file holds fewer voxels than its header says.
    photometric : str
        "MONOCHROME2" where high values are bright, "MONOCHROME1" where they are dark.
    """

    path: Path
    description: str
    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]
    thickness: str
    lacks: str = ""
    frame: int | None = None
    stack: str = ""
    echo_ms: str = ""
    scale: tuple[str, str] = ("", "")
    cut_off: bool = False
    photometric: str = ""

    def normal(self) -> np.ndarray:
        """Unit vector from slice to slice, LPS."""
        return np.reshape(self.direction, (3, 3))[:, 2]


def read_header(file: Path) -> tuple[str, list[Slice]]:
    """Read what one DICOM file holds.

    Returns
    -------
    Series Instance UID, and the file's slices

    Raises
    ------
    RuntimeError
        If it is no DICOM image.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    tags = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
    size = (*reader.GetSize(), 1, 1)[:3]
    spacing = next((tags[key] for key in _SPACINGS if tags.get(key)), "")
    whole = Frame(tags.get(_POSITION, ""), tags.get(_ORIENTATION, ""), spacing, tags.get(THICKNESS_KEY, ""), "", "", ("", ""))
    uid, description = tags.get(_SERIES, ""), _anonymous(tags)
    of_file = {"cut_off": look_at_voxels(file).cut_off, "photometric": tags.get(_PHOTOMETRIC, "")}
    if _FRAMES not in tags and size[2] == 1:
        return uid, [replace(_slice(file, description, size, whole), **of_file)]
    try:
        frames = read_frames(file)
    except ValueError as error:
        raise RuntimeError from error
    if not frames and size[2] == 1:
        return uid, [replace(_slice(file, description, size, whole), **of_file)]
    if len(frames) != size[2]:
        return uid, [replace(_slice(file, description, size, whole), lacks="position of each frame")]
    parts = [_slice(file, description, (*size[:2], 1), frame) for frame in frames]
    return uid, [replace(part, frame=number, **of_file) for number, part in enumerate(parts)]


def _slice(file: Path, description: str, size: tuple[int, ...], frame: Frame) -> Slice:
    """Take a slice's place from its header's own words: SimpleITK takes 1 mm where the kind of object is not that of a scan."""
    position, orientation, spacing = _numbers(frame.position, 3), _axes(frame.orientation), _numbers(frame.spacing, 2)
    if spacing is not None and min(spacing) <= 0:
        spacing = None
    lacks = [
        word
        for word, found in (
            ("ImagePositionPatient", position),
            ("ImageOrientationPatient", orientation),
            ("PixelSpacing", spacing),
        )
        if found is None
    ]
    row, column = np.reshape(orientation or (1, 0, 0, 0, 1, 0), (2, 3))
    direction = np.column_stack([row, column, np.cross(row, column)])
    thickness = _numbers(frame.thickness, 1) or (1.0,)
    return Slice(
        file,
        description,
        size,
        (*(spacing or (1.0, 1.0))[::-1], thickness[0]),  # the distance of rows comes first
        position or (0.0, 0.0, 0.0),
        tuple(direction.ravel().tolist()),
        frame.thickness,
        " and no ".join(lacks),
        None,
        frame.stack,
        frame.echo_ms,
        frame.scale,
    )


def _numbers(text: str, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(word) for word in text.split("\\"))
    except ValueError:
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _axes(text: str) -> tuple[float, ...] | None:
    """Give the directions of rows and columns, if they are unit vectors at right angles."""
    numbers = _numbers(text, 6)
    if numbers is None:
        return None
    axes = np.reshape(numbers, (2, 3))
    return numbers if np.abs(axes @ axes.T - np.eye(2)).max() < MAX_AXES_ERROR else None


def _anonymous(tags: dict[str, str]) -> str:
    """Give the series' description, or nothing of it when it holds a part of what names a person."""
    given = " ".join(tags.get(_DESCRIPTION, "").split())[:60]
    text = "".join(letter if letter.isprintable() else "?" for letter in given)  # also bytes of an unknown encoding
    parts = {word.lower() for word in re.split(r"[\W_]+", given)}
    named = {part.lower() for key in (*_NAMING, *_STAFF) for part in re.split(r"[\W_]+", tags.get(key, "")) if part}
    names_somebody = any(part in given.lower() if len(part) > 2 else part in parts for part in named)
    return text if text and not names_somebody and not _holds_date(given, tags.get(_BIRTH_DATE, "")) else _NO_NAME


def _holds_date(text: str, date: str) -> bool:
    """Tell whether a text holds a DICOM date (YYYYMMDD) in one of the usual orders, with or without century and separators."""
    year, month, day = date[:4], date[4:6], date[6:8]
    digits = re.sub(r"\D", "", text)
    orders = [(y, month, day) for y in (year, year[2:])] + [(*pair, y) for y in (year, year[2:]) for pair in ((day, month), (month, day))]
    return len(date) == 8 and any("".join(order) in digits for order in orders)
