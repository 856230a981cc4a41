"""Many subjects, one after the other: goes on after a stop and past a bad subject, and keeps one table of all of them."""

import csv
import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from . import __version__
from .derivatives import COHORT, Names, prepare_dataset, set_aside, write_derivatives, write_sidecars
from .device import resolve_device
from .errors import InfantBrainSegError, in_words
from .images import read_image, write_text
from .labels import TISSUES, from_any
from .outputs import staged_folder
from .progress import Progress, part_of, silent
from .report import Steps, peak_memory_mb
from .segment import Segmentation, SegmentOptions, segment
from .subjects import Scan, find_scans
from .weights import STAGES, load_network

Segmenter = Callable[[sitk.Image, sitk.Image, sitk.Image | None, SegmentOptions, Progress], Segmentation]
Row = dict[str, str]

OK, FAILED, PENDING = "ok", "failed", "pending"
_TISSUES = [tissue.short_name.lower() for tissue in TISSUES]
COLUMNS = (
    *("subject", "session", "scan", "status", "reason"),
    *(f"{tissue}_ml" for tissue in _TISSUES),
    *(f"{tissue}_fraction" for tissue in _TISSUES),
    *(f"{tissue}_confidence" for tissue in _TISSUES),
    *("warnings", "seconds", "device", "segmentation", "t1", "t2", "mask"),
    *(f"weights_{stage}_sha256" for stage in STAGES),
    "version",
)


@dataclass(frozen=True)
class BatchOptions:
    """How to segment many subjects.

    Attributes
    ----------
    segment : SegmentOptions
    save_probabilities : bool
        Write one probability map for each tissue.
    redo : bool
        Segment again what is finished.
    """

    segment: SegmentOptions = field(default_factory=SegmentOptions)
    save_probabilities: bool = False
    redo: bool = False


def run_batch(
    source: str | Path,
    output_dir: str | Path,
    options: BatchOptions | None = None,
    progress: Progress = silent,
    segmenter: Segmenter = segment,
) -> list[Row]:
    """Segment each scan of a BIDS folder or a CSV that is not finished, and write a BIDS derivative dataset.

    A scan is finished when its report lies in the output and was made from the same input files with the same weights, options and
    version, and every file that the report lists is there. A labelmap that was edited since counts as finished, with a warning.

    Parameters
    ----------
    source : path
        As `find_scans` takes it.
    output_dir : path
        Gets the results, and `cohort.csv` with one row a scan of `source`, written anew after each.
    options : BatchOptions, optional
    progress : Progress
        Told "sub-01: stage 1" and the share of the whole batch that is done.
    segmenter : callable
        Called as `segment` is.

    Returns
    -------
    list of dict
        The rows of `cohort.csv`; the status is "ok" or "failed".

    Raises
    ------
    InfantBrainSegError
        If nothing can be segmented: no subject, an unusable output folder, device or weights. A bad subject raises nothing.
    """
    batch = _Batch(Path(source).absolute(), Path(output_dir).absolute(), options or BatchOptions(), segmenter)
    return batch.run(progress)


class _Batch:
    """One run over all scans."""

    def __init__(self, source: Path, output_dir: Path, options: BatchOptions, segmenter: Segmenter):
        self._source = source
        self._output_dir = output_dir
        self._options = options
        self._segmenter = segmenter
        self._scans = find_scans(source)
        self._settings = _settings(options.segment)

    def run(self, progress: Progress) -> list[Row]:
        prepare_dataset(self._output_dir, self._source)
        rows = {scan.name: self._row_before(scan) for scan in self._scans}
        self._write_table(rows)
        waiting = [scan for scan in self._scans if rows[scan.name]["status"] == PENDING]
        for done, scan in enumerate(waiting):
            inside = _named(part_of(progress, done / len(waiting), (done + 1) / len(waiting)), scan.name)
            rows[scan.name] = self._attempt(scan, inside)
            self._write_table(rows)
        progress("done", 1.0)
        return list(rows.values())

    def _row_before(self, scan: Scan) -> Row:
        """Give a scan's row before this run: ok when finished, failed when it can not be tried."""
        if scan.reason:
            return _row(scan, FAILED, reason=scan.reason)
        report = None if self._options.redo else self._finished(scan)
        if report is None:
            return _row(scan, PENDING)
        notes = [f"{Names(scan).labels} was edited after the run; the volumes are those before."] if self._is_edited(scan) else []
        return _row_ok(scan, report, notes)

    def _attempt(self, scan: Scan, progress: Progress) -> Row:
        started = time.perf_counter()
        try:
            report, notes = self._segment(scan, progress)
        except Exception as error:  # whatever is wrong with one scan, the others get their turn
            reason = in_words(error)
            if (self._folder(scan) / Names(scan).report).exists():
                reason += " The results of an earlier run still lie there."
            return _row(scan, FAILED, reason=reason, seconds=f"{time.perf_counter() - started:.1f}")
        return _row_ok(scan, report, notes)

    def _segment(self, scan: Scan, progress: Progress) -> tuple[dict[str, Any], list[str]]:
        """Segment one scan; give its report, and what else its row should say."""
        names, target, steps = Names(scan), self._folder(scan), Steps(progress)
        paths = _inputs(scan)
        with steps("read"):
            images = {role: read_image(path) for role, path in paths.items()}
            inputs = {role: _describe(path) for role, path in paths.items()}
        with staged_folder(target, names.all) as folder:
            result = self._segmenter(images["t1"], images["t2"], images.get("mask"), self._options.segment, progress)
            with steps("write"):
                write_derivatives(result, scan, self._options.save_probabilities, folder)
                write_sidecars(scan, self._source, folder)
            seconds = {"read": steps.seconds["read"], **result.report["seconds"], "write": steps.seconds["write"]}
            report = {
                "inputs": {role: str(path) for role, path in paths.items()},
                **result.report,
                "seconds": {**seconds, "total": round(sum(seconds.values()), 3)},
                "peak_memory_mb": peak_memory_mb(),
                "batch": {
                    "settings": self._settings,
                    "probabilities": self._options.save_probabilities,
                    "inputs": inputs,
                    "outputs": {path.name: _describe(path) for path in sorted(folder.iterdir())},
                },
            }
            write_text(json.dumps(report, indent=2) + "\n", folder / names.report)
            aside = [set_aside(target / names.labels).name] if self._is_edited(scan) else []
        return report, [f"The edited labels of an earlier run are kept as {name}." for name in aside]

    def _finished(self, scan: Scan) -> dict[str, Any] | None:
        """Give the report of a finished scan."""
        report = _read_report(self._folder(scan) / Names(scan).report)
        record, paths = report.get("batch", {}), _inputs(scan)
        same_run = (
            record.get("settings") == self._settings
            and record["probabilities"] >= self._options.save_probabilities
            and record["inputs"].keys() == paths.keys()
            and all(_is_same(path, record["inputs"][role]) for role, path in paths.items())
        )
        if not same_run:
            return None
        changed = [name for name, was in record["outputs"].items() if not _is_same(self._folder(scan) / name, was)]
        return report if not changed or (changed == [Names(scan).labels] and self._is_edited(scan)) else None

    def _is_edited(self, scan: Scan) -> bool:
        """Whether the labels are a sound labelmap, and no more the one that their report tells of."""
        folder, name = self._folder(scan), Names(scan).labels
        was = _read_report(folder / Names(scan).report).get("batch", {}).get("outputs", {}).get(name)
        return was is not None and not _is_same(folder / name, was) and _is_labelmap(folder / name)

    def _folder(self, scan: Scan) -> Path:
        return self._output_dir / scan.folder

    def _write_table(self, rows: dict[str, Row]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
        write_text(text.getvalue(), self._output_dir / COHORT)


def _settings(options: SegmentOptions) -> dict[str, Any]:
    """Check device and weights before any work; give what makes two runs comparable, as JSON gives it back."""
    resolve_device(options.device)
    weights = {stage: load_network(stage, options.weights_dir).sha256 for stage in STAGES[: 1 + options.use_context]}
    how = {name: value for name, value in asdict(options).items() if name not in ("device", "weights_dir")}
    return json.loads(json.dumps({"version": __version__, "weights": weights, "options": how}))


def _inputs(scan: Scan) -> dict[str, Path]:
    paths = {"t1": scan.t1, "t2": scan.t2, "mask": scan.mask}
    return {role: path for role, path in paths.items() if path is not None}


def _row(scan: Scan, status: str, **cells: str) -> Row:
    inputs = {role: str(path) for role, path in _inputs(scan).items()}
    return {"subject": scan.subject, "session": scan.session, "scan": scan.name, "status": status, **inputs, **cells}


def _row_ok(scan: Scan, report: dict[str, Any], notes: list[str]) -> Row:
    cells = {
        "warnings": " | ".join([*report["warnings"], *notes]),
        "seconds": f"{report['seconds']['total']:.1f}",
        "device": report["device"]["used"],
        "segmentation": (scan.folder / Names(scan).labels).as_posix(),
        "version": report["versions"]["InfantBrainSeg"],
        **{f"weights_{stage}_sha256": entry["sha256"] for stage, entry in report["weights"].items()},
    }
    for volume in report["volumes"]:
        tissue, confidence = volume["tissue"].lower(), volume["mean_confidence"]
        cells[f"{tissue}_ml"] = f"{volume['volume_ml']:.3f}"
        cells[f"{tissue}_fraction"] = f"{volume['fraction']:.4f}"
        cells[f"{tissue}_confidence"] = "" if confidence is None else f"{confidence:.4f}"
    return _row(scan, OK, **cells)


def _named(progress: Progress, name: str) -> Progress:
    return lambda step, fraction: progress(f"{name}: {step}", fraction)


def _describe(path: Path) -> dict[str, Any]:
    """Note a file's content, and its date so that the content need not be read each time."""
    status = path.stat()
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _is_same(path: Path, was: dict[str, Any]) -> bool:
    try:
        status = path.stat()
        if status.st_size != was["bytes"]:
            return False
        return status.st_mtime_ns == was["modified_ns"] or _describe(path)["sha256"] == was["sha256"]
    except OSError:
        return False


def _is_labelmap(path: Path) -> bool:
    try:
        from_any(sitk.GetArrayFromImage(read_image(path)))
    except InfantBrainSegError:
        return False
    return True


def _read_report(path: Path) -> dict[str, Any]:
    """Read a report; an absent or damaged one, or one of another program, is empty."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) and isinstance(report.get("batch"), dict) else {}
