"""The fields of a NIfTI-1, NIfTI-2 or Analyze header that matter here."""

import math
import struct
from dataclasses import dataclass

import numpy as np

HEADER_BYTES = 544  # holds the longest of them
_UNIT_BITS = 7


@dataclass(frozen=True)
class Header:
    """The fields of a NIfTI-1, NIfTI-2 or Analyze header that matter here.

    Attributes
    ----------
    order : "<" or ">"
    kind : "single", "pair" or "analyze"
    dimensions : tuple of int
        Voxels along each axis.
    datatype, offset, slope, inter : as stored
    pixdim : four floats, the first is the qform's handedness
    units : int
        Of `xyzt_units`, the part for lengths.
    qform_code, sform_code : int
    quaternion, qoffset : three floats each
    sform : (3, 4) array, from voxel index to RAS
    """

    order: str
    kind: str
    dimensions: tuple[int, ...]
    datatype: int
    offset: int
    slope: float
    inter: float
    pixdim: tuple[float, ...]
    units: int
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    qoffset: tuple[float, ...]
    sform: np.ndarray

    def transforms(self) -> str:
        """Give what places the voxels, as `restore_transforms` takes it."""
        numbers = (*self.pixdim, *self.quaternion, *self.qoffset, *self.sform.ravel())
        return " ".join([*(str(n) for n in (self.units, self.qform_code, self.sform_code)), *(float(n).hex() for n in numbers)])


def parse_header(content: bytes) -> Header:
    """Read a header's fields.

    Parameters
    ----------
    content : bytes
        The file's first 544 bytes, unpacked.

    Raises
    ------
    ValueError
        If it is no header of NIfTI or Analyze.
    """
    for order in "<>":
        if len(content) >= 348 and struct.unpack_from(f"{order}i", content)[0] == 348:
            return _parse_1(content, order)
        if len(content) >= 540 and struct.unpack_from(f"{order}i", content)[0] == 540 and content[4:7] in (b"n+2", b"ni2"):
            return _parse_2(content, order)
    raise ValueError("it has no NIfTI or Analyze header")


def _parse_1(content: bytes, order: str) -> Header:
    def fields(layout: str, at: int) -> tuple:
        return struct.unpack_from(order + layout, content, at)

    kind = {b"n+1\0": "single", b"ni1\0": "pair"}.get(content[344:348], "analyze")
    dimensions, pixdim = fields("8h", 40), fields("4f", 76)
    offset, slope, inter = fields("3f", 108)
    start = int(offset) if math.isfinite(offset) else 0
    if kind == "analyze":  # its bytes for scale and orientation mean other things
        return Header(
            order,
            kind,
            _counts(dimensions),
            fields("h", 70)[0],
            max(start, 0),
            0,
            0,
            pixdim,
            0,
            0,
            0,
            (0, 0, 0),
            (0, 0, 0),
            np.zeros((3, 4)),
        )
    start = max(start, 0) if kind == "pair" else start if start >= 348 else 352
    qform_code, sform_code = fields("2h", 252)
    return Header(
        order,
        kind,
        _counts(dimensions),
        fields("h", 70)[0],
        start,
        slope,
        inter,
        pixdim,
        content[123] & _UNIT_BITS,
        qform_code,
        sform_code,
        fields("3f", 256),
        fields("3f", 268),
        np.reshape(fields("12f", 280), (3, 4)),
    )


def _parse_2(content: bytes, order: str) -> Header:
    def fields(layout: str, at: int) -> tuple:
        return struct.unpack_from(order + layout, content, at)

    kind = "single" if content[4:7] == b"n+2" else "pair"
    offset = fields("q", 168)[0]
    qform_code, sform_code = fields("2i", 344)
    slope, inter = fields("2d", 176)
    return Header(
        order,
        kind,
        _counts(fields("8q", 16)),
        fields("h", 12)[0],
        max(offset, 0) if kind == "pair" else offset if offset >= 540 else 544,
        slope,
        inter,
        fields("4d", 104),
        fields("i", 500)[0] & _UNIT_BITS,
        qform_code,
        sform_code,
        fields("3d", 352),
        fields("3d", 376),
        np.reshape(fields("12d", 400), (3, 4)),
    )


def _counts(dimensions: tuple[int, ...]) -> tuple[int, ...]:
    if not 1 <= dimensions[0] <= 7 or min(dimensions[1 : dimensions[0] + 1]) < 0:
        raise ValueError("its header has no sensible dimensions")
    return tuple(max(n, 1) for n in dimensions[1 : dimensions[0] + 1])
