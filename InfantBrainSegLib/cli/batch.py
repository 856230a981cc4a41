"""`batch`: many brains."""

import argparse
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

from ..core.contract import COHORT, EXIT_OK, EXIT_SOME_FAILED, EXIT_STOPPED, FAILED, STATUS_COLUMN
from ..core.errors import InputError
from ..core.memory import segment_need, work_of
from ..core.option import BATCH, from_arguments, to_arguments
from ..pipeline.options import SegmentOptions
from .common import NOTE, add_run_options, fail, path_argument, running, warn_of_failures


def add_command(commands) -> None:
    """Add the command to the subparsers of the whole command line."""
    batch = commands.add_parser("batch", help="segment many subjects; resumes where it was stopped")
    batch.add_argument(
        "--input",
        required=True,
        type=path_argument,
        metavar="PATH",
        help="BIDS folder, or CSV with the columns subject, t1, t2 and maybe mask, session, age_months, t1_series, t2_series; its t1 and "
        "t2 may be DICOM folders; results are called after its subjects, so give no names of patients",
    )
    batch.add_argument(
        "--output-dir", required=True, type=path_argument, metavar="DIR", help="gets a BIDS derivative dataset and cohort.csv"
    )
    batch.add_argument("--single-scan", action="store_true", help="also segment a T1 or a T2 that has no partner, less accurately")
    batch.add_argument("--save-probabilities", action="store_true", help="also write one probability map for each tissue")
    batch.add_argument("--redo", action="store_true", help="segment again what is finished")
    batch.add_argument(
        "--dask", metavar="ADDRESS", type=path_argument, help="segment on the workers of this Dask scheduler, or of this scheduler file"
    )
    batch.add_argument(
        "--dask-resources",
        metavar="NAME=N",
        type=_resource,
        nargs="+",
        default=[],
        help="what each scan needs of a worker, as GPU=1; for workers started with --resources",
    )
    batch.add_argument(
        "--part", metavar="K/N", type=_part, help="do only the K-th of N equal parts and leave the table alone: several may run at once"
    )
    batch.add_argument("--print-slurm", action="store_true", help="print a job array for Slurm that does this, and do nothing")
    add_run_options(batch, BATCH)
    batch.set_defaults(run=run, need=lambda arguments: segment_need(0, work_of(arguments.use_context), arguments.threads))


def run(arguments: argparse.Namespace) -> int:
    """Segment what is not finished; give the exit code."""
    from ..batch.job import BatchOptions, Cluster
    from ..batch.run import run_batch, run_selected
    from ..batch.subjects import Selection

    if arguments.print_slurm:
        print(_slurm_script(arguments), end="")
        return EXIT_OK
    if arguments.part and arguments.dask:
        return fail("Both --part and --dask were given; wanted one of them: Dask shares the scans out itself.")
    options = BatchOptions(
        from_arguments(SegmentOptions, arguments),
        arguments.save_probabilities,
        arguments.redo,
        arguments.single_scan,
        select=Selection(part=arguments.part[0], parts=arguments.part[1]) if arguments.part else Selection(),
        cluster=Cluster(arguments.dask, tuple(arguments.dask_resources)) if arguments.dask else None,
    )
    try:
        with running(arguments.progress) as progress:
            work = run_selected if arguments.part else run_batch
            rows = work(arguments.input, arguments.output_dir, options, progress)
    except KeyboardInterrupt:
        fail("Stopped; what is finished is kept, and the same command continues with the rest.")
        return EXIT_STOPPED
    return _tell(rows, arguments)


def _tell(rows: list[dict[str, str]], arguments: argparse.Namespace) -> int:
    """Say how it went; give the exit code."""
    failed = sum(row[STATUS_COLUMN] == FAILED for row in rows)
    warn_of_failures(rows)
    table = Path(arguments.output_dir) / COHORT
    if failed:
        where = "" if arguments.part else f"; {table} says why"
        fail(f"{failed} of {len(rows)} scans have no new result{where}. Mend them and give the same command again.")
        return EXIT_SOME_FAILED
    if arguments.progress != "lines":
        warned = sum(bool(row["warnings"]) for row in rows)
        where = "" if arguments.part else f": see {table}"
        print(f"All {len(rows)} scans are segmented, {warned} with warnings{where}. {NOTE}")
    return EXIT_OK


def _slurm_script(arguments: argparse.Namespace) -> str:
    from ..batch.slurm import array_script
    from ..batch.subjects import find_scans

    scans = sum(not scan.reason for scan in find_scans(arguments.input, arguments.single_scan))
    if not scans:
        raise InputError("No scan of the input can be segmented; wanted one at least: `batch` without --print-slurm says why.")
    program = [sys.executable, "-m", "InfantBrainSegLib"]
    source, output_dir = (os.path.abspath(path) for path in (arguments.input, arguments.output_dir))
    options = from_arguments(SegmentOptions, arguments)
    if options.weights_dir is not None:
        options = replace(options, weights_dir=os.path.abspath(options.weights_dir))
    single = ["--single-scan"] if arguments.single_scan else []
    flags = [f"--{name.replace('_', '-')}" for name in ("save_probabilities", "redo") if getattr(arguments, name)]
    segment = ["batch", "--input", source, "--output-dir", output_dir, *single, *flags, *to_arguments(options, BATCH), "--progress", "none"]
    group = ["bids-app", source, output_dir, "group", *single]
    return array_script(scans, [*program, *segment], [*program, *group], options.device.startswith("cuda"))


def _part(text: str) -> tuple[int, int]:
    """Take one of several parts."""
    part, _, parts = text.partition("/")
    if part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts):
        return int(part), int(parts)
    raise argparse.ArgumentTypeError(f"'{text}' given; wanted a part and the number of parts, as 1/20")


def _resource(text: str) -> tuple[str, float]:
    """Take a resource of a Dask worker."""
    name, _, amount = text.partition("=")
    try:
        if name and 0 < float(amount) < math.inf:
            return name, float(amount)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}' given; wanted a name and a number above 0, as GPU=1")
