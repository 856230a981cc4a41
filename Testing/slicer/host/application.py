"""`slicer.app`, `slicer.modules` and the loading of a scripted module, on the scene that `mrml.new_scene` has set up."""

import importlib.util
import sys
import tempfile
import types
from pathlib import Path

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from . import parameter_node, pythonqt, scripted_module
from .pythonqt import EmulatedWidget
from .widgets import CTK_WIDGETS, QMRML_WIDGETS, QUiLoader, qMRMLWidget

_first_of_dialog = QtWidgets.QFileDialog.getOpenFileName


class IOManager:
    """Loads volumes from files."""

    def fileType(self, file_name: str) -> str:
        return "VolumeFile"

    def loadNodes(self, file_type: str, properties: dict, nodes: object, messages: object) -> bool:
        if file_type != "VolumeFile":
            raise ValueError(f"This host reads volumes alone, not {file_type}")
        path = properties["fileName"]
        name = properties.get("name") or Path(path).name.partition(".")[0]
        options = 1 if properties.get("labelmap") else 0
        node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options)
        if node:
            nodes.AddItem(node)
        return node is not None


class ModuleManager(QtCore.QObject):
    """Tells modules that they are about to go."""

    moduleAboutToBeUnloaded = Signal(str)


class Application(EmulatedWidget, QtWidgets.QApplication):
    """What a module asks of `slicer.app`; always in testing mode, so that no message box waits for an answer."""

    startupCompleted = Signal()

    def __init__(self):
        super().__init__([])
        self._managers = ModuleManager(), IOManager()
        self.connect = types.MethodType(pythonqt.connect, self)

    @property
    def applicationName(self) -> str:
        return "Slicer"

    @property
    def temporaryPath(self) -> str:
        return tempfile.gettempdir()

    def testingEnabled(self) -> bool:
        return True

    def layoutManager(self) -> None:
        """None, as in a Slicer without a main window."""

    def moduleManager(self) -> ModuleManager:
        return self._managers[0]

    def coreIOManager(self) -> IOManager:
        return self._managers[1]


class ScriptedModule(EmulatedWidget, QtCore.QObject):
    """What the application knows of a scripted module; the module's class fills in the texts."""

    path = title = helpText = acknowledgementText = ""
    instance: object = None
    categories = dependencies = contributors = ()

    def __init__(self, path: Path):
        super().__init__()
        self.setObjectName(path.stem)
        self.path = str(path)
        self._representation: ModuleWidget | None = None

    def widgetRepresentation(self) -> "ModuleWidget":
        if self._representation is None:
            self._representation = ModuleWidget(self)
            self._representation.reload()
        return self._representation


class ModuleWidget(qMRMLWidget):
    """The panel's frame: makes the module's widget object and tells it when it is entered and left."""

    def __init__(self, module: ScriptedModule):
        super().__init__()
        self._module, self._widget, self._entered = module, None, False
        self.setLayout(QtWidgets.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    @Property(bool)
    def isEntered(self) -> bool:
        return self._entered

    def self(self):
        return self._widget

    def reload(self) -> None:
        name = self._module.name
        self._widget = getattr(sys.modules[name], f"{name}Widget")(self)
        setattr(slicer.modules, f"{name}Widget", self._widget)
        self._widget.setup()

    def enter(self) -> None:
        self._entered = True
        self._widget.enter()

    def exit(self) -> None:
        self._entered = False
        self._widget.exit()


def start() -> Application:
    """Make the application and the Python modules that Slicer has and slicer-core has not; a second call gives the same application."""
    running = QtCore.QCoreApplication.instance()
    if running is not None:
        return running
    pythonqt.install()
    QtWidgets.QFileDialog.getOpenFileName = staticmethod(
        lambda *arguments: _first_of_dialog(*arguments)[0]
    )  # PythonQt gives the path alone
    names = {name: getattr(module, name) for module in pythonqt.MODULES for name in dir(module) if not name.startswith("_")}
    _add_module("qt", {**names, "QUiLoader": QUiLoader})
    _add_module("ctk", CTK_WIDGETS)
    _add_module("slicer.i18n", {"tr": lambda text: text, "translate": lambda context, text: text})
    slicer.parameterNodeWrapper = sys.modules["slicer.parameterNodeWrapper"] = parameter_node
    slicer.ScriptedLoadableModule = sys.modules["slicer.ScriptedLoadableModule"] = scripted_module
    _add_module("SampleData", {"SampleDataLogic": scripted_module.SampleDataLogic})
    for name, cls in QMRML_WIDGETS.items():
        setattr(slicer, name, cls)
    slicer.app = Application()
    return slicer.app


def _add_module(name: str, members: dict[str, object]) -> None:
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    if name.startswith("slicer."):
        setattr(slicer, name.partition(".")[2], module)


def load_module(path: Path) -> ScriptedModule:
    """Load a scripted module from its file, as the application does at its start, and say that the start is over."""
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    module = ScriptedModule(path)
    setattr(slicer.modules, name.lower(), module)
    module.instance = getattr(sys.modules[name], name)(module)
    slicer.app.startupCompleted.emit()
    return module
