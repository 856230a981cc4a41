"""The frames of an enhanced DICOM file: where each lies, and of which stack and echo it is, in the file's own order of frames.

Of each DICOM file it is also told whether it holds as many voxels as it says.

SimpleITK gives none of it: it stacks frames as they come, at the first one's place and the first two's distance. So the two sequences
that tell (5200,9229 for all frames and 5200,9230 for each) are read here.
"""

import math
import mmap
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

_DEFLATED, _BIG, _IMPLICIT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
_JPEG = ("50", "51", "57", "70", "80", "81", "90", "91", "92", "93")
_READABLE = {_DEFLATED, _BIG, _IMPLICIT, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5", *(f"1.2.840.10008.1.2.4.{kind}" for kind in _JPEG)}
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}  # have a length of 4 bytes
_SEQUENCES = {  # those on the way to what is wanted
    0x52009229,
    0x52009230,
    0x00209113,
    0x00209116,
    0x00289110,
    0x00209111,
    0x00189114,
    0x00289145,
}
_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_POSITION, _ORIENTATION, _SPACING, _THICKNESS = 0x00200032, 0x00200037, 0x00280030, 0x00180050
_STACK, _ECHO, _SLOPE, _INTERCEPT = 0x00209056, 0x00189082, 0x00281053, 0x00281052
_WANTED = {_POSITION, _ORIENTATION, _SPACING, _THICKNESS, _STACK, _ECHO, _SLOPE, _INTERCEPT}
_ROWS, _COLUMNS, _SAMPLES, _BITS, _FRAMES = 0x00280010, 0x00280011, 0x00280002, 0x00280100, 0x00280008
_COUNTS = {_ROWS, _COLUMNS, _SAMPLES, _BITS}
_PIXELS, _ITEM, _ITEM_END, _SEQUENCE_END = 0x7FE00010, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 16


@dataclass(frozen=True)
class Frame:
    """What a file tells of one frame; text as stored, empty where absent.

    Attributes
    ----------
    position, orientation, spacing, thickness : str
        Image Position and Orientation (Patient), Pixel Spacing and Slice Thickness.
    stack, echo_ms : str
        Stack ID and Effective Echo Time.
    scale : tuple of two str
        Rescale Slope and Intercept.
    """

    position: str
    orientation: str
    spacing: str
    thickness: str
    stack: str
    echo_ms: str
    scale: tuple[str, str]


def read_frames(path: Path) -> list[Frame]:
    """Read what a DICOM file tells of each of its frames.

    Returns
    -------
    list of Frame, empty where the file is not of the enhanced kind

    Raises
    ------
    ValueError
        If the file's header is damaged.
    """
    groups = _read_groups(path)
    return [_frame({**groups.shared, **own}) for own in groups.per_frame]


@dataclass(frozen=True)
class Voxels:
    """What is wrong with the voxels of a DICOM file.

    Attributes
    ----------
    cut_off : bool
        There are fewer than the header's counts ask for, which SimpleITK fills up with anything; never told of packed ones.
    unknown_packing : str
        The transfer syntax, where SimpleITK cannot unpack it.
    """

    cut_off: bool = False
    unknown_packing: str = ""


def look_at_voxels(path: Path) -> Voxels:
    """Tell what is wrong with a DICOM file's voxels; of a file whose header cannot be followed nothing is told."""
    try:
        groups = _read_groups(path)
    except (OSError, ValueError):
        return Voxels()
    packing = groups.syntax if groups.syntax and groups.syntax not in _READABLE else ""
    if groups.pixel_bytes is None or not groups.counts.keys() >= {_ROWS, _COLUMNS, _BITS}:
        return Voxels(unknown_packing=packing)
    bits = math.prod(groups.counts.values()) * groups.frames
    return Voxels(groups.pixel_bytes < bits // 8, packing)


def _read_groups(path: Path) -> "_Groups":
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Groups(content)
    except (struct.error, IndexError, zlib.error) as error:
        raise ValueError("the header is damaged") from error


def _frame(values: dict[int, str]) -> Frame:
    position, orientation, spacing, thickness, stack, echo, slope, intercept = (
        values.get(tag, "") for tag in (_POSITION, _ORIENTATION, _SPACING, _THICKNESS, _STACK, _ECHO, _SLOPE, _INTERCEPT)
    )
    return Frame(position, orientation, spacing, thickness, stack, echo, (slope, intercept))


class _Groups:
    """The functional groups of a file, `shared` by all frames and `per_frame`; and how many voxels it should have and has."""

    def __init__(self, content: bytes | mmap.mmap):
        self.shared: dict[int, str] = {}
        self.per_frame: list[dict[int, str]] = []
        self.counts: dict[int, int] = {}
        self.frames = 1
        self.pixel_bytes: int | None = None  # None where they are packed
        at = 132 if content[128:132] == b"DICM" else 0
        syntax, at = _syntax(content, at)
        if syntax == _DEFLATED:
            content, at = zlib.decompressobj(-15).decompress(content[at:]), 0
        self.syntax = syntax
        self._content = content
        self._order = ">" if syntax == _BIG else "<"
        self._explicit = syntax != _IMPLICIT and (bool(syntax) or content[at + 4 : at + 6].isupper())
        self._elements(at, len(content), None, 0)

    def _header(self, at: int) -> tuple[int, int, int, bytes]:
        """Give an element's tag, its length, where its value begins, and its VR."""
        group, element = struct.unpack_from(f"{self._order}2H", self._content, at)
        tag = group << 16 | element
        if group == 0xFFFE or not self._explicit:
            return tag, struct.unpack_from(f"{self._order}I", self._content, at + 4)[0], at + 8, b""
        kind = self._content[at + 4 : at + 6]
        if kind in _LONG:
            return tag, struct.unpack_from(f"{self._order}I", self._content, at + 8)[0], at + 12, kind
        return tag, struct.unpack_from(f"{self._order}H", self._content, at + 6)[0], at + 8, kind

    def _elements(self, at: int, end: int, found: dict[int, str] | None, depth: int) -> int:
        """Walk over elements, keep what is wanted in `found`, and give the place behind them."""
        if depth > _DEEPEST:
            raise IndexError
        while at < end:
            tag, length, start, kind = self._header(at)
            if tag == _PIXELS and depth == 0:
                self.pixel_bytes = None if length == _UNDEFINED else min(length, end - start)
                return end
            if tag == _ITEM_END:
                return start
            if tag in _SEQUENCES or length == _UNDEFINED or kind == b"SQ":
                at = self._items(start, end if length == _UNDEFINED else start + length, tag, found, depth)
                continue
            if depth == 0 and tag in _COUNTS:
                self.counts[tag] = struct.unpack_from(f"{self._order}H", self._content, start)[0]
            elif depth == 0 and tag == _FRAMES:
                self.frames = int(self._content[start : start + length].decode("latin-1").strip(" \0") or 1)
            if found is not None and tag in _WANTED:
                found[tag] = self._text(start, length, kind, tag)
            at = start + length
        return at

    def _items(self, at: int, end: int, tag: int, found: dict[int, str] | None, depth: int) -> int:
        while at < end:
            item, length, start, _ = self._header(at)
            if item == _SEQUENCE_END:
                return start
            if item != _ITEM:
                raise IndexError
            into = found if tag in _SEQUENCES else None
            if tag == _SHARED and depth == 0:
                into = self.shared
            elif tag == _PER_FRAME and depth == 0:
                into = {}
                self.per_frame.append(into)
            at = self._elements(start, end if length == _UNDEFINED else start + length, into, depth + 1)
        return at

    def _text(self, start: int, length: int, kind: bytes, tag: int) -> str:
        if tag == _ECHO and (kind == b"FD" or not self._explicit) and length == 8:
            return f"{struct.unpack_from(self._order + 'd', self._content, start)[0]:g}"
        return self._content[start : start + length].decode("latin-1").strip(" \0")


def _syntax(content: bytes | mmap.mmap, at: int) -> tuple[str, int]:
    """Give the transfer syntax, and the place behind the file's meta group."""
    syntax = ""
    while content[at : at + 2] == b"\x02\x00":
        element, kind = struct.unpack_from("<H", content, at + 2)[0], content[at + 4 : at + 6]
        long = kind in _LONG
        length, start = struct.unpack_from("<I" if long else "<H", content, at + (8 if long else 6))[0], at + (12 if long else 8)
        if element == 0x0010:
            syntax = content[start : start + length].decode("latin-1").strip(" \0")
        at = start + length
    return syntax, at
