"""3D Slicer module: T1w and T2w scans of an infant brain in, an editable segmentation and a table of volumes out."""

import sys
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036  an older Slicer's
    raise ImportError("Infant Brain Segmentation needs Python 3.10 or newer: install 3D Slicer 5.12 or newer.")

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest

_REPOSITORY = Path(__file__).resolve().parents[1]
if (_REPOSITORY / "InfantBrainSegLib").is_dir() and str(_REPOSITORY) not in sys.path:
    sys.path.append(str(_REPOSITORY))  # from a source checkout; an installed extension has the library beside this file

from InfantBrainSegSlicer.logic import SceneLogic, SegmentParameters  # noqa: E402
from InfantBrainSegSlicer.panel.messages import acknowledgement_text, help_text  # noqa: E402
from InfantBrainSegSlicer.panel.parameters import InfantBrainSegParameterNode  # noqa: E402
from InfantBrainSegSlicer.panel.widget import PanelWidget  # noqa: E402
from InfantBrainSegSlicer.run.temporary import sweep_abandoned  # noqa: E402
from InfantBrainSegSlicer.scene.sample_data import load_sample, register_sample_data  # noqa: E402
from InfantBrainSegSlicer.selftest import SelfTest  # noqa: E402

__all__ = ["InfantBrainSeg", "InfantBrainSegLogic", "InfantBrainSegTest", "InfantBrainSegWidget", "SegmentParameters", "load_sample"]


class InfantBrainSeg(ScriptedLoadableModule):
    """The module's name, place and texts."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Infant Brain Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["InfantBrainSeg contributors"]
        parent.helpText = help_text()
        parent.acknowledgementText = acknowledgement_text()
        slicer.app.connect("startupCompleted()", register_sample_data)
        slicer.app.connect("startupCompleted()", sweep_abandoned)


class InfantBrainSegLogic(SceneLogic, ScriptedLoadableModuleLogic):
    """The work without the panel: `process`, `recomputeStatistics`, `segmentBatch`."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self) -> InfantBrainSegParameterNode:
        """Find the scene's parameter node, or make it."""
        return InfantBrainSegParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))


class InfantBrainSegWidget(PanelWidget):
    """The panel."""

    logicClass = InfantBrainSegLogic


class InfantBrainSegTest(SelfTest, ScriptedLoadableModuleTest):
    """The self-test."""

    logicClass = InfantBrainSegLogic
