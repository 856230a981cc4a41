"""NIfTI and Analyze in, by what the bytes say: which file, packed or not, whole or cut off, and where its voxels lie.

The library's own reader, because SimpleITK opens `T1.nii` for the header of `T1.nii.gz` where both lie in one folder, reads a
cut-off or damaged file as if it were whole, and follows the qform where other tools follow the sform. One rule here: the sform where its
code is above 0, else the qform, else the way of SPM and nibabel: the first axis to the left, the origin in the middle.
"""

import gzip
import math
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError

EXTENSIONS = (".nii.gz", ".nii", ".hdr", ".img")
HEADER_KEY = "InfantBrainSeg|NIfTI"  # of an image's metadata: its file's transforms, which `restore_transforms` writes back
SHEAR_TOLERANCE = 1e-4  # of a unit direction vector; a rotation stored in float32 is good to 1e-6
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 22
_MOST_SURPLUS_BYTES = 1 << 30  # read behind the voxels for the sake of the checksum, not more
_MOST_PACKED = 1100  # deflate can not shrink more than 1032 times
_HEADER_BYTES = 544
_NUMBERS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}  # by datatype
_SEVERAL = {32: "complex", 1792: "complex", 2048: "complex", 128: "color", 2304: "color"}
_MM = {1: 1000.0, 3: 0.001}  # xyzt_units: meters, micrometers
_UNIT_BITS = 7
_SENSIBLE_MM = (0.0999, 3.0001)  # what a voxel of a brain scan may measure
_STATED_AGREES = 0.01  # of pixdim and sform
_SAME_LENGTH = 1e-5  # of a voxel's edge: rounding of the header's float32
_DIFFER_VOXELS = 0.5  # between sform and qform, anywhere in the image
_LPS = np.diag([-1.0, -1.0, 1.0])


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


def read_nifti(path: Path, name: str) -> tuple[sitk.Image, list[str]]:
    """Read a NIfTI or Analyze image, packed or not whatever its name, to its last byte and its checksum.

    Parameters
    ----------
    path : Path
    name : what an error calls it

    Returns
    -------
    3D sitk.Image, float32 where the header scales or has 64-bit floats, with the file's transforms under `HEADER_KEY`; and warnings

    Raises
    ------
    InputError
        If it is no 3D scalar image, or its voxels' size is absurd or contradictory.
    OSError, EOFError, ValueError, zlib.error
        If the file is damaged or no NIfTI or Analyze file.
    """
    head, data = _files_of(path)
    header = _parse(_beginning(head))
    if (header.kind == "single") != (head == data):
        raise ValueError("its header is of another kind of file")
    size = _size(header, name)
    affine, warnings = _placed(header, size, name)
    image = sitk.GetImageFromArray(_voxels(header, size, data))
    _place(image, affine, np.abs(header.pixdim[1:]))
    image.SetMetaData(HEADER_KEY, header.transforms())
    return image, warnings


def is_sheared(direction: np.ndarray) -> bool:
    """Tell whether axes are not at right angles.

    Parameters
    ----------
    direction : (3, 3) array, a unit vector in each column

    Returns
    -------
    bool
    """
    return bool(np.abs(direction.T @ direction - np.eye(3)).max() > SHEAR_TOLERANCE)


def write_sform(path: Path, sform: np.ndarray) -> None:
    """Put a sheared geometry into a NIfTI-1 file that SimpleITK wrote; its nearest rotation stays as the qform.

    Parameters
    ----------
    path : Path of an unpacked file
    sform : (3, 4) array, from voxel index to RAS mm
    """
    with path.open("r+b") as file:
        file.seek(254)
        file.write(struct.pack("<h", 1))
        file.seek(280)
        file.write(struct.pack("<12f", *sform.ravel()))


def restore_transforms(path: Path, kept: str) -> None:
    """Write a scan's qform, sform, their codes and its units into a NIfTI-1 file, so that each reader places both alike.

    Parameters
    ----------
    path : Path of an unpacked file that SimpleITK wrote on the scan's grid
    kept : str
        Of the scan's `HEADER_KEY`.
    """
    words = kept.split()
    units, qform_code, sform_code = (int(word) for word in words[:3])
    numbers = [float.fromhex(word) for word in words[3:]]
    with path.open("r+b") as file:
        file.seek(76)
        file.write(struct.pack("<4f", *numbers[:4]))
        file.seek(123)
        file.write(struct.pack("<B", units))
        file.seek(252)
        file.write(struct.pack("<2h18f", qform_code, sform_code, *numbers[4:]))


def places_alike(kept: str, image: sitk.Image) -> bool:
    """Tell whether an image still lies where the scan lies whose transforms it carries.

    Parameters
    ----------
    kept : str
        Of the image's `HEADER_KEY`.
    image : sitk.Image

    Returns
    -------
    bool
    """
    words = kept.split()
    units, qform_code, sform_code = (int(word) for word in words[:3])
    numbers = [float.fromhex(word) for word in words[3:]]
    rows = np.reshape(numbers[10:], (3, 4))
    header = Header(
        "<", "single", (), 0, 0, 0, 0, tuple(numbers[:4]), units, qform_code, sform_code, tuple(numbers[4:7]), tuple(numbers[7:10]), rows
    )
    size = image.GetSize()
    try:
        affine, _ = _placed(header, size, "")
    except InputError:
        return False
    found = _LPS @ np.column_stack(
        [np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing()), np.asarray(image.GetOrigin())]
    )
    return _gap_mm(affine, found, size) < 0.01 * min(image.GetSpacing())


def pack(path: Path, packed: Path) -> None:
    """Compress a file with gzip; the same bytes each time.

    Parameters
    ----------
    path, packed : Path
    """
    with path.open("rb") as source, packed.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as target:
        shutil.copyfileobj(source, target, _CHUNK_BYTES)


def unpacked(path: Path) -> Iterator[bytes]:
    """Give a file's content in pieces, unpacked where it is gzip, whatever its name; the checksum of each packed part is compared.

    Parameters
    ----------
    path : Path

    Yields
    ------
    bytes

    Raises
    ------
    EOFError
        If the packed stream is cut off.
    zlib.error
        If it is damaged.
    """
    with path.open("rb") as file:
        unread = file.read(_CHUNK_BYTES)
        if not unread.startswith(_GZIP_MAGIC):
            while unread:
                yield unread
                unread = file.read(_CHUNK_BYTES)
            return
        while unread.startswith(_GZIP_MAGIC):  # what follows the last part and is no gzip is no content
            inflater = zlib.decompressobj(31)
            while not inflater.eof:
                unread = unread or file.read(_CHUNK_BYTES)
                piece = inflater.decompress(unread, _CHUNK_BYTES)
                if not unread and not piece and not inflater.eof:
                    raise EOFError("the packed stream is cut off")
                yield piece
                unread = inflater.unconsumed_tail
            unread = inflater.unused_data
            if len(unread) < len(_GZIP_MAGIC):
                unread += file.read(_CHUNK_BYTES)


def _files_of(path: Path) -> tuple[Path, Path]:
    """Give the file with the header and that with the voxels."""
    name = path.name
    if name.lower().endswith((".nii", ".nii.gz")):
        return path, path
    stem, ending = name[:-4], name[-4:]
    upper = ending.isupper()
    heads, images = (".hdr",), (".img", ".img.gz")
    found = []
    for endings in (heads, images):
        choices = [path] if ending.lower() in endings else [path.with_name(stem + (e.upper() if upper else e)) for e in endings]
        there = [choice for choice in choices if choice.is_file()]
        if not there:
            raise OSError(f"the file {endings[0]} is not beside it")
        found.append(there[0])
    return found[0], found[1]


def _beginning(path: Path) -> bytes:
    content = b""
    for piece in unpacked(path):
        content += piece[:_HEADER_BYTES]
        if len(content) >= _HEADER_BYTES:
            break
    return content


def _parse(content: bytes) -> Header:
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


def _size(header: Header, name: str) -> tuple[int, int, int]:
    if header.datatype in _SEVERAL:
        raise InputError(f"{name} has {_SEVERAL[header.datatype]} voxels; wanted one number a voxel: export a grayscale image.")
    if header.datatype not in _NUMBERS:
        raise ValueError(f"its numbers are of an unknown type, {header.datatype}")
    size = header.dimensions
    frames = math.prod(size[3:])
    if frames > 1:
        raise InputError(f"{name} is {len(size)}D with {frames} frames; wanted one 3D image: extract one frame.")
    if len(size) < 3 or min(size[:3]) < 4:
        raise InputError(f"{name} has {'×'.join(map(str, size))} voxels; wanted a 3D volume: give the whole scan, not a slice.")
    return size[0], size[1], size[2]


def _voxels(header: Header, size: tuple[int, int, int], path: Path) -> np.ndarray:
    """Give the voxels, (K, J, I): the whole file is read and its checksum compared; one too short is refused before memory is taken."""
    number = np.dtype(header.order + _NUMBERS[header.datatype])
    wanted = math.prod(size) * number.itemsize
    with path.open("rb") as file:
        most = os.fstat(file.fileno()).st_size * (_MOST_PACKED if file.read(2) == _GZIP_MAGIC else 1)
    if most < header.offset + wanted:
        raise EOFError(f"the file is too short for {wanted} bytes of voxels")
    content = np.empty(wanted, np.uint8)
    at = -header.offset  # where the next piece goes
    for piece in unpacked(path):
        start, stop = max(at, 0), min(at + len(piece), wanted)
        if stop > start:
            content[start:stop] = np.frombuffer(piece, np.uint8)[start - at : stop - at]
        at += len(piece)
        if at > wanted + _MOST_SURPLUS_BYTES:
            raise ValueError("it is far longer than its header says")
    if at < wanted:
        raise EOFError(f"the file ends after {max(at, 0)} of {wanted} bytes of voxels")
    values = content.view(number).reshape(size[::-1])
    if not number.isnative:
        values = values.byteswap(inplace=True).view(number.newbyteorder())
    scaled = math.isfinite(header.slope) and header.slope != 0 and (header.slope, header.inter) != (1, 0)
    if not scaled:
        return _as_floats(values, 1, 0) if values.dtype == np.float64 else values
    if not math.isfinite(header.inter):
        raise ValueError("its intensities' offset is no number")
    return _as_floats(values, header.slope, header.inter)


def _as_floats(values: np.ndarray, slope: float, inter: float) -> np.ndarray:
    result = np.empty(values.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes infinite, and is refused
        for plane, target in zip(values, result, strict=True):  # no full-size copy in float64
            target[...] = plane * np.float64(slope) + np.float64(inter)
    return result


def _placed(header: Header, size: tuple[int, ...], name: str) -> tuple[np.ndarray, list[str]]:
    """Give the affine from voxel index to RAS mm, (3, 4), and what the user should know of it."""
    stated = np.asarray(header.pixdim[1:])
    sform = header.sform if header.sform_code > 0 and _is_usable(header.sform) else None
    lengths = None if sform is None else np.linalg.norm(sform[:, :3], axis=0)
    agree = lengths is not None and np.allclose(np.abs(stated), lengths, rtol=_STATED_AGREES)
    if not agree:
        _check_lengths(stated, _MM.get(header.units, 1.0), name)
    if sform is not None and not agree and not is_sheared(sform[:, :3] / lengths):
        by_pixdim, by_sform = (
            "×".join(f"{abs(value):.3g}" for value in spacing) for spacing in (stated, np.linalg.norm(sform[:, :3], axis=0))
        )
        raise InputError(
            f"{name} has voxels of {by_pixdim} mm by its pixdim and {by_sform} mm by its sform; wanted one size: repair its header, "
            "because volumes depend on it."
        )
    qform = _qform(header) if header.qform_code > 0 else None
    affine = sform if sform is not None else qform if qform is not None else _unplaced(stated, size)
    factor, warnings = _unit(header.units, stated, name)
    if sform is not None and qform is not None:
        gap_mm = factor * _gap_mm(sform, qform, size)
        if gap_mm > _DIFFER_VOXELS * factor * np.abs(stated).min():
            warnings.append(
                f"{name} is placed in two ways, up to {gap_mm:.1f} mm apart: the sform was followed, as most tools do; "
                "a tool that follows the qform shows the result elsewhere."
            )
    if sform is None and qform is None:
        warnings.append(
            f"{name}'s header does not say where left, right, front and back are: it was read as SPM and nibabel do, "
            "with the first axis to the left; check the overview's sides."
        )
    return factor * affine, warnings


def _is_usable(affine: np.ndarray) -> bool:
    return bool(np.isfinite(affine).all() and np.linalg.norm(affine[:, :3], axis=0).min() > 0)


def _check_lengths(stated: np.ndarray, factor: float, name: str) -> None:
    if not any(_is_sensible(stated * share) for share in (factor, 1.0)):
        found = "×".join(f"{value:g}" for value in stated)
        raise InputError(
            f"{name} has voxels of {found} mm; wanted 0.1 to 3 mm on each axis: repair its header, or use a finer acquisition."
        )


def _is_sensible(lengths_mm: np.ndarray) -> bool:
    return bool(((lengths_mm >= _SENSIBLE_MM[0]) & (lengths_mm <= _SENSIBLE_MM[1])).all())  # NaN is not


def _unit(units: int, stated: np.ndarray, name: str) -> tuple[float, list[str]]:
    """Give the factor from the header's unit to mm, and a warning where the unit can not be true."""
    factor = _MM.get(units, 1.0)
    if factor == 1 or _is_sensible(np.abs(stated) * factor) or not _is_sensible(np.abs(stated)):
        return factor, []
    return 1.0, [f"{name}'s header gives lengths in {'meters' if units == 1 else 'micrometers'}, which can not be: they were taken as mm."]


def _qform(header: Header) -> np.ndarray | None:
    b, c, d = header.quaternion
    square = b * b + c * c + d * d
    if not math.isfinite(square) or not np.isfinite(header.qoffset).all():
        return None
    a = math.sqrt(max(1 - square, 0))
    if square > 1:  # rounding: a half turn
        b, c, d = (value / math.sqrt(square) for value in (b, c, d))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    lengths = np.abs(header.pixdim[1:]) * (1, 1, -1 if header.pixdim[0] < 0 else 1)
    return np.column_stack([turn * lengths, header.qoffset])


def _unplaced(stated: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Give the way of files that do not say how they lie: the first axis to the left, the origin in the middle."""
    axes = np.diag(np.abs(stated)) * (-1, 1, 1)
    return np.column_stack([axes, -axes @ (np.asarray(size) - 1) / 2])


def _gap_mm(first: np.ndarray, second: np.ndarray, size: tuple[int, ...]) -> float:
    """Give the largest distance between two places of one corner."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size])).reshape(3, -1)  # (3, 8)
    apart = (first - second)[:, :3] @ corners + (first - second)[:, 3:]
    return float(np.linalg.norm(apart, axis=0).max())


def _place(image: sitk.Image, affine: np.ndarray, stated: np.ndarray) -> None:
    """Give an image its place; the lengths as stated, which its affine repeats with a rounding, and a rotation without one."""
    lps = _LPS @ affine
    lengths_mm = np.linalg.norm(lps[:, :3], axis=0)
    direction = lps[:, :3] / lengths_mm
    uneven = np.abs(direction.T @ direction - np.eye(3)).max()
    if 0 < uneven <= SHEAR_TOLERANCE:
        u, _, v = np.linalg.svd(direction)
        direction = u @ v
    lengths_mm = np.where(np.abs(lengths_mm / stated - 1) < _SAME_LENGTH, stated, lengths_mm)
    image.SetSpacing(lengths_mm.tolist())
    image.SetDirection((direction + 0.0).ravel().tolist())  # -0 becomes 0
    image.SetOrigin((lps[:, 3] + 0.0).tolist())
