"""One owner at a time: a lock file that says who works there, and that a killed process does not leave for long.

The locks of file systems are often switched off on shares. This one needs only that a file can be made by one of two: the owner touches
it every few seconds, and one that nobody touches, or whose process is gone from this machine, is stale.
"""

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import ErrorCode, InputError
from .json_text import read_json_object

LOCK = ".infantbrainseg-lock"  # the file that locks its folder; with a hyphen and a name, one thing in it
HEARTBEAT_S = 15.0
STALE_S = 180.0  # a share may show another machine's touch a minute late
WAIT_S = STALE_S + 60.0  # enough for a lock whose owner was killed on another machine
POLL_S = 1.0
_held: set[str] = set()  # by this process


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes
    ----------
    pid : int
    host : str
    since : str
        In UTC.
    token : str
        No other owner has the same.
    """

    pid: int
    host: str
    since: str
    token: str

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Owner | None":
        """Give the owner that a record names; None where it names none."""
        try:
            return cls(int(record["pid"]), str(record["host"]), str(record["since"]), str(record["token"]))
        except (ValueError, KeyError, TypeError, OverflowError):
            return None

    @classmethod
    def here(cls) -> "Owner":
        """Give this process, with a token of its own for each lock."""
        return cls(os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), uuid.uuid4().hex)

    @property
    def description(self) -> str:
        """Say which process it is, and name its machine where that is another one."""
        place = "this machine" if self.is_here else f"the machine {self.host}"
        return f"process {self.pid} on {place}, since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether it ran on this machine."""
        return self.host == socket.gethostname()

    @property
    def has_ended(self) -> bool:
        """Whether its process ran on this machine and runs no more; Windows has no harmless way to ask."""
        if not self.is_here or os.name == "nt":
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:  # it runs for another user
            return False
        return False


@dataclass(frozen=True)
class Lock:
    """A lock that is held."""

    path: Path
    owner: Owner

    def check(self) -> None:
        """Make sure that nobody took the lock from a process that stood still for minutes.

        Raises
        ------
        InputError
        """
        if _read(self.path) != self.owner:
            raise InputError(
                f"This run stood still for more than {STALE_S / 60:.0f} minutes and another one took its place; "
                "what it made was not published: look at the other one's result.",
                ErrorCode.IN_USE,
            )

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):
                if _read(self.path) == self.owner:
                    os.utime(self.path)


@contextlib.contextmanager
def owned(path: Path, what: str, wait_s: float = 0.0) -> Iterator[Lock]:
    """Hold a lock in the block.

    Parameters
    ----------
    path : Path
        Of the lock file, in a folder that exists.
    what : str
        What it guards, as a message begins: "The output folder OUT".
    wait_s : float
        How long to wait for another owner.

    Raises
    ------
    InputError
        With the code IN_USE where another process holds it still; where the file cannot be made.
    """
    owner = _take(path, what, time.monotonic() + wait_s)
    lock, stop = Lock(path, owner), threading.Event()
    beat = threading.Thread(target=lock._beat, args=(stop,), daemon=True)
    beat.start()
    try:
        yield lock
    finally:
        stop.set()
        beat.join()
        with contextlib.suppress(OSError):
            if _read(path) == owner:
                path.unlink()
        _held.discard(owner.token)


def sole_owner(place: Path) -> contextlib.AbstractContextManager[Lock]:
    """Hold the lock of a folder that exists, or of a file in one, as `owned` does."""
    path = place / LOCK if place.is_dir() else place.with_name(f"{LOCK}-{place.name}")
    return owned(path, f"The {'folder' if place.is_dir() else 'file'} {place}")


def _take(path: Path, what: str, deadline: float) -> Owner:
    while True:
        owner = Owner.here()
        _held.add(owner.token)  # before the file is there, so that no thread of ours takes it for a stale one
        try:
            if _make(path, owner):
                return owner
        except BaseException as error:
            _held.discard(owner.token)
            if isinstance(error, OSError):
                raise InputError(
                    f"{what} cannot be written ({error.strerror or error}): choose a folder that has room and that you may write to."
                ) from error
            raise
        _held.discard(owner.token)
        other = _read(path)
        if _is_stale(path, other):
            _remove_stale(path, other)
        elif time.monotonic() < deadline:
            time.sleep(POLL_S)
        else:
            raise InputError(
                f"{what} is in use by {other.description if other else 'another run that is just starting'}; wanted one run at a time: "
                "wait until it ends, or end it and give the same command again.",
                ErrorCode.IN_USE,
            )


def _make(path: Path, owner: Owner) -> bool:
    """Make the lock file; false where there is one."""
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(owner), file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return True


def _is_stale(path: Path, owner: Owner | None) -> bool:
    if owner is not None and (owner.has_ended or _is_of_another_container(owner)):
        return True
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}-") as probe:  # the share's own clock
            return os.fstat(probe.fileno()).st_mtime - path.stat().st_mtime > STALE_S
    except OSError:  # just released, perhaps
        return False


def _is_of_another_container(owner: Owner) -> bool:
    """Whether another process, which had this one's number and machine's name, made a lock."""
    return os.name != "nt" and owner.is_here and owner.pid == os.getpid() and owner.token not in _held


def _remove_stale(path: Path, judged: Owner | None) -> None:
    """Remove a stale lock, one remover at a time, so that none takes away the lock that another has just made."""
    guard = path.with_name(f"{path.name}-removing")
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        if _is_stale(guard, None):  # its maker was killed within these few lines
            guard.unlink(missing_ok=True)
        time.sleep(POLL_S / 100)
        return
    try:
        if _read(path) == judged:
            path.unlink(missing_ok=True)
    finally:
        guard.unlink(missing_ok=True)


def _read(path: Path) -> Owner | None:
    """Read who holds a lock; None where there is none, or it is not whole yet."""
    return Owner.of(read_json_object(path))
