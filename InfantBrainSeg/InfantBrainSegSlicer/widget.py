"""The panel: the .ui file, the parameter node behind it, and what its buttons do."""

import sys

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from InfantBrainSegLib.errors import InfantBrainSegError

from . import messages
from .devices_box import DevicesBox
from .edit_guard import EditGuard
from .input_checks import InputChecks
from .log_window import LogWindow
from .parameters import InfantBrainSegParameterNode, segment_parameters
from .results_table import fill_results_table
from .run import Run
from .run_monitor import RunMonitor
from .sample_data import load_sample
from .torch_setup import install_torch

ERROR_STYLE = "color: #c0392b;"


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
        self._runWarnings: tuple[str, ...] = ()
        self._logPath = ""

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
            self.ui.progressBar,
            self.ui.elapsedLabel,
            self.ui.resultsCollapsibleButton,
        ):
            hidden.visible = False

        self.logic = self.logicClass()
        self._checks = InputChecks(self.logic, self._checkCanApply)
        self._devices = DevicesBox(self.ui.deviceComboBox, self.logic, self._onDeviceChosen)
        self._monitor = RunMonitor(self.ui, self._onRunEnd)
        self._log = LogWindow()
        self._guard = EditGuard()

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.ui.segmentButton.connect("clicked(bool)", self.onSegmentButton)
        self.ui.sampleButton.connect("clicked(bool)", self.onSampleButton)
        self.ui.recomputeButton.connect("clicked(bool)", self.onRecomputeButton)
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
        self._devices.stop()
        self._guard.forget_all()
        self._log.close()

    def enter(self) -> None:
        """Take up the parameter node; Slicer calls it each time the module is opened."""
        self.initializeParameterNode()

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
        if self._monitor.run is not None:
            self._monitor.cancel()
            self._outcome = (messages.SCENE_CLOSED, "")
        self.setParameterNode(None)
        self._guard.forget_all()

    def onSceneEndClose(self, caller, event) -> None:
        """Start again in the empty scene."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event) -> None:
        """Show the choices that came with a loaded scene: while it was read, the selectors did not have their nodes yet."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    # Parameter node

    def initializeParameterNode(self) -> None:
        """Make sure that the scene has our parameter node and that the panel shows it."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode: InfantBrainSegParameterNode | None) -> None:
        """Show another parameter node, or none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
            self._checks.stop()
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._checkCanApply()

    def _checkCanApply(self, caller=None, event=None) -> None:
        """Bring every widget in step with the choices, the checks and the run."""
        node = self._parameterNode
        running = self._monitor.run is not None
        hasTorch = self.logic.torchInstalled()
        reason = self.logic.whyNot(node.t1Volume, node.t2Volume, segment_parameters(node)) if node else messages.NO_SCENE
        if node is not None and not running and self._checks.inputs_changed(node, can_check=not reason):
            self._outcome, self._runWarnings = ("", ""), ()
        reason = reason or self._checks.reason or ("" if hasTorch else messages.NO_TORCH)
        if node is not None:
            self._devices.show(node.device)
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
        self.ui.logButton.enabled = bool(self._logPath)
        self._showWarnings()
        self._showResults()
        if not running:
            self._showStatus(reason)

    def _showStatus(self, reason: str) -> None:
        text, style = self._outcome
        if not text:
            text = reason or (messages.CHECKING if self._checks.pending else messages.READY)
        self.ui.statusLabel.text = text
        self.ui.statusLabel.styleSheet = style

    def _showWarnings(self) -> None:
        warnings = tuple(dict.fromkeys(self._checks.warnings + self._runWarnings))
        title = messages.AFTER_RUN if self._runWarnings else messages.BEFORE_RUN
        self.ui.warningsLabel.visible = bool(warnings)
        self.ui.warningsLabel.text = messages.warnings_html(warnings, title) if warnings else ""

    def _showResults(self) -> None:
        node = self._parameterNode
        segmentation = node.outputSegmentation if node else None
        filled = segmentation is not None and segmentation.GetSegmentation().GetNumberOfSegments() > 0
        if self.ui.show3DButton.segmentationNode() is not segmentation:
            self.ui.show3DButton.setSegmentationNode(segmentation)
        self.ui.show3DButton.enabled = filled
        self.ui.recomputeButton.enabled = filled
        table = node.tableNode if node else None
        total = fill_results_table(self.ui.resultsTable, table)
        self.ui.resultsCollapsibleButton.visible = bool(total)
        self.ui.resultsLabel.text = total

    # Buttons

    def onSegmentButton(self) -> None:
        """Start a run, or cancel the one in progress."""
        if self._monitor.run is not None:
            self._monitor.cancel()
            return
        node = self._parameterNode
        question = messages.REPLACE_EDITED.format(name=node.outputSegmentation.GetName()) if node.outputSegmentation is not None else ""
        if self._guard.holds_work(node.outputSegmentation) and not slicer.util.confirmOkCancelDisplay(question):
            return
        self._outcome, self._runWarnings = ("", ""), ()
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
            self._logPath = run.logPath
            self.ui.statusLabel.styleSheet = ""
            self._monitor.follow(run)
        self._checkCanApply()

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
            self._outcome = (messages.RECOMPUTED.format(name=node.outputSegmentation.GetName()), "")
        except InfantBrainSegError as error:
            self._outcome = (str(error), ERROR_STYLE)
        self._checkCanApply()

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

    def _onDeviceChosen(self, value: str) -> None:
        if self._parameterNode is not None:
            self._parameterNode.device = value

    def _onAdvancedCollapsed(self, collapsed: bool) -> None:
        if not collapsed and self.logic.torchInstalled():
            self._devices.find_devices()

    # A run's end

    def _onRunEnd(self, run: Run) -> None:
        self._checkCanApply()  # inputs that left during the run count as changed now, before there is an outcome to show
        self._logPath = run.logPath
        self._runWarnings = tuple(run.warnings)
        node = self._parameterNode
        if run.state == "finished":
            self._outcome = (messages.FINISHED.format(time=messages.duration(run.seconds)), "")
            self._guard.made(run.segmentationNode)
            if node is not None:
                with slicer.util.NodeModify(node):
                    node.outputSegmentation, node.tableNode = run.segmentationNode, run.tableNode
        else:
            self._outcome = (run.message or messages.STOPPED, ERROR_STYLE if run.state == "failed" else "")
        self._checkCanApply()
