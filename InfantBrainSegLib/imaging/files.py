"""Images in and out: reading with every check at the door, writing so that a file is whole or absent.

`sitk.Image` carries voxels and geometry through the library. SimpleITK's index order is (i, j, k) and its physical space is LPS;
`sitk.GetArrayFromImage` gives (k, j, i).
"""

import contextlib
import os
import tempfile
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError, ran_out
from .headers import check_voxels, lacks_spacing, spacing_remedy, stated_spacing_mm, unplaced_warning
from .headers import stated_voxels as header_voxels
from .nifti import EXTENSIONS as NIFTI_EXTENSIONS
from .nifti import read_nifti
from .nifti import stated_voxels as nifti_voxels
from .nifti_place import HEADER_KEY, is_sheared, places_alike, restore_transforms, write_sform
from .unpacking import pack

MIN_SPACING_MM = 0.1  # finer than any clinical MRI: a header in another unit
SPACING_SLACK_MM = 1e-4  # an oblique direction's rounding
MAX_SPACING_MM = 3.0  # cortex is 2 to 3 mm thick: thicker voxels cannot show it
DIRECTION_SLACK = 0.01  # of a direction's length, which is 1 but for rounding
MIN_DIRECTION_VOLUME = 0.2  # |determinant| of the unit axes: below it two axes nearly coincide
EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img")
GET_IT = "get what it stands for, for example with datalad get"
_PLACEHOLDERS = (b"/annex/objects/", b"version https://git-lfs.github.com/")  # how git-annex and Git LFS begin a file they did not fetch
_LISTED_EXTENSIONS = ", ".join(EXTENSIONS)


def read_image(path: str | os.PathLike, name: str | None = None) -> sitk.Image:
    """Read one 3D scalar image, or say in one line why it cannot be used.

    A NIfTI file is known by its bytes, and read by the library's own reader.

    Parameters
    ----------
    path : path of a NIfTI, NRRD, MetaImage or Analyze file
    name : what an error calls it in place of the path, which then stays unsaid

    Returns
    -------
    3D sitk.Image; 64-bit floats become 32-bit, other number types stay.

    Raises
    ------
    InputError
        If the file is missing, unreadable, not 3D, not scalar, or has NaN or infinite voxels or an absurd geometry.
    """
    return read_with_warnings(path, name)[0]


def read_with_warnings(path: str | os.PathLike, name: str | None = None) -> tuple[sitk.Image, list[str]]:
    """Read an image as `read_image` does, and tell what of its place is doubtful.

    Parameters
    ----------
    path : path of a NIfTI, NRRD, MetaImage or Analyze file
    name : what messages call it in place of the path, which then stays unsaid

    Returns
    -------
    3D sitk.Image, and warnings of one line each

    Raises
    ------
    InputError
        If the file cannot be used.
    """
    path = Path(path)
    called = str(path) if name is None else name
    _check_file(path, called)
    stated_mm = stated_spacing_mm(path)
    if stated_mm is not None:
        _check_spacing(stated_mm, called)
    warnings: list[str] = []
    try:
        if _extension(path) in NIFTI_EXTENSIONS:
            image, warnings = read_nifti(path, called)
        else:
            check_voxels(path, called)
            with quiet_itk():
                image = sitk.ReadImage(itk_name(path))
            if lacks_spacing(path):
                raise InputError(f"{called} has no voxel size in mm in its header, and volumes depend on it; wanted one: export it again.")
            warnings = unplaced_warning(path, called)
    except (RuntimeError, OSError, EOFError, ValueError, zlib.error) as error:
        if ran_out(error):
            raise MemoryError from error
        reason = f" ({_last_line(error)})" if name is None else ""  # it may hold the path
        raise InputError(
            f"{called} cannot be read as an image{reason}; wanted an intact {_LISTED_EXTENSIONS} file: export it again."
        ) from error
    return check_image(image, called), warnings


def stated_voxels(path: str | os.PathLike) -> int:
    """Count the voxels that will be read from an image file, by its header and its length, without reading them.

    Parameters
    ----------
    path : path of a NIfTI, NRRD, MetaImage or Analyze file

    Returns
    -------
    int, 0 for a file that will be refused
    """
    path = Path(path)
    if not path.is_file():  # a pipe would be waited for
        return 0
    try:
        return (nifti_voxels if _extension(path) in NIFTI_EXTENSIONS else header_voxels)(path)
    except (OSError, EOFError, ValueError, zlib.error):
        return 0


def check_image(image: sitk.Image, name: str) -> sitk.Image:
    """Check that an image is one finite 3D scalar volume with a sane geometry.

    Parameters
    ----------
    image : sitk.Image
    name : what to call it in an error

    Returns
    -------
    3D sitk.Image; 64-bit floats become 32-bit, other number types stay.

    Raises
    ------
    InputError
        If it is not.
    """
    image = _as_3d_scalar(image, name)
    _check_spacing(image.GetSpacing(), name)
    direction = np.reshape(image.GetDirection(), (3, 3))
    lengths = np.linalg.norm(direction, axis=0)
    if np.abs(lengths - 1).max() > DIRECTION_SLACK:
        raise InputError(
            f"{name} has axes of length {'×'.join(f'{length:.3g}' for length in lengths)} in its header; wanted 1 for each, because the "
            "voxels' size is stated apart: repair its header."
        )
    volume = abs(np.linalg.det(direction))
    if not volume >= MIN_DIRECTION_VOLUME:
        raise InputError(
            f"{name} has axes that nearly coincide (unit volume {volume:.3g}); wanted three distinct directions: repair its header."
        )
    if image.GetPixelID() == sitk.sitkFloat64:
        image = sitk.Cast(image, sitk.sitkFloat32)
    if image.GetPixelID() == sitk.sitkFloat32:  # slice by slice: no full-size copy
        _check_finite(sum(int(np.count_nonzero(~np.isfinite(plane))) for plane in sitk.GetArrayViewFromImage(image)), name)
    return image


def itk_name(path: str | os.PathLike) -> str:
    """Name a file for ITK, which on Windows opens no name with letters beyond ASCII: relative to where the process runs, if that helps."""
    text = str(path)
    if not text.isascii():
        with contextlib.suppress(ValueError):  # on another drive
            relative = os.path.relpath(text)
            return relative if relative.isascii() else text
    return text


def write_image(image: sitk.Image, path: str | os.PathLike) -> None:
    """Write an image so that the file is either whole or not there; a NIfTI keeps a sheared geometry,
    and the qform, sform and codes of the NIfTI scan on whose grid the image lies.

    Parameters
    ----------
    image : 3D sitk.Image
    path : where to; the extension names the format, as .nii.gz, .nii, .nrrd, .mha

    Raises
    ------
    InputError
        If the format is unknown, or the file cannot be written.
    """
    path = Path(path)
    extension = _extension(path)
    if extension not in (".nii.gz", ".nii", ".nrrd", ".mha"):
        raise InputError(f"{path} has no extension we write as one file; wanted .nii.gz, .nii, .nrrd or .mha: rename the output.")

    def write(temporary: Path) -> None:
        direction = np.reshape(image.GetDirection(), (3, 3))
        kept = image.GetMetaData(HEADER_KEY) if image.HasMetaDataKey(HEADER_KEY) else None
        kept = kept if kept is not None and places_alike(kept, image) else None
        if extension not in (".nii.gz", ".nii") or not (kept or is_sheared(direction)):
            with quiet_itk():
                sitk.WriteImage(image, itk_name(temporary), extension in (".nii.gz", ".nrrd", ".mha"))
            return
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            plain = Path(folder) / "image.nii"
            with quiet_itk():
                sitk.WriteImage(image, itk_name(plain))
            if kept:
                restore_transforms(plain, kept)
            else:
                write_sform(plain, index_to_physical(image)[:3])
            if extension == ".nii":
                os.replace(plain, temporary)
            else:
                pack(plain, temporary)

    _write_atomically(path, extension, write)


def write_text(text: str, path: str | os.PathLike) -> None:
    """Write a UTF-8 text file so that it is either whole or not there; what a file name can hold and UTF-8 cannot is escaped.

    A device or pipe, as /dev/stdout, takes the text and stays what it is.

    Parameters
    ----------
    text : str
    path : where to

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    path = Path(path)
    _write_atomically(path, path.suffix, lambda temporary: temporary.write_bytes(text.encode("utf-8", "backslashreplace")))


def check_path(path: str | os.PathLike, name: str) -> None:
    """Refuse a path that image libraries cannot be given.

    Parameters
    ----------
    path : path
    name : what to call it in an error

    Raises
    ------
    InputError
        If its bytes are not UTF-8.
    """
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"The path of {name} holds a byte that is not UTF-8; wanted plain letters: rename the file or folder.") from error


def is_link_to_nothing(path: str | os.PathLike) -> bool:
    """Tell whether a path is a link whose file or folder is not there, as in a dataset of which only the names were fetched."""
    return os.path.islink(path) and not os.path.exists(path)


def check_writable_folder(path: str | os.PathLike) -> Path:
    """Make sure a folder exists and takes a file; what it creates, if anything, is the folder itself.

    Parameters
    ----------
    path : the folder, made with its parents when missing

    Raises
    ------
    InputError
        If it is a file, or cannot be made or written.
    """
    folder = Path(path)
    check_path(folder, "the output folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"The output folder {folder} is a file; wanted a folder: choose another name.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"The output folder {folder} cannot be written ({error.strerror or error}): choose one you may write to."
        ) from error
    return folder


def describe_geometry(image: sitk.Image) -> dict[str, list]:
    """Give an image's grid as plain lists, for a report.

    Returns
    -------
    dict with size (voxels), spacing_mm, origin_mm (LPS) and direction (3 rows, LPS).
    """
    return {
        "size": list(image.GetSize()),
        "spacing_mm": list(image.GetSpacing()),
        "origin_mm": list(image.GetOrigin()),
        "direction": np.reshape(image.GetDirection(), (3, 3)).tolist(),
    }


def index_to_physical(image: sitk.Image) -> np.ndarray:
    """Give the affine from voxel index (i, j, k) to LPS mm.

    Returns
    -------
    (4, 4) float array
    """
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return affine


def same_grid(first: sitk.Image, second: sitk.Image) -> bool:
    """Tell whether two images share one grid: no voxel lies more than a hundredth of a voxel off."""
    if first.GetSize() != second.GetSize():
        return False
    to_first = np.linalg.inv(index_to_physical(first)) @ index_to_physical(second)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in first.GetSize()])).reshape(3, -1)  # (3, 8)
    return bool(np.abs(to_first[:3, :3] @ corners + to_first[:3, 3:] - corners).max() < 0.01)


def _check_file(path: Path, name: str) -> None:
    check_path(path, name)
    if is_link_to_nothing(path):
        raise InputError(f"{name} is a link to nothing; wanted an image file: {GET_IT}.")
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "is a device or a pipe" if path.exists() else "does not exist"
        raise InputError(f"{name} {found}; wanted an image file: check the path.")
    if _extension(path) is None:
        raise InputError(f"{name} has an unknown extension; wanted one of {_LISTED_EXTENSIONS}: convert it first.")
    with path.open("rb") as file:
        if file.read(64).startswith(_PLACEHOLDERS):
            raise InputError(f"{name} is a placeholder of git-annex or Git LFS; wanted an image file: {GET_IT}.")


def _extension(path: Path) -> str | None:
    return next((extension for extension in EXTENSIONS if path.name.lower().endswith(extension)), None)


def _check_spacing(spacing_mm: tuple[float, ...], name: str) -> None:
    low, high = MIN_SPACING_MM - SPACING_SLACK_MM, MAX_SPACING_MM + SPACING_SLACK_MM
    if not all(low <= value <= high for value in spacing_mm):  # NaN fails too
        found = "×".join(f"{value:g}" for value in spacing_mm)
        raise InputError(
            f"{name} has voxels of {found} mm; wanted {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm on each axis: "
            f"{spacing_remedy(spacing_mm, name)}."
        )


def _as_3d_scalar(image: sitk.Image, name: str) -> sitk.Image:
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{name} has {image.GetPixelIDTypeAsString()} voxels; wanted one number a voxel: export a grayscale image.")
    if "vector" in image.GetPixelIDTypeAsString():
        image = sitk.VectorIndexSelectionCast(image, 0)
    size = image.GetSize()
    if len(size) > 3 and all(n == 1 for n in size[3:]):
        image = sitk.Extract(image, [*size[:3], *[0] * (len(size) - 3)])
        size = image.GetSize()
    if len(size) > 3:
        raise InputError(f"{name} is {len(size)}D with {int(np.prod(size[3:]))} frames; wanted one 3D image: extract one frame.")
    if len(size) < 3 or min(size) < 4:
        raise InputError(f"{name} has {'×'.join(map(str, size))} voxels; wanted a 3D volume: give the whole scan, not a slice.")
    return image


def _check_finite(bad: int, name: str) -> None:
    if bad:
        raise InputError(f"{name} has {bad} NaN or infinite voxels; wanted finite numbers: replace them, by 0 outside the brain.")


def _last_line(error: Exception) -> str:
    """Give what matters of an error's text: ITK's ends with it."""
    text = str(error).strip()
    return text.splitlines()[-1].strip()[:160] if text else type(error).__name__


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's own warnings off stderr, which belongs to our one line."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _is_device(path: Path) -> bool:
    """Tell whether a path is a device, a pipe or a stream of the process, which a file in its place would take away from all."""
    is_stream = path.is_symlink() and path.absolute().parts[1:2] in (("dev",), ("proc",))  # as /dev/stdout, which may lead to a plain file
    return path.exists() and not path.is_dir() and (is_stream or not path.is_file())


def _write_atomically(path: Path, extension: str, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{uuid.uuid4().hex}{extension}")
    try:
        if _is_device(path):
            write(path)
            return
        write(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else _last_line(error)  # the whole text names our own file
        raise InputError(f"{path} cannot be written ({reason}): choose a folder that exists, has room and may be written to.") from error
    finally:
        temporary.unlink(missing_ok=True)
