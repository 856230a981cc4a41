"""`batch`: many brains."""

import argparse
import sys
from pathlib import Path

from ..core.contract import COHORT, EXIT_OK, EXIT_SOME_FAILED, EXIT_STOPPED, FAILED, REASON_COLUMN, SCAN_COLUMN, STATUS_COLUMN
from ..core.memory import segment_need, work_of
from ..core.option import BATCH, from_arguments
from ..pipeline.options import SegmentOptions
from .common import NOTE, add_run_options, fail, path_argument, running


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
    add_run_options(batch, BATCH)
    batch.set_defaults(run=run, need=lambda arguments: segment_need(0, work_of(arguments.use_context), arguments.threads))


def run(arguments: argparse.Namespace) -> int:
    """Segment what is not finished; give the exit code."""
    from ..batch.run import BatchOptions, run_batch

    options = BatchOptions(from_arguments(SegmentOptions, arguments), arguments.save_probabilities, arguments.redo, arguments.single_scan)
    try:
        with running(arguments.progress) as progress:
            rows = run_batch(arguments.input, arguments.output_dir, options, progress)
    except KeyboardInterrupt:
        fail("Stopped; what is finished is kept, and the same command continues with the rest.")
        return EXIT_STOPPED
    failed = [row for row in rows if row[STATUS_COLUMN] == FAILED]
    for row in failed:
        print(f"Warning: {row[SCAN_COLUMN]}: {row[REASON_COLUMN]}", file=sys.stderr)
    table = Path(arguments.output_dir) / COHORT
    if failed:
        fail(f"{len(failed)} of {len(rows)} scans have no new result; {table} says why. Mend them and give the same command again.")
        return EXIT_SOME_FAILED
    if arguments.progress != "lines":
        warned = sum(bool(row["warnings"]) for row in rows)
        print(f"All {len(rows)} scans are segmented, {warned} with warnings: see {table}. {NOTE}")
    return EXIT_OK
