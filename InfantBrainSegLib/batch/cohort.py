"""The table of a batch: one row for each scan of the input, whether it has a result, and what is in it."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from ..core.check import STOP, WARN, Check
from ..core.contract import OK, REASON_COLUMN, SCAN_COLUMN, STATUS_COLUMN
from ..core.labels import TISSUES
from ..imaging.inputs import Input
from ..networks.weights import STAGES
from ..outputs.bids import Names
from ..pipeline.report import Report
from .subjects import Scan

Row = dict[str, str]

SEPARATOR = " | "  # within a cell
_TISSUES = [tissue.short_name.lower() for tissue in TISSUES]
COLUMNS = (
    *("subject", "session", SCAN_COLUMN, STATUS_COLUMN, REASON_COLUMN),
    *("verdict", "checks_warn", "checks_stop", "review", "review_note"),
    *(f"{tissue}_ml" for tissue in _TISSUES),
    *(f"{tissue}_fraction" for tissue in _TISSUES),
    *("mean_confidence", *(f"{tissue}_confidence" for tissue in _TISSUES)),
    *("age_months", "warnings", "seconds", "device", "segmentation", "t1", "t2", "mask"),
    *(f"weights_{stage}_sha256" for stage in STAGES),
    "version",
)


def names_of(scan: Scan) -> Names:
    """Give the file names of a scan's results."""
    return Names(scan.name, scan.stem)


def row_of(scan: Scan, source: Path, status: str, **cells: str) -> Row:
    """Give the row of a scan.

    Parameters
    ----------
    scan : Scan
    source : Path
        The BIDS folder, to which its files' paths are relative, or a CSV, whose own paths are not told again.
    status : "ok", "failed" or "pending"
    cells : str, by column
    """
    inputs = {role: _described(given, source) for role, given in scan.inputs.items()}
    age = "" if scan.age.months is None else f"{scan.age.months:.4g}"
    cells["warnings"] = SEPARATOR.join(filter(None, (cells.get("warnings"), scan.age.note)))
    return {
        "subject": scan.subject,
        "session": scan.session,
        SCAN_COLUMN: scan.name,
        STATUS_COLUMN: status,
        "age_months": age,
        **inputs,
        **cells,
    }


def row_with_result(scan: Scan, source: Path, report: Report, notes: list[str]) -> Row:
    """Give the row of a scan that is segmented.

    Parameters
    ----------
    scan : Scan
    source : Path
    report : Report
    notes : list of str
        More for the column warnings.
    """
    cells = {
        "verdict": report.verdict.decision,
        "checks_warn": _names(report.checks, WARN),
        "checks_stop": _names(report.checks, STOP),
        "mean_confidence": f"{report.verdict.mean_confidence:.4f}",
        "warnings": SEPARATOR.join([*report.warnings, *notes]),
        "seconds": f"{report.seconds['total']:.1f}",
        "device": report.device["used"],
        "segmentation": (scan.folder / names_of(scan).labels).as_posix(),
        "version": report.versions["InfantBrainSeg"],
        **{f"weights_{stage}_sha256": report.weights[stage]["sha256"] for stage in STAGES if stage in report.weights},
    }
    for volume in report.volumes:
        tissue, confidence = volume.tissue.lower(), volume.mean_confidence
        cells[f"{tissue}_ml"] = f"{volume.volume_ml:.3f}"
        cells[f"{tissue}_fraction"] = f"{volume.fraction:.4f}"
        cells[f"{tissue}_confidence"] = "" if confidence is None else f"{confidence:.4f}"
    return row_of(scan, source, OK, **cells)


def to_csv(rows: Iterable[Row]) -> str:
    """Lay rows out as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _names(checks: tuple[Check, ...], status: str) -> str:
    return SEPARATOR.join(check.name for check in checks if check.status == status)


def _described(given: Input, source: Path) -> str:
    """Say which file it is without a name that may be a patient's: BIDS names hold labels alone."""
    if given.path.is_relative_to(source):
        return given.path.relative_to(source).as_posix()
    return "folder" if os.path.isdir(given.path) else "file"
