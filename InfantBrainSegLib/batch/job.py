"""What a run does to one scan, the same in `batch`, on a Dask worker and in an array task."""

import contextlib
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
from ..core.contract import FAILED, PENDING, REASON_COLUMN, STATUS_COLUMN, STEP_ENDS, Step
from ..core.errors import InfantBrainSegError, InputError, describe_error
from ..core.json_text import to_json
from ..core.labels import from_any
from ..core.lock import LOCK, owned
from ..core.memory import check_memory, segment_need, work_of
from ..core.option import recorded
from ..core.progress import Progress, silent
from ..extraction.extract import OFF
from ..imaging.files import read_image, write_text
from ..imaging.inputs import InputRecord, find_input, is_same_input, read_found
from ..networks.weights import EXTRACTION_STAGES, Networks
from ..outputs.bids import bids_uri, write_derivatives, write_sidecars
from ..outputs.publishing import Staging, staged_folder, sweep
from ..pipeline.report import SCHEMA_VERSION, Report, Steps
from ..pipeline.segmenter import Segmentation, SegmentOptions
from .cohort import Row, names_of, row_of, row_with_result
from .subjects import Scan, Selection

SegmentOne = Callable[[sitk.Image | None, sitk.Image | None, sitk.Image | None, SegmentOptions, Progress], Segmentation]
BeginOne = Callable[[sitk.Image | None, sitk.Image | None, sitk.Image | None, SegmentOptions, Progress], Callable[[Progress], Segmentation]]
_FAILURE = ".infantbrainseg-failed"


@dataclass(frozen=True)
class Cluster:
    """A Dask cluster.

    Attributes
    ----------
    address : str
        Of the scheduler, or the path of its scheduler file.
    resources : tuple of str and float
        What each scan needs of a worker that was started with such resources: (("GPU", 1.0),).
    """

    address: str
    resources: tuple[tuple[str, float], ...] = ()


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
    select : Selection
        Which scans, where a run does not do all.
    cluster : Cluster or None
        Whose workers segment; None for this process.
    """

    segment: SegmentOptions = field(default_factory=SegmentOptions)
    save_probabilities: bool = False
    redo: bool = False
    single_scan: bool = False
    select: Selection = field(default_factory=Selection)
    cluster: Cluster | None = None


@dataclass(frozen=True)
class Rest:
    """What is to be done to a scan after the networks; another thread may do it.

    Attributes
    ----------
    end : callable
        Cleans up, restores, writes and publishes; gives the scan's row.
    voxels : int
        Of all its images, as long as they are held.
    """

    end: Callable[[], Row]
    voxels: int = 0


@dataclass(frozen=True)
class Job:
    """What is the same for all scans of a run; it may be sent to another process.

    Attributes
    ----------
    source, output_dir : Path
        Absolute.
    options : BatchOptions
    settings : dict
        What makes two runs comparable, as JSON gives it back.
    """

    source: Path
    output_dir: Path
    options: BatchOptions
    settings: dict[str, Any]

    @classmethod
    def of(cls, source: str | Path, output_dir: str | Path, options: BatchOptions, networks: Networks) -> "Job":
        """Make one, with the weights that count.

        Raises
        ------
        WeightsError
            If they cannot be used.
        """
        return cls(Path(source).absolute(), Path(output_dir).absolute(), options, settings_of(options.segment, networks))

    def row_before(self, scan: Scan) -> Row:
        """Give a scan's row before this run: ok when finished, failed when it cannot be tried."""
        try:
            reason = scan.reason or self._own_mask(scan)
            if reason:
                return row_of(scan, self.source, FAILED, reason=reason)
            report = None if self.options.redo else self._finished(scan)
            if report is None:
                return row_of(scan, self.source, PENDING)
            return self._row_of_report(scan, report)
        except OSError as error:
            return row_of(scan, self.source, FAILED, reason=self._without_paths(describe_error(error), scan))

    def _own_mask(self, scan: Scan) -> str:
        """Tell of a mask that a new result would replace."""
        if scan.mask is None or os.path.realpath(scan.mask) != os.path.realpath(self.folder(scan) / names_of(scan).mask):
            return ""
        return "The brain mask lies among the results, where a new one would replace it: copy it to another folder and name the copy."

    def attempt(self, scan: Scan, begin: BeginOne, progress: Progress, wait_s: float = 0.0) -> Rest:
        """Segment a scan as far as the networks go; the rest gives its row, whatever happens to it.

        Parameters
        ----------
        scan : Scan
        begin : callable
            Called as `Segmenter.begin` is.
        progress : Progress
        wait_s : float
            How long to wait where another run has this scan.
        """
        started = time.perf_counter()

        def failed(error: Exception) -> Row:  # whatever is wrong with one scan, the others get their turn
            return self.failed(scan, error, time.perf_counter() - started)

        try:
            rest = self.begin(scan, begin, progress, wait_s)
        except Exception as error:
            row = failed(error)
            return Rest(lambda: row)

        def end() -> Row:
            try:
                return rest.end()
            except Exception as error:
                return failed(error)

        return replace(rest, end=end)

    def do(self, scan: Scan, begin: BeginOne, progress: Progress, wait_s: float = 0.0) -> Row:
        """Segment a scan as its only owner, unless another run has done so meanwhile; see `attempt`.

        Raises
        ------
        Exception
            Whatever is wrong with it.
        """
        return self.begin(scan, begin, progress, wait_s).end()

    def begin(self, scan: Scan, begin: BeginOne, progress: Progress, wait_s: float = 0.0) -> Rest:
        """Do the first part of `do`; the scan stays ours until its rest ends or is dropped."""
        with contextlib.ExitStack() as held:
            lock = held.enter_context(owned(self.output_dir / f"{LOCK}-{scan.name}", f"The scan {scan.name}", wait_s))
            before = self.row_before(scan)
            if before[STATUS_COLUMN] != PENDING:
                return Rest(lambda: before)
            sweep(self.folders(scan), (self.folder(scan), names_of(scan).report))
            names, steps = names_of(scan), Steps(progress)
            with steps(Step.READ):
                found = {role: find_input(given) for role, given in scan.inputs.items()}
                voxels = sum(one.voxels for one in found.values())
                ask = self.options.segment
                check_memory(segment_need(voxels, work_of(ask.use_context), ask.threads))
                read = {role: read_found(one) for role, one in found.items()}
            images = {role: image for role, (image, _) in read.items()}
            records = {role: record for role, (_, record) in read.items()}
            inputs = {given.name: given.path for given in scan.inputs.values()}
            staging = held.enter_context(staged_folder(self.folder(scan), names.all, inputs))
            options = replace(self.options.segment, age_months=self._age(scan))
            finish = begin(images.get("t1"), images.get("t2"), images.get("mask"), options, progress)
            progress(Step.WRITE, STEP_ENDS[Step.RESTORE])
            still_held = held.pop_all()

        def end() -> Row:
            with still_held:
                report, notes = self._write(scan, finish(silent), records, staging, steps.told_to(silent))
                lock.check()
            self._note(scan).unlink(missing_ok=True)
            return row_with_result(scan, self.source, report, notes)

        return Rest(end, voxels)

    def failed(self, scan: Scan, error: Exception, seconds: float) -> Row:
        """Give the row of a scan that could not be segmented.

        Parameters
        ----------
        scan : Scan
        error : Exception
        seconds : float
            How long it was tried.
        """
        reason = self._without_paths(describe_error(error), scan)
        if os.path.exists(self.folder(scan) / names_of(scan).report):
            reason += " The results of an earlier run still lie there."
        return row_of(scan, self.source, FAILED, reason=reason, seconds=f"{seconds:.1f}")

    def note(self, scan: Scan, row: Row) -> None:
        """Keep for `row_there` why a scan has no result, where the input does not tell it; a row with a result removes that."""
        with contextlib.suppress(InputError, OSError):  # the reason was told; a note of it is a convenience
            if row[STATUS_COLUMN] != FAILED:
                self._note(scan).unlink(missing_ok=True)
            elif not scan.reason:
                write_text(f"{row[REASON_COLUMN]}\n", self._note(scan))

    def _note(self, scan: Scan) -> Path:
        return self.output_dir / f"{_FAILURE}-{scan.name}"

    def row_there(self, scan: Scan) -> Row:
        """Give a scan's row as the output tells it, with whatever options it was made."""
        if scan.reason:
            return row_of(scan, self.source, FAILED, reason=scan.reason)
        try:
            note = self._note(scan)
            if note.is_file():
                return row_of(scan, self.source, FAILED, reason=note.read_text(encoding="utf-8").strip())
            told = _read_report(self.folder(scan) / names_of(scan).report)
            if not told:
                return row_of(scan, self.source, PENDING)
            return self._row_of_report(scan, Report.from_json(told))
        except (InputError, OSError) as error:
            return row_of(scan, self.source, FAILED, reason=self._without_paths(describe_error(error), scan))

    def _row_of_report(self, scan: Scan, report: Report) -> Row:
        return row_with_result(scan, self.source, report, [_edit_note(scan, name) for name in self._edited(scan)])

    def folders(self, scan: Scan) -> list[Path]:
        """Give the folders where a run of this scan may have left something, the innermost first."""
        return [folder for folder in (self.folder(scan), *self.folder(scan).parents) if folder.is_relative_to(self.output_dir)]

    def _without_paths(self, reason: str, scan: Scan) -> str:
        """Say a reason without the paths of inputs and outputs, which may name a patient."""
        called = {given.path: given.name for given in scan.inputs.values()}
        called |= {self.output_dir: "the output folder", self.output_dir.resolve(): "the output folder"}
        called |= {self.source: "the input", self.source.resolve(): "the input"}
        for path in sorted(called, key=lambda path: len(str(path)), reverse=True):
            reason = reason if path == Path(path.anchor) else reason.replace(str(path), called[path])
        return reason

    def _write(
        self, scan: Scan, result: Segmentation, records: dict[str, InputRecord], staging: Staging, steps: Steps
    ) -> tuple[Report, list[str]]:
        """Write the files of one scan; give its report, and what else its row should say."""
        names, target, folder = names_of(scan), self.folder(scan), staging.folder
        notes = [warning for record in records.values() for warning in record.warnings]
        with steps(Step.WRITE):
            notes += write_derivatives(result, names, self.options.save_probabilities, folder)
            write_sidecars(names, self._sources(scan, records), folder)
        report = result.report.with_ends({role: record.for_report() for role, record in records.items()}, steps.seconds, notes)
        document = {
            **report.to_json(),
            "batch": {
                "settings": self._settings_of(scan),
                "probabilities": self.options.save_probabilities,
                "inputs": {role: asdict(record) for role, record in records.items()},
                "outputs": {path.name: _describe(path) for path in sorted(folder.iterdir())},
            },
        }
        write_text(to_json(document), folder / names.report)
        aside = [staging.keep(name) for name in self._changed(scan) if _is_sound(target / name, False)]
        return report, [f"What was edited after an earlier run is kept as {name}." for name in aside]

    def _finished(self, scan: Scan) -> Report | None:
        """Give the report of a finished scan."""
        told = _read_report(self.folder(scan) / names_of(scan).report)
        record = told.get("batch", {})
        same_run = (
            told.get("schema_version") == SCHEMA_VERSION
            and record.get("settings") == self._settings_of(scan)
            and record["probabilities"] >= self.options.save_probabilities
            and record["inputs"].keys() == scan.inputs.keys()
            and all(is_same_input(given, record["inputs"][role]) for role, given in scan.inputs.items())
        )
        if not same_run:
            return None
        changed = {name for name, was in record["outputs"].items() if not _is_same(self.folder(scan) / name, was)}
        return Report.from_json(told) if changed <= set(self._edited(scan)) else None

    def _edited(self, scan: Scan) -> list[str]:
        """Name the labels and the mask where they are sound, and no more those that their report tells of."""
        return [name for name in self._changed(scan) if _is_sound(self.folder(scan) / name, name == names_of(scan).labels)]

    def _changed(self, scan: Scan) -> list[str]:
        """Name the labels and the mask that are no more those that their report tells of, in whatever way."""
        folder, names = self.folder(scan), names_of(scan)
        outputs = _read_report(folder / names.report).get("batch", {}).get("outputs", {})
        return [name for name in (names.labels, names.mask) if name in outputs and not _is_same(folder / name, outputs[name])]

    def _sources(self, scan: Scan, records: dict[str, InputRecord]) -> list[str]:
        """Give URIs of what was segmented: names in a BIDS folder, else checksums, because a path may hold a patient's name."""
        if self.source.is_dir():
            return [bids_uri(given.path, self.source) for given in scan.inputs.values()]
        return [f"hash://sha256/{record.sha256}" for record in records.values()]

    def _age(self, scan: Scan) -> float | None:
        return self.options.segment.age_months if scan.age.months is None else scan.age.months

    def _settings_of(self, scan: Scan) -> dict[str, Any]:
        return {**self.settings, "options": {**self.settings["options"], "age_months": self._age(scan)}}

    def folder(self, scan: Scan) -> Path:
        """Give the folder of a scan's results."""
        return self.output_dir / scan.folder


def settings_of(options: SegmentOptions, networks: Networks) -> dict[str, Any]:
    """Check the weights before any work; give what makes two runs comparable, as JSON gives it back."""
    weights = networks.sha256(options.stages)
    weights |= {} if options.extract == OFF else networks.sha256(EXTRACTION_STAGES)
    return json.loads(json.dumps({"version": __version__, "weights": weights, "options": recorded(options)}))


def _edit_note(scan: Scan, name: str) -> str:
    if name == names_of(scan).labels:
        return f"{name} was edited after the run; the volumes are those before."
    return f"{name} was edited after the run; to segment inside it, copy it and name the copy as this scan's mask."


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
