"""The files of one run: all of them or none."""

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from ..core.contract import HTML_REPORT, MASK, OVERVIEW, REPORT, SEGMENTATION, TRANSFORM, VOLUMES, probability_file
from ..core.json_text import to_json
from ..core.labels import TISSUES, to_iseg
from ..imaging.files import itk_name, write_image, write_text
from ..imaging.inputs import sha256_of
from ..imaging.resample import on_grid_of
from ..pipeline.report import Report
from ..pipeline.segmenter import Segmentation
from ..pipeline.volumes import to_csv
from .html_report import PICTURE_ALT, PICTURE_CAPTION, Picture, page_of, to_html
from .overview import load_drawing, try_overview, without_legend, write_overview
from .publishing import Staging, staged_folder

PROBABILITIES = {tissue.short_name: probability_file(tissue.short_name) for tissue in TISSUES}
ALL_NAMES = (
    SEGMENTATION,
    MASK,
    VOLUMES,
    OVERVIEW,
    TRANSFORM,
    *PROBABILITIES.values(),
    HTML_REPORT,
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
    html : bool
        Write the page to read and print.
    """

    save_probabilities: bool = False
    iseg_labels: bool = False
    html: bool = False


@contextlib.contextmanager
def staged_results(output_dir: str | Path, inputs: Mapping[str, Path] | None = None) -> Iterator[Staging]:
    """Give a hidden folder for the files of one run, see `publishing.staged_folder`.

    Parameters
    ----------
    output_dir : path
    inputs : mapping of str to Path, optional
        What must stay as it is, by what messages call it.

    Raises
    ------
    InputError
        If the results could not be written there.
    """
    with staged_folder(output_dir, ALL_NAMES, inputs) as staging:
        load_drawing()
        yield staging


def write_results(result: Segmentation, options: OutputOptions, folder: Path) -> list[str]:
    """Write the labels, mask, volumes and overview, T2's transform where it was moved, probabilities where asked; the report comes last.

    Returns
    -------
    list of str
        What could not be written though all else is.
    """
    labels = result.labels
    if options.iseg_labels:
        labels = on_grid_of(labels, to_iseg(sitk.GetArrayViewFromImage(labels)))
    write_image(labels, folder / SEGMENTATION)
    write_image(result.mask, folder / MASK)
    write_text(to_csv(result.volumes), folder / VOLUMES)
    warnings = try_overview(result, folder / OVERVIEW)
    if result.alignment is not None and result.alignment.transform is not None:
        sitk.WriteTransform(result.alignment.transform, itk_name(folder / TRANSFORM))
    if options.save_probabilities:
        for tissue in result.tissues:
            write_image(result.probability(tissue), folder / PROBABILITIES[tissue.short_name])
    return warnings


def write_report(report: Report, folder: Path) -> None:
    """Write a report as indented JSON, with the SHA-256 of each file beside it, by which a later edit is known."""
    outputs = {path.name: sha256_of([path]) for path in sorted(folder.iterdir()) if path.name in ALL_NAMES}
    write_text(to_json({**report.to_json(), "outputs": outputs}), folder / REPORT)


def keep_edited(staging: Staging) -> list[str]:
    """Keep what someone edited or put in place of an earlier run's files: the new files do not replace work.

    Returns
    -------
    list of str
        One sentence for each file, which names it.
    """
    written = _written(staging.output_dir / REPORT)
    present = [name for name in ALL_NAMES if name != REPORT and (staging.output_dir / name).is_file()]
    changed = [name for name in present if sha256_of([staging.output_dir / name]) != written.get(name)]
    return [f"{name} was not as an earlier run wrote it, and is kept as {staging.keep(name)}." for name in changed]


def _written(report: Path) -> dict[str, str]:
    """Give the SHA-256 of the files of an earlier run, where its report tells them."""
    try:
        outputs = json.loads(report.read_text(encoding="utf-8"))["outputs"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return outputs if isinstance(outputs, dict) else {}


def write_page(report: Report, folder: Path) -> None:
    """Write the page to read and print beside the overview picture, which it shows where there is one; the report comes after it."""
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    write_text(to_html(page_of(report.to_json(), _pictures(folder / OVERVIEW), made=made)), folder / HTML_REPORT)


def _pictures(overview: Path) -> list[Picture]:
    """Give the overview picture without its volumes, which the page tells itself."""
    if not overview.is_file():
        return []
    picture = without_legend(sitk.GetArrayFromImage(sitk.ReadImage(str(overview))))
    with tempfile.TemporaryDirectory(dir=overview.parent) as folder:
        cut = Path(folder) / OVERVIEW
        write_overview(picture, cut)
        return [Picture(cut.read_bytes(), PICTURE_ALT, PICTURE_CAPTION)]
