"""Who works in a folder: told by a small record, and kept to one at a time by a lock that ends with its process."""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import InputError

LOCK = ".infantbrainseg-lock"
_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_FAR = 1 << 20  # the byte that is locked on Windows, beyond the record, which others can then read


def record() -> dict[str, Any]:
    """Say who this process is, in plain values."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M")}


def may_run(owner: dict[str, Any]) -> bool:
    """Tell whether the process of a record may still run; one of another machine may, as nobody here can ask."""
    if owner.get("host") != socket.gethostname() or os.name == "nt":  # Windows has no harmless way to ask after a process here
        return True
    try:
        os.kill(owner["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it runs for another user
        return True
    return True


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON file of ours; one that is absent or cut short is empty."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


@contextlib.contextmanager
def sole_owner(place: Path) -> Iterator[None]:
    """Be the only process that works on a folder or a file while the block runs.

    The system frees the lock when its process ends, however it ends: a file that a killed process left behind locks nobody out.

    Parameters
    ----------
    place : Path
        A folder that exists, or a file in one.

    Raises
    ------
    InputError
        If another process works there, or the lock cannot be written.
    """
    path = place / LOCK if place.is_dir() else place.with_name(f"{LOCK}-{place.name}")
    handle = _take(path, place)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def _take(path: Path, place: Path) -> int:
    """Lock the file; give its handle."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror or error}): choose a folder you may write to.") from error
        try:
            _lock(handle, path, place)
        except BaseException:
            os.close(handle)
            raise
        if _is_still(path, handle):
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps(record()).encode())
            return handle
        os.close(handle)  # its last owner removed it before we had the lock


def _lock(handle: int, path: Path, place: Path) -> None:
    try:
        _lock_by_system(handle)
    except OSError as error:
        owner = read_record(path)
        if error.errno not in _HELD_BY_ANOTHER and not (isinstance(owner.get("pid"), int) and may_run(owner)):
            return  # a file system without locks: the record alone decides
        by = f"process {owner['pid']} on {owner.get('host')} since {owner.get('since')}" if "pid" in owner else "another process"
        raise InputError(
            f"{place} is in use by {by}; wanted one run at a time: wait until that one has ended, or choose another place."
        ) from error


def _lock_by_system(handle: int) -> None:
    """Take a lock that children do not inherit, or fail at once."""
    if os.name == "nt":
        import msvcrt

        os.lseek(handle, _FAR, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        os.lseek(handle, 0, os.SEEK_SET)
        return
    import fcntl

    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
