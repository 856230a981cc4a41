"""Where the voxels of a NIfTI file lie: one rule for all readers of this library.

The sform where its code is above 0, else the qform, else the way of SPM and nibabel: the first axis to the left, the origin in the middle.
"""

import math
import struct
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError
from .headers import spacing_remedy
from .nifti_header import Header

HEADER_KEY = "InfantBrainSeg|NIfTI"  # of an image's metadata: its file's transforms, which `restore_transforms` writes back
SHEAR_TOLERANCE = 1e-4  # of a unit direction vector; a rotation stored in float32 is good to 1e-6
_MM = {1: 1000.0, 3: 0.001}  # xyzt_units: meters, micrometers
_SENSIBLE_MM = (0.0999, 3.0001)  # what a voxel of a brain scan may measure
_STATED_AGREES = 0.01  # of pixdim and sform
_SAME_LENGTH = 1e-5  # of a voxel's edge: rounding of the header's float32
_DIFFER_VOXELS = 0.5  # between sform and qform, anywhere in the image
_MOST_QUATERNION = 1.01  # of a unit quaternion's parts: more is no rotation, and NaN is not less
_LPS = np.diag([-1.0, -1.0, 1.0])  # a NIfTI header is in RAS: the one sign outside `space`


def is_sheared(direction: np.ndarray) -> bool:
    """Tell whether axes are not at right angles.

    Parameters
    ----------
    direction : (3, 3) array, a unit vector in each column
    """
    return bool(np.abs(direction.T @ direction - np.eye(3)).max() > SHEAR_TOLERANCE)


def write_sform(path: Path, affine: np.ndarray) -> None:
    """Put a sheared geometry into a NIfTI-1 file that SimpleITK wrote; its nearest rotation stays as the qform.

    Parameters
    ----------
    path : Path of an unpacked file
    affine : (3, 4) array, from voxel index to LPS mm
    """
    with path.open("r+b") as file:
        file.seek(254)
        file.write(struct.pack("<h", 1))
        file.seek(280)
        file.write(struct.pack("<12f", *(_LPS @ affine).ravel()))


def restore_transforms(path: Path, kept: str) -> None:
    """Write a scan's qform, sform, their codes and its units into a NIfTI-1 file, so that each reader places both alike.

    Parameters
    ----------
    path : Path of an unpacked file that SimpleITK wrote on the scan's grid
    kept : str
        Of the scan's `HEADER_KEY`.
    """
    fields = kept.split()
    units, qform_code, sform_code = (int(word) for word in fields[:3])
    numbers = [float.fromhex(word) for word in fields[3:]]
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
    """
    fields = kept.split()
    units, qform_code, sform_code = (int(word) for word in fields[:3])
    numbers = [float.fromhex(word) for word in fields[3:]]
    rows = np.reshape(numbers[10:], (3, 4))
    header = Header(
        "<", "single", (), 0, 0, 0, 0, tuple(numbers[:4]), units, qform_code, sform_code, tuple(numbers[4:7]), tuple(numbers[7:10]), rows
    )
    size = image.GetSize()
    try:
        affine, _ = affine_of(header, size, "")
    except InputError:
        return False
    found = _LPS @ np.column_stack(
        [np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing()), np.asarray(image.GetOrigin())]
    )
    return _gap_mm(affine, found, size) < 0.01 * min(image.GetSpacing())


def has_sound_transforms(header: Header) -> bool:
    """Tell whether the transforms that a header claims to have are places at all."""
    return (header.sform_code <= 0 or _is_usable(header.sform)) and (header.qform_code <= 0 or _qform(header) is not None)


def affine_of(header: Header, size: tuple[int, ...], name: str) -> tuple[np.ndarray, list[str]]:
    """Say where a file's voxels lie, by the one rule of this module.

    Parameters
    ----------
    header : Header
    size : three ints
    name : what messages call the file

    Returns
    -------
    (3, 4) array, from voxel index to RAS mm; and warnings

    Raises
    ------
    InputError
        If the voxels' size is absurd, or the header contradicts itself.
    """
    stated = np.asarray(header.pixdim[1:])
    sform = header.sform if header.sform_code > 0 and _is_usable(header.sform) else None
    lengths = None if sform is None else np.linalg.norm(sform[:, :3], axis=0)
    agree = lengths is not None and np.allclose(np.abs(stated), lengths, rtol=_STATED_AGREES)
    if not agree:
        _check_lengths(stated, _MM.get(header.units, 1.0), name)
    if sform is not None and not agree and not _is_sheared_alone(sform[:, :3], stated):
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


def _is_sheared_alone(axes: np.ndarray, stated: np.ndarray) -> bool:
    """Tell whether axes are not at right angles, and span as much volume as the stated lengths do: a shear changes lengths, and no volume.

    Parameters
    ----------
    axes : (3, 3) array, an axis in each column
    stated : (3,) array
    """
    sheared = is_sheared(axes / np.linalg.norm(axes, axis=0))
    return sheared and bool(np.isclose(abs(np.linalg.det(axes)), abs(stated.prod()), rtol=3 * _STATED_AGREES))


def set_place(image: sitk.Image, affine: np.ndarray, stated: np.ndarray) -> None:
    """Give an image its place; the lengths as stated, which its affine repeats with a rounding, and a rotation without one.

    Parameters
    ----------
    image : sitk.Image
    affine : (3, 4) array, from voxel index to RAS mm
    stated : (3,) array
        The header's own lengths.
    """
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


def _is_usable(affine: np.ndarray) -> bool:
    return bool(np.isfinite(affine).all() and np.linalg.norm(affine[:, :3], axis=0).min() > 0)


def _check_lengths(stated: np.ndarray, factor: float, name: str) -> None:
    if not any(_is_sensible(stated * share) for share in (factor, 1.0)):
        found = "×".join(f"{value:g}" for value in stated)
        raise InputError(f"{name} has voxels of {found} mm; wanted 0.1 to 3 mm on each axis: {spacing_remedy(stated, name)}.")


def _is_sensible(lengths_mm: np.ndarray) -> bool:
    return bool(((lengths_mm >= _SENSIBLE_MM[0]) & (lengths_mm <= _SENSIBLE_MM[1])).all())  # NaN is not


def _unit(units: int, stated: np.ndarray, name: str) -> tuple[float, list[str]]:
    """Give the factor from the header's unit to mm, and a warning where the unit cannot be true."""
    factor = _MM.get(units, 1.0)
    if factor == 1 or _is_sensible(np.abs(stated) * factor) or not _is_sensible(np.abs(stated)):
        return factor, []
    return 1.0, [f"{name}'s header gives lengths in {'meters' if units == 1 else 'micrometers'}, which cannot be: they were taken as mm."]


def _qform(header: Header) -> np.ndarray | None:
    b, c, d = header.quaternion
    square = b * b + c * c + d * d
    if not square <= _MOST_QUATERNION or not np.isfinite(header.qoffset).all():
        return None
    a = math.sqrt(max(1 - square, 0))
    if square > 1:  # rounding: a half turn
        b, c, d = (value / math.sqrt(square) for value in (b, c, d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    lengths = np.abs(header.pixdim[1:]) * (1, 1, -1 if header.pixdim[0] < 0 else 1)
    return np.column_stack([rotation * lengths, header.qoffset])


def _unplaced(stated: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Give the way of files that do not say how they lie: the first axis to the left, the origin in the middle."""
    axes = np.diag(np.abs(stated)) * (-1, 1, 1)
    return np.column_stack([axes, -axes @ (np.asarray(size) - 1) / 2])


def _gap_mm(first: np.ndarray, second: np.ndarray, size: tuple[int, ...]) -> float:
    """Give the largest distance between two places of one corner."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size])).reshape(3, -1)  # (3, 8)
    apart = (first - second)[:, :3] @ corners + (first - second)[:, 3:]
    return float(np.linalg.norm(apart, axis=0).max())
