"""`bids-app`: one or more participants, and the table of all, as the convention of BIDS Apps has it; the command's name may be left out."""

import argparse
import sys
from collections.abc import Sequence

from ..core.contract import COHORT, EXIT_OK, EXIT_SOME_FAILED, OK, PENDING, SCAN_COLUMN, STATUS_COLUMN
from ..core.memory import LIBRARIES, segment_need, work_of
from ..core.option import BATCH, from_arguments
from ..pipeline.options import SegmentOptions
from .common import NOTE, add_run_options, fail, path_argument, running, warn_of_failures

NAME = "bids-app"
PARTICIPANT, GROUP = LEVELS = ("participant", "group")
NAMED = 5  # of what waits; the table names all


def add_command(commands) -> None:
    """Add the command to the subparsers of the whole command line."""
    app = commands.add_parser(NAME, help=f"BIDS_DIR OUT_DIR {PARTICIPANT} or {GROUP}; {NAME} itself may be left out")
    app.add_argument("bids_dir", type=path_argument, metavar="BIDS_DIR", help="BIDS folder, or a CSV as `batch` takes it")
    app.add_argument("output_dir", type=path_argument, metavar="OUT_DIR", help="gets a BIDS derivative dataset")
    app.add_argument(
        "level", choices=LEVELS, help=f"{PARTICIPANT}: segment; several may run at once. {GROUP}: write {COHORT} from the results there"
    )
    for kind, example in (("participant", "01"), ("session", "1")):
        app.add_argument(
            f"--{kind}-label", f"--{kind}_label", nargs="+", default=[], metavar="LABEL", help=f"only these, such as {example}"
        )
    app.add_argument("--single-scan", action="store_true", help="also segment a T1 or a T2 that has no partner, less accurately")
    app.add_argument("--save-probabilities", action="store_true", help="also write one probability map for each tissue")
    app.add_argument("--redo", action="store_true", help="segment again what is finished")
    add_run_options(app, BATCH)
    app.set_defaults(
        run=run,
        need=lambda arguments: (
            segment_need(0, work_of(arguments.use_context), arguments.threads) if arguments.level == PARTICIPANT else LIBRARIES
        ),
    )


def run(arguments: argparse.Namespace) -> int:
    """Segment the participants that are not finished, or write the table; give the exit code."""
    from ..batch.job import BatchOptions
    from ..batch.run import run_selected, write_group
    from ..batch.subjects import Selection

    select = Selection(tuple(arguments.participant_label), tuple(arguments.session_label))
    segment = from_arguments(SegmentOptions, arguments)
    options = BatchOptions(segment, arguments.save_probabilities, arguments.redo, arguments.single_scan, select)
    with running(arguments.progress) as progress:
        if arguments.level == PARTICIPANT:
            rows = run_selected(arguments.bids_dir, arguments.output_dir, options, progress)
        else:
            rows = write_group(arguments.bids_dir, arguments.output_dir, options)
    warn_of_failures(rows)
    _warn_of_pending([row[SCAN_COLUMN] for row in rows if row[STATUS_COLUMN] == PENDING])
    missing = sum(row[STATUS_COLUMN] != OK for row in rows)
    if missing:
        fail(f"{missing} of {len(rows)} scans have no result: mend what was said of them and give the same command again.")
        return EXIT_SOME_FAILED
    if arguments.progress != "lines":
        print(f"All {len(rows)} scans have results. {NOTE}")
    return EXIT_OK


def _warn_of_pending(scans: Sequence[str]) -> None:
    """Print one line on stderr that names scans which nobody has segmented yet."""
    if scans:
        more = f" and {len(scans) - NAMED} more" if len(scans) > NAMED else ""
        print(f"Warning: {', '.join(scans[:NAMED])}{more}: not segmented yet; give `{PARTICIPANT}` or `batch` first.", file=sys.stderr)
