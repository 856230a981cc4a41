"""NIfTI and Analyze in, by what the bytes say: which file, packed or not, whole or cut off, and where its voxels lie.

The library's own reader, because SimpleITK opens `T1.nii` for the header of `T1.nii.gz` where both lie in one folder, reads a
cut-off or damaged file as if it were whole, and follows the qform where other tools follow the sform.
"""

import math
import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError
from .nifti_header import HEADER_BYTES, Header, parse_header
from .nifti_place import HEADER_KEY, affine_of, has_sound_transforms, set_place
from .unpacking import GZIP_MAGIC, unpacked

EXTENSIONS = (".nii.gz", ".nii", ".hdr", ".img")
_MOST_SURPLUS_BYTES = 1 << 30  # read behind the voxels for the sake of the checksum, not more
_MOST_PACKED = 1100  # deflate cannot shrink more than 1032 times
_NUMBERS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}  # by datatype
_SEVERAL = {32: "complex", 1792: "complex", 2048: "complex", 128: "color", 2304: "color"}


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
        If it is no 3D scalar image, its voxels' size is absurd or contradictory, or one of two files is not there.
    OSError, EOFError, ValueError, zlib.error
        If the file is damaged or no NIfTI or Analyze file.
    """
    head, data = _files_of(path, name)
    header = parse_header(_beginning(head))
    if (header.kind == "single") != (head == data):
        raise ValueError("its header is of another kind of file")
    size = _size(header, name)
    affine, warnings = affine_of(header, size, name)
    image = sitk.GetImageFromArray(_voxels(header, size, data))
    set_place(image, affine, np.abs(header.pixdim[1:]))
    if has_sound_transforms(header):  # others would spoil what is written on this grid
        image.SetMetaData(HEADER_KEY, header.transforms())
    return image, warnings


def stated_voxels(path: Path) -> int:
    """Count the voxels that will be read, by the header and by what the file can hold.

    Returns
    -------
    int, 0 for a file that will be refused

    Raises
    ------
    OSError, EOFError, ValueError, zlib.error
        If the header cannot be read.
    """
    try:
        head, data = _files_of(path, "")
        header = parse_header(_beginning(head))
        voxels = math.prod(_size(header, ""))
    except InputError:
        return 0
    return voxels if _holds(data, header.offset + voxels * _number_of(header).itemsize) else 0


def _number_of(header: Header) -> np.dtype:
    return np.dtype(header.order + _NUMBERS[header.datatype])


def _holds(path: Path, wanted: int) -> bool:
    """Tell whether a file is long enough for so many bytes of content, as far as its length tells."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size * (_MOST_PACKED if file.read(2) == GZIP_MAGIC else 1) >= wanted


def _files_of(path: Path, called: str) -> tuple[Path, Path]:
    """Give the file with the header and that with the voxels."""
    name = path.name
    if name.lower().endswith((".nii", ".nii.gz")):
        return path, path
    stem, ending = name[:-4], name[-4:]
    upper = ending.isupper()
    heads, images = (".hdr",), (".img", ".img.gz")
    found: list[Path] = []
    for endings in (heads, images):
        choices = [path] if ending.lower() in endings else [path.with_name(stem + (e.upper() if upper else e)) for e in endings]
        there = [choice for choice in choices if choice.is_file()]
        if not there:
            if found:
                parse_header(_beginning(found[0]))  # what is no header has no other half
            raise InputError(
                f"{called} is one of two files, and {' or '.join(endings)} of the same name is not beside it; "
                "wanted both: put them together."
            )
        found.append(there[0])
    return found[0], found[1]


def _beginning(path: Path) -> bytes:
    content = b""
    for piece in unpacked(path):
        content += piece[:HEADER_BYTES]
        if len(content) >= HEADER_BYTES:
            break
    return content


def _size(header: Header, name: str) -> tuple[int, int, int]:
    if header.datatype in _SEVERAL:
        raise InputError(f"{name} has {_SEVERAL[header.datatype]} voxels; wanted one number a voxel: export a grayscale image.")
    if header.datatype not in _NUMBERS:
        raise ValueError(f"its numbers are of an unknown type, {header.datatype}")
    size = header.dimensions
    frames = math.prod(size[3:])
    if len(size) > 4 and size[3] == 1 and frames > 1:  # NIfTI keeps the numbers of one voxel on the fifth axis
        raise InputError(f"{name} has {frames} numbers a voxel; wanted one number a voxel: export a grayscale image.")
    if frames > 1:
        raise InputError(f"{name} is {len(size)}D with {frames} frames; wanted one 3D image: extract one frame.")
    if len(size) < 3 or min(size[:3]) < 4:
        raise InputError(f"{name} has {'×'.join(map(str, size))} voxels; wanted a 3D volume: give the whole scan, not a slice.")
    return size[0], size[1], size[2]


def _voxels(header: Header, size: tuple[int, int, int], path: Path) -> np.ndarray:
    """Give the voxels, (K, J, I): the whole file is read and its checksum compared; one too short is refused before memory is taken."""
    number = _number_of(header)
    wanted = math.prod(size) * number.itemsize
    if not _holds(path, header.offset + wanted):
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
