"""Which versions of what a run was made with, for the logs."""

import platform

import slicer

from InfantBrainSegLib import __version__


def about() -> str:
    """Give the module's, Slicer's and Python's versions and the operating system in one line."""
    application = getattr(slicer, "app", None)
    version = getattr(application, "applicationVersion", "")
    host = f"3D Slicer {version}" if version else "no 3D Slicer"
    return f"InfantBrainSeg {__version__}, {host}, Python {platform.python_version()}, {platform.platform(terse=True)}"
