"""What the commands share: argument types, the options of a run, progress."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

from ..core.contract import EXIT_STOPPED, EXIT_USER_ERROR, FAILED, REASON_COLUMN, SCAN_COLUMN, STATUS_COLUMN
from ..core.option import SEGMENT, add_options
from ..core.progress import JsonLines, Progress, TerminalBar, silent
from ..core.stops import Stopped, stops_like_ctrl_c
from ..pipeline.options import SegmentOptions

NOTE = "Research use only; not a medical device."


def path_argument(text: str) -> str:
    """Take a path that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return text


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    add_options(parser, SegmentOptions, SEGMENT, ("device",))


def add_run_options(parser: argparse.ArgumentParser, place: str) -> None:
    """Add the options of a segmentation, and how its progress is shown."""
    add_options(parser, SegmentOptions, place)
    parser.add_argument(
        "--progress", choices=("auto", "bar", "lines", "none"), default="auto", help="lines: one JSON object a line on stdout"
    )


def warn_of_failures(rows: Iterable[Mapping[str, str]]) -> None:
    """Print one line on stderr for each scan that failed."""
    for row in rows:
        if row[STATUS_COLUMN] == FAILED:
            print(f"Warning: {row[SCAN_COLUMN]}: {row[REASON_COLUMN]}", file=sys.stderr)


def fail(message: str) -> int:
    """Print one line on stderr; give the exit code."""
    print(f"Error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USER_ERROR


def resumable(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Say, when a training is stopped, that it can go on."""

    def with_advice(arguments: argparse.Namespace) -> int:
        again = "the same command with --resume" if arguments.command == "reproduce" else "the same command"
        try:
            with stops_like_ctrl_c():
                return run(arguments)
        except Stopped as stop:
            print(f"{stop}; {again} goes on from there.", file=sys.stderr)
        except KeyboardInterrupt:
            print(f"Stopped; {again} goes on from the last checkpoint, where there is one.", file=sys.stderr)
        return EXIT_STOPPED

    return with_advice


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


@contextlib.contextmanager
def running(kind: str) -> Iterator[Progress]:
    """Give the progress that was asked for; meanwhile a parent's SIGTERM tidies up like Ctrl-C."""
    progress = _progress(kind)
    with stops_like_ctrl_c():
        try:
            yield progress
        finally:
            if isinstance(progress, TerminalBar):
                progress.close()


def _progress(kind: str) -> Progress:
    if kind == "lines":
        return JsonLines(sys.stdout)
    if kind == "bar" or (kind == "auto" and sys.stderr.isatty()):
        return TerminalBar(sys.stderr)
    return silent
