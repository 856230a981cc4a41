"""qMRMLNodeComboBox on the real scene: the nodes of some types, "None", and the actions that make, rename and delete nodes."""

from typing import ClassVar

import shiboken6
import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from .pythonqt import EmulatedWidget

CREATE, DELETE, RENAME = "Create new ", "Delete current ", "Rename current "


class qMRMLNodeComboBox(EmulatedWidget, QtWidgets.QWidget):
    """Follows the scene; a current node that is deleted leaves None, or the last node where None is not offered."""

    currentNodeChanged = Signal(object)
    nodeAddedByUser = Signal(object)
    cpp_signals: ClassVar = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._scene, self._tags, self._watched = None, [], {}
        self._current = ""
        self._settings = {}
        self._combo = QtWidgets.QComboBox(self)
        self._combo.activated.connect(self._on_activated)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self.setEnabled(False)

    def _setting(name: str, kind: type | str, default: object):
        def get(self):
            return self._settings.get(name, default)

        def put(self, value):
            self._settings[name] = value
            self._refill()

        return Property(kind, get, put)

    nodeTypes = _setting("nodeTypes", "QStringList", [])
    noneEnabled = _setting("noneEnabled", bool, False)
    noneDisplay = _setting("noneDisplay", str, "None")
    addEnabled = _setting("addEnabled", bool, True)
    removeEnabled = _setting("removeEnabled", bool, True)
    renameEnabled = _setting("renameEnabled", bool, False)
    showChildNodeTypes = _setting("showChildNodeTypes", bool, True)
    baseName = _setting("baseName", str, "")

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        self._release()
        self._scene = scene
        if scene:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent)
            self._tags = [scene.AddObserver(event, self._on_scene) for event in events]
        self.setEnabled(scene is not None)
        self._refill()

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node) -> None:
        self._select(node.GetID() if node else "")

    def addNode(self, class_name: str | None = None):
        node = self._scene.AddNewNodeByClass(class_name or self.nodeTypes[0])
        node.SetName(self._scene.GenerateUniqueName(self.baseName or node.GetNodeTagName()))
        self._select(node.GetID())
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    def choices(self) -> list[str]:
        """List the texts that the user sees when the box is open."""
        return [text for row in range(self._combo.count) if (text := self._combo.itemText(row))]

    def choose(self, text: str) -> None:
        """Pick one of them as a user would."""
        row = self._combo.findText(text)
        if row < 0:
            raise ValueError(f"'{self.name}' offers {self.choices()}, not '{text}'")
        self._combo.setCurrentIndex(row)
        self._combo.activated.emit(row)

    def _nodes(self) -> list:
        if not self._scene:
            return []
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        return [node for node in nodes if not node.GetHideFromEditors() and self._offers(node)]

    def _offers(self, node) -> bool:
        if not self.showChildNodeTypes:
            return node.GetClassName() in self.nodeTypes
        return any(node.IsA(class_name) for class_name in self.nodeTypes)

    def _refill(self) -> None:
        nodes = self._nodes()
        self._watch(nodes)
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        for action in self._actions():
            self._combo.addItem(action)
        ids = [node.GetID() for node in nodes]
        if self._current not in ids:
            last = ids[-1] if ids and self._current and not self.noneEnabled else ""
            self._select(last)
        self._show_current()

    def _actions(self) -> list[str]:
        kinds = [slicer.mrmlScene.GetTypeDisplayNameByClassName(class_name) for class_name in self.nodeTypes]
        rename = [RENAME + kinds[0]] if self.renameEnabled and kinds else []
        remove = [DELETE + kinds[0]] if self.removeEnabled and kinds else []
        return [*rename, *[CREATE + kind for kind in kinds if self.addEnabled], *remove]

    def _show_current(self) -> None:
        self._combo.setCurrentIndex(self._combo.findData(self._current))

    def _select(self, node_id: str) -> None:
        if node_id and node_id not in [node.GetID() for node in self._nodes()]:
            node_id = ""
        changed, self._current = node_id != self._current, node_id
        self._show_current()
        if changed:
            self.currentNodeChanged.emit(self.currentNode())

    def _on_activated(self, row: int) -> None:
        node_id, text = self._combo.itemData(row), self._combo.itemText(row)
        if node_id is not None:
            self._select(node_id)
        elif text.startswith(CREATE):
            kinds = {CREATE + slicer.mrmlScene.GetTypeDisplayNameByClassName(name): name for name in self.nodeTypes}
            self.addNode(kinds[text])
        elif text.startswith(DELETE) and self._current:
            self.removeCurrentNode()
        else:
            self._show_current()

    def _on_scene(self, scene, _event) -> None:
        if not shiboken6.isValid(self):
            self._release()
        elif not scene.IsImporting():
            self._refill()

    def _watch(self, nodes: list) -> None:
        for node in nodes:
            if node not in self._watched:
                self._watched[node] = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_node)

    def _on_node(self, node, _event) -> None:
        if not shiboken6.isValid(self):
            self._release()
        elif node.GetID() and (row := self._combo.findData(node.GetID())) >= 0:
            self._combo.setItemText(row, node.GetName())

    def _release(self) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        for node, tag in self._watched.items():
            node.RemoveObserver(tag)
        self._tags, self._watched = [], {}
