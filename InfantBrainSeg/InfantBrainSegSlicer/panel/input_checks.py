"""The checks before a run, in the panel: started a moment after the inputs changed, once for each choice of inputs."""

from collections.abc import Callable

import qt
import slicer
import vtk

from InfantBrainSegLib.core.check import Check
from InfantBrainSegLib.core.errors import InfantBrainSegError

from ..scene.checks import Findings
from ..scene.nodes import ijk_to_ras, to_array
from .parameters import InfantBrainSegParameterNode, segment_parameters

DELAY_MS = 400  # long enough to pick both scans in one go


class InputChecks:
    """Holds what is known of the chosen inputs, and why they cannot be used.

    Parameters
    ----------
    logic : SceneLogic
    on_news : callable
        Called without arguments when the findings or the reason changed.

    Attributes
    ----------
    reason : str
        Why these inputs cannot be segmented, as the library says it; empty when they can, or when that is not known yet.
    findings : Findings
        Of the quick look.
    all_checks : tuple of Check
        Of the full one that a person asked for; empty until then.
    pending : bool
        Whether a check is still to come.
    """

    def __init__(self, logic, on_news: Callable[[], None]):
        self._logic = logic
        self._on_news = on_news
        self._checked: tuple | None = None
        self._parameter_node: InfantBrainSegParameterNode | None = None
        self.reason = ""
        self.findings = Findings()
        self.all_checks: tuple[Check, ...] = ()
        self.pending = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.connect("timeout()", self._check)

    def inputs_changed(self, parameter_node: InfantBrainSegParameterNode, can_check: bool) -> bool:
        """Forget what was found about other inputs, and look at these soon.

        Parameters
        ----------
        parameter_node : InfantBrainSegParameterNode
        can_check : bool
            Whether a scan is there that can be used; without one nothing is looked at.

        Returns
        -------
        bool
            Whether other inputs were chosen; none at all does not count.
        """
        self._parameter_node = parameter_node
        inputs = (*_state_of_inputs(parameter_node), can_check)
        if inputs == self._checked:
            return False
        self._checked = inputs
        self.reason, self.findings, self.all_checks = "", Findings(), ()
        self.pending = can_check
        if can_check:
            self._timer.start()
        else:
            self._timer.stop()
        return any(node_id for node_id, *_ in inputs[:-2])

    def stop(self) -> None:
        """Drop a check that is still to come."""
        self._timer.stop()
        if self.pending:
            self.pending = False
            self._checked = None

    def _check(self) -> None:
        if not self.pending or self._parameter_node is None:
            return
        self.pending = False
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            node = self._parameter_node
            self.findings = self._logic.lookQuickly(node.t1Volume, node.t2Volume, segment_parameters(node))
        except InfantBrainSegError as error:
            self.reason = str(error)
        finally:
            slicer.app.restoreOverrideCursor()
        self._on_news()


def _state_of_inputs(node: InfantBrainSegParameterNode) -> tuple:
    """Tell one choice of inputs from another, edits, other places and what the checks depend on included."""
    state = []
    for chosen in (node.t1Volume, node.t2Volume, node.maskNode):
        image = chosen.GetImageData() if chosen is not None and hasattr(chosen, "GetImageData") else None
        content = chosen.GetSegmentation().GetMTime() if chosen is not None and hasattr(chosen, "GetSegmentation") else None
        state.append((chosen.GetID() if chosen is not None else None, image.GetMTime() if image is not None else content, _place(chosen)))
    return (*state, (node.ageMonths, node.extractCerebrum, node.alignT2))


def _place(chosen) -> tuple:
    """Where a node's voxels lie: its own matrix and its parent's, as plain numbers."""
    import numpy as np

    if chosen is None:
        return ()
    own = ijk_to_ras(chosen) if chosen.IsA("vtkMRMLVolumeNode") else np.eye(4)
    transform = chosen.GetParentTransformNode()
    to_world = vtk.vtkMatrix4x4()
    if transform is not None and transform.IsTransformToWorldLinear():
        transform.GetMatrixTransformToWorld(to_world)
    return (chosen.GetTransformNodeID(), *own.ravel(), *to_array(to_world).ravel())
