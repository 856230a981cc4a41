"""Command line: segment, batch, devices, evaluate, synthesize, train, finetune, reproduce.

Exit code 0; 2 with one line on stderr where the user can mend something; 3 when some scans of a batch have no result; 130 when stopped.
Only the chosen command's modules are imported, so that `--help` and a wrong option answer at once.
"""

import argparse
import contextlib
import json
import math
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from .. import __version__
from ..core.allocator import keep_freed_memory
from ..core.errors import InfantBrainSegError, in_words
from ..core.progress import JsonLines, Progress, TerminalBar, silent
from ..core.streams import tolerant_streams
from .training import add_training_commands

if TYPE_CHECKING:
    from ..imaging.inputs import Input
    from ..pipeline.segmenter import SegmentOptions

EXIT_OK = 0
EXIT_USER_ERROR = 2
EXIT_SOME_FAILED = 3
EXIT_STOPPED = 130
NOTE = "Research use only; not a medical device."


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USER_ERROR, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = _Parser(
        prog="infantbrainseg", description=f"InfantBrainSegLib {__version__}: infant brain tissue from T1w and T2w MRI. {NOTE}"
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    segment = commands.add_parser("segment", help="label CSF, GM and WM of one brain")
    segment.add_argument("--t1", type=_path, metavar="PATH", help="T1-weighted image or DICOM folder")
    segment.add_argument("--t2", type=_path, metavar="PATH", help="T2-weighted image of the same brain, on any grid; one may be left out")
    segment.add_argument(
        "--output-dir",
        type=_path,
        metavar="DIR",
        help="gets segmentation.nii.gz, brain_mask.nii.gz, volumes.csv, report.json, overview.png; needed unless --check-only. "
        "None of them names the input files, which may be called after the patient: report.json gives their SHA-256",
    )
    segment.add_argument(
        "--mask", type=_path, metavar="FILE", help="what to segment, above 0 there, on any grid: also an edited brain_mask.nii.gz"
    )
    segment.add_argument("--save-probabilities", action="store_true", help="also write probability_csf, _gm and _wm.nii.gz")
    segment.add_argument("--iseg-labels", action="store_true", help="write 0, 10, 150, 250 as in iSeg-2017 in place of 0, 1, 2, 3")
    segment.add_argument("--age-months", type=_finite, metavar="N", help="age from birth at term: checks the brain's volume against it")
    segment.add_argument(
        "--check-only", action="store_true", help="only check the images and print the table; exit code 2 when one says stop"
    )
    segment.add_argument("--json", type=_path, metavar="FILE", help="with --check-only: also write the table as JSON")
    for scan in ("t1", "t2"):
        segment.add_argument(f"--{scan}-series", metavar="UID", help=f"which series of {scan.upper()}'s DICOM folder, where it has several")
    _add_run_options(segment)
    segment.set_defaults(run=_segment, parser=segment)

    batch = commands.add_parser("batch", help="segment many subjects; goes on where it was stopped")
    batch.add_argument(
        "--input",
        required=True,
        type=_path,
        metavar="PATH",
        help="BIDS folder, or CSV with the columns subject, t1, t2 and maybe mask, session, age_months, t1_series, t2_series; its t1 and "
        "t2 may be DICOM folders; results are called after its subjects, so give no names of patients",
    )
    batch.add_argument("--output-dir", required=True, type=_path, metavar="DIR", help="gets a BIDS derivative dataset and cohort.csv")
    batch.add_argument("--single-scan", action="store_true", help="also segment a T1 or a T2 that has no partner, less accurately")
    batch.add_argument("--save-probabilities", action="store_true", help="also write one probability map for each tissue")
    batch.add_argument("--redo", action="store_true", help="segment again what is finished")
    _add_run_options(batch)
    batch.set_defaults(run=_batch)

    devices = commands.add_parser("devices", help="list the devices that can compute here, as JSON")
    devices.set_defaults(run=_devices)

    evaluate = commands.add_parser("evaluate", help="compare labels with a reference: DOC, ASD, Hausdorff distances")
    evaluate.add_argument("--prediction", required=True, type=_path, metavar="PATH", help="labelmap, or a folder of them")
    evaluate.add_argument("--reference", required=True, type=_path, metavar="PATH", help="labelmap, or a folder with the same file names")
    evaluate.add_argument("--mask", type=_path, metavar="PATH", help="compare inside this mask alone; a folder of masks with folders")
    evaluate.add_argument("--json", type=_path, metavar="FILE", help="also write the figures as JSON")
    evaluate.set_defaults(run=_evaluate)

    add_training_commands(commands)
    return parser


def _path(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return text


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _add_run_options(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu, cuda, cuda:N or mps")
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


@tolerant_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        Exit code.
    """
    arguments = build_parser().parse_args(argv)
    keep_freed_memory()
    try:
        return arguments.run(arguments)
    except (InfantBrainSegError, OSError, MemoryError) as error:
        return _fail(in_words(error))
    except KeyboardInterrupt as stop:
        _fail(str(stop) or "Stopped; no result was written.")
        return EXIT_STOPPED


def _fail(message: str) -> int:
    print(f"Error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USER_ERROR


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _running(kind: str) -> Iterator[Progress]:
    """Give the progress that was asked for; meanwhile a parent's SIGTERM tidies up like Ctrl-C."""
    before = signal.signal(signal.SIGTERM, _stop)
    progress = _progress(kind)
    try:
        yield progress
    finally:
        if isinstance(progress, TerminalBar):
            progress.close()
        signal.signal(signal.SIGTERM, before)


def _progress(kind: str) -> Progress:
    if kind == "lines":
        return JsonLines(sys.stdout)
    if kind == "bar" or (kind == "auto" and sys.stderr.isatty()):
        return TerminalBar(sys.stderr)
    return silent


def _inputs_of(arguments: argparse.Namespace) -> "dict[str, Input]":
    """Give what was named of T1, T2 and mask, by role."""
    from ..imaging.inputs import Input

    series = {"t1": arguments.t1_series, "t2": arguments.t2_series}
    given = {role: getattr(arguments, role) for role in ("t1", "t2", "mask")}
    return {role: Input(role, Path(path), series.get(role) or "") for role, path in given.items() if path is not None}


def _options_of(arguments: argparse.Namespace) -> "SegmentOptions":
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


def _check_only(arguments: argparse.Namespace) -> int:
    from ..core.check import STOP, to_table
    from ..imaging.files import write_text
    from ..imaging.inputs import check_not_an_input, read_input
    from ..pipeline.prepare_scans import check_scans

    if arguments.json is not None:
        check_not_an_input(arguments.json, [given.path for given in _inputs_of(arguments).values()])
    with _running(arguments.progress) as progress:
        read = {role: read_input(given) for role, given in _inputs_of(arguments).items()}
        images = {role: image for role, (image, _) in read.items()}
        checks = check_scans((images.get("t1"), images.get("t2"), images.get("mask")), _options_of(arguments), progress)
    if arguments.json is not None:
        write_text(json.dumps([check.as_dict() for check in checks], indent=1) + "\n", Path(arguments.json))
    for warning in [warning for _, record in read.values() for warning in record.warnings]:
        print(f"Warning: {warning}", file=sys.stderr)
    print(to_table(checks), file=sys.stderr if isinstance(progress, JsonLines) else sys.stdout)
    return EXIT_USER_ERROR if any(check.status == STOP for check in checks) else EXIT_OK


def _segment(arguments: argparse.Namespace) -> int:
    if arguments.check_only:
        return _check_only(arguments)
    if arguments.output_dir is None:
        arguments.parser.error("the following arguments are required: --output-dir")
    if arguments.json is not None:
        arguments.parser.error("--json goes with --check-only: a run writes report.json into its output folder")
    from ..imaging.inputs import read_input
    from ..outputs.result_files import OutputOptions, keep_edited, staged_results, write_report, write_results
    from ..pipeline.report import Steps
    from ..pipeline.segmenter import segment

    with _running(arguments.progress) as progress:
        steps = Steps(progress)
        with steps("read"):
            read = {role: read_input(given) for role, given in _inputs_of(arguments).items()}
        images = {role: image for role, (image, _) in read.items()}
        inputs = {given.name: given.path for given in _inputs_of(arguments).values()}
        with staged_results(arguments.output_dir, inputs) as staging:
            result = segment(images.get("t1"), images.get("t2"), images.get("mask"), _options_of(arguments), progress)
            notes = [warning for _, record in read.values() for warning in record.warnings] + keep_edited(staging)
            with steps("write"):
                notes += write_results(result, OutputOptions(arguments.save_probabilities, arguments.iseg_labels), staging.folder)
            report = result.report.with_ends({role: record.for_report() for role, (_, record) in read.items()}, steps.seconds, notes)
            write_report(report, staging.folder)
        progress("done", 1.0)
    for warning in report.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    if not isinstance(progress, JsonLines):
        for volume in result.volumes:
            print(f"{volume.tissue:<4}{volume.volume_ml:9.1f} ml{100 * volume.fraction:7.1f} %")
        print(report.verdict.words)
        print(f"Wrote {arguments.output_dir} in {report.seconds['total']:.0f} s on {report.device['used']}. {NOTE}")
    return EXIT_OK


def _batch(arguments: argparse.Namespace) -> int:
    from ..batch.cohort import FAILED
    from ..batch.run import BatchOptions, run_batch
    from ..outputs.bids import COHORT

    options = BatchOptions(_options_of(arguments), arguments.save_probabilities, arguments.redo, arguments.single_scan)
    try:
        with _running(arguments.progress) as progress:
            rows = run_batch(arguments.input, arguments.output_dir, options, progress)
    except KeyboardInterrupt:
        _fail("Stopped; what is finished is kept, and the same command goes on with the rest.")
        return EXIT_STOPPED
    failed = [row for row in rows if row["status"] == FAILED]
    for row in failed:
        print(f"Warning: {row['scan']}: {row['reason']}", file=sys.stderr)
    table = Path(arguments.output_dir) / COHORT
    if failed:
        _fail(f"{len(failed)} of {len(rows)} scans have no new result; {table} says why. Mend them and give the same command again.")
        return EXIT_SOME_FAILED
    if arguments.progress != "lines":
        warned = sum(bool(row["warnings"]) for row in rows)
        print(f"All {len(rows)} scans are segmented, {warned} with warnings: see {table}. {NOTE}")
    return EXIT_OK


def _devices(arguments: argparse.Namespace) -> int:
    from ..networks.device import list_devices

    print(json.dumps(list_devices()))
    return EXIT_OK


def _evaluate(arguments: argparse.Namespace) -> int:
    from ..evaluation.evaluate import run_evaluate

    paths = [None if given is None else Path(given) for given in (arguments.mask, arguments.json)]
    print(run_evaluate(Path(arguments.prediction), Path(arguments.reference), *paths))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
