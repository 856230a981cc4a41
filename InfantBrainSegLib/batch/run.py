"""Many subjects, one after the other: goes on after a stop and past a bad subject, and keeps one table of all of them."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from .. import __version__
from ..core.contract import COHORT, FAILED, PENDING, STATUS_COLUMN, Step
from ..core.errors import InfantBrainSegError, InputError, describe_error
from ..core.json_text import to_json
from ..core.labels import from_any
from ..core.memory import check_memory, segment_need, work_of
from ..core.option import recorded
from ..core.progress import Progress, part_of, silent
from ..extraction.extract import OFF
from ..imaging.files import read_image, write_text
from ..imaging.inputs import InputRecord, find_input, is_same_input, read_found
from ..networks.weights import EXTRACTION_STAGES, Networks
from ..outputs.bids import bids_uri, prepare_dataset, write_derivatives, write_sidecars
from ..outputs.overview import load_drawing
from ..outputs.publishing import staged_folder, sweep
from ..pipeline.report import SCHEMA_VERSION, Report, Steps
from ..pipeline.segmenter import Segmentation, Segmenter, SegmentOptions
from .cohort import Row, names_of, row_of, row_with_result, to_csv
from .subjects import Scan, find_scans

SegmentOne = Callable[[sitk.Image | None, sitk.Image | None, sitk.Image | None, SegmentOptions, Progress], Segmentation]


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
    single_scan : bool
        Segment a T1 or a T2 that has no partner.
    """

    segment: SegmentOptions = field(default_factory=SegmentOptions)
    save_probabilities: bool = False
    redo: bool = False
    single_scan: bool = False


def run_batch(
    source: str | Path,
    output_dir: str | Path,
    options: BatchOptions | None = None,
    progress: Progress = silent,
    segmenter: SegmentOne | None = None,
) -> list[Row]:
    """Segment each scan of a BIDS folder or a CSV that is not finished, and write a BIDS derivative dataset.

    A scan is finished when its report lies in the output and was made from the same input files with the same weights, options and
    version, and every file that the report lists is there. Labels or a mask that were edited since count as finished, with a warning.

    Parameters
    ----------
    source : path
        As `find_scans` takes it.
    output_dir : path
        Gets the results, and `cohort.csv` with one row a scan of `source`, written anew after each.
    options : BatchOptions, optional
    progress : Progress
        Told "sub-01: stage 1" and the share of the whole batch that is done.
    segmenter : callable, optional
        Called as `segment` is; by default one `Segmenter` for all scans.

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

    def __init__(self, source: Path, output_dir: Path, options: BatchOptions, segmenter: SegmentOne | None):
        self._source = source
        self._output_dir = output_dir
        self._options = options
        self._scans = find_scans(source, self._options.single_scan)
        ours = Segmenter(options.segment.weights_dir, options.segment.device)
        self._segmenter = segmenter or ours
        self._settings = _settings(options.segment, ours.networks)

    def run(self, progress: Progress) -> list[Row]:
        prepare_dataset(self._output_dir, self._source)
        folders = [folder for scan in self._scans for folder in (self._folder(scan), *self._folder(scan).parents)]
        sweep(folder for folder in folders if folder.is_relative_to(self._output_dir))
        load_drawing()
        rows = {scan.name: self._row_before(scan) for scan in self._scans}
        self._write_table(rows)
        waiting = [scan for scan in self._scans if rows[scan.name][STATUS_COLUMN] == PENDING]
        for done, scan in enumerate(waiting):
            inside = _named(part_of(progress, done / len(waiting), (done + 1) / len(waiting)), scan.name)
            rows[scan.name] = self._attempt(scan, inside)
            try:
                self._write_table(rows)
            except InputError:  # open in a spreadsheet, perhaps: the next scan writes it again
                if done == len(waiting) - 1:
                    raise
        progress(Step.DONE, 1.0)
        return list(rows.values())

    def _row_before(self, scan: Scan) -> Row:
        """Give a scan's row before this run: ok when finished, failed when it cannot be tried."""
        try:
            reason = scan.reason or self._own_mask(scan)
            if reason:
                return row_of(scan, self._source, FAILED, reason=reason)
            report = None if self._options.redo else self._finished(scan)
            if report is None:
                return row_of(scan, self._source, PENDING)
            return row_with_result(scan, self._source, report, [_edit_note(scan, name) for name in self._edited(scan)])
        except OSError as error:
            return row_of(scan, self._source, FAILED, reason=self._without_paths(describe_error(error), scan))

    def _own_mask(self, scan: Scan) -> str:
        """Tell of a mask that a new result would replace."""
        if scan.mask is None or os.path.realpath(scan.mask) != os.path.realpath(self._folder(scan) / names_of(scan).mask):
            return ""
        return "The brain mask lies among the results, where a new one would replace it: copy it to another folder and name the copy."

    def _attempt(self, scan: Scan, progress: Progress) -> Row:
        started = time.perf_counter()
        try:
            report, notes = self._segment(scan, progress)
        except Exception as error:  # whatever is wrong with one scan, the others get their turn
            reason = self._without_paths(describe_error(error), scan)
            if os.path.exists(self._folder(scan) / names_of(scan).report):
                reason += " The results of an earlier run still lie there."
            return row_of(scan, self._source, FAILED, reason=reason, seconds=f"{time.perf_counter() - started:.1f}")
        return row_with_result(scan, self._source, report, notes)

    def _without_paths(self, reason: str, scan: Scan) -> str:
        """Say a reason without the paths of inputs and outputs, which may name a patient."""
        called = {given.path: given.name for given in scan.inputs.values()}
        called |= {self._output_dir: "the output folder", self._output_dir.resolve(): "the output folder"}
        called |= {self._source: "the input", self._source.resolve(): "the input"}
        for path in sorted(called, key=lambda path: len(str(path)), reverse=True):
            reason = reason if path == Path(path.anchor) else reason.replace(str(path), called[path])
        return reason

    def _segment(self, scan: Scan, progress: Progress) -> tuple[Report, list[str]]:
        """Segment one scan; give its report, and what else its row should say."""
        names, target, steps = names_of(scan), self._folder(scan), Steps(progress)
        with steps(Step.READ):
            found = {role: find_input(given) for role, given in scan.inputs.items()}
            ask = self._options.segment
            check_memory(segment_need(sum(one.voxels for one in found.values()), work_of(ask.use_context), ask.threads))
            read = {role: read_found(one) for role, one in found.items()}
        images = {role: image for role, (image, _) in read.items()}
        records = {role: record for role, (_, record) in read.items()}
        with staged_folder(target, names.all, {given.name: given.path for given in scan.inputs.values()}) as staging:
            folder = staging.folder
            options = replace(self._options.segment, age_months=self._age(scan))
            result = self._segmenter(images.get("t1"), images.get("t2"), images.get("mask"), options, progress)
            notes = [warning for record in records.values() for warning in record.warnings]
            with steps(Step.WRITE):
                notes += write_derivatives(result, names, self._options.save_probabilities, folder)
                write_sidecars(names, self._sources(scan, records), folder)
            report = result.report.with_ends({role: record.for_report() for role, record in records.items()}, steps.seconds, notes)
            document = {
                **report.to_json(),
                "batch": {
                    "settings": self._settings_of(scan),
                    "probabilities": self._options.save_probabilities,
                    "inputs": {role: asdict(record) for role, record in records.items()},
                    "outputs": {path.name: _describe(path) for path in sorted(folder.iterdir())},
                },
            }
            write_text(to_json(document), folder / names.report)
            aside = [staging.keep(name) for name in self._changed(scan) if _is_sound(target / name, False)]
        return report, [f"What was edited after an earlier run is kept as {name}." for name in aside]

    def _finished(self, scan: Scan) -> Report | None:
        """Give the report of a finished scan."""
        document = _read_report(self._folder(scan) / names_of(scan).report)
        record = document.get("batch", {})
        same_run = (
            document.get("schema_version") == SCHEMA_VERSION
            and record.get("settings") == self._settings_of(scan)
            and record["probabilities"] >= self._options.save_probabilities
            and record["inputs"].keys() == scan.inputs.keys()
            and all(is_same_input(given, record["inputs"][role]) for role, given in scan.inputs.items())
        )
        if not same_run:
            return None
        changed = {name for name, was in record["outputs"].items() if not _is_same(self._folder(scan) / name, was)}
        return Report.from_json(document) if changed <= set(self._edited(scan)) else None

    def _edited(self, scan: Scan) -> list[str]:
        """Name the labels and the mask where they are sound, and no more those that their report tells of."""
        return [name for name in self._changed(scan) if _is_sound(self._folder(scan) / name, name == names_of(scan).labels)]

    def _changed(self, scan: Scan) -> list[str]:
        """Name the labels and the mask that are no more those that their report tells of, in whatever way."""
        folder, names = self._folder(scan), names_of(scan)
        outputs = _read_report(folder / names.report).get("batch", {}).get("outputs", {})
        return [name for name in (names.labels, names.mask) if name in outputs and not _is_same(folder / name, outputs[name])]

    def _sources(self, scan: Scan, records: dict[str, InputRecord]) -> list[str]:
        """Give URIs of what was segmented: names in a BIDS folder, else checksums, because a path may hold a patient's name."""
        if self._source.is_dir():
            return [bids_uri(given.path, self._source) for given in scan.inputs.values()]
        return [f"hash://sha256/{record.sha256}" for record in records.values()]

    def _age(self, scan: Scan) -> float | None:
        return self._options.segment.age_months if scan.age.months is None else scan.age.months

    def _settings_of(self, scan: Scan) -> dict[str, Any]:
        return {**self._settings, "options": {**self._settings["options"], "age_months": self._age(scan)}}

    def _folder(self, scan: Scan) -> Path:
        return self._output_dir / scan.folder

    def _write_table(self, rows: dict[str, Row]) -> None:
        write_text(to_csv(rows.values()), self._output_dir / COHORT)


def _settings(options: SegmentOptions, networks: Networks) -> dict[str, Any]:
    """Check the weights before any work; give what makes two runs comparable, as JSON gives it back."""
    weights = networks.sha256(options.stages)
    weights |= {} if options.extract == OFF else networks.sha256(EXTRACTION_STAGES)
    return json.loads(json.dumps({"version": __version__, "weights": weights, "options": recorded(options)}))


def _edit_note(scan: Scan, name: str) -> str:
    if name == names_of(scan).labels:
        return f"{name} was edited after the run; the volumes are those before."
    return f"{name} was edited after the run; to segment inside it, copy it and name the copy as this scan's mask."


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


def _is_sound(path: Path, is_labelmap: bool) -> bool:
    try:
        image = read_image(path)
        if is_labelmap:
            from_any(sitk.GetArrayFromImage(image))
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
