"""The files of one run: all of them or none."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ..core.contract import MASK, OVERVIEW, REPORT, SEGMENTATION, TRANSFORM, VOLUMES, probability_file
from ..core.errors import InputError
from ..core.labels import TISSUES, to_iseg
from ..imaging.files import check_writable_folder, write_image, write_text
from ..imaging.resample import on_grid_of
from ..pipeline.report import Report
from ..pipeline.segmenter import Segmentation
from ..pipeline.volumes import to_csv
from .overview import draw_overview, write_overview

PROBABILITIES = {tissue.short_name: probability_file(tissue.short_name) for tissue in TISSUES}
ALL_NAMES = (
    SEGMENTATION,
    MASK,
    VOLUMES,
    OVERVIEW,
    TRANSFORM,
    *PROBABILITIES.values(),
    REPORT,
)  # the report last: where it lies, all is there


@dataclass(frozen=True)
class OutputOptions:
    """Which files, and in which numbers.

    Attributes
    ----------
    save_probabilities : bool
        Write one probability map for each tissue.
    iseg_labels : bool
        Write 0, 10, 150, 250 in place of 0, 1, 2, 3.
    """

    save_probabilities: bool = False
    iseg_labels: bool = False


@contextlib.contextmanager
def staged_folder(output_dir: str | Path, names: Sequence[str] = ALL_NAMES) -> Iterator[Path]:
    """Give a temporary folder whose files move into `output_dir` when the block ends well, and vanish when it does not.

    The temporary folder lies on the output's own file system. Our files of an earlier run in `output_dir` that the new run does not write
    are removed, so that what lies there belongs together; other files stay. Nothing is left behind on failure, not even an empty folder.

    Parameters
    ----------
    output_dir : path
    names : sequence of str
        Our files; the last one is removed first and comes last, so that it never lies beside another run's files.

    Raises
    ------
    InputError
        If the folder can not be made or written.
    """
    output_dir = Path(output_dir).absolute()
    if output_dir.exists() or output_dir.is_symlink():
        check_writable_folder(output_dir)
    nearest = next(folder for folder in (output_dir, *output_dir.parents) if folder.exists())
    try:
        staging = Path(tempfile.mkdtemp(dir=nearest, prefix=".infantbrainseg-"))
    except OSError as error:
        raise InputError(
            f"The output folder {output_dir} can not be made in {nearest} ({error.strerror or error}): choose one you may write to."
        ) from error
    try:
        yield staging
        check_writable_folder(output_dir)
        _publish(staging, output_dir, names)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish(staging: Path, output_dir: Path, names: Sequence[str]) -> None:
    fresh = {path.name for path in staging.iterdir()}
    (output_dir / names[-1]).unlink(missing_ok=True)
    for name in names:
        if name in fresh:
            os.replace(staging / name, output_dir / name)
        else:
            (output_dir / name).unlink(missing_ok=True)


def write_results(result: Segmentation, options: OutputOptions, folder: Path) -> None:
    """Write the labels, mask, volumes and overview, T2's transform where it was moved, probabilities where asked; the report comes last.

    Parameters
    ----------
    result : Segmentation
    options : OutputOptions
    folder : Path
    """
    labels = result.labels
    if options.iseg_labels:
        labels = on_grid_of(labels, to_iseg(sitk.GetArrayViewFromImage(labels)))
    write_image(labels, folder / SEGMENTATION)
    write_image(result.mask, folder / MASK)
    write_text(to_csv(result.volumes), folder / VOLUMES)
    write_overview(draw_overview(result.t1, result.t2, result.labels, result.volumes), folder / OVERVIEW)
    if result.alignment is not None and result.alignment.transform is not None:
        sitk.WriteTransform(result.alignment.transform, str(folder / TRANSFORM))
    if options.save_probabilities:
        for tissue in TISSUES:
            write_image(result.probability(tissue), folder / PROBABILITIES[tissue.short_name])


def write_report(report: Report, folder: Path) -> None:
    """Write a report as indented JSON.

    Parameters
    ----------
    report : Report
    folder : Path
    """
    write_text(json.dumps(report.to_json(), indent=2) + "\n", folder / REPORT)
