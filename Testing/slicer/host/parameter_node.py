"""`slicer.parameterNodeWrapper`: typed fields kept in a vtkMRMLScriptedModuleNode, and tied to widgets by their `SlicerParameterName`."""

import types
import typing
from collections.abc import Callable

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .node_combo_box import qMRMLNodeComboBox

__all__ = ["parameterNodeWrapper"]
PROPERTY = "SlicerParameterName"
FROM_TEXT: dict[type, Callable] = {bool: lambda text: text == "True", int: int, float: float, str: str}
Node = slicer.vtkMRMLScriptedModuleNode


class _Field:
    """One field: checks its values, writes them into the node as text or as a node reference, and reads them."""

    def __init__(self, name: str, hint: typing.Any, default: object):
        united = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
        self.name = name
        self.kinds = tuple(kind for kind in united if kind is not type(None))
        self.is_node = all(issubclass(kind, slicer.vtkMRMLNode) for kind in self.kinds)
        if not self.is_node and hint not in FROM_TEXT:
            raise TypeError(f"Parameter {name}: this host stores no {hint}")
        self.default = None if self.is_node else hint() if default is None else default

    def put(self, node: Node, value: typing.Any) -> None:
        if not isinstance(value, self.kinds) and not (self.is_node and value is None):
            raise TypeError(f"Parameter {self.name} takes {[kind.__name__ for kind in self.kinds]}, not {value!r}")
        node.SetParameter(self.name, "" if self.is_node else str(value))
        if self.is_node:
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)

    def get(self, node: Node) -> typing.Any:
        return node.GetNodeReference(self.name) if self.is_node else FROM_TEXT[self.kinds[0]](node.GetParameter(self.name))


class _Tie:
    """Ties one field to one widget, both ways."""

    # widget class: its signal, how it is read, how it is written
    WIDGETS: typing.ClassVar = {
        QtWidgets.QCheckBox: ("toggled(bool)", lambda widget: widget.checked, lambda widget, value: widget.setChecked(value)),
        QtWidgets.QLineEdit: ("textChanged(QString)", lambda widget: widget.text, lambda widget, value: widget.setText(value)),
        qMRMLNodeComboBox: (
            "currentNodeChanged(vtkMRMLNode*)",
            lambda widget: widget.currentNode(),
            lambda widget, value: widget.setCurrentNode(value),
        ),
    }
    KINDS: typing.ClassVar = {QtWidgets.QCheckBox: (bool,), QtWidgets.QLineEdit: (str,)}

    def __init__(self, field: _Field, widget: QtWidgets.QWidget, on_change: Callable):
        kind = type(widget)
        fits = field.is_node if kind is qMRMLNodeComboBox else field.kinds == self.KINDS.get(kind)
        if not fits:
            raise RuntimeError(f"Parameter {field.name} cannot be tied to a {kind.__name__}")
        self.field, self.widget = field, widget
        self._signal, self._read, self._write = self.WIDGETS[kind]
        self._handler = lambda *_: on_change(field, self._read(widget))

    def connect(self) -> None:
        self.widget.connect(self._signal, self._handler)

    def disconnect(self) -> None:
        self.widget.disconnect(self._signal, self._handler)

    def show(self, value: object) -> None:
        if self._read(self.widget) != value:
            self._write(self.widget, value)


class _Wrapper:
    """What each wrapped class can do beside its fields."""

    fields: dict[str, _Field]

    def __init__(self, parameterNode: Node):
        self.parameterNode = parameterNode
        self._ties: dict[int, tuple[list[_Tie], int]] = {}
        self._showing = False
        for field in self.fields.values():
            if not parameterNode.HasParameter(field.name):
                field.put(parameterNode, field.default)
        self.AddObserver, self.RemoveObserver = parameterNode.AddObserver, parameterNode.RemoveObserver
        self.StartModify, self.EndModify, self.Modified = parameterNode.StartModify, parameterNode.EndModify, parameterNode.Modified

    def connectGui(self, gui: object) -> int:
        """Tie every widget with a `SlicerParameterName`, of a widget or of what `childWidgetVariables` gives; returns a tag."""
        found = gui.findChildren(QtWidgets.QWidget) if isinstance(gui, QtCore.QObject) else list(vars(gui).values())
        named = {name: widget for widget in found if (name := widget.property(PROPERTY))}
        if named.keys() - self.fields.keys():
            raise ValueError(f"Widgets name parameters that do not exist: {sorted(named.keys() - self.fields.keys())}")
        ties = [_Tie(self.fields[name], widget, self._on_widget) for name, widget in named.items()]
        for tie in ties:
            tie.show(tie.field.get(self.parameterNode))
            tie.connect()
        tag = max(self._ties, default=-1) + 1
        self._ties[tag] = (ties, self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._on_node()))
        return tag

    def disconnectGui(self, tag: int) -> None:
        ties, observer = self._ties.pop(tag)
        self.RemoveObserver(observer)
        for tie in ties:
            tie.disconnect()

    def _on_widget(self, field: _Field, value: object) -> None:
        if not self._showing:
            with slicer.util.NodeModify(self):
                field.put(self.parameterNode, value)

    def _on_node(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            for tie in [tie for ties, _ in self._ties.values() for tie in ties]:
                tie.show(tie.field.get(self.parameterNode))
        finally:
            self._showing = False


def parameterNodeWrapper(cls: type) -> type:
    """Make the annotated fields of a class properties that live in a parameter node."""
    fields = {name: _Field(name, hint, getattr(cls, name, None)) for name, hint in typing.get_type_hints(cls).items()}
    members = {name: _property(field) for name, field in fields.items()}
    return type(cls.__name__, (_Wrapper,), {**members, "fields": fields, "__doc__": cls.__doc__, "__module__": cls.__module__})


def _property(field: _Field) -> property:
    return property(lambda self: field.get(self.parameterNode), lambda self, value: field.put(self.parameterNode, value))
