"""The panel: the .ui file, the parameter node behind it, and what its buttons do."""

import sys
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from InfantBrainSegLib.core.check import PASS, warnings_of
from InfantBrainSegLib.core.errors import InfantBrainSegError

from ..run.run import Run
from ..scene.checks import frame_notes
from ..scene.doubt import hide_doubt
from ..scene.edit_guard import EditGuard
from ..scene.follow_up import comparison_of, show_chart
from ..scene.options import AUTO, OFF, ON, Scans
from ..scene.places import show_scan
from ..scene.results import inputs_of
from ..scene.sample_data import load_sample
from . import messages
from .checks_box import ChecksBox
from .devices_box import DevicesBox
from .input_checks import InputChecks
from .log_window import LogWindow
from .parameters import InfantBrainSegParameterNode, segment_parameters
from .prefill import Prefill
from .results_box import ResultsBox
from .results_table import as_text
from .run_monitor import RunMonitor
from .segment_editor import open_segment_editor
from .torch_setup import install_torch

ERROR_STYLE = "color: #c0392b;"
EDIT_MS = 300  # after the last change of a segmentation


def forget_submodules() -> None:
    """Let the next import of the panel's and the library's modules read their files again."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("InfantBrainSegSlicer", "InfantBrainSegLib")]:
        del sys.modules[name]


class PanelWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Everything of the module's widget; the class in the module's file adds its name and its logic class."""

    logicClass: type

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode: InfantBrainSegParameterNode | None = None
        self._parameterNodeGuiTag = None
        self._outcome = ("", "")  # text and style of the status line after a run, until the inputs change
        self._runNotes: tuple[str, ...] | None = None  # None before a run
        self._logPath = ""
        self._refined: Run | None = None  # the last run, where it can be taken back
        self._watched = None  # the vtkSegmentation that is shown
        self._edited = ""  # ID of the segmentation that was sent to Segment Editor

    # Life of the panel

    def setup(self) -> None:
        """Build the panel; Slicer calls it when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/InfantBrainSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        for hidden in (
            self.ui.torchFrame,
            self.ui.warningsLabel,
            self.ui.swapButton,
            self.ui.progressBar,
            self.ui.elapsedLabel,
            self.ui.checksText,
            self.ui.verdictLabel,
            self.ui.placesFrame,
            self.ui.previousButton,
            self.ui.nextButton,
            self.ui.placeLabel,
            self.ui.undoButton,
            self.ui.resultsCollapsibleButton,
        ):
            hidden.visible = False

        self.logic = self.logicClass()
        self._checks = InputChecks(self.logic, self._checkCanApply)
        self._devices = DevicesBox(self.ui.deviceComboBox, self.logic, self._onDeviceChosen)
        for text, value in ((_("Automatic"), AUTO), (_("On"), ON), (_("Off"), OFF)):
            self.ui.biasComboBox.addItem(text, value)
        self._checksBox, self._resultsBox = ChecksBox(self.ui), ResultsBox(self.ui)
        self._monitor = RunMonitor(self.ui, self._onRunEnd)
        self._log = LogWindow()
        self._guard, self._refinedGuard = EditGuard(), EditGuard()  # a refined result holds work, and edits after it are more
        self._prefill = Prefill(self._fillable)
        self._editTimer = qt.QTimer()  # one stroke tells of many changes
        self._editTimer.setSingleShot(True)
        self._editTimer.setInterval(EDIT_MS)
        self._editTimer.connect("timeout()", self._checkCanApply)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self.onNodeAdded)
        self.ui.segmentButton.connect("clicked(bool)", self.onSegmentButton)
        self.ui.checkButton.connect("clicked(bool)", self.onCheckButton)
        self.ui.swapButton.connect("clicked(bool)", self.onSwapButton)
        self.ui.biasComboBox.connect("activated(int)", self._onBiasChosen)
        self.ui.sampleButton.connect("clicked(bool)", self.onSampleButton)
        self.ui.recomputeButton.connect("clicked(bool)", self.onRecomputeButton)
        self.ui.nextButton.connect("clicked(bool)", lambda: self._resultsBox.step(+1))
        self.ui.previousButton.connect("clicked(bool)", lambda: self._resultsBox.step(-1))
        self.ui.outlineCheckBox.connect("clicked(bool)", self._resultsBox.set_outlines)
        self.ui.doubtCheckBox.connect("clicked(bool)", self._resultsBox.set_doubt)
        self.ui.reviewedCheckBox.connect("clicked(bool)", self.onReviewed)
        self.ui.editButton.connect("clicked(bool)", self.onEditButton)
        self.ui.refineButton.connect("clicked(bool)", self.onRefineButton)
        self.ui.undoButton.connect("clicked(bool)", self.onUndoButton)
        self.ui.copyButton.connect("clicked(bool)", self.onCopyButton)
        self.ui.csvButton.connect("clicked(bool)", self.onCsvButton)
        self.ui.reportButton.connect("clicked(bool)", self.onReportButton)
        self.ui.compareButton.connect("clicked(bool)", self.onCompareButton)
        self.ui.weightsButton.connect("clicked(bool)", self.onWeightsButton)
        self.ui.torchButton.connect("clicked(bool)", self.onTorchButton)
        self.ui.logButton.connect("clicked(bool)", self.onLogButton)
        self.ui.advancedCollapsibleButton.connect("contentsCollapsed(bool)", self._onAdvancedCollapsed)
        self.layout.addStretch(1)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Let go of the scene and end a run; Slicer calls it before the module is reloaded or the application ends."""
        self._monitor.cancel()
        self.setParameterNode(None)
        self.removeObservers()
        self._editTimer.stop()
        self._devices.stop()
        self._prefill.stop()
        self._guard.forget_all()
        self._refinedGuard.forget_all()
        self._log.close()

    def enter(self) -> None:
        """Take up the parameter node; Slicer calls it each time the module is opened."""
        self.initializeParameterNode()
        self._prefill.fill()
        self._recomputeAfterEdit()

    def exit(self) -> None:
        """Leave the parameter node alone while another module is open; a run goes on."""
        if self._monitor.run is None:
            self.setParameterNode(None)

    def onReload(self) -> None:
        """Reload the module with all its submodules and the library; Slicer by itself reloads the module's file alone."""
        forget_submodules()
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event) -> None:
        """End a run and let go of the nodes before the scene is emptied."""
        self._outcome, self._runNotes, self._refined = ("", ""), None, None  # they name nodes of this scene
        if self._monitor.run is not None:
            self._monitor.cancel()
            self._outcome = (messages.SCENE_CLOSED, "")
        self.setParameterNode(None)
        self._guard.forget_all()
        self._refinedGuard.forget_all()
        self._prefill.forget()

    def onSceneEndClose(self, caller, event) -> None:
        """Start again in the empty scene."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event) -> None:
        """Show the choices that came with a loaded scene: while it was read, the selectors did not have their nodes yet."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onNodeAdded(self, caller, event) -> None:
        """Look whether what is being loaded are the scans."""
        if self._fillable() is not None:
            self._prefill.soon()

    def _fillable(self) -> InfantBrainSegParameterNode | None:
        """Give the parameter node while its fields may be filled in."""
        return self._parameterNode if self.parent.isEntered and self._monitor.run is None else None

    # Parameter node

    def initializeParameterNode(self) -> None:
        """Make sure that the scene has our parameter node and that the panel shows it."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode: InfantBrainSegParameterNode | None) -> None:
        """Show another parameter node, or none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
            self._checks.stop()
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._checkCanApply()

    def _checkCanApply(self, caller=None, event=None) -> None:
        """Bring every widget in step with the choices, the checks and the run."""
        node = self._parameterNode
        running = self._monitor.run is not None
        hasTorch = self.logic.torchInstalled()
        reason = self.logic.whyNot(node.t1Volume, node.t2Volume, segment_parameters(node)) if node else messages.NO_SCENE
        if node is not None and not running and self._checks.inputs_changed(node, can_check=not reason):
            self._outcome, self._runNotes = ("", ""), None
            self._prefill.fill_age(node)
        reason = reason or self._checks.reason or ("" if hasTorch else messages.NO_TORCH)
        if node is not None:
            self._devices.show(node.device)
            self.ui.biasComboBox.setCurrentIndex(self.ui.biasComboBox.findData(node.biasCorrection))
        self.ui.torchFrame.visible = not hasTorch
        self.ui.torchLabel.text = messages.NO_TORCH
        for section in (
            self.ui.inputsCollapsibleButton,
            self.ui.outputsCollapsibleButton,
            self.ui.advancedCollapsibleButton,
            self.ui.sampleButton,
        ):
            section.enabled = not running
        self.ui.segmentButton.text = _("Cancel") if running else _("Segment")
        self.ui.segmentButton.enabled = running or not reason
        self.ui.segmentButton.toolTip = messages.CANCEL_TIP if running else reason or messages.SEGMENT_TIP
        self.ui.swapButton.visible = self._checks.findings.swapped and not running
        self.ui.checkButton.enabled = not running and node is not None and not reason
        self.ui.logButton.enabled = bool(self._logPath)
        self._resultsBox.show(node, running)
        shown = node.outputSegmentation if node else None
        self._watch(shown.GetSegmentation() if shown is not None else None)
        self.ui.undoButton.visible = self._refined is not None and shown is self._refined.segmentationNode and not running
        self._showChecks()
        self._showWarnings()
        if not running:
            self._showStatus(reason)

    def _watch(self, segmentation) -> None:
        """Bring the panel in step when the shown segmentation is edited while the panel is open, as from the Python console."""
        if segmentation is self._watched:
            return
        kinds = slicer.vtkSegmentation
        for event in (kinds.SourceRepresentationModified, kinds.SegmentModified, kinds.SegmentAdded, kinds.SegmentRemoved):
            if self._watched is not None:
                self.removeObserver(self._watched, event, self._onEdited)
            if segmentation is not None:
                self.addObserver(segmentation, event, self._onEdited)
        self._watched = segmentation

    def _onEdited(self, caller, event) -> None:
        self._editTimer.start()

    def _showStatus(self, reason: str) -> None:
        text, style = self._outcome
        if not text:
            found = self._checks.findings
            ready = messages.READY_WITH_WARNINGS if found.warnings else messages.READY
            if found.whole_head:
                ready = f"{ready} {messages.WHOLE_HEAD}"
            text = reason or (messages.CHECKING if self._checks.pending else ready)
        self.ui.statusLabel.text = text
        self.ui.statusLabel.styleSheet = style

    def _showWarnings(self) -> None:
        failed, notes, title = self._checks.findings.failed, self._checks.findings.notes, messages.BEFORE_RUN
        if self._runNotes is not None:
            failed, title = messages.not_in_verdict(failed, self._resultsBox.record), messages.AFTER_RUN
            notes = (*notes, *self._runNotes)
        warnings = tuple(dict.fromkeys((*notes, *warnings_of(failed))))
        self.ui.warningsLabel.visible = bool(warnings)
        self.ui.warningsLabel.text = messages.warnings_html(warnings, title) if warnings else ""

    def _showChecks(self) -> None:
        node, record = self._parameterNode, self._resultsBox.record
        if self._checks.all_checks:
            self._checksBox.show(self._checks.all_checks, messages.ALL_CHECKS)
        elif record.checks and inputs_of(node.outputSegmentation) == Scans(node.t1Volume, node.t2Volume, node.maskNode):
            self._checksBox.show(record.checks, " ".join((messages.CHECKS_OF_RESULT, *record.notes)))
        else:
            checks = self._checks.findings.checks
            self._checksBox.show(checks, messages.QUICK_CHECKS if checks else messages.NO_CHECKS)

    # Buttons

    def onSegmentButton(self) -> None:
        """Start a run, or cancel the one in progress."""
        if self._monitor.run is not None:
            self._monitor.cancel()
            return
        node = self._parameterNode
        frames = frame_notes(Scans(node.t1Volume, node.t2Volume))
        if frames and not slicer.util.confirmOkCancelDisplay("\n".join((*frames, messages.SEGMENT_FRAME))):
            return
        self._keepResultsOfOtherScans()
        question = messages.REPLACE_EDITED.format(name=node.outputSegmentation.GetName()) if node.outputSegmentation is not None else ""
        if self._guard.holds_work(node.outputSegmentation) and not slicer.util.confirmOkCancelDisplay(question):
            return
        self._outcome, self._runNotes = ("", ""), None
        try:
            run = self.logic.process(
                node.t1Volume,
                node.t2Volume,
                node.outputSegmentation,
                labelmapNode=node.labelmapNode,
                tableNode=node.tableNode,
                parameters=segment_parameters(node),
                wait=False,
            )
        except InfantBrainSegError as error:
            self._outcome = (str(error), ERROR_STYLE)
        else:
            self._follow(run)
        self._checkCanApply()

    def _keepResultsOfOtherScans(self) -> None:
        """Ask for new output nodes where the chosen ones hold the result of another brain."""
        node = self._parameterNode
        made_of = inputs_of(node.outputSegmentation).main if node.outputSegmentation is not None else None
        if made_of is None or made_of is Scans(node.t1Volume, node.t2Volume).main:
            return
        with slicer.util.NodeModify(node):
            if node.labelmapNode is not None:
                node.labelmapNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", node.labelmapNode.GetName())
            node.outputSegmentation = node.tableNode = None

    def onCheckButton(self) -> None:
        """Run all checks of the chosen scans, without a segmentation."""
        node = self._parameterNode
        self._outcome = ("", "")
        try:
            run = self.logic.checkImages(node.t1Volume, node.t2Volume, segment_parameters(node), wait=False)
        except InfantBrainSegError as error:
            self._outcome = (str(error), ERROR_STYLE)
        else:
            self._follow(run)
        self._checkCanApply()

    def onSwapButton(self) -> None:
        """Take T1 for T2 and T2 for T1."""
        node = self._parameterNode
        with slicer.util.NodeModify(node):
            node.t1Volume, node.t2Volume = node.t2Volume, node.t1Volume

    def onSampleButton(self) -> None:
        """Load the bundled pair and pick it."""
        with slicer.util.tryWithErrorDisplay(_("The sample could not be loaded."), waitCursor=True):
            t1, t2 = load_sample()
            with slicer.util.NodeModify(self._parameterNode):
                self._parameterNode.t1Volume, self._parameterNode.t2Volume, self._parameterNode.maskNode = t1, t2, None

    def onRecomputeButton(self) -> None:
        """Measure the chosen segmentation again."""
        node = self._parameterNode
        try:
            node.tableNode = self.logic.recomputeStatistics(node.outputSegmentation, node.tableNode)
            self._compareAgain()
            self._outcome = (messages.RECOMPUTED.format(name=node.outputSegmentation.GetName()), "")
        except InfantBrainSegError as error:
            self._outcome = (str(error), ERROR_STYLE)
        self._checkCanApply()

    def onReviewed(self, reviewed: bool) -> None:
        """Keep who looked the result through."""
        self._resultsBox.set_reviewed(reviewed)
        self._checkCanApply()

    def onEditButton(self) -> None:
        """Open Segment Editor on the result; coming back measures again."""
        node = self._parameterNode.outputSegmentation
        self._edited = node.GetID()
        self._resultsBox.set_doubt(False)  # the tissues are to be seen while they are edited
        try:
            open_segment_editor(node, inputs_of(node).main or self._parameterNode.t1Volume)
        except InfantBrainSegError as error:
            self._edited = ""
            self._outcome = (str(error), ERROR_STYLE)
            self._checkCanApply()

    def onRefineButton(self) -> None:
        """Keep the edits of the chosen segmentation, and let their surroundings follow."""
        node = self._parameterNode
        self._outcome, self._runNotes = ("", ""), None
        try:
            run = self.logic.refineFromEdits(
                node.outputSegmentation, labelmapNode=node.labelmapNode, parameters=segment_parameters(node), wait=False
            )
        except InfantBrainSegError as error:
            self._outcome = (str(error), ERROR_STYLE)
        else:
            self._follow(run)
        self._checkCanApply()

    def onUndoButton(self) -> None:
        """Give the segmentation back as it was before it was refined."""
        if self._refined is None:
            return
        segmentation = self._refined.segmentationNode
        question = messages.REPLACE_EDITED.format(name=segmentation.GetName())
        if self._refinedGuard.holds_work(segmentation) and not slicer.util.confirmOkCancelDisplay(question):
            return
        self._refined.undo()
        self._refined = None
        self._outcome, self._runNotes = (messages.UNDONE.format(name=segmentation.GetName()), ""), None
        self._checkCanApply()

    def _recomputeAfterEdit(self) -> None:
        node = self._parameterNode
        if self._edited and node.outputSegmentation is not None and node.outputSegmentation.GetID() == self._edited:
            self._edited = ""
            self._measureIfOutdated()

    def _measureIfOutdated(self) -> None:
        """Measure again what was edited since, so that no old numbers leave the panel."""
        if self._resultsBox.outdated:
            self.onRecomputeButton()

    def onCopyButton(self) -> None:
        """Put the numbers into the clipboard."""
        self._measureIfOutdated()
        qt.QApplication.clipboard().setText(as_text(self._resultsBox.results, "\t"))
        self._outcome = (messages.COPIED, "")
        self._checkCanApply()

    def onCsvButton(self) -> None:
        """Save the numbers."""
        path = qt.QFileDialog.getSaveFileName(self.parent, _("Volumes"), "volumes.csv", _("CSV (*.csv)"))
        if not path:
            return
        self._measureIfOutdated()
        try:
            Path(path).write_text(as_text(self._resultsBox.results, ","), encoding="utf-8")
            self._outcome = (messages.SAVED.format(path=path), "")
        except OSError as error:
            self._outcome = (messages.NOT_SAVED.format(path=path, reason=error.strerror or error), ERROR_STYLE)
        self._checkCanApply()

    def onReportButton(self) -> None:
        """Save the result as a page and show it in the browser."""
        path = qt.QFileDialog.getSaveFileName(self.parent, _("Report"), "report.html", _("HTML (*.html)"))
        if not path:
            return
        try:
            with slicer.util.WaitCursor():
                self.logic.writeReport(self._parameterNode.outputSegmentation, path)
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path))
            self._outcome = (messages.SAVED.format(path=path), "")
        except InfantBrainSegError as error:
            self._outcome = (str(error), ERROR_STYLE)
        self._checkCanApply()

    def onCompareButton(self) -> None:
        """Compare the chosen result with the earlier one, and show the plot where there is one."""
        node = self._parameterNode
        try:
            found = self.logic.compareResults(node.earlierResult, node.outputSegmentation)
        except InfantBrainSegError as error:
            self._outcome = (str(error), ERROR_STYLE)
        else:
            if found.chart is not None:
                show_chart(found.chart)
            self._outcome = (messages.compared(found), "")
        self._checkCanApply()

    def _compareAgain(self) -> None:
        """Keep a comparison in step with a segmentation that was measured again, or drop it where it no longer holds."""
        node = self._parameterNode
        if comparison_of(node.earlierResult, node.outputSegmentation) is not None:
            try:
                self.logic.compareResults(node.earlierResult, node.outputSegmentation)
            except InfantBrainSegError:
                node.earlierResult = None

    def onWeightsButton(self) -> None:
        """Pick a weights file."""
        path = qt.QFileDialog.getOpenFileName(self.parent, _("Weights"), self.ui.weightsLineEdit.text, _("Weights (*.pt);;All files (*)"))
        if path:
            self.ui.weightsLineEdit.text = path

    def onTorchButton(self) -> None:
        """Install PyTorch, which asks first."""
        problem = install_torch()
        if problem:
            slicer.util.errorDisplay(problem)
            self._outcome = (problem, ERROR_STYLE)
        self._checkCanApply()

    def onLogButton(self) -> None:
        """Show what the last run printed."""
        self._log.show(self._logPath)

    def _onBiasChosen(self, index: int) -> None:
        if self._parameterNode is not None:
            self._parameterNode.biasCorrection = self.ui.biasComboBox.itemData(index)

    def _onDeviceChosen(self, value: str) -> None:
        if self._parameterNode is not None:
            self._parameterNode.device = value

    def _onAdvancedCollapsed(self, collapsed: bool) -> None:
        if not collapsed and self.logic.torchInstalled():
            self._devices.find_devices()

    # A run

    def _follow(self, run: Run) -> None:
        self._logPath = run.logPath
        self._log.follow(run.logPath)
        self.ui.statusLabel.styleSheet = ""
        self._monitor.follow(run)

    def _onRunEnd(self, run: Run) -> None:
        self._checkCanApply()  # inputs that left during the run count as changed now, before there is an outcome to show
        self._logPath = run.logPath
        if run.state != "finished":
            self._outcome = (run.message or messages.STOPPED, ERROR_STYLE if run.state == "failed" else "")
        elif run.segmentationNode is None:
            self._takeChecks(run)
        else:
            self._takeResult(run)
        self._checkCanApply()

    def _takeChecks(self, run: Run) -> None:
        self._checks.all_checks = run.record.checks
        self._outcome = (messages.ALL_PASS if all(check.status == PASS for check in run.record.checks) else messages.SOME_FAIL, "")
        self.ui.checksCollapsibleButton.collapsed = False

    def _takeResult(self, run: Run) -> None:
        self._runNotes = run.notes
        self._checks.all_checks = ()
        self._outcome = (messages.finished(run.record, run.seconds), "")
        self._refined = run if run.canUndo else None
        (self._refinedGuard if self._refined else self._guard).made(run.segmentationNode)
        hide_doubt(run.segmentationNode.GetScene())  # it is of the result before
        node = self._parameterNode
        if node is not None:
            with slicer.util.NodeModify(node):
                node.outputSegmentation, node.tableNode = run.segmentationNode, run.tableNode
            self._compareAgain()
        if self.parent.isEntered:  # elsewhere the views are the other module's
            show_scan(inputs_of(run.segmentationNode).main)
