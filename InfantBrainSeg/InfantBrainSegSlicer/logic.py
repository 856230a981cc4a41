"""The module's logic, without any GUI: segment, check, measure again, segment a batch."""

import contextlib
import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import slicer

import InfantBrainSegLib
from InfantBrainSegLib.core.errors import InfantBrainSegError, InputError

from .run.child import Child, child_environment, new_log_file, python_command
from .run.run import FINISHED, RUNNING, CompletedCallback, ProgressCallback, Run, Task
from .run.tasks import BatchTask, CheckTask, RefineTask, SegmentTask
from .run.temporary import temporary_root
from .run.timer import drive
from .scene import statistics
from .scene.checks import Findings, check_inputs, check_outputs, look_quickly
from .scene.follow_up import FollowUp, compare
from .scene.options import Scans, SegmentParameters
from .scene.provenance import made_with
from .scene.report import write_report
from .scene.results import ResultNodes, inputs_of

__all__ = ["Run", "SceneLogic", "SegmentParameters"]

POLL_SECONDS = 0.05
DEVICES_SECONDS = 30.0  # importing torch from a slow disk
FALLBACK_DEVICES = [("auto", "Automatic"), ("cpu", "CPU")]
_LIBRARY_ROOT = Path(InfantBrainSegLib.__file__).resolve().parents[1]


class SceneLogic:
    """What the panel and the Python console call.

    Attributes
    ----------
    command : list of str or None
        What runs the library's command line, before its arguments; None for Slicer's Python with InfantBrainSegLib.
    """

    command: list[str] | None = None

    def process(
        self,
        t1Node,
        t2Node,
        outputSegmentation=None,
        labelmapNode=None,
        tableNode=None,
        parameters: SegmentParameters | None = None,
        progress: ProgressCallback | None = None,
        wait: bool = True,
        completed: CompletedCallback | None = None,
    ) -> Run:
        """Segment one brain of the scene in a child process.

        Parameters
        ----------
        t1Node, t2Node : vtkMRMLScalarVolumeNode
            On any grids; linear parent transforms count. One of them may be None: the result is less accurate then.
        outputSegmentation : vtkMRMLSegmentationNode, optional
            Its segments of an earlier run are replaced; None for a new one beside the scan.
        labelmapNode : vtkMRMLLabelMapVolumeNode, optional
            Also gets the labels 1, 2, 3.
        tableNode : vtkMRMLTableNode, optional
            None for that of the segmentation's earlier run, or a new one.
        parameters : SegmentParameters, optional
        progress : callable, optional
            Told each step's name and the share of the whole that is done.
        wait : bool
            True to return after the end. False to return at once: the run goes on from Slicer's event loop, also when nobody keeps what
            is returned; outside the application, where there is no loop, call `Run.poll` until it gives False.
        completed : callable, optional
            Takes the run when it is over, however it ended.

        Raises
        ------
        InfantBrainSegError
            If the run cannot start or, with `wait`, if it fails or is cancelled.
        """
        parameters = parameters or SegmentParameters()
        scans = _checked(t1Node, t2Node, parameters)
        check_outputs(scans, outputSegmentation, labelmapNode, tableNode)
        targets = ResultNodes(scans, outputSegmentation, tableNode, labelmapNode)
        return self._run(lambda: SegmentTask(targets, parameters), progress, wait, completed)

    def refineFromEdits(
        self,
        segmentationNode,
        labelmapNode=None,
        parameters: SegmentParameters | None = None,
        progress: ProgressCallback | None = None,
        wait: bool = True,
        completed: CompletedCallback | None = None,
    ) -> Run:
        """Keep every edited voxel of a result, and let the labels near the edits follow, in a child process.

        Parameters
        ----------
        segmentationNode : vtkMRMLSegmentationNode
            Made by `process` and edited; it gets the result, which `Run.undo` takes back.
        labelmapNode : vtkMRMLLabelMapVolumeNode, optional
        parameters : SegmentParameters, optional
            Device, weights, threads and age; the mask and what else the result was made with are those of then.
        progress : callable, optional
        wait : bool
        completed : callable, optional

        Raises
        ------
        InfantBrainSegError
            As `process` does, if no run made the segmentation, if nobody edited it, or if its scans were changed since.
        """
        scans = inputs_of(segmentationNode)
        if scans.main is None:
            raise InputError(
                f"The scans that '{segmentationNode.GetName()}' was made of are not known, or left the scene; wanted the result of a run "
                "with its scans: segment them, then edit."
            )
        if not statistics.changes_of(segmentationNode):
            raise InputError(
                f"No tissue of '{segmentationNode.GetName()}' was edited since the run; wanted edits for the rest to follow: edit it first."
            )
        parameters = replace(parameters or SegmentParameters(), maskNode=scans.mask).made_with(made_with(segmentationNode))
        check_inputs(scans, parameters)
        check_outputs(scans, segmentationNode, labelmapNode, None)
        targets = ResultNodes(scans, segmentationNode, labelmap=labelmapNode)
        return self._run(lambda: RefineTask(targets, parameters), progress, wait, completed)

    def checkImages(
        self,
        t1Node,
        t2Node,
        parameters: SegmentParameters | None = None,
        progress: ProgressCallback | None = None,
        wait: bool = True,
        completed: CompletedCallback | None = None,
    ) -> Run:
        """Check the images of one brain as `process` would before its networks run, in a child process; the scene stays as it is.

        Parameters
        ----------
        t1Node, t2Node : vtkMRMLScalarVolumeNode
            One of them may be None.
        parameters : SegmentParameters, optional
        progress : callable, optional
        wait : bool
        completed : callable, optional

        Returns
        -------
        Run
            `record.checks` has the table.

        Raises
        ------
        InfantBrainSegError
            As `process` does.
        """
        parameters = parameters or SegmentParameters()
        scans = _checked(t1Node, t2Node, parameters)
        return self._run(lambda: CheckTask(scans, parameters), progress, wait, completed)

    def segmentBatch(
        self,
        folderOrCsv,
        outputDir,
        parameters: SegmentParameters | None = None,
        progress: ProgressCallback | None = None,
        wait: bool = True,
        completed: CompletedCallback | None = None,
    ) -> Run:
        """Segment many subjects from files; nothing is loaded into the scene.

        A batch that was stopped goes on where it was when it is started again. `cohort.csv` in the output folder has one row a subject,
        with the reason where one could not be segmented.

        Parameters
        ----------
        folderOrCsv : path of a BIDS folder or a CSV file
        outputDir : path
        parameters : SegmentParameters, optional
            Without a mask node and an age.
        progress : callable, optional
        wait : bool
        completed : callable, optional

        Returns
        -------
        Run
            `succeeded` and `failed` name the scans, `cohortPath` the table; `message` is not empty where some failed.

        Raises
        ------
        InfantBrainSegError
            As `process` does; scans that fail raise nothing.
        """
        return self._run(lambda: BatchTask(folderOrCsv, outputDir, parameters or SegmentParameters()), progress, wait, completed)

    def recomputeStatistics(self, segmentationNode, tableNode=None):
        """Measure a segmentation after manual edits: automatic against edited volume, and the difference.

        Parameters
        ----------
        segmentationNode : vtkMRMLSegmentationNode
        tableNode : vtkMRMLTableNode, optional
            The one of the last run by default, or a new one.

        Returns
        -------
        vtkMRMLTableNode

        Raises
        ------
        InputError
            If there is nothing to measure.
        """
        return statistics.recompute(segmentationNode, tableNode)

    def writeReport(self, segmentationNode, path) -> None:
        """Write a result as one HTML page: verdict, volumes before and after edits, review, pictures, checks, versions; no names.

        Parameters
        ----------
        segmentationNode : vtkMRMLSegmentationNode
        path : path

        Raises
        ------
        InputError
            If no run made the segmentation, or the file cannot be written.
        """
        write_report(segmentationNode, path)

    def compareResults(self, earlierSegmentation, laterSegmentation) -> FollowUp:
        """Compare two results of one child by their volumes, in a table and, where both ages are known, a chart; nothing is registered.

        Parameters
        ----------
        earlierSegmentation, laterSegmentation : vtkMRMLSegmentationNode

        Raises
        ------
        InputError
            If they cannot be compared.
        """
        return compare(earlierSegmentation, laterSegmentation)

    def whyNot(self, t1Node, t2Node, parameters: SegmentParameters | None = None) -> str:
        """Give the first reason why Segment cannot start, with the node's name, or "" where it can.

        Parameters
        ----------
        t1Node, t2Node : vtkMRMLNode or None
        parameters : SegmentParameters, optional
        """
        try:
            _checked(t1Node, t2Node, parameters or SegmentParameters())
        except InfantBrainSegError as error:
            return str(error)
        return ""

    def lookQuickly(self, t1Node, t2Node, parameters: SegmentParameters | None = None) -> Findings:
        """Look at the images themselves before a run, in about a second: swapped, poor overlap, odd voxels, a cut brain.

        Parameters
        ----------
        t1Node, t2Node : vtkMRMLScalarVolumeNode
            One of them may be None.
        parameters : SegmentParameters, optional

        Raises
        ------
        InputError
            If they cannot be segmented at all.
        """
        parameters = parameters or SegmentParameters()
        return look_quickly(_checked(t1Node, t2Node, parameters), parameters)

    def devices(self) -> list[tuple[str, str]]:
        """Ask a short child process which devices can compute here.

        Returns
        -------
        list of (value, label); automatic and CPU alone where torch is missing or does not answer
        """
        lines: list[str] = []
        with contextlib.suppress(InfantBrainSegError):
            child = self._child(["devices"])
            deadline = time.monotonic() + DEVICES_SECONDS
            while child.exit_code is None and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            child.stop()
            lines = child.new_lines()
            child.log_path.unlink(missing_ok=True)
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return [(str(entry["value"]), str(entry["label"])) for entry in json.loads(line)]
        return list(FALLBACK_DEVICES)

    def torchInstalled(self) -> bool:
        """Tell whether PyTorch is there, without importing it."""
        return importlib.util.find_spec("torch") is not None

    def _child(self, arguments: list[str], folder: Path | None = None) -> Child:
        command = self.command or [*python_command(), "-m", InfantBrainSegLib.__name__]
        log_path = new_log_file(temporary_root())
        try:
            # Python imports what lies where the child runs: never the shared temporary folder
            return Child([*command, *arguments], log_path, child_environment(_LIBRARY_ROOT), folder or _LIBRARY_ROOT)
        except InfantBrainSegError:
            log_path.unlink(missing_ok=True)
            raise

    def _run(
        self, make_task: Callable[[], Task], progress: ProgressCallback | None, wait: bool, completed: CompletedCallback | None
    ) -> Run:
        task = make_task()
        try:
            run = Run(self._child(task.arguments(), task.folder), task, progress, completed)
        except BaseException:
            task.clean_up()
            raise
        if wait:
            return _to_the_end(run)
        drive(run)
        return run


def _checked(t1_node, t2_node, parameters: SegmentParameters) -> Scans:
    scans = Scans(t1_node, t2_node, parameters.maskNode)
    check_inputs(scans, parameters)
    return scans


def _to_the_end(run: Run) -> Run:
    try:
        while run.poll():
            _keep_responsive()
            time.sleep(POLL_SECONDS)
    finally:
        if run.state == RUNNING:  # a callback failed, or Ctrl-C
            run.cancel()
    if run.state != FINISHED:
        raise InfantBrainSegError(run.message)
    return run


def _keep_responsive() -> None:
    """Let Slicer's windows redraw during a blocking call; outside the application there are none."""
    application = getattr(slicer, "app", None)
    if application is not None:
        application.processEvents()
