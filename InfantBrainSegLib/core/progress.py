"""How far a run is: as a bar on a terminal, as lines for a parent process, or not at all."""

import json
import sys
import time
from collections.abc import Callable
from typing import IO, Protocol

QUIET_S = 30.0  # no longer does a long step say nothing
BAR_WIDTH = 30  # characters; with the step's name the line stays under 80 columns


class Progress(Protocol):
    """Anything that can be told how far a run is."""

    def __call__(self, step: str, fraction: float) -> None:
        """Take note that `step` is being done and that `fraction` (0 to 1) of the whole run is behind us."""


def silent(step: str, fraction: float) -> None:
    """Say nothing."""


class TerminalBar:
    """One line that is drawn over and over."""

    def __init__(self, stream: IO[str] | None = None):
        self._stream = stream or sys.stderr
        self._drawn = ""

    def __call__(self, step: str, fraction: float) -> None:
        """Draw the bar again where it changed."""
        fraction = min(max(fraction, 0.0), 1.0)
        filled = round(BAR_WIDTH * fraction)
        line = f"\r[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {round(100 * fraction):3d} %  {step:<32}"
        if line != self._drawn:
            self._stream.write(line.ljust(len(self._drawn)))
            self._stream.flush()
            self._drawn = line

    def close(self) -> None:
        """End the line, so that the next text starts on its own."""
        if self._drawn:
            self._stream.write("\n")
            self._stream.flush()
            self._drawn = ""


class JsonLines:
    """One JSON object a line, `{"step": ..., "progress": ...}`, for each new step and each whole percent."""

    def __init__(self, stream: IO[str] | None = None):
        self._stream = stream or sys.stdout
        self._last: tuple[str, int] | None = None

    def __call__(self, step: str, fraction: float) -> None:
        """Print a line where there is news."""
        fraction = min(max(fraction, 0.0), 1.0)
        news = (step, int(100 * fraction))
        if news != self._last:
            self._last = news
            self._stream.write(json.dumps({"step": step, "progress": round(fraction, 4)}) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Nothing to end: every line is whole."""


class SlowLines:
    """A line of text now and then, for a step that takes long.

    Parameters
    ----------
    report : callable
        Takes each line.
    name : str
        Of the step.
    """

    def __init__(self, report: Callable[[str], None], name: str):
        self._report, self._name = report, name
        self._told = time.monotonic()

    def __call__(self, step: str, fraction: float) -> None:
        """Say how far it is, where nothing was said for a while."""
        if time.monotonic() - self._told > QUIET_S:
            self._told = time.monotonic()
            self._report(f"{self._name}: {100 * min(max(fraction, 0.0), 1.0):.0f} %")


def part_of(progress: Progress, start: float, end: float) -> Progress:
    """Progress of one part of a run, told in that part's own fraction.

    Parameters
    ----------
    progress : Progress
        Of the whole run.
    start, end : float
        Where the part begins and ends in the whole, from 0 to 1.

    Returns
    -------
    Progress
        Maps 0 to `start` and 1 to `end`.
    """

    def tell(step: str, fraction: float) -> None:
        progress(step, start + (end - start) * fraction)

    return tell
