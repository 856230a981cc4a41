"""The four base classes of a scripted module, and the registry of sample data."""

import unittest
from pathlib import Path
from typing import ClassVar

import slicer

__all__ = ["ScriptedLoadableModule", "ScriptedLoadableModuleLogic", "ScriptedLoadableModuleTest", "ScriptedLoadableModuleWidget"]


class ScriptedLoadableModule:
    """The module's entry in the application."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    """The module's panel."""

    def __init__(self, parent):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def setup(self) -> None:
        """Nothing by default; developers' buttons are left out here."""

    def cleanup(self) -> None:
        """Nothing by default."""

    def resourcePath(self, name: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()


class ScriptedLoadableModuleLogic:
    """Finds or makes the module's one parameter node in the scene."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        found = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        return found or slicer.mrmlScene.AddNode(self._new_parameter_node())

    def _new_parameter_node(self):
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A unittest test case."""

    def delayDisplay(self, message: str, msec: int = 100) -> None:
        slicer.util.delayDisplay(message, 0)


class SampleDataLogic:
    """Keeps what modules offer as sample data, under category and name."""

    sources: ClassVar[dict[tuple[str, str], dict]] = {}

    @staticmethod
    def registerCustomSampleDataSource(category: str, sampleName: str, **details) -> None:
        known = {"uris", "fileNames", "nodeNames", "customDownloader", "thumbnailFileName", "loadFileTypes", "loadFiles", "checksums"}
        if not details.keys() <= known:
            raise TypeError(f"registerCustomSampleDataSource takes no {sorted(details.keys() - known)}")
        SampleDataLogic.sources[category, sampleName] = details
