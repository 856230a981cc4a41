"""What is printed never decides a run: a closed, full or narrow stdout or stderr costs the words, not the result."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_STDERR = 2


class Tolerant:
    """A text stream that drops what its file does not take, and replaces letters that it cannot hold.

    Parameters
    ----------
    stream : text stream
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if it can be."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError):  # a broken pipe, a full disk; ValueError: closed
            self._give_up()
        return len(text)

    def flush(self) -> None:
        """Flush, if it can be."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self) -> None:
        """Let the rest go nowhere, also what the interpreter flushes at its end."""
        with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def silent_libraries() -> Iterator[None]:
    """Keep off stderr what libraries of other languages print there while the block runs, such as a decoder of damaged images."""
    try:
        kept, nowhere = os.dup(_STDERR), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # stderr is closed
        yield
        return
    os.dup2(nowhere, _STDERR)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)


@contextlib.contextmanager
def tolerant_streams() -> Iterator[None]:
    """Print to stdout and stderr as far as they take it while the block runs."""
    _open_standard_files()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout, sys.stderr = (Tolerant(nowhere if stream is None else stream) for stream in before)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = before


def _open_standard_files() -> None:
    """Occupy the numbers 0, 1 and 2 where they are closed: else the next file gets one, and what libraries print ends in it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
