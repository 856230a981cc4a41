"""What the commands share: argument types, the options of a run, progress."""

import argparse
import contextlib
import math
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from ..core.contract import EXIT_STOPPED, EXIT_USER_ERROR
from ..core.progress import JsonLines, Progress, TerminalBar, silent

if TYPE_CHECKING:
    from ..pipeline.options import SegmentOptions

NOTE = "Research use only; not a medical device."


def path_argument(text: str) -> str:
    """Take a path that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return text


def finite_number(text: str) -> float:
    """Take a number that is finite."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu, cuda, cuda:N or mps")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what segment and batch share."""
    parser.add_argument(
        "--extract",
        choices=("auto", "off"),
        default="auto",
        help="auto (default): take out the cerebrum unless there is a mask; off: take all",
    )
    parser.add_argument(
        "--align", choices=("auto", "off"), default="auto", help="auto (default): move T2 onto T1 where it lies elsewhere; off: never"
    )
    parser.add_argument(
        "--bias-correction", choices=("auto", "on", "off"), default="auto", help="N4; auto (default): for raw scans with a mask"
    )
    add_device(parser)
    parser.add_argument("--weights", metavar="PATH", help="folder with fcn1.pt, fcn2.pt and manifest.json, or one of them")
    parser.add_argument("--no-context", action="store_true", help="stop after the first stage, without spatial context")
    parser.add_argument(
        "--rounds",
        type=int,
        choices=(1, 2, 3),
        default=3,
        help="runs of the second stage; 1: as in the paper; 2, 3 (default): on its own result, the second time on the mirrored brain",
    )
    parser.add_argument("--flip", action="store_true", help="average with the left-right mirrored brain: twice the time")
    parser.add_argument(
        "--progress", choices=("auto", "bar", "lines", "none"), default="auto", help="lines: one JSON object a line on stdout"
    )


def options_of(arguments: argparse.Namespace) -> "SegmentOptions":
    """Give the options that were chosen."""
    from ..pipeline.segmenter import SegmentOptions

    return SegmentOptions(
        arguments.device,
        arguments.weights,
        not arguments.no_context,
        arguments.flip,
        age_months=getattr(arguments, "age_months", None),
        align=arguments.align,
        bias_correction=arguments.bias_correction,
        extract=arguments.extract,
        rounds=arguments.rounds,
    )


def fail(message: str) -> int:
    """Print one line on stderr; give the exit code."""
    print(f"Error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USER_ERROR


def resumable(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Say, when a training is stopped, that it can go on."""

    def with_advice(arguments: argparse.Namespace) -> int:
        try:
            return run(arguments)
        except KeyboardInterrupt:
            again = "the same command with --resume" if arguments.command == "reproduce" else "the same command"
            print(f"Stopped; {again} goes on from the last checkpoint, where there is one.", file=sys.stderr)
            return EXIT_STOPPED

    return with_advice


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


@contextlib.contextmanager
def running(kind: str) -> Iterator[Progress]:
    """Give the progress that was asked for; meanwhile a parent's SIGTERM tidies up like Ctrl-C."""
    before = signal.signal(signal.SIGTERM, _stop)
    progress = _progress(kind)
    try:
        yield progress
    finally:
        if isinstance(progress, TerminalBar):
            progress.close()
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _progress(kind: str) -> Progress:
    if kind == "lines":
        return JsonLines(sys.stdout)
    if kind == "bar" or (kind == "auto" and sys.stderr.isatty()):
        return TerminalBar(sys.stderr)
    return silent
