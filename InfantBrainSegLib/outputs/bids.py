"""The results of many subjects as one BIDS derivative dataset."""

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

import SimpleITK as sitk

from .. import __version__
from ..core.contract import COHORT, COHORT_PAGE, REVIEW
from ..core.errors import InputError
from ..core.json_text import to_json
from ..core.labels import TISSUES
from ..imaging.files import check_writable_folder, itk_name, write_image, write_text
from ..imaging.inputs import sha256_of
from ..pipeline.segmenter import Segmentation
from ..pipeline.volumes import TissueVolume
from .overview import try_overview

PROGRAM = "InfantBrainSeg"
BIDS_VERSION = "1.9.0"
DESCRIPTION = "dataset_description.json"
LABEL_TABLE = [
    {
        "index": tissue.value,
        "name": tissue.name,
        "abbreviation": tissue.short_name,
        "color": f"#{bytes(tissue.color).hex()}",
        "mapping": tissue.bids_index or "n/a",
    }
    for tissue in TISSUES
]
IGNORED = (
    COHORT,
    COHORT_PAGE,
    REVIEW,
    "*_stats.tsv",
    "*_xfm.tfm",
    "*_report.json",
    "*_overview.png",
    "*.edited-*",
    ".infantbrainseg-*",
)  # by a BIDS validator


class Names:
    """The file names of one scan's results.

    Parameters
    ----------
    name : str
        Tells the scan from all others: "sub-01_ses-1_run-2".
    stem : str
        What the names start with: "sub-01_ses-1_run-2_space-T1w".

    Attributes
    ----------
    labels, mask, volumes, overview, transform, report : str
        The transform is there only where T2 was moved.
    probabilities : dict
        From a tissue's short name.
    sidecars : dict
        From one of these images to the JSON beside it: the labels, the mask and the first probabilities, whose JSON is that of all.
    """

    def __init__(self, name: str, stem: str):
        self.labels = f"{stem}_dseg.nii.gz"
        self.mask = f"{stem}_desc-cerebrum_mask.nii.gz"
        self.volumes = f"{stem}_desc-volumes_stats.tsv"
        self.overview = f"{stem}_overview.png"
        self.transform = f"{name}_from-T2w_to-T1w_mode-image_xfm.tfm"
        self.report = f"{stem}_report.json"
        self.probabilities = {tissue.short_name: f"{stem}_label-{tissue.short_name}_probseg.nii.gz" for tissue in TISSUES}
        self.sidecars = {
            self.labels: f"{stem}_dseg.json",
            self.mask: f"{stem}_desc-cerebrum_mask.json",
            next(iter(self.probabilities.values())): f"{stem}_probseg.json",
        }

    @property
    def all(self) -> tuple[str, ...]:
        """Every name, the report's last: where it lies, all is there."""
        images = (self.labels, self.mask, *self.probabilities.values())
        return (*images, self.volumes, self.overview, self.transform, *self.sidecars.values(), self.report)


def prepare_dataset(output_dir: Path, source: Path) -> None:
    """Make the output folder a BIDS derivative dataset, or find that it is ours already.

    Parameters
    ----------
    output_dir : Path
    source : Path
        The BIDS folder or the CSV that is segmented.

    Raises
    ------
    InputError
        If the folder is the input itself, lies within one of its subjects, holds another dataset or cannot be written.
    """
    output, given = output_dir.resolve(), source.resolve()
    if given.is_dir() and (output == given or any(part.startswith("sub-") for part in _parts_below(output, given))):
        raise InputError(
            f"The output folder {output_dir} lies among the scans of {source}; wanted a folder of its own: "
            f"choose for example {source / 'derivatives' / PROGRAM.lower()}."
        )
    if (output_dir / COHORT).exists() and (output / COHORT).samefile(given):
        raise InputError(f"The table {source} would be replaced by the results' {COHORT}: rename it, or choose another output folder.")
    if any((output_dir / name).exists() for name in (COHORT, DESCRIPTION)) and not _is_ours(output_dir / DESCRIPTION):
        raise InputError(
            f"The output folder {output_dir} holds another dataset; wanted an empty one or one of {PROGRAM}'s: choose another."
        )
    check_writable_folder(output_dir)
    write_text(_description(given, output), output_dir / DESCRIPTION)
    write_text(_lookup_table(), output_dir / "dseg.tsv")
    write_text("".join(f"{pattern}\n" for pattern in IGNORED), output_dir / ".bidsignore")


def write_derivatives(result: Segmentation, names: Names, save_probabilities: bool, folder: Path) -> list[str]:
    """Write one scan's labels, mask, volumes and overview, T2's transform where it was moved, and the probabilities where asked.

    The report comes last, from the caller.

    Returns
    -------
    list of str
        What could not be written though all else is.
    """
    write_image(result.labels, folder / names.labels)
    write_image(result.mask, folder / names.mask)
    write_text(volume_table(result.volumes), folder / names.volumes)
    warnings = try_overview(result, folder / names.overview)
    if result.alignment is not None and result.alignment.transform is not None:
        sitk.WriteTransform(result.alignment.transform, itk_name(folder / names.transform))
    if save_probabilities:
        for tissue in result.tissues:
            write_image(result.probability(tissue), folder / names.probabilities[tissue.short_name])
    return warnings


def write_sidecars(names: Names, sources: Sequence[str], folder: Path) -> None:
    """Write what BIDS wants to know of the labels, the mask and the probabilities: no manual work, which scans, on whose grid.

    Parameters
    ----------
    names : Names
    sources : sequence of str
        URIs of T1, T2 and mask, as many as there are.
    folder : Path
        Where the images lie.
    """
    for image, sidecar in names.sidecars.items():
        if (folder / image).exists():
            content = {"Manual": False, "SpatialReference": sources[0], "Sources": list(sources)}
            if image == names.labels:
                content |= {"Description": "Discrete tissue labels of the cerebrum.", "LabelTable": LABEL_TABLE}
            if image == names.mask:
                what = "The cerebrum with its CSF that was segmented, without cerebellum and brainstem where these were taken out."
                content = {"Type": "ROI", "Description": what, **content}
            write_text(to_json(content), folder / sidecar)


def volume_table(volumes: list[TissueVolume]) -> str:
    """Write volumes as BIDS wants a table: tabs, and n/a for what is not known."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(TissueVolume)], delimiter="\t", lineterminator="\n")
    writer.writeheader()
    for volume in volumes:
        cells = {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(volume).items()}
        writer.writerow({name: "n/a" if value is None else value for name, value in cells.items()})
    return text.getvalue()


def _parts_below(path: Path, parent: Path) -> tuple[str, ...]:
    return path.relative_to(parent).parts if path.is_relative_to(parent) else ()


def _is_ours(description: Path) -> bool:
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        return any(entry["Name"] == PROGRAM for entry in content["GeneratedBy"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _description(source: Path, output: Path) -> str:
    content: dict[str, Any] = {
        "Name": "Infant brain tissue: cerebrospinal fluid, gray matter, white matter",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": PROGRAM, "Version": __version__, "Description": "Research use only; not a medical device."}],
    }
    if output.is_relative_to(source):  # from elsewhere the link would hold names of folders, which may be those of patients
        content["DatasetLinks"] = {"raw": Path(os.path.relpath(source, output)).as_posix()}
    content["SourceDatasets"] = [_source_dataset(source, content.get("DatasetLinks", {}).get("raw"))]
    return to_json(content)


def _source_dataset(source: Path, link: str | None) -> dict[str, str]:
    """Say what was segmented without the names of its folders: its DOI, the way there from within, or a checksum of what describes it."""
    told = source / DESCRIPTION if source.is_dir() else source
    try:
        described = json.loads(told.read_text(encoding="utf-8"))
        if isinstance(described, dict) and isinstance(described.get("DatasetDOI"), str):
            return {"DOI": described["DatasetDOI"]}
    except (OSError, ValueError):
        pass
    if link is not None:
        return {"URL": link}
    return {"URL": f"hash://sha256/{sha256_of([told])}"} if told.is_file() else {"Version": "n/a"}


def _lookup_table() -> str:
    lines: list[list[Any]] = [list(LABEL_TABLE[0]), *(list(row.values()) for row in LABEL_TABLE)]
    return "".join("\t".join(map(str, line)) + "\n" for line in lines)


def bids_uri(path: Path, root: Path) -> str:
    """Name a file of the BIDS folder that is segmented."""
    return f"bids:raw:{quote(path.relative_to(root).as_posix())}"
