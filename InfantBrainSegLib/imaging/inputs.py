"""Scans and masks in, each known by a checksum: no path, file name or series UID of an input is kept or told.

Folders and files are often called after the patient. So an error says "T1" where a path would stand, and a report gives the SHA-256 of
what was read: whoever has the scans finds the right one by it (`sha256sum FILE`), nobody else learns anything.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ..core.errors import InputError
from ..core.labels import from_any
from .dicom import files_of, find_series, is_dicom, read_series
from .dicom_header import Slice
from .files import check_path, read_with_warnings, stated_voxels
from .masks import to_mask
from .resample import on_grid_of

EDITED, AUTOMATIC = "edited_labels", "automatic_labels"  # roles of labelmaps
NAMES = {  # how messages call an input, by its role
    "t1": "T1",
    "t2": "T2",
    "mask": "The brain mask",
    EDITED: "The edited labelmap",
    AUTOMATIC: "The automatic labelmap",
}
DICOM, FILE = "DICOM series", "image file"
_DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)([^\r\n]+)", re.IGNORECASE | re.MULTILINE)
_HEADER_BYTES = 1 << 16
_HALVES = (".hdr", ".img", ".img.gz", ".mhd", ".nhdr", ".raw", ".raw.gz", ".zraw")  # of an image in two files


@dataclass(frozen=True)
class Input:
    """An image that the user gave.

    Attributes
    ----------
    role : "t1", "t2", "mask", "edited_labels" or "automatic_labels"
    path : Path
        Of an image file, a DICOM file or a folder with DICOM files.
    series : str
        Series Instance UID, needed where a folder holds several series; else empty.
    """

    role: str
    path: Path
    series: str = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        return NAMES[self.role]

    @property
    def may_be_dicom(self) -> bool:
        """Whether it may be a DICOM series: a scan, and neither a mask nor labels."""
        return self.role in ("t1", "t2")


@dataclass(frozen=True)
class InputRecord:
    """What may be kept of an input.

    Attributes
    ----------
    kind : "DICOM series" or "image file"
    sha256 : str
        Of the file; of several files, that of their sorted sha256, one a line.
    state : str
        A digest of sizes and dates: where it is the same, the content need not be read again to tell that it is.
    warnings : tuple of str
        What is doubtful of its place, in one line each.
    """

    kind: str
    sha256: str
    state: str
    warnings: tuple[str, ...] = ()

    def for_report(self) -> dict[str, str]:
        """Give what a person may want to know."""
        return {"kind": self.kind, "sha256": self.sha256}


@dataclass(frozen=True)
class Found:
    """An image of which only the headers were read.

    Attributes
    ----------
    given : Input
    voxels : int
        That will be read.
    slices : list of Slice or None
        Of a DICOM series.
    """

    given: Input
    voxels: int
    slices: list[Slice] | None = None


def find_input(given: Input) -> Found:
    """Find an image and tell its size, without reading its voxels.

    Raises
    ------
    InputError
        If there is none; the message holds no path.
    """
    check_path(given.path, given.name)
    with _readable(given):
        if given.may_be_dicom and is_dicom(given.path):
            slices = find_series(given.path, given.name, given.series or None)
            return Found(given, sum(part.size[0] * part.size[1] for part in slices), slices)
        if given.series:
            raise InputError(f"A series was named for {given.name}, but it is no DICOM folder: leave --{given.role}-series out.")
        return Found(given, stated_voxels(given.path))


def read_found(found: Found) -> tuple[sitk.Image, InputRecord]:
    """Read an image, and note by what it is known.

    Returns
    -------
    3D sitk.Image, from DICOM with no header but the slice thickness, a mask of 0 and 1, labels in our numbers; and its InputRecord

    Raises
    ------
    InputError
        If it cannot be used; the message holds no path.
    """
    given = found.given
    warnings: list[str] = []
    with _readable(given):
        if found.slices is not None:
            image, kind, files = read_series(found.slices, given.name), DICOM, sorted({part.path for part in found.slices})
        else:
            image, warnings = read_with_warnings(given.path, given.name)
            if given.role == "mask":
                image, doubts = to_mask(image, given.name)
                warnings += doubts
            elif given.role in (EDITED, AUTOMATIC):
                image = on_grid_of(image, from_any(sitk.GetArrayViewFromImage(image), given.name))
            kind, files = FILE, parts_of(given.path)
        return image, InputRecord(kind, sha256_of(files), _state_of(given), tuple(warnings))


def read_input(given: Input) -> tuple[sitk.Image, InputRecord]:
    """Read an image as `find_input` and `read_found` do."""
    return read_found(find_input(given))


@contextlib.contextmanager
def _readable(given: Input) -> Iterator[None]:
    """Say without a path that the system does not let an image be read."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or "input or output error"
        raise InputError(f"{given.name} cannot be read ({reason}): check the path, and that you may read it.") from None


def is_same_input(given: Input, record: dict[str, str]) -> bool:
    """Tell whether an input still is what a record tells of.

    Parameters
    ----------
    given : Input
    record : dict
        An InputRecord's fields.
    """
    try:
        if _state_of(given) == record["state"]:
            return True
        if record["kind"] == DICOM:
            files = sorted({part.path for part in find_series(given.path, given.name, given.series or None)})
        else:
            files = parts_of(given.path)
        return bool(files) and sha256_of(files) == record["sha256"]
    except (OSError, InputError, KeyError):
        return False


def parts_of(path: Path) -> list[Path]:
    """Give the files of one image: most formats need one, Analyze and some others have the voxels beside the header."""
    half = next((ending for ending in _HALVES if path.name.lower().endswith(ending)), None)
    if half is None:
        return [path]
    stem = path.name[: -len(half)]
    beside = {other for ending in _HALVES if (other := path.with_name(stem + ending)).is_file()}
    return sorted({path, *beside, *_named_data(path)})


def _named_data(header: Path) -> set[Path]:
    """Give the file that a MetaImage or NRRD header names for its voxels, where it is there."""
    if not header.name.lower().endswith((".mhd", ".nhdr")):
        return set()
    with header.open("rb") as file:
        found = _DATA_FILE.search(file.read(_HEADER_BYTES))
    data = header.parent / os.fsdecode(found.group(1).strip()) if found else header
    return {data} if data.is_file() else set()


def check_not_an_input(output: str | os.PathLike, inputs: Iterable[Path]) -> None:
    """Refuse to write over what is read.

    Parameters
    ----------
    output : path of a file to be written
    inputs : iterable of Path
        Files, or folders whose files are read.

    Raises
    ------
    InputError
        If the output is one of these files or lies there in one of these folders.
    """
    output = Path(output)
    if not output.exists():
        return
    for given in inputs:
        if given.is_dir():  # a rerun's own file may lie there
            inside = (output.suffix != ".json" or is_dicom(output)) and output.resolve().is_relative_to(given.resolve())
        elif given.is_file() and is_dicom(given):
            inside = is_dicom(output) and output.resolve().parent == given.resolve().parent
        else:
            inside = given.exists() and any(part.samefile(output) for part in parts_of(given))
        if inside:
            raise InputError(f"{output} is an input, which would be replaced: write to another file.")


def sha256_of(files: Sequence[Path]) -> str:
    """Give the SHA-256 of a file; of several, that of their sorted SHA-256, one a line.

    Parameters
    ----------
    files : sequence of Path, at least one
    """
    digests = sorted(_digest(file) for file in files)
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _state_of(given: Input) -> str:
    dicom = given.may_be_dicom and is_dicom(given.path)
    text = given.series + ("\n" + given.path.name if dicom and given.path.is_file() else "")  # a file stands for its series
    for file in files_of(given.path) if dicom else parts_of(given.path):
        status = file.stat()
        text += f"\n{file.absolute()} {status.st_size} {status.st_mtime_ns}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
