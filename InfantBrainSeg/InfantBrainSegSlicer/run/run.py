"""The handle of a run in progress: how far it is, how to stop it, and what came of it."""

import contextlib
import json
import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from InfantBrainSegLib.core.errors import InfantBrainSegError

from ..scene.provenance import Record
from ..scene.results import ResultNodes
from .child import Child, describe_end
from .versions import about

LOGGER = logging.getLogger("InfantBrainSeg")  # Slicer shows it in its error log and keeps it in its application log

WARNING = "Warning: "  # begins a line of the child's stderr that is for the user
RUNNING, FINISHED, CANCELLED, FAILED = "running", "finished", "cancelled", "failed"
ProgressCallback = Callable[[str, float], object]
CompletedCallback = Callable[["Run"], object]


@dataclass(frozen=True)
class Cohort:
    """How a batch went.

    Attributes
    ----------
    path : str
        The table with one row a scan; empty where the run was no batch.
    succeeded, failed : tuple of str
        Names of scans, as in the table.
    """

    path: str = ""
    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """One line for the user where not all went well."""
        if not self.failed:
            return ""
        return f"{len(self.failed)} of {len(self.failed) + len(self.succeeded)} scans have no result: {self.path} says why."


@dataclass(frozen=True)
class TaskResult:
    """What came of a task.

    Attributes
    ----------
    nodes : ResultNodes or None
    warnings : tuple of str
    notes : tuple of str
        Those of them that no check gives.
    record : Record
        Checks, verdict and places; empty where there are none.
    cohort : Cohort
        Of a batch.
    device : str
        Where the networks ran; empty where that is not told.
    undo : callable or None
        Puts back what the task replaced.
    """

    nodes: ResultNodes | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    record: Record = field(default_factory=Record)
    cohort: Cohort = field(default_factory=Cohort)
    device: str = ""
    undo: Callable[[], None] | None = None


class Task(Protocol):
    """What a run is for: the logic makes one and the run asks it."""

    folder: Path | None  # where the child runs
    device: str  # that was asked for

    def succeeded(self, code: int) -> bool:
        """Whether the child, which ended with this exit code, did its work."""

    def interruption(self) -> str:
        """Say why the run has lost its purpose, as a node that left the scene; "" while it has not."""

    def finish(self) -> TaskResult:
        """Take in the child's files."""

    def with_names(self, message: str) -> str:
        """Put the user's names in place of temporary files' in a message of the child."""

    def clean_up(self) -> None:
        """Remove temporary files."""


class Run:
    """One run of the child.

    Attributes
    ----------
    state : str
        "running", "finished", "cancelled" or "failed".
    message : str
        The one line for the user when it failed, was cancelled, or is a batch in which some scans failed.
    step : str
    progress : float
        From 0 to 1.
    warnings, notes : tuple of str
        All of them, and those that no check gives.
    record : Record
        Checks, verdict and places to look at.
    segmentationNode, labelmapNode, tableNode, provenanceNode, maskNode, transformNode : nodes or None
    probabilityNodes : tuple of nodes
    logPath : str
        Everything the child printed; stays after the run.
    succeeded, failed : tuple of str
        The scans of a batch, by name.
    cohortPath : str
        The table of a batch.
    """

    def __init__(self, child: Child, task: Task, progress: ProgressCallback | None = None, completed: CompletedCallback | None = None):
        self.state = RUNNING
        self.message = ""
        self.step = ""
        self.progress = 0.0
        self.warnings: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.record = Record()
        self.segmentationNode = self.labelmapNode = self.tableNode = self.provenanceNode = self.maskNode = self.transformNode = None
        self.probabilityNodes: tuple = ()
        self.succeeded: tuple[str, ...] = ()
        self.failed: tuple[str, ...] = ()
        self.cohortPath = ""
        self._undo: Callable[[], None] | None = None
        self.logPath = str(child.log_path)
        self._child = child
        self._task = task
        self._callback = progress
        self._completed = completed
        self._started = time.monotonic()
        self._ended: float | None = None
        self._importing = False
        self._device = ""
        self._note(f"{about()}; device: {task.device}")

    @property
    def seconds(self) -> float:
        """Seconds since the start, or from start to end."""
        return (self._ended or time.monotonic()) - self._started

    def __repr__(self) -> str:
        detail = f", {self.step!r} {self.progress:.0%}" if self.state == RUNNING else f", {self.message!r}" if self.message else ""
        return f"<Run {self.state} after {self.seconds:.0f} s{detail}; log {self.logPath}>"

    def poll(self) -> bool:
        """Take in what is new, without waiting; import the results once the child has ended.

        Returns
        -------
        bool
            True while it runs.
        """
        if self.state != RUNNING or self._importing:
            return self.state == RUNNING
        code = self._child.exit_code  # before the lines, so that none comes after the last look
        if code is not None:
            self._child.finish()
        self._tell(self._child.new_lines())
        if self.state != RUNNING:  # the callback cancelled
            return False
        reason = self._task.interruption()
        if reason:
            self._stop(reason)
        elif code is not None:
            self._conclude(code)
        return self.state == RUNNING

    def cancel(self) -> None:
        """End the whole process tree, within two seconds; the scene stays as it was."""
        if self.state == RUNNING and not self._importing:
            self._stop("Cancelled; the scene is as it was before.")

    @property
    def canUndo(self) -> bool:
        """Whether there is something to put back."""
        return self._undo is not None

    def undo(self) -> None:
        """Put back what a refinement replaced, once."""
        if self._undo is not None:
            self._undo()
            self._undo = None

    def _note(self, text: str) -> None:
        """Tell the run's log and Slicer's."""
        LOGGER.info(text)
        self._append(f"{time.strftime('%H:%M:%S')}  {text}\n")

    def _append(self, text: str) -> None:
        with contextlib.suppress(OSError), Path(self.logPath).open("a", encoding="utf-8") as log:
            log.write(text)

    def _stop(self, reason: str) -> None:
        self._child.stop()
        self._end(CANCELLED, reason)

    def _tell(self, lines: list[str]) -> None:
        for line in lines:
            step = self.step
            try:
                news = json.loads(line)
                self.step, self.progress = str(news["step"]), min(max(float(news["progress"]), 0.0), 1.0)
            except (ValueError, KeyError, TypeError):
                continue  # other output is in the log
            if self.step != step:
                LOGGER.info("Step: %s", self.step)
            if self._callback is not None and self.state == RUNNING:
                self._callback(self.step, self.progress)

    def _conclude(self, code: int) -> None:
        if not self._task.succeeded(code):
            LOGGER.error("The child ended with exit code %d: %s", code, "\n".join(self._child.error_lines))
            self._end(FAILED, self._task.with_names(describe_end(self._child, code)))
            return
        self._importing = True  # a node's observer may poll
        try:
            result = self._task.finish()
        except InfantBrainSegError as error:
            self._end(FAILED, self._task.with_names(str(error)))
            return
        except Exception as error:  # whatever it is, the panel must go on
            LOGGER.exception("The result could not be put into the scene")
            self._append(traceback.format_exc())
            self._end(FAILED, f"The result could not be put into the scene ({error}), which is as it was before. Log: {self.logPath}")
            return
        finally:
            self._importing = False
        self.record, nodes, self._device, self._undo = result.record, result.nodes, result.device, result.undo
        if nodes is not None:
            self.segmentationNode, self.labelmapNode, self.tableNode = nodes.segmentation, nodes.labelmap, nodes.table
            self.provenanceNode, self.probabilityNodes = nodes.provenance, nodes.probabilities
            self.maskNode, self.transformNode = nodes.mask, nodes.transform
        self.warnings, self.notes = tuple(dict.fromkeys(result.warnings)), tuple(dict.fromkeys(result.notes))
        if nodes is None:  # a result's own warnings lie in its report
            lines = (line.partition(WARNING) for line in self._child.error_lines)
            self.warnings = self.notes = tuple(self._task.with_names(text) for before, found, text in lines if found and not before)
        self.succeeded, self.failed, self.cohortPath = result.cohort.succeeded, result.cohort.failed, result.cohort.path
        self.progress = 1.0
        self._end(FINISHED, result.cohort.message)

    def _end(self, state: str, message: str) -> None:
        self.state, self.message = state, message
        self._ended = time.monotonic()
        where = f" on {self._device}" if self._device else ""
        self._note(
            f"The run {'is' if state == FINISHED else 'was' if state == CANCELLED else 'has'} {state}{where} after {self.seconds:.0f} s"
        )
        self._task.clean_up()
        if self._completed is not None:
            self._completed(self)
