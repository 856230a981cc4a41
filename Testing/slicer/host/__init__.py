"""A small host for the panel: real Qt (PySide6, offscreen), real MRML (slicer-core), and what PythonQt, ctk and Slicer's Qt layer add.

It is strict: an unknown attribute, signal, slot or .ui property is an error, and what a slot raises is kept in `pythonqt.problems`.
"""

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "0x03")  # enumerators compare equal to integers, as PythonQt's do

from .application import Application, load_module, start

__all__ = ["Application", "load_module", "start"]
