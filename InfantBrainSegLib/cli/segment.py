"""`segment`: one brain, or its checks alone."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.contract import EXIT_OK, EXIT_USER_ERROR, Step
from ..core.memory import Need, Work, check_memory, segment_need, work_of
from ..core.option import SEGMENT, from_arguments
from ..core.progress import JsonLines
from ..pipeline.options import SegmentOptions
from .common import NOTE, add_run_options, path_argument, running

if TYPE_CHECKING:
    import SimpleITK as sitk

    from ..imaging.inputs import Input, InputRecord


def add_command(commands) -> None:
    """Add the command to the subparsers of the whole command line."""
    segment = commands.add_parser("segment", help="label CSF, GM and WM of one brain")
    segment.add_argument("--t1", type=path_argument, metavar="PATH", help="T1-weighted image or DICOM folder")
    segment.add_argument(
        "--t2", type=path_argument, metavar="PATH", help="T2-weighted image of the same brain, on any grid; one may be left out"
    )
    segment.add_argument(
        "--output-dir",
        type=path_argument,
        metavar="DIR",
        help="gets segmentation.nii.gz, brain_mask.nii.gz, volumes.csv, report.json, overview.png; needed unless --check-only. "
        "None of them names the input files, which may be called after the patient: report.json gives their SHA-256",
    )
    segment.add_argument(
        "--mask", type=path_argument, metavar="FILE", help="what to segment, above 0 there, on any grid: also an edited brain_mask.nii.gz"
    )
    segment.add_argument(
        "--edited-labels",
        type=path_argument,
        metavar="FILE",
        help="an edited segmentation.nii.gz, with the scans, mask and options it was made of: its edited voxels stay as they are, and the "
        "second stage labels those near them again",
    )
    segment.add_argument(
        "--automatic-labels",
        type=path_argument,
        metavar="FILE",
        help="with --edited-labels: that segmentation before the edits; else it is computed again",
    )
    segment.add_argument("--save-probabilities", action="store_true", help="also write probability_csf, _gm and _wm.nii.gz")
    segment.add_argument("--iseg-labels", action="store_true", help="write 0, 10, 150, 250 as in iSeg-2017 in place of 0, 1, 2, 3")
    segment.add_argument(
        "--html", action="store_true", help="also write report.html: pictures, volumes, checks and verdict to read and print"
    )
    segment.add_argument(
        "--check-only", action="store_true", help="only check the images and print the table; exit code 2 when one says stop"
    )
    segment.add_argument("--json", type=path_argument, metavar="FILE", help="with --check-only: also write the table as JSON")
    for scan in ("t1", "t2"):
        segment.add_argument(f"--{scan}-series", metavar="UID", help=f"which series of {scan.upper()}'s DICOM folder, where it has several")
    add_run_options(segment, SEGMENT)
    segment.set_defaults(run=run, parser=segment, need=_need)


def _need(arguments: argparse.Namespace, voxels: int = 0) -> Need:
    """Estimate the memory of what was asked for."""
    if arguments.check_only:
        return segment_need(voxels, Work.CHECKS)
    return segment_need(voxels, work_of(arguments.use_context), arguments.threads)


def _inputs_of(arguments: argparse.Namespace) -> "dict[str, Input]":
    """Give what was named of T1, T2 and mask, by role."""
    from ..imaging.inputs import NAMES, Input

    series = {"t1": arguments.t1_series, "t2": arguments.t2_series}
    given = {role: getattr(arguments, role) for role in NAMES}
    return {role: Input(role, Path(path), series.get(role) or "") for role, path in given.items() if path is not None}


def _read(arguments: argparse.Namespace) -> "dict[str, tuple[sitk.Image, InputRecord]]":
    """Read the inputs, if memory is enough for all of them."""
    from ..imaging.inputs import find_input, read_found

    found, read = {}, {}
    for role, given in _inputs_of(arguments).items():
        with _telling_path(arguments, role):
            found[role] = find_input(given)
    check_memory(_need(arguments, sum(one.voxels for one in found.values())))
    for role, one in found.items():
        with _telling_path(arguments, role):
            read[role] = read_found(one)
    return read


@contextlib.contextmanager
def _telling_path(arguments: argparse.Namespace, role: str) -> Iterator[None]:
    """In a terminal let an error end with the path as it was typed, which a program that listens might keep."""
    from ..core.errors import InputError

    try:
        yield
    except InputError as error:
        typed = "" if arguments.progress == "lines" else f" (--{role.replace('_', '-')} {getattr(arguments, role)})"
        raise InputError(f"{error}{typed}", error.code) from error


def _check_only(arguments: argparse.Namespace) -> int:
    from ..core.check import STOP, to_table
    from ..core.json_text import to_json
    from ..imaging.files import write_text
    from ..imaging.inputs import check_not_an_input
    from ..pipeline.prepare_scans import check_scans

    if arguments.json is not None:
        check_not_an_input(arguments.json, [given.path for given in _inputs_of(arguments).values()])
    with running(arguments.progress) as progress:
        read = _read(arguments)
        images = {role: image for role, (image, _) in read.items()}
        checks = check_scans((images.get("t1"), images.get("t2"), images.get("mask")), from_arguments(SegmentOptions, arguments), progress)
    if arguments.json is not None:
        write_text(to_json([check.as_dict() for check in checks], 1), Path(arguments.json))
    for warning in [warning for _, record in read.values() for warning in record.warnings]:
        print(f"Warning: {warning}", file=sys.stderr)
    print(to_table(checks), file=sys.stderr if isinstance(progress, JsonLines) else sys.stdout)
    return EXIT_USER_ERROR if any(check.status == STOP for check in checks) else EXIT_OK


def run(arguments: argparse.Namespace) -> int:
    """Segment one brain, or check its scans alone; give the exit code."""
    if arguments.automatic_labels is not None and arguments.edited_labels is None:
        arguments.parser.error("--automatic-labels goes with --edited-labels: it is what was edited")
    if arguments.edited_labels is not None and not arguments.use_context:
        arguments.parser.error("--no-context leaves out the second stage, which --edited-labels needs: leave one of them out")
    if arguments.edited_labels is not None and arguments.check_only:
        arguments.parser.error("--check-only looks at the scans alone: leave --edited-labels out")
    if arguments.check_only:
        return _check_only(arguments)
    if arguments.output_dir is None:
        arguments.parser.error("the following arguments are required: --output-dir")
    if arguments.json is not None:
        arguments.parser.error("--json goes with --check-only: a run writes report.json into its output folder")
    from ..pipeline.report import Steps

    with running(arguments.progress) as progress:
        steps = Steps(progress)
        with steps(Step.READ):
            read = _read(arguments)
        from ..imaging.inputs import AUTOMATIC, EDITED
        from ..outputs.result_files import OutputOptions, keep_edited, staged_results, write_page, write_report, write_results
        from ..pipeline.segmenter import Edits, segment  # torch, which an input that cannot be read does not wait for

        images = {role: image for role, (image, _) in read.items()}
        inputs = {given.name: given.path for given in _inputs_of(arguments).values()}
        with staged_results(arguments.output_dir, inputs) as staging:
            scans, options = (images.get("t1"), images.get("t2"), images.get("mask")), from_arguments(SegmentOptions, arguments)
            edits = Edits(images[EDITED], images.get(AUTOMATIC)) if EDITED in images else None
            result = segment(*scans, options, progress, edits)
            notes = [warning for _, record in read.values() for warning in record.warnings] + keep_edited(staging)
            with steps(Step.WRITE):
                files = OutputOptions(arguments.save_probabilities, arguments.iseg_labels, arguments.html)
                notes += write_results(result, files, staging.folder)
            report = result.report.with_ends({role: record.for_report() for role, (_, record) in read.items()}, steps.seconds, notes)
            if files.html:
                write_page(report, staging.folder)
            write_report(report, staging.folder)
        progress(Step.DONE, 1.0)
    for warning in report.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    if not isinstance(progress, JsonLines):
        for volume in result.volumes:
            print(f"{volume.tissue:<4}{volume.volume_ml:9.1f} ml{100 * volume.fraction:7.1f} %")
        if report.edits:
            print(f"{report.edits['fixed_voxels']} edited voxels kept; {report.edits['changed_voxels']} others near them changed.")
        print(report.verdict.message)
        print(f"Wrote {arguments.output_dir} in {report.seconds['total']:.0f} s on {report.device['used']}. {NOTE}")
    return EXIT_OK
