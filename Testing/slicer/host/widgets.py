"""The ctk and qMRML widgets of the panel, and the loader of .ui files that knows them."""

import xml.etree.ElementTree as ElementTree
from typing import Any, ClassVar

import slicer
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from PySide6.QtCore import Property, Signal

from .node_combo_box import qMRMLNodeComboBox
from .pythonqt import EmulatedWidget

Attribute = QtCore.Qt.WidgetAttribute


class qMRMLWidget(EmulatedWidget, QtWidgets.QWidget):
    """A widget that hands its scene on to its children."""

    mrmlSceneChanged = Signal(object)
    cpp_signals: ClassVar = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene


class ctkCollapsibleButton(EmulatedWidget, QtWidgets.QAbstractButton):
    """A header that shows and hides what lies below it."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._collapsed_children: list[QtWidgets.QWidget] = []
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.toggled.connect(self._on_toggled)

    @Property(bool)
    def collapsed(self) -> bool:
        return not self.isChecked()

    @collapsed.setter
    def collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def _on_toggled(self, open_: bool) -> None:
        self.show_contents(open_)
        self.contentsCollapsed.emit(not open_)

    def show_contents(self, show: bool) -> None:
        """Hide the children, or show again those that were hidden here and not by the module."""
        if show:
            for child in self._collapsed_children:
                child.setVisible(True)
            self._collapsed_children = []
        else:
            children = self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindChildOption.FindDirectChildrenOnly)
            shown = [w for w in children if not (w.testAttribute(Attribute.WA_WState_ExplicitShowHide) and w.isHidden())]
            for child in shown:
                child.setVisible(False)
            self._collapsed_children += shown
        self.setMaximumHeight(16777215 if show else self._header_height())

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 8

    def sizeHint(self) -> QtCore.QSize:
        header = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text) + 40, self._header_height())
        contents = self.layout()
        return contents.sizeHint().expandedTo(header) if contents and self.isChecked() else header

    def minimumSizeHint(self) -> QtCore.QSize:
        return self.sizeHint()

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < self._header_height()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, option = QtGui.QPainter(self), QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, self._header_height())
        style, elements = self.style(), QtWidgets.QStyle
        style.drawControl(elements.ControlElement.CE_PushButtonBevel, option, painter, self)
        open_, closed = elements.PrimitiveElement.PE_IndicatorArrowDown, elements.PrimitiveElement.PE_IndicatorArrowRight
        text_area = option.rect.adjusted(24, 0, 0, 0)
        option.rect = QtCore.QRect(6, self._header_height() // 2 - 6, 12, 12)
        style.drawPrimitive(open_ if self.isChecked() else closed, option, painter, self)
        painter.drawText(text_area, int(QtCore.Qt.AlignmentFlag.AlignVCenter), self.text)
        painter.end()


class qMRMLSegmentationShow3DButton(EmulatedWidget, QtWidgets.QPushButton):
    """Makes and removes the closed surfaces of a segmentation."""

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._node = None
        self.setText("Show 3D")
        self.setCheckable(True)
        self.setEnabled(False)
        self.clicked.connect(self._on_clicked)

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        return self._node

    def setSegmentationNode(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        if node is not None and not node.IsA("vtkMRMLSegmentationNode"):
            raise TypeError(f"qMRMLSegmentationShow3DButton takes a segmentation node, not {node.GetClassName()}")
        self._node = node
        self.setEnabled(node is not None)
        self.setChecked(bool(node and node.GetSegmentation().ContainsRepresentation("Closed surface")))

    def _on_clicked(self, show: bool) -> None:
        if show:
            self._node.CreateClosedSurfaceRepresentation()
        else:
            self._node.RemoveClosedSurfaceRepresentation()


class ctkMessageBox(EmulatedWidget, QtWidgets.QMessageBox):
    """A message box; a test that lets one open without an answer would hang, so it raises."""

    def exec_(self) -> int:
        raise RuntimeError(f"A message box would wait for an answer: {self.text}")


CTK_WIDGETS = {cls.__name__: cls for cls in (ctkCollapsibleButton, ctkMessageBox)}
QMRML_WIDGETS = {cls.__name__: cls for cls in (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentationShow3DButton)}


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file; a class, property or connection that is not there is an error."""

    def __init__(self, parent: QtCore.QObject | None = None):
        super().__init__(parent)
        for cls in (*CTK_WIDGETS.values(), *QMRML_WIDGETS.values()):
            self.registerCustomWidget(cls)

    def load(self, device: QtCore.QIODevice, parentWidget: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        unknown = {element.get("class") for element in root.iter("widget")} - set(self.availableWidgets())
        if unknown:
            raise ValueError(f"This host has no widgets {sorted(unknown)}")
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        top = super().load(buffer, parentWidget)
        widgets = {widget.name: widget for widget in (top, *top.findChildren(QtWidgets.QWidget)) if widget.name}
        for element in root.iter("widget"):
            _check_properties(element, widgets[element.get("name")])
        for connection in connections if connections is not None else ():
            _connect(connection, widgets)
        for button in top.findChildren(ctkCollapsibleButton):
            button.show_contents(not button.collapsed)
        top._children = widgets  # keeps the Python side of the widgets alive as long as the top widget
        return top


def _check_properties(element: ElementTree.Element, widget: QtWidgets.QWidget) -> None:
    meta = widget.metaObject()
    for setting in element.findall("property"):
        name: Any = setting.get("name")
        if setting.get("stdset") != "0" and meta.indexOfProperty(name) < 0:
            raise ValueError(f"{type(widget).__name__} '{widget.name}' has no property '{name}'")


def _connect(connection: ElementTree.Element, widgets: dict[str, QtWidgets.QWidget]) -> None:
    sender, receiver = widgets[str(connection.findtext("sender"))], widgets[str(connection.findtext("receiver"))]
    sender.connect(connection.findtext("signal"), receiver, connection.findtext("slot"))
