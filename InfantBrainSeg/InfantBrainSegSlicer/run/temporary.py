"""The temporary folders of runs: each belongs to this process, goes with its run, and is swept when its process is gone."""

import contextlib
import os
import platform
import re
import shutil
import sys
import tempfile
import weakref
import zlib
from pathlib import Path

import slicer

from .child import ChildError, temporary_folder_problem

_HOST = f"{zlib.crc32(platform.node().encode()):08x}"  # several computers may share a temporary folder, and know only their own processes
_OWNED = re.compile(rf"InfantBrainSeg-run-{_HOST}-(\d+)-\w+")  # the name says whose it is from the first moment on


def temporary_root() -> Path:
    """Give Slicer's temporary folder; outside the application the system's."""
    application = getattr(slicer, "app", None)
    return Path(getattr(application, "temporaryPath", "") or tempfile.gettempdir())


class RunFolder:
    """A temporary folder of one run; it goes with this object, or when Slicer quits.

    Attributes
    ----------
    path : Path

    Raises
    ------
    ChildError
        If the temporary folder cannot be written.
    """

    def __init__(self):
        root = temporary_root()
        try:
            self.path = Path(tempfile.mkdtemp(prefix=f"InfantBrainSeg-run-{_HOST}-{os.getpid()}-", dir=root))
        except OSError as error:
            raise ChildError(temporary_folder_problem(error, root)) from error
        self._remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def remove(self) -> None:
        """Remove it now; a second call does nothing."""
        self._remove()


def sweep_abandoned() -> None:
    """Remove folders of runs whose Slicer is gone, as after a crash: they hold copies of scans."""
    with contextlib.suppress(OSError):
        for path in list(temporary_root().iterdir()):
            owner = _OWNED.fullmatch(path.name)
            if owner and not path.is_symlink() and not _lives(int(owner[1])):
                shutil.rmtree(path, ignore_errors=True)


def _lives(process_id: int) -> bool:
    """Tell whether a process runs."""
    if sys.platform == "win32":
        return _lives_on_windows(process_id)
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _lives_on_windows(process_id: int) -> bool:
    """The same on Windows, where os.kill would end it."""
    import ctypes

    query, still_active = 0x1000, 259  # PROCESS_QUERY_LIMITED_INFORMATION, STILL_ACTIVE
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(query, False, process_id)
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
    kernel.CloseHandle(ctypes.c_void_p(handle))
    return code.value == still_active
