"""Labelmaps in files against references: one pair, or two folders of them as a cohort."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..core.contract import SEGMENTATION_STEM
from ..core.errors import InputError
from ..core.labels import TISSUES, from_any
from ..imaging.files import EXTENSIONS, read_image, same_grid, write_text
from ..imaging.inputs import check_not_an_input
from ..imaging.masks import to_mask
from .metrics import TissueMetrics, evaluate_labels

Scores = dict[str, TissueMetrics]  # from a tissue's short name
METRICS = {
    "dice": "Dice",
    "average_surface_distance_mm": "ASD mm",
    "hausdorff_mm": "Hausdorff mm",
    "hausdorff95_mm": "HD95 mm",
    "modified_hausdorff_mm": "Dubuisson-Jain mm",
    "volume_ratio": "volume / reference",
}


def run_evaluate(prediction: Path, reference: Path, mask: Path | None = None, json_path: Path | None = None) -> str:
    """Compare two labelmaps, or two folders of labelmaps matched by name.

    Parameters
    ----------
    prediction, reference : Path
        Two files or two folders. Labels are ours or iSeg's. A prediction for `NAME.nii.gz` is `NAME` with any extension we read,
        or `NAME/segmentation` as `segment` writes it.
    mask : Path, optional
        Restricts both sides to its voxels over 0: a file, or a folder with the same names.
    json_path : Path, optional
        Where to write the same figures as JSON.

    Returns
    -------
    str
        The table to print.

    Raises
    ------
    InputError
        If a file cannot be used, grids differ, a reference has no prediction, or the JSON would replace an input.
    """
    prediction, reference = Path(prediction), Path(reference)
    mask = None if mask is None else Path(mask)
    for path, role in ((prediction, "prediction"), (reference, "reference"), (mask, "mask")):
        if path is not None and not path.exists():
            raise InputError(f"The {role} {path} does not exist; wanted a file or a folder: check the path.")
    if len({path.is_dir() for path in (prediction, reference, mask) if path is not None}) > 1:
        raise InputError("Files and folders are mixed; wanted either all files or all folders: give the same kind for each.")
    if json_path is not None:
        check_not_an_input(json_path, [path for path in (prediction, reference, mask) if path is not None])
    if reference.is_dir():
        cohort = evaluate_folders(prediction, reference, mask)
        table, report = cohort_table(cohort), _cohort_report(cohort)
    else:
        scores = evaluate_files(prediction, reference, mask)
        table, report = score_table(scores), {"tissues": _score_report(scores)}
    if json_path is not None:
        write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", json_path)
    return table


def evaluate_files(prediction: Path, reference: Path, mask: Path | None = None) -> Scores:
    """Measure one labelmap against one reference on the same grid.

    Returns
    -------
    dict
        From a tissue's short name to its `TissueMetrics`.

    Raises
    ------
    InputError
        If a file cannot be used or the grids differ.
    """
    wanted = read_image(reference)
    found = read_image(prediction)
    _check_grid(found, wanted, prediction, reference)
    inside = None
    if mask is not None:
        mask_image, _ = to_mask(read_image(mask), f"The mask {mask}")
        _check_grid(mask_image, wanted, mask, reference)
        inside = sitk.GetArrayViewFromImage(mask_image) > 0  # (Z, Y, X)
        if not inside.any():
            raise InputError(f"The mask {mask} is empty; wanted voxels over 0: give the brain's mask.")
    spacing_zyx_mm = wanted.GetSpacing()[::-1]
    return evaluate_labels(_labels(found, prediction), _labels(wanted, reference), spacing_zyx_mm, inside)


def _labels(image: sitk.Image, path: Path) -> np.ndarray:
    try:
        return from_any(sitk.GetArrayViewFromImage(image))  # (Z, Y, X)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _check_grid(image: sitk.Image, wanted: sitk.Image, path: Path, reference: Path) -> None:
    if not same_grid(image, wanted):
        raise InputError(
            f"{path} has {_grid(image)}, {reference} has {_grid(wanted)}; wanted one grid: resample the first onto the second."
        )


def _grid(image: sitk.Image) -> str:
    size, spacing, origin, direction = (
        separator.join(f"{value:.4g}" for value in values)
        for values, separator in (
            (image.GetSize(), "×"),
            (image.GetSpacing(), "×"),
            (image.GetOrigin(), ", "),
            (image.GetDirection(), " "),
        )
    )
    return f"{size} voxels of {spacing} mm from ({origin}) along [{direction}]"


def evaluate_folders(prediction: Path, reference: Path, mask: Path | None = None) -> dict[str, Scores]:
    """Measure every labelmap of a folder that has a reference.

    Parameters
    ----------
    prediction, reference : Path
        Folders; predictions without a reference are left out.
    mask : Path, optional
        Folder.

    Returns
    -------
    dict
        From a subject's name to its scores, in the order of names.

    Raises
    ------
    InputError
        If the reference folder holds no image, or one of them has no prediction or no mask.
    """
    references = _images_by_name(reference)
    if not references:
        raise InputError(f"{reference} holds no image; wanted labelmaps ({', '.join(EXTENSIONS)}): check the folder.")
    predictions = _images_by_name(prediction)
    masks = None if mask is None else _images_by_name(mask)
    for folder, images in ((prediction, predictions), (mask, masks)):
        missing = [] if images is None else [name for name in references if name not in images]
        if missing:
            listed = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
            raise InputError(f"{folder} lacks {len(missing)} of {len(references)} names ({listed}); wanted one file for each reference.")
    return {
        name: evaluate_files(predictions[name], path, None if masks is None else masks[name]) for name, path in sorted(references.items())
    }


def _images_by_name(folder: Path) -> dict[str, Path]:
    """From a subject's name to its file: `NAME.ext`, or `NAME/segmentation.ext`."""
    found: dict[str, Path] = {}
    for path in sorted([*folder.iterdir(), *folder.glob(f"*/{SEGMENTATION_STEM}.*")]):
        extension = next((ending for ending in EXTENSIONS if path.name.lower().endswith(ending)), None)
        if extension is None or not path.is_file() or path.name.startswith("."):
            continue
        name = path.name[: -len(extension)] if path.parent == folder else path.parent.name
        if name in found and {extension, found[name].suffix.lower()} == {".hdr", ".img"}:
            continue  # the two halves of one Analyze image
        if name in found:
            raise InputError(f"{found[name]} and {path} have one name; wanted one file for each subject: move one away.")
        found[name] = path
    return found


def score_table(scores: Scores) -> str:
    """Lay out one subject's scores.

    Parameters
    ----------
    scores : dict
        From `evaluate_files`.

    Returns
    -------
    str
        A header and one line a tissue.
    """
    rows = [["tissue", *METRICS.values(), ""]]
    rows += [[name, *(_number(getattr(score, key)) for key in METRICS), score.note] for name, score in scores.items()]
    return _layout(rows)


def cohort_table(cohort: dict[str, Scores]) -> str:
    """Lay out all subjects' scores and their mean (SD).

    Parameters
    ----------
    cohort : dict
        From `evaluate_folders`.

    Returns
    -------
    str
        One line for each subject and tissue, then one with mean (SD) for each tissue.
    """
    rows = [["subject", "tissue", *METRICS.values(), ""]]
    for subject, scores in cohort.items():
        rows += [[subject, name, *(_number(getattr(score, key)) for key in METRICS), score.note] for name, score in scores.items()]
    for tissue in TISSUES:
        summaries = [_summary(cohort, tissue.short_name, key) for key in METRICS]
        absent = max(len(cohort) - summary["subjects"] for summary in summaries)
        note = f"without {absent} of {len(cohort)} subjects" if absent else ""
        cells = [f"{_number(summary['mean'])} ({_number(summary['sd'])})" for summary in summaries]
        rows.append([f"mean (SD) of {len(cohort)}", tissue.short_name, *cells, note])
    return _layout(rows)


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _layout(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _summary(cohort: dict[str, Scores], short_name: str, key: str) -> dict:
    """Mean and sample SD over the subjects where the metric exists; None where there are too few."""
    values = [getattr(scores[short_name], key) for scores in cohort.values()]
    known = [value for value in values if not math.isnan(value)]
    return {
        "mean": float(np.mean(known)) if known else None,
        "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "subjects": len(known),
    }


def _score_report(scores: Scores) -> dict:
    """Give scores as plain values; JSON has no NaN, so a distance that does not exist is null."""
    return {
        name: {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(score).items()}
        for name, score in scores.items()
    }


def _cohort_report(cohort: dict[str, Scores]) -> dict:
    summary = {tissue.short_name: {key: _summary(cohort, tissue.short_name, key) for key in METRICS} for tissue in TISSUES}
    return {"subjects": {name: {"tissues": _score_report(scores)} for name, scores in cohort.items()}, "summary": summary}
