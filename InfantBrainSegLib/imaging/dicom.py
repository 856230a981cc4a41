"""DICOM in: a folder or a file of one series becomes an image; of the header only geometry and slice thickness stay.

Slices are ordered by where they lie, never by their names or numbers. No message or image holds a path, a name or an identifier
of the patient: exported folders are often called after the patient. Series UIDs are told only where one has to be chosen.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError, ran_out
from ..core.streams import silent_libraries
from .dicom_header import THICKNESS_KEY, Slice, read_header
from .files import GET_IT, check_image, check_path, is_link_to_nothing, quiet_itk
from .multiframe import look_at_voxels

MOST_LISTED = 10  # series in a message
_TELLING = (("0018|0081", "echo times, in ms"), ("0008|0008", "kinds of image"), ("0020|0012", "acquisitions"))  # what makes twins differ
_GRAY = ("MONOCHROME1", "MONOCHROME2")
MIN_STACK_MM = 1e-3  # from the first slice to the last: less is one place
MAX_UNEVEN_SHARE = 0.02  # of the distance of two slices; headers round to some 1e-4


def is_dicom(path: str | os.PathLike) -> bool:
    """Tell whether a path is a folder, to be searched for DICOM, or a DICOM file."""
    path = Path(path)
    if path.is_dir() or _is_index(path):
        return True
    return path.is_file() and _has_magic(path)


def _has_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _is_index(path: Path) -> bool:
    return path.name.upper() == "DICOMDIR" and path.is_file()


def files_of(path: Path) -> list[Path]:
    """Give the files among which a series is sought: those of a folder and the ones below it, or those beside a file."""
    return sorted(file for file in _all_of(path) if file.is_file())


def _all_of(path: Path) -> Iterator[Path]:
    return path.rglob("*") if path.is_dir() else path.parent.iterdir()


def find_series(path: Path, name: str, series: str | None = None) -> list[Slice]:
    """Find the one series of a DICOM file or of a folder with DICOM files.

    Parameters
    ----------
    path : Path
    name : "T1" or "T2", for messages
    series : Series Instance UID, needed where a folder holds several series

    Raises
    ------
    InputError
        If there is no series, or there are several to choose from.
    """
    if _is_index(path):
        raise InputError(f"{name} is a DICOMDIR, the list of what a disc holds; wanted the images: give the folder that holds them.")
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
        lacking = next((part.lacks for part in parts if part.lacks), "")
        if lacking:
            raise InputError(
                f"The DICOM series of {name} has no {lacking} in its headers, so sizes and places are unknown; "
                "wanted complete headers: export it again from the scanner or archive, without removing them."
            )
        cut_off = sum(part.cut_off for part in parts)
        if cut_off:
            raise InputError(
                f"The voxels of {cut_off} of {len(parts)} slices in the DICOM series of {name} are fewer than their headers say; "
                "wanted whole files: export or send the series again."
            )
        if any(part.photometric and part.photometric not in _GRAY for part in parts):
            raise InputError(f"The DICOM series of {name} has color voxels; wanted one number a voxel: export a grayscale image.")
        if len(parts) == 1:
            step_mm = parts[0].spacing_mm[2]
        else:
            parts, step_mm = _in_order(parts, name)
        with silent_libraries():
            image = _read(parts, name)
        image.SetSpacing((*parts[0].spacing_mm[:2], step_mm))
        image.SetOrigin(parts[0].origin_mm)
        image.SetDirection(parts[0].direction)
        return check_image(_bare(image, parts[0]), f"The DICOM series of {name}")


def _series_in(path: Path, name: str) -> dict[str, list[Slice]]:
    """Give the slices of each series; of each stack and echo where a series has several."""
    files = files_of(path)
    absent = sum(is_link_to_nothing(file) for file in _all_of(path))
    if absent:
        raise InputError(f"The folder of {name} holds {absent} link{'s' if absent > 1 else ''} to nothing; wanted files: {GET_IT}.")
    series: dict[str, list[Slice]] = {}
    for file in files:
        check_path(file, f"a file of {name}")
        packing = look_at_voxels(file).unknown_packing if _has_magic(file) else ""
        if packing:  # SimpleITK's own lines would follow
            raise InputError(
                f"A DICOM file of {name} is packed in a way that is not read here (transfer syntax {packing}); wanted plain voxels, "
                "or JPEG or RLE: export the series again without compression, or take such files out of the folder."
            )
        with contextlib.suppress(RuntimeError):  # no DICOM image: a DICOMDIR, a report, a text file
            uid, parts = read_header(file)
            series.setdefault(uid, []).extend(parts)
    unread = 0 if series else sum(_has_magic(file) for file in files)
    if unread:
        raise InputError(
            f"None of the {unread} DICOM files of {name} can be read as an image: they hold none, or their headers lack or garble what "
            "places it; wanted one series: choose another folder, or export it again."
        )
    if not series:
        raise InputError(f"The folder of {name} has no DICOM image among its {len(files)} files; wanted one series: check the folder.")
    return {key: parts for uid, all_parts in series.items() for key, parts in _apart(uid, all_parts).items()}


def _apart(uid: str, parts: list[Slice]) -> dict[str, list[Slice]]:
    """Set the stacks and echoes of one series apart, each called by what differs: "UID/stack-2", "UID/echo-96"."""
    stacks, echoes = {part.stack for part in parts}, {part.echo_ms for part in parts}
    found: dict[str, list[Slice]] = {}
    for part in parts:
        stack = f"/stack-{part.stack}" if len(stacks) > 1 else ""
        echo = f"/echo-{part.echo_ms}" if len(echoes) > 1 else ""
        found.setdefault("".join((uid + stack + echo).split()), []).append(part)
    return found


def _choose(series: dict[str, list[Slice]], path: Path, name: str, wanted: str | None) -> list[Slice]:
    option = f"--{name.lower()}-series UID (in a batch: in the column {name.lower()}_series)"
    if wanted is not None:
        if wanted in series:
            return series[wanted]
        named = {key: parts for key, parts in series.items() if key.startswith(f"{wanted}/")}
        if not named:
            raise InputError(f"The folder of {name} has no series {wanted}; it has {_listed(series)}: name one of them with {option}.")
        series = named
    if path.is_file():
        series = {key: parts for key, parts in series.items() if any(part.path == path for part in parts)}
        if not series:
            raise InputError(f"The DICOM file of {name} holds no image; wanted one with a slice: choose another, or its folder.")
    if len(series) == 1:
        return next(iter(series.values()))
    if len(series) > MOST_LISTED and all(len(parts) == 1 for parts in series.values()):
        raise InputError(
            f"The folder of {name} has {len(series)} series of one slice each; wanted one series: "
            "its export gave each slice a series of its own, so export it again with the scanner's Series Instance UID."
        )
    stacks = "stacks or echoes" if any("/" in key for key in series) else "series"
    holder = "file" if path.is_file() else "folder"
    raise InputError(f"The {holder} of {name} has {len(series)} {stacks}; wanted one: name it with {option}. They are {_listed(series)}.")


def _listed(series: dict[str, list[Slice]]) -> str:
    """List what there is to choose from, the series of most slices first."""
    order = sorted(series, key=lambda uid: (-len(series[uid]), uid))
    listed = [f"{uid} ({_described(series[uid])})" for uid in order[:MOST_LISTED]]
    return "; ".join([*listed, *([f"and {len(order) - MOST_LISTED} more"] if len(order) > MOST_LISTED else [])])


def _described(parts: list[Slice]) -> str:
    first = parts[0]
    count = len(parts)
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
    if len({part.photometric for part in parts}) > 1:
        raise InputError(
            f"The DICOM series of {name} has slices in which high values are bright (MONOCHROME2) and others in which they are dark "
            "(MONOCHROME1); wanted one kind: export it again."
        )
    parts = sorted(parts, key=lambda part: float(part.normal() @ part.origin_mm))
    along_mm = np.array([part.normal() @ part.origin_mm for part in parts])
    if along_mm[-1] - along_mm[0] < MIN_STACK_MM:
        raise InputError(
            f"The {len(parts)} slices of the DICOM series of {name} lie at one place by their headers; wanted one stack: choose another "
            "series, or export it again."
        )
    steps_mm = np.diff(along_mm)
    step_mm = float(np.median(steps_mm))
    if steps_mm.min() < MAX_UNEVEN_SHARE * max(step_mm, 1e-6) or step_mm <= 0:
        twice = steps_mm < MAX_UNEVEN_SHARE * max(step_mm, 1e-6)
        at = int(np.flatnonzero(twice)[np.count_nonzero(twice) // 2])  # in the middle: slices at the ends may be empty
        raise InputError(f"The DICOM series of {name} has several slices at one place; wanted one: {_why_twice(parts[at], parts[at + 1])}.")
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


def _why_twice(one: Slice, other: Slice) -> str:
    """Say by what two slices of one place differ, and what to do."""
    apart = "put the slices of one of them in a folder of their own"
    if one.frame is not None and one.path == other.path:
        return "one file holds them all, as echoes, times, or magnitude and phase: export one of these alone"
    unknown = f"it holds several echoes or times, so {apart}"
    if one.frame is not None or other.frame is not None:
        return unknown
    try:
        first, second = (sitk.ReadImage(str(part.path), imageIO="GDCMImageIO") for part in (one, other))
    except RuntimeError:
        return unknown
    for tag, kind in _TELLING:
        found = [image.GetMetaData(tag).strip() if image.HasMetaDataKey(tag) else "" for image in (first, second)]
        if found[0] != found[1]:
            values = " and ".join(text.rpartition("\\")[2] or "none" for text in sorted(found))
            return f"it holds several {kind} ({values}), so {apart}"
    if np.array_equal(sitk.GetArrayViewFromImage(first), sitk.GetArrayViewFromImage(second)):
        return "some slices are there twice, so remove the copies, whose names often end in (1) or copy"
    return unknown


def _read(parts: list[Slice], name: str) -> sitk.Image:
    """Read the voxels of slices in the order given."""
    try:
        if any(part.frame is not None for part in parts):
            return _read_frames(parts, name)
        if len(parts) == 1:
            return sitk.ReadImage(str(parts[0].path), imageIO="GDCMImageIO")
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileNames([str(part.path) for part in parts])
        reader.SetOutputPixelType(sitk.sitkFloat32)  # each slice may have its own slope
        return reader.Execute()
    except RuntimeError as error:  # its text would name the files
        if ran_out(error):
            raise MemoryError from None
        raise InputError(f"The voxels of the DICOM series of {name} cannot be read; wanted intact files: export it again.") from None


def _read_frames(parts: list[Slice], name: str) -> sitk.Image:
    """Read frames of one file or of several in the order given; SimpleITK knows one scale a file."""
    places: dict[Path, list[int]] = {}
    for place, part in enumerate(parts):
        places.setdefault(part.path, []).append(place)
    columns, rows = parts[0].size[:2]
    values = np.empty(0)
    for path, at in places.items():
        if len({parts[place].scale for place in at}) > 1:
            raise InputError(
                f"The frames of {name}'s DICOM file have different scales of brightness; wanted one: export it with one file a slice."
            )
        image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
        given = sitk.GetArrayViewFromImage(image).reshape(-1, rows, columns)  # (F, J, I)
        if not values.size:
            values = np.empty((len(parts), rows, columns), given.dtype if len(places) == 1 else np.float32)
        for place in at:
            values[place] = given[parts[place].frame or 0]
        del image, given
    return sitk.GetImageFromArray(values)


def _bare(image: sitk.Image, part: Slice) -> sitk.Image:
    """Drop the header, but for the slice thickness."""
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    if part.thickness:
        image.SetMetaData(THICKNESS_KEY, part.thickness)
    return image
