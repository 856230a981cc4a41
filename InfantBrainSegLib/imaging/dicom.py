"""DICOM in: a folder or a file of one series becomes an image; of the header only geometry and slice thickness stay.

Slices are ordered by where they lie, never by their names or numbers. No message or image holds a path, a name or an identifier
of the patient: exported folders are often called after the patient. Series UIDs are told only where one has to be chosen.
"""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError
from .files import check_image, quiet_itk

THICKNESS_KEY = "0018|0050"  # the checks tell the gap between slices from it
MAX_UNEVEN_SHARE = 0.02  # of the distance of two slices; headers round to some 1e-4
_SERIES, _DESCRIPTION = "0020|000e", "0008|103e"
_NAMING = ("0010|0010", "0010|1001", "0010|1005", "0010|1060", "0010|0020", "0010|1000", "0008|0050")  # patient, mother, IDs, accession
_STAFF = ("0008|0090", "0008|1050", "0008|1070")  # physicians, operator
_BIRTH_DATE = "0010|0030"
_NO_NAME = "(no description)"


@dataclass(frozen=True)
class Slice:
    """One DICOM file: a slice, or all frames of a volume.

    Attributes
    ----------
    path : Path
    description : str
        The series' description without what names the patient.
    size, spacing_mm, origin_mm, direction : as SimpleITK gives them
    thickness : str
        As the header has it; empty when absent.
    """

    path: Path
    description: str
    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]
    thickness: str

    def normal(self) -> np.ndarray:
        """Unit vector from slice to slice, LPS."""
        return np.reshape(self.direction, (3, 3))[:, 2]


def is_dicom(path: str | os.PathLike) -> bool:
    """Tell whether a path is a folder, to be searched for DICOM, or a DICOM file.

    Parameters
    ----------
    path : path

    Returns
    -------
    bool
    """
    path = Path(path)
    if path.is_dir():
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def files_of(path: Path) -> list[Path]:
    """Give the files among which a series is sought: those of a folder and the ones below it, or those beside a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of Path
    """
    found = path.rglob("*") if path.is_dir() else path.parent.iterdir()
    return sorted(file for file in found if file.is_file())


def find_series(path: Path, name: str, series: str | None = None) -> list[Slice]:
    """Find the one series of a DICOM file or of a folder with DICOM files.

    Parameters
    ----------
    path : Path
    name : "T1" or "T2", for messages
    series : Series Instance UID, needed where a folder holds several series

    Returns
    -------
    list of Slice

    Raises
    ------
    InputError
        If there is no series, or there are several to choose from.
    """
    with quiet_itk():
        return _choose(_series_in(path, name), path, name, series)


def read_series(parts: list[Slice], name: str) -> sitk.Image:
    """Read the slices of one series.

    Parameters
    ----------
    parts : list of Slice, from `find_series`
    name : "T1" or "T2", for messages

    Returns
    -------
    3D sitk.Image with no header but the slice thickness.

    Raises
    ------
    InputError
        If a slice is missing or damaged, or the slices make no volume.
    """
    with quiet_itk():
        if len(parts) == 1:
            image = _read([parts[0].path], name)
        elif any(part.size[2] > 1 for part in parts):
            raise InputError(f"The DICOM series of {name} has {len(parts)} volumes; wanted one: put the one to use in a folder of its own.")
        else:
            parts, step_mm = _in_order(parts, name)
            image = _read([part.path for part in parts], name)
            image.SetSpacing((*parts[0].spacing_mm[:2], step_mm))
            image.SetOrigin(parts[0].origin_mm)
            image.SetDirection(parts[0].direction)
        return check_image(_bare(image, parts[0]), f"The DICOM series of {name}")


def _series_in(path: Path, name: str) -> dict[str, list[Slice]]:
    files = files_of(path)
    series: dict[str, list[Slice]] = {}
    for file in files:
        with contextlib.suppress(RuntimeError):  # no DICOM image: a DICOMDIR, a report, a text file
            uid, part = _read_header(file)
            series.setdefault(uid, []).append(part)
    if not series:
        raise InputError(f"The folder of {name} has no DICOM image among its {len(files)} files; wanted one series: check the folder.")
    return series


def _read_header(file: Path) -> tuple[str, Slice]:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    tags = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
    part = Slice(
        file,
        _anonymous(tags),
        reader.GetSize(),
        reader.GetSpacing(),
        reader.GetOrigin(),
        reader.GetDirection(),
        tags.get(THICKNESS_KEY, ""),
    )
    return tags.get(_SERIES, ""), part


def _anonymous(tags: dict[str, str]) -> str:
    """Give the series' description, or nothing of it when it holds a part of what names a person."""
    given = " ".join(tags.get(_DESCRIPTION, "").split())[:60]
    text = "".join(letter if letter.isprintable() else "?" for letter in given)  # also bytes of an unknown encoding
    words = {word.lower() for word in re.split(r"[\W_]+", given)}
    named = {part.lower() for key in (*_NAMING, *_STAFF) for part in re.split(r"[\W_]+", tags.get(key, "")) if part}
    in_words = any(part in given.lower() if len(part) > 2 else part in words for part in named)
    return text if text and not in_words and not _holds_date(given, tags.get(_BIRTH_DATE, "")) else _NO_NAME


def _holds_date(text: str, date: str) -> bool:
    """Tell whether a text holds a DICOM date (YYYYMMDD) in one of the usual orders, with or without century and separators."""
    year, month, day = date[:4], date[4:6], date[6:8]
    digits = re.sub(r"\D", "", text)
    orders = [(y, month, day) for y in (year, year[2:])] + [(*pair, y) for y in (year, year[2:]) for pair in ((day, month), (month, day))]
    return len(date) == 8 and any("".join(order) in digits for order in orders)


def _choose(series: dict[str, list[Slice]], path: Path, name: str, wanted: str | None) -> list[Slice]:
    option = f"--{name.lower()}-series UID (in a batch: in the column {name.lower()}_series)"
    if wanted is not None:
        if wanted in series:
            return series[wanted]
        raise InputError(f"The folder of {name} has no series {wanted}; it has {_listed(series)}: name one of them with {option}.")
    if path.is_file():
        for parts in series.values():
            if any(part.path == path for part in parts):
                return parts
        raise InputError(f"The DICOM file of {name} holds no image; wanted one of the slices: choose another, or its folder.")
    if len(series) == 1:
        return next(iter(series.values()))
    raise InputError(f"The folder of {name} has {len(series)} series; wanted one: name it with {option}. They are {_listed(series)}.")


def _listed(series: dict[str, list[Slice]]) -> str:
    return "; ".join(f"{uid} ({_told(parts)})" for uid, parts in sorted(series.items()))


def _told(parts: list[Slice]) -> str:
    first = parts[0]
    count = first.size[2] if len(parts) == 1 else len(parts)
    step_mm = first.spacing_mm[2]
    if len(parts) > 1:
        along = np.sort([part.normal() @ part.origin_mm for part in parts])
        step_mm = float(np.median(np.diff(along)))
    return f"{first.description}, {count} slices, {first.spacing_mm[0]:.3g}×{first.spacing_mm[1]:.3g}×{step_mm:.3g} mm"


def _in_order(parts: list[Slice], name: str) -> tuple[list[Slice], float]:
    """Give the slices from first to last and their distance in mm, which must be the same all the way."""
    start = parts[0]
    alike = all(
        part.size == start.size
        and np.allclose(part.direction, start.direction, atol=1e-3)
        and np.allclose(part.spacing_mm[:2], start.spacing_mm[:2], rtol=1e-3)
        for part in parts
    )
    if not alike:
        raise InputError(
            f"The slices of the DICOM series of {name} differ in size, voxels or orientation; wanted one stack: "
            "is it a localizer? Choose another series."
        )
    parts = sorted(parts, key=lambda part: float(part.normal() @ part.origin_mm))
    along_mm = np.array([part.normal() @ part.origin_mm for part in parts])
    steps_mm = np.diff(along_mm)
    step_mm = float(np.median(steps_mm))
    if steps_mm.min() < MAX_UNEVEN_SHARE * max(step_mm, 1e-6) or step_mm <= 0:
        raise InputError(
            f"The DICOM series of {name} has several slices at one place; wanted one: "
            "it holds several echoes or times, so put the slices of one of them in a folder of their own."
        )
    uneven = np.flatnonzero(np.abs(steps_mm / step_mm - 1) > MAX_UNEVEN_SHARE)
    if uneven.size:
        at = int(uneven[0])
        missing = round(float(steps_mm[at] / step_mm)) - 1
        cause = f"{missing} seem{'s' if missing == 1 else ''} to be missing" if missing > 0 else "they are unevenly spaced"
        raise InputError(
            f"Slices {at + 1} and {at + 2} of {len(parts)} in the DICOM series of {name} lie {steps_mm[at]:.2f} mm apart and the others "
            f"{step_mm:.2f} mm ({cause}); wanted equal steps: export or send the whole series again."
        )
    first, last = np.array(parts[0].origin_mm), np.array(parts[-1].origin_mm)
    aside_mm = float(np.linalg.norm((last - first) - parts[0].normal() * (along_mm[-1] - along_mm[0])))
    if aside_mm > MAX_UNEVEN_SHARE * (along_mm[-1] - along_mm[0]):
        raise InputError(
            f"The slices of the DICOM series of {name} slide sideways by {aside_mm:.1f} mm (a tilted gantry or several stacks); "
            "wanted one straight stack: choose another series, or resample it first."
        )
    return parts, float((along_mm[-1] - along_mm[0]) / (len(parts) - 1))


def _read(files: list[Path], name: str) -> sitk.Image:
    try:
        if len(files) == 1:
            return sitk.ReadImage(str(files[0]), imageIO="GDCMImageIO")
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileNames([str(file) for file in files])
        reader.SetOutputPixelType(sitk.sitkFloat32)  # each slice may have its own slope
        return reader.Execute()
    except RuntimeError:  # its text would name the files
        raise InputError(f"The voxels of the DICOM series of {name} can not be read; wanted intact files: export it again.") from None


def _bare(image: sitk.Image, part: Slice) -> sitk.Image:
    """Drop the header, but for the slice thickness."""
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    if part.thickness:
        image.SetMetaData(THICKNESS_KEY, part.thickness)
    return image
