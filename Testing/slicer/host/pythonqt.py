"""PythonQt's rules on PySide6's classes: properties are attributes, `connect` takes a C++ signature, nothing is made by a misspelt name."""

import sys
import types
from collections.abc import Callable
from typing import ClassVar

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

MODULES = (QtCore, QtGui, QtWidgets)
problems: list[str] = []  # what was raised where nobody could catch it: in slots and in VTK observers

_native_read: dict[type, Callable] = {}
_reading: set[tuple[int, str]] = set()
_meta_object, _property, _set_property = QtCore.QObject.metaObject, QtCore.QObject.property, QtCore.QObject.setProperty
_object_name = QtCore.QObject.objectName


class EmulatedWidget:
    """Marks the widgets of this host, which are as closed to new attributes as those of C++.

    Attributes
    ----------
    cpp_signals : dict
        C++ signature to the name of the PySide6 signal, where the arguments are no Qt types.
    """

    cpp_signals: ClassVar[dict[str, str]] = {}


def install() -> None:
    """Put the rules on every QObject class and collect what slots raise; twice does no harm."""
    if _native_read:
        return
    classes = {cls for module in MODULES for name in dir(module) if isinstance(cls := getattr(module, name), type)}
    qobjects = [cls for cls in classes if issubclass(cls, QtCore.QObject) and not issubclass(cls, QtCore.QCoreApplication)]
    for cls in qobjects:
        _native_read[cls] = cls.__getattribute__
    for cls in qobjects:
        cls.__getattribute__, cls.__setattr__ = _read, _write
    sys.excepthook = _collect


def _collect(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
    problems.append(f"{kind.__name__}: {error}")
    sys.__excepthook__(kind, error, trace)


def _native_read_of(cls: type) -> Callable:
    return next(_native_read[base] for base in cls.__mro__ if base in _native_read)


def _defined_in_python(cls: type, name: str) -> bool:
    return any(name in base.__dict__ for base in cls.__mro__ if not base.__module__.startswith(("PySide6", "Shiboken")))


def _read(self, name):
    native = _native_read_of(type(self))
    if name.startswith("_") or (name not in ("connect", "disconnect") and _defined_in_python(type(self), name)):
        return native(self, name)
    if name == "connect":
        return types.MethodType(connect, self)
    if name == "disconnect":
        return types.MethodType(disconnect, self)
    if name == "name":
        return _object_name(self)
    key = (id(self), name)
    if _meta_object(self).indexOfProperty(name) >= 0 and key not in _reading:
        _reading.add(key)  # Qt's getter may be virtual, then PySide6 looks here for a Python method of that name
        try:
            return _property(self, name)
        finally:
            _reading.discard(key)
    try:
        return native(self, name)
    except AttributeError:
        return _special(self, name)


def _special(self, name):
    """Read what PythonQt has and PySide6 has not: `className`, `delete`, `exec_`, dynamic properties."""
    if name == "className":
        return lambda: _meta_object(self).className()
    if name == "delete":
        return lambda: shiboken6.delete(self)
    if name == "exec_":
        return _read(self, "exec")
    value = _property(self, name)
    if value is None:
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
    return value


def _write(self, name, value):
    cls = type(self)
    if name == "name":
        name = "objectName"
    if isinstance(value, QtCore.SignalInstance) or (name.startswith("_") and cls not in _native_read):
        _attributes(self)[name] = value  # PySide6 keeps signals there once they were read
        return
    meta = _meta_object(self)
    index = meta.indexOfProperty(name)
    if index >= 0:
        _write_property(self, meta.property(index), value)
    elif cls in _native_read or (issubclass(cls, EmulatedWidget) and not _defined_in_python(cls, name)):
        if isinstance(value, QtCore.QObject) and _object_name(value) == name:
            return  # QUiLoader of PySide6 hangs the children on the top widget
        raise AttributeError(f"{cls.__name__} has no attribute named '{name}', and a C++ object takes no new ones")
    else:
        _attributes(self)[name] = value


def _attributes(self) -> dict:
    return _native_read_of(type(self))(self, "__dict__")


def _write_property(self, meta_property: QtCore.QMetaProperty, value) -> None:
    name, wanted = meta_property.name(), meta_property.typeName()
    if not meta_property.isWritable():
        raise AttributeError(f"{type(self).__name__}.{name} is read-only")
    if wanted == "int" and isinstance(value, float):
        value = int(value)
    if wanted in ("QString", "int", "double", "bool") and not isinstance(value, {"QString": str}.get(wanted, (bool, int, float))):
        raise AttributeError(f"{type(self).__name__}.{name} takes {wanted}, not {type(value).__name__} ({value!r})")
    if not _set_property(self, name, value):
        raise AttributeError(f"{type(self).__name__}.{name} takes {wanted}, not {value!r}")


def _signal(sender: QtCore.QObject, signature: str) -> QtCore.SignalInstance:
    wanted = QtCore.QMetaObject.normalizedSignature(signature)
    wanted = bytes(wanted.data()).decode() if isinstance(wanted, QtCore.QByteArray) else str(wanted)
    name = getattr(type(sender), "cpp_signals", {}).get(wanted)
    if name:
        return getattr(sender, name)
    meta = _meta_object(sender)
    index = meta.indexOfSignal(wanted)
    if index < 0:
        raise ValueError(f"{type(sender).__name__} '{_object_name(sender)}' has no signal {signature}")
    name, arguments = wanted[:-1].split("(", 1)
    signal = _native_read_of(type(sender))(sender, name)
    try:
        return signal[arguments] if arguments else signal
    except (KeyError, IndexError):
        return signal


def _slot(receiver, slot: str | None) -> Callable:
    target = receiver if slot is None else getattr(receiver, slot.split("(")[0])
    if not callable(target):
        raise TypeError(f"{target!r} cannot be called, so no signal can be connected to it")
    return target


def connect(self, signature: str, receiver, slot: str | None = None) -> bool:
    _signal(self, signature).connect(_slot(receiver, slot))
    return True


def disconnect(self, signature: str, receiver, slot: str | None = None) -> bool:
    return _signal(self, signature).disconnect(_slot(receiver, slot))
