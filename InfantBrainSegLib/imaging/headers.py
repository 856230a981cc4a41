"""What SimpleITK does not tell or keep of a file's header: the spacing as stated, and a sheared sform.

SimpleITK reads a NIfTI file that was cut off, or has NaN voxels, as if they were 0. It refuses one whose
sform is sheared, or takes its qform instead without a word, and writes the nearest rotation.
"""

import gzip
import math
import re
import struct
import tempfile
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
import SimpleITK as sitk

SHEAR_TOLERANCE = 1e-4  # of a unit direction vector; a rotation stored in float32 is good to 1e-6
_FLOAT32_CODE, _FLOAT64_CODE = 16, 64  # NIfTI's datatype field
_CHUNK_BYTES = 1 << 22  # a whole number of floats
_HEADER_BYTES = 4096  # holds a NIfTI-1 (348), NIfTI-2 (540), Analyze (348) or MetaImage header


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")


def _header(path: Path) -> bytes:
    try:
        with _opened(path) as file:
            return file.read(_HEADER_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""


def _unpacked(path: Path) -> bytearray:
    content = path.read_bytes()
    return bytearray(gzip.decompress(content) if path.name.lower().endswith(".gz") else content)


def _nifti_layout(header: bytes | bytearray) -> tuple[str, int] | None:
    """Give a NIfTI or Analyze header's byte order and size (348, or 540 for NIfTI-2)."""
    for order in "<>":
        if len(header) >= 348 and struct.unpack_from(f"{order}i", header)[0] == 348:
            return order, 348
        if len(header) >= 540 and struct.unpack_from(f"{order}i", header)[0] == 540:
            return order, 540
    return None


def stated_spacing_mm(path: Path) -> tuple[float, ...] | None:
    """Read the spacing the header states, which SimpleITK mends without a word: 0 becomes 1, a negative one becomes a flip.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of 3 floats, or None where the format has no such field
    """
    name = path.name.lower()
    if name.endswith((".mha", ".mhd")):
        found = re.search(rb"ElementSpacing\s*=\s*([^\r\n]+)", _header(path))
        try:
            return tuple(float(word) for word in found.group(1).split()[:3]) if found else None
        except ValueError:
            return None
    if name.endswith((".nii.gz", ".nii", ".hdr", ".img")):
        header = _header(path if not name.endswith(".img") else path.with_suffix(".hdr"))
        layout = _nifti_layout(header)
        if layout is not None:
            order, size = layout
            return struct.unpack_from(f"{order}3f", header, 80) if size == 348 else struct.unpack_from(f"{order}3d", header, 112)
    return None


def count_bad_voxels(path: Path) -> int:
    """Count the NaN and infinite voxels of a NIfTI or Analyze file, and make sure that all its voxels are there.

    Parameters
    ----------
    path : Path

    Returns
    -------
    int, 0 for other formats

    Raises
    ------
    EOFError
        If the file ends too early.
    """
    name = path.name.lower()
    pair = name.endswith((".hdr", ".img"))
    layout = _nifti_layout(_header(path.with_suffix(".hdr") if pair else path)) if pair or name.endswith((".nii", ".nii.gz")) else None
    if layout is None:
        return 0
    order, size = layout
    header = _header(path.with_suffix(".hdr") if pair else path)
    if size == 348:
        dimensions, offset = struct.unpack_from(f"{order}8h", header, 40), int(struct.unpack_from(f"{order}f", header, 108)[0])
    else:
        dimensions, offset = struct.unpack_from(f"{order}8q", header, 16), struct.unpack_from(f"{order}q", header, 168)[0]
    kind, bits = struct.unpack_from(f"{order}2h", header, 70 if size == 348 else 12)
    wanted = math.prod(max(n, 1) for n in dimensions[1 : dimensions[0] + 1]) * bits // 8
    number = {_FLOAT32_CODE: np.dtype(f"{order}f4"), _FLOAT64_CODE: np.dtype(f"{order}f8")}.get(kind)
    found, bad = 0, 0
    with _opened(path.with_suffix(".img") if pair else path) as file:
        file.read(max(offset, 0))
        while found < wanted and (chunk := file.read(min(_CHUNK_BYTES, wanted - found))):
            found += len(chunk)
            if number is not None and len(chunk) % number.itemsize == 0:
                bad += int(np.count_nonzero(~np.isfinite(np.frombuffer(chunk, number))))
    if found < wanted:
        raise EOFError(f"the file ends after {found} of {wanted} bytes of voxels")
    return bad


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


def sheared_sform(path: Path) -> np.ndarray | None:
    """Give a NIfTI file's sform if it is in use and its axes are not at right angles.

    Parameters
    ----------
    path : Path

    Returns
    -------
    (3, 4) array, from voxel index to RAS mm, or None
    """
    found = _sform(path)
    return found[0] if found is not None and is_sheared(found[0][:, :3] / found[1]) else None


def sform_spacing_mm(path: Path) -> tuple[float, ...] | None:
    """Read the voxel size that an sform in use gives; SimpleITK takes that of the field `pixdim` and the sform's directions.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of 3 floats, or None where there is no such sform
    """
    found = _sform(path)
    return None if found is None else tuple(float(length) for length in found[1])


def _sform(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Give an sform in use, (3, 4), and the lengths of its columns, (3,)."""
    header = _header(path) if path.name.lower().endswith((".nii", ".nii.gz")) else b""
    layout = _nifti_layout(header)
    if layout is None:
        return None
    order, size = layout
    code, rows = ("h", "12f") if size == 348 else ("i", "12d")
    if struct.unpack_from(order + code, header, 254 if size == 348 else 348)[0] <= 0:
        return None
    sform = np.array(struct.unpack_from(order + rows, header, 280 if size == 348 else 400)).reshape(3, 4)
    lengths_mm = np.linalg.norm(sform[:, :3], axis=0)
    if not np.isfinite(sform).all() or lengths_mm.min() == 0:
        return None
    return sform, lengths_mm


def read_with_sform(path: Path, sform: np.ndarray) -> sitk.Image:
    """Read the voxels with the header's orientation codes cleared, then set the sform's geometry.

    Parameters
    ----------
    path : Path of a NIfTI file
    sform : (3, 4) array of `sheared_sform`

    Returns
    -------
    sitk.Image
    """
    content = _unpacked(path)
    order, size = _nifti_layout(content) or ("<", 348)
    struct.pack_into(f"{order}2h" if size == 348 else f"{order}2i", content, 252 if size == 348 else 344, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        cleared = Path(folder) / "cleared.nii"
        cleared.write_bytes(content)
        image = sitk.ReadImage(str(cleared))
    if image.GetDimension() != 3:
        return image  # refused by the caller, who names the dimension
    lps = np.diag([-1.0, -1.0, 1.0]) @ sform
    lengths_mm = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(lengths_mm.tolist())
    image.SetDirection((lps[:, :3] / lengths_mm).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    return image


def replace_sform(path: Path, sform: np.ndarray) -> None:
    """Put a sheared geometry into a NIfTI-1 file that SimpleITK wrote; its nearest rotation stays as the qform.

    Parameters
    ----------
    path : Path
    sform : (3, 4) array, from voxel index to RAS mm
    """
    content = _unpacked(path)
    struct.pack_into("<h", content, 254, 1)
    struct.pack_into("<12f", content, 280, *sform.ravel())
    path.write_bytes(gzip.compress(content) if path.name.lower().endswith(".gz") else content)
