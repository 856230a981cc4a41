"""What SimpleITK does not tell of a MetaImage or NRRD file: the spacing as stated, and that its voxels are whole.

SimpleITK mends an absurd spacing without a word, and reads damaged packed voxels as garbage, with its own lines on stderr.
"""

import bz2
import itertools
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..core.errors import InputError

THIN_MM, THICK_MM = 3.0, 20.0  # what is told to be a thick slice and no error of the header
_HEADER_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 22
_META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}  # MET_LONG is 4 on each system
_NRRD_BYTES = {
    **dict.fromkeys(("char", "int8", "int8_t"), 1),
    **dict.fromkeys(("short", "int16", "int16_t"), 2),
    **dict.fromkeys(("int", "int32", "int32_t", "float"), 4),
    **dict.fromkeys(("long long", "longlong", "int64", "int64_t", "double"), 8),
}
_TEXTS = ("ascii", "text", "txt")
_LONGEST_NUMBER = 64  # letters: ITK's reader of NRRD crashes on long words
_WHOLE, _DECIMAL = rb"[-+]?\d{1,20}", rb"[-+]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][-+]?\d{1,3})?"
_MOST_PACKED = 1100  # deflate cannot shrink more than 1032 times
_MOST_SURPLUS_BYTES = 1 << 30
_ANY_ZLIB = 47  # zlib's own frame or gzip's
_MATRICES, _PLACES = ("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Position", "Origin")  # MetaImage's names of one thing
_KNOWN_SPACES = {
    "lps",
    "ras",
    "las",
    *(f"{side}-{end}-superior" for side, end in (("left", "posterior"), ("right", "anterior"), ("left", "anterior"))),
}


def stated_spacing_mm(path: Path) -> tuple[float, ...] | None:
    """Read the spacing that a MetaImage header states, which SimpleITK mends without a word: a negative one becomes a flip.

    Returns
    -------
    tuple of 3 floats, or None where the format has no such field
    """
    if not path.name.lower().endswith((".mha", ".mhd")):
        return None
    found = re.search(rb"ElementSpacing\s*=\s*([^\r\n]+)", _beginning(path))
    try:
        return tuple(float(word) for word in found.group(1).split()[:3]) if found else None
    except ValueError:
        return None


def spacing_remedy(spacing_mm: Iterable[float], name: str) -> str:
    """Say what to do about voxels of a wrong size: thick slices of one scan need not keep the other from being segmented.

    Parameters
    ----------
    spacing_mm : iterable of float
    name : str
        What messages call the image.
    """
    remedy = "repair its header, or use a finer acquisition"
    scan = next((scan for scan in ("T1", "T2") if name.endswith(scan)), None)
    if scan is None or not THIN_MM < max(spacing_mm) <= THICK_MM:
        return remedy
    return f"{remedy}; where both scans were given, leave {scan} out and segment {'T1' if scan == 'T2' else 'T2'} alone, less accurately"


def lacks_spacing(path: Path) -> bool:
    """Tell whether a MetaImage or NRRD header gives no voxel size in mm, in place of which SimpleITK takes 1 mm."""
    name = path.name.lower()
    if name.endswith((".mha", ".mhd")):
        return re.search(rb"^ElementSpacing\s*=", _beginning(path), re.MULTILINE) is None
    if not name.endswith((".nrrd", ".nhdr")):
        return False
    fields = _nrrd_fields(_beginning(path))[0]
    units = re.findall(r'"([^"]*)"', fields.get("space units", fields.get("units", "")))
    if any(unit.lower() not in ("", "mm", "millimeter", "millimeters", "millimetre", "millimetres") for unit in units):
        return True
    vectors = re.findall(r"\(([^)]*)\)", fields["space directions"]) if "space directions" in fields else fields.get("spacings", "").split()
    return sum(all(_is_finite(word) for word in vector.split(",")) for vector in vectors) < min(int(fields.get("dimension", 3)), 3)


def unplaced_warning(path: Path, name: str) -> list[str]:
    """Warn of a MetaImage or NRRD header that does not say how the head lies, for which SimpleITK takes a place without a word.

    Parameters
    ----------
    path : Path
    name : what messages call the image

    Returns
    -------
    list of one warning, or of none
    """
    if path.name.lower().endswith((".mha", ".mhd")):
        placed = not set(_MATRICES).isdisjoint(_meta_fields(_beginning(path))[0])
    else:
        fields = _nrrd_fields(_beginning(path))[0]
        placed = "space directions" in fields and fields.get("space", "").lower() in _KNOWN_SPACES
    if placed:
        return []
    return [
        f"{name}'s header does not say where left, right, front and back are: it was read as ITK and 3D Slicer do, with its axes to the "
        "left, the back and the top; check the overview's sides."
    ]


@dataclass(frozen=True)
class Stated:
    """What a header says of the voxels.

    Attributes
    ----------
    voxels : int
        All numbers, of all frames.
    unit_bytes : int or None
        Of a number, 1 where they are written as text; None where the length of the data cannot be told.
    data : Path
    start : int
        Where in the file they begin.
    packing : "", "zlib", "bz2", "meta text" or "nrrd text"
    packed_bytes : int or None
        How many of them a reader takes, where the header says so.
    in_parts : bool
        Whether several files hold the voxels.
    limits : tuple of 2 ints or None
        Of whole numbers that are written as text.
    """

    voxels: int
    unit_bytes: int | None
    data: Path
    start: int
    packing: str
    packed_bytes: int | None = None
    in_parts: bool = False
    limits: tuple[int, int] | None = None

    @property
    def bytes(self) -> int:
        """Of the data, unpacked."""
        return self.voxels * (self.unit_bytes or 0)


def stated_voxels(path: Path) -> int:
    """Count the voxels that will be read from a MetaImage or NRRD file, by the header and by what the file can hold.

    Returns
    -------
    int, 0 for a file that will be refused

    Raises
    ------
    OSError, ValueError
        If the header cannot be read.
    """
    stated = _stated(path)
    if not stated.data.is_file():
        return 0
    length = stated.data.stat().st_size - stated.start
    too_short = stated.packing != "bz2" and length * (_MOST_PACKED if stated.packing == "zlib" else 1) < stated.bytes
    return 0 if too_short else stated.voxels


def check_voxels(path: Path, name: str) -> None:
    """Make sure that the voxels of a MetaImage or NRRD file are all there, and undamaged where they are packed.

    Parameters
    ----------
    path : Path
    name : what an error calls the image

    Raises
    ------
    InputError
        If they are in a file that is not there, or in several files, of which SimpleITK takes what is missing or short as it comes.
    EOFError
        If they are cut off.
    OSError, ValueError, zlib.error
        If they are damaged.
    """
    stated = _stated(path)
    if stated.in_parts:
        raise InputError(f"{name} has its voxels in several files; wanted them in one: save the image as one file, as .nii.gz.")
    if not stated.data.is_file():
        raise InputError(f"{name} is a header without the file of its voxels; wanted both: put that file where the header says it is.")
    if not stated.bytes:
        return
    pieces = {"": _plain, "zlib": _inflated, "bz2": _unzipped, "meta text": _meta_numbers, "nrrd text": _nrrd_numbers}[stated.packing]
    found = 0
    for length in pieces(stated):
        found += length
        if stated.packing and found > stated.bytes + _MOST_SURPLUS_BYTES:
            raise ValueError("it is far longer than its header says")
    if found < stated.bytes:
        raise EOFError(f"the file ends after {found} of {stated.bytes} {'numbers' if 'text' in stated.packing else 'bytes of voxels'}")


def _stated(path: Path) -> Stated:
    name = path.name.lower()
    if name.endswith((".mha", ".mhd")):
        return _stated_by_meta(path)
    if name.endswith((".nrrd", ".nhdr")):
        return _stated_by_nrrd(path)
    raise ValueError("it is of another format")


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


def _stated_by_meta(path: Path) -> Stated:
    fields, end = _meta_fields(_beginning(path))
    if end is None:
        raise ValueError("its header has no end")
    _check_counts(fields)
    number = _META_BYTES.get(fields.get("ElementType", "").removeprefix("MET_").removeprefix("U"))
    voxels = int(fields.get("ElementNumberOfChannels", 1)) * _product(fields.get("DimSize", "0"))
    where = os.fsdecode(end.group(1).strip())
    if where.upper().startswith("LIST") or "%" in where:
        return Stated(voxels, None, path, 0, "", in_parts=True)
    data, start = (path, end.end()) if where.upper() == "LOCAL" else (path.parent / where, 0)
    text = fields.get("BinaryData", "").lower() in ("false", "0")
    packed = fields.get("CompressedData", "").lower() in ("true", "1")
    if "HeaderSize" in fields:  # -1: the voxels are what the file ends with
        number, start = None if packed else number, max(int(fields["HeaderSize"]), 0)
    packed_bytes = int(fields["CompressedDataSize"]) if packed and "CompressedDataSize" in fields else None
    if text:
        kind = fields.get("ElementType", "").removeprefix("MET_").lower()
        return Stated(voxels, 1, data, start, "meta text", limits=_limits(kind, _META_BYTES.get(kind.removeprefix("u").upper())))
    return Stated(voxels, number, data, start, "zlib" if packed else "", packed_bytes)


def _meta_fields(head: bytes) -> tuple[dict[str, str], re.Match[bytes] | None]:
    """Give a MetaImage header's fields, and its last line if it is there."""
    end = re.search(rb"^ElementDataFile\s*=\s*([^\r\n]*)\r?\n?", head, re.MULTILINE)
    text = head[: end.start() if end else len(head)].decode("latin-1")
    return dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", text, re.MULTILINE)), end


def _check_counts(fields: dict[str, str]) -> None:
    """Make sure that each field has a number for each axis: SimpleITK's reader complains of others on stderr."""
    axes = int(fields.get("NDims", 0))
    wanted = {"DimSize": axes, "ElementSpacing": axes, **dict.fromkeys(_MATRICES, axes * axes), **dict.fromkeys(_PLACES, axes)}
    if any(key in fields and len(fields[key].split()) != count for key, count in wanted.items()):
        raise ValueError("its header has not one number for each axis")


def _stated_by_nrrd(path: Path) -> Stated:
    fields, end = _nrrd_fields(_beginning(path))
    number = _NRRD_BYTES.get(re.sub(r"^(unsigned |signed |u)", "", fields.get("type", "").lower()).replace("short int", "short"))
    where = fields.get("data file", fields.get("datafile"))
    voxels = _product(fields.get("sizes", "0"))
    skips = [fields.get(key, "0") for key in ("line skip", "lineskip", "byte skip", "byteskip")]
    encoding = fields.get("encoding", "raw").lower()
    packing = {"gz": "zlib", "gzip": "zlib", "bz2": "bz2", "bzip2": "bz2", **dict.fromkeys(_TEXTS, "nrrd text")}.get(encoding, "")
    if where is not None and (where.upper().startswith("LIST") or "%" in where):
        return Stated(voxels, None, path, 0, "", in_parts=True)
    if packing and any(skip != "0" for skip in skips):
        raise ValueError("its voxels are packed or text, and not from their beginning")
    if where is None and end is None:
        raise ValueError("its header has no end")
    limits = None
    if packing == "nrrd text":
        number, limits = 1, _limits(fields.get("type", "").lower(), number)
    data, start = (path, end or 0) if where is None else (path.parent / where, 0)
    return Stated(voxels, number, data, start + sum(max(int(skip), 0) for skip in skips), packing, limits=limits)


def _limits(kind: str, unit_bytes: int | None) -> tuple[int, int] | None:
    """Least and greatest whole number of a type; None for others."""
    if unit_bytes is None or kind in ("float", "double"):
        return None
    bits = 8 * unit_bytes
    return (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _product(numbers: str) -> int:
    counts = [int(number) for number in numbers.split()]
    if any(count < 0 for count in counts):
        raise ValueError("its header has no sensible dimensions")
    return math.prod(counts)


def _nrrd_fields(head: bytes) -> tuple[dict[str, str], int | None]:
    """Give an NRRD header's fields, and where it ends if it does."""
    end = re.search(rb"\r?\n\r?\n", head)
    text = head[: end.start() if end else len(head)].decode("latin-1")
    lines = re.findall(r"^([^#:\n]+):[ \t]*([^=\n][^\n]*)$", text, re.MULTILINE)
    return {key.strip().lower(): value.strip() for key, value in lines}, end.end() if end else None


def _is_finite(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _plain(stated: Stated) -> Iterator[int]:
    yield stated.data.stat().st_size - stated.start


def _nrrd_numbers(stated: Stated) -> Iterator[int]:
    return _counted(stated, b",", b"\n")


def _meta_numbers(stated: Stated) -> Iterator[int]:
    """Count numbers as ITK's reader takes them: it wants a space or a line's end after the last one too."""
    return _counted(stated, b"", b"")


def _counted(stated: Stated, after: bytes, at_end: bytes) -> Iterator[int]:
    """Count the numbers of a text, each of which may end with `after`."""
    number = re.compile((_DECIMAL if stated.limits is None else _WHOLE) + rb"(%b)?" % after)
    with stated.data.open("rb") as file:
        file.seek(stated.start)
        cut = b""
        for piece in itertools.chain(iter(partial(file.read, _CHUNK_BYTES), b""), [at_end]):
            words = re.split(rb"\s+", cut + piece)
            cut = words.pop()  # the next piece may go on with it
            words = [word for word in words if word]
            if len(cut) > _LONGEST_NUMBER or not all(map(number.fullmatch, words)):
                raise ValueError("what stands for a voxel is no number of its type")
            if stated.limits and not all(stated.limits[0] <= int(word.rstrip(b",")) <= stated.limits[1] for word in words):
                raise ValueError("a voxel is beyond the limits of its type")
            yield len(words)


def _inflated(stated: Stated) -> Iterator[int]:
    inflater = zlib.decompressobj(_ANY_ZLIB)
    left = stated.data.stat().st_size if stated.packed_bytes is None else stated.packed_bytes
    with stated.data.open("rb") as file:
        file.seek(stated.start)
        unread = b""
        while not inflater.eof:
            if not unread:
                unread = file.read(min(_CHUNK_BYTES, max(left, 0)))
                left -= len(unread)
            piece = inflater.decompress(unread, _CHUNK_BYTES)
            if not unread and not piece and not inflater.eof:
                raise EOFError("the packed voxels are cut off")
            yield len(piece)
            unread = inflater.unconsumed_tail


def _unzipped(stated: Stated) -> Iterator[int]:
    with stated.data.open("rb") as file:
        file.seek(stated.start)
        with bz2.open(file) as stream:
            while piece := stream.read(_CHUNK_BYTES):
                yield len(piece)
