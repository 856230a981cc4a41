"""A child process that can be watched without waiting and ended with everything it started.

Knows nothing of MRML: any command that prints lines will do.
"""

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

from InfantBrainSegLib.core.errors import InfantBrainSegError

GRACE_SECONDS = 1.0  # from asking to forcing; the panel promises an end within two seconds
KEPT_ERROR_LINES = 200
KEPT_LOGS = 20
_LOG_NAME = re.compile(r"InfantBrainSeg-\d{8}-\d{6}-\w+\.log")
_WINDOWS = sys.platform == "win32"
_NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # a console would flash up
_DROPPED_VARIABLES = ("PYTHONINSPECT", "PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONBREAKPOINT")  # a person's habits for a terminal


class ChildError(InfantBrainSegError):
    """The child process could not be started, or ended other than it should."""


def python_command() -> list[str]:
    """Give the command that starts Python: Slicer's own, or this interpreter outside Slicer.

    Raises
    ------
    ChildError
        If there is neither.
    """
    found = shutil.which("PythonSlicer")
    if found:
        return [found]
    if "python" in Path(sys.executable or "").name.lower():
        return [sys.executable]
    raise ChildError("PythonSlicer, which runs the segmentation, was not found in 3D Slicer's bin folder: install 3D Slicer again.")


def child_environment(library_root: str | os.PathLike) -> dict[str, str]:
    """Give this process's environment without what would disturb the child, and with the library on its path.

    Parameters
    ----------
    library_root : the folder that holds InfantBrainSegLib
    """
    environment = {name: value for name, value in os.environ.items() if name not in _DROPPED_VARIABLES}
    paths = [str(library_root), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONUTF8": "1",
    }


def new_log_file(folder: Path) -> Path:
    """Make an empty log file in the temporary folder; it stays after the run, until there are 20 newer ones.

    Raises
    ------
    ChildError
        If the temporary folder cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=time.strftime("InfantBrainSeg-%Y%m%d-%H%M%S-"), suffix=".log", dir=folder)
    except OSError as error:
        raise ChildError(temporary_folder_problem(error, folder)) from error
    os.close(handle)
    with contextlib.suppress(OSError):
        _remove_old_logs(Path(name))
    return Path(name)


def _remove_old_logs(newest: Path) -> None:
    owner = newest.stat().st_uid
    ours = [path for path in newest.parent.iterdir() if _LOG_NAME.fullmatch(path.name) and path.stat().st_uid == owner]
    by_age = sorted((path for path in ours if path != newest), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[KEPT_LOGS - 1 :]:
        with contextlib.suppress(OSError):  # on Windows one that is open stays
            path.unlink()


def temporary_folder_problem(error: OSError, folder: Path) -> str:
    """Say that the temporary folder cannot be used, with the remedy."""
    return (
        f"The temporary folder {folder} cannot be written ({error.strerror or error}): free some space on its disk, "
        "or choose another one in Slicer's Application Settings, under Modules, and restart Slicer."
    )


class _Log:
    """A file that two threads write."""

    def __init__(self, path: Path):
        self._lock = threading.Lock()
        self._file: IO[str] = path.open("a", encoding="utf-8")
        self._step = ""

    def write(self, line: str) -> None:
        """Add a line with the time, and of the progress each new step; a full disk must not stop the run."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            text = self._in_words(line)
            if text is not None:
                self._file.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
                self._file.flush()

    def _in_words(self, line: str) -> str | None:
        """Put progress into words; None where it says nothing new."""
        try:
            told = json.loads(line)
            step, percent = str(told["step"]), 100 * float(told["progress"])
        except (ValueError, KeyError, TypeError):
            return line
        if step == self._step:
            return None
        self._step = step
        return f"{percent:3.0f} %  {step}"

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


def _keep_last(lines: list[str], line: str) -> None:
    lines.append(line)
    del lines[:-KEPT_ERROR_LINES]


def _read(pipe: IO[str], take, log: _Log) -> None:
    with pipe:
        for line in pipe:
            text = line.rstrip("\r\n")
            take(text)
            log.write(text)


class Child:
    """One running command, its lines and its log.

    Parameters
    ----------
    command : sequence of str
    log_path : path of a text file that gets everything the child prints
    environment : dict, optional
        This process's by default.
    folder : path, optional
        Where the child runs.

    Raises
    ------
    ChildError
        If the command cannot be started.
    """

    def __init__(self, command: Sequence[str], log_path: Path, environment: dict[str, str] | None = None, folder: Path | None = None):
        self.log_path = log_path
        self.error_lines: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            self._log = _Log(log_path)
        except OSError as error:
            raise ChildError(temporary_folder_problem(error, log_path.parent)) from error
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=environment,
                cwd=folder,
                start_new_session=not _WINDOWS,
                creationflags=_NO_WINDOW,
            )
        except OSError as error:
            self._log.close()
            raise ChildError(
                f"{command[0]} could not be started ({error.strerror or error}); "
                "it runs the segmentation beside Slicer: check that the file exists and may be run."
            ) from error
        self._on_exit = weakref.finalize(self, _end_tree, self._process)  # also when Slicer quits
        self._readers = [
            threading.Thread(target=_read, args=(pipe, take, self._log), daemon=True)  # they do not hold the child, which may be forgotten
            for pipe, take in ((self._process.stdout, self._lines.put), (self._process.stderr, partial(_keep_last, self.error_lines)))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; below 0 the signal that ended it."""
        return self._process.poll()

    def new_lines(self) -> list[str]:
        """Lines of standard output since the last call; never waits."""
        lines = []
        while not self._lines.empty():
            lines.append(self._lines.get())
        return lines

    def finish(self) -> int:
        """After the command's own end: take in its last lines, end what it left running and close the log.

        Returns
        -------
        int
            Its exit code.
        """
        code = self._process.wait()
        if self._on_exit.alive:
            self._on_exit.detach()
            _end_leftovers(self._process)
        for reader in self._readers:
            reader.join(GRACE_SECONDS)
        self._log.close()
        return code

    def stop(self) -> None:
        """End the command and everything it started: asked first, forced after a second."""
        if self._on_exit.alive:
            self._on_exit.detach()
            _end_tree(self._process)
        self.finish()


def describe_end(child: Child, exit_code: int) -> str:
    """Say in one line why a child failed."""
    errors = [line.removeprefix("Error: ") for line in child.error_lines if line.startswith("Error: ")]
    if errors:
        return errors[-1]
    if any("No module named 'torch'" in line for line in child.error_lines):
        return "PyTorch is not installed in 3D Slicer: install the PyTorch extension, then use it to install PyTorch."
    last = " | ".join(line.strip() for line in child.error_lines[-3:] if line.strip())
    detail = f" Its last line: {last}." if last else ""
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = f"signal {-exit_code}"
        reason = f"was ended by the system ({name}), most often because memory ran out: close other programs and try again"
    else:
        reason = f"stopped unexpectedly (exit code {exit_code}): try again, and look into the log"
    return f"The segmentation process {reason}.{detail} Log: {child.log_path}"


def _end_tree(process: subprocess.Popen) -> None:
    """Ask the whole tree to end, wait a second, then force it."""
    if _WINDOWS:
        command = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, check=False, creationflags=_NO_WINDOW)
        return
    _signal_group(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        process.poll()
        if not _signal_group(process.pid, 0):
            return
        time.sleep(0.02)
    _signal_group(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)


def _end_leftovers(process: subprocess.Popen) -> None:
    if not _WINDOWS:
        _signal_group(process.pid, signal.SIGKILL)


def _signal_group(group: int, number: int) -> bool:
    """Signal a process group; False when nobody is left in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
