"""Ctrl-C and a request to end, heard at once and obeyed at a good moment."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """A stop that was obeyed at a good moment; its text says what was kept."""


@dataclass
class Stops:
    """Whether a stop was asked for."""

    asked: bool = False


@contextlib.contextmanager
def noted_stops() -> Iterator[Stops]:
    """Let the first stop only be noted while the block runs; a second one stops at once."""
    stops = Stops()

    def note(number: int, frame: FrameType | None) -> None:
        if stops.asked:
            raise KeyboardInterrupt
        stops.asked = True

    with _handled_by(note):
        yield stops


@contextlib.contextmanager
def stops_like_ctrl_c() -> Iterator[None]:
    """Let a request to end tidy up as Ctrl-C does while the block runs."""
    with _handled_by(_interrupt):
        yield


def ignore_stops(*_: Any) -> None:
    """Leave it to the parent, in a process that works for it."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
    """Set a handler for all stops but those that are ignored, as nohup does."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # signals never come to others
        before = {number: signal.getsignal(number) for number in STOPS}
    taken = {number: one for number, one in before.items() if one not in (None, signal.SIG_IGN)}
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, one in taken.items():
            signal.signal(number, one)
