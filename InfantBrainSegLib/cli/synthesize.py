"""`synthesize`: scans from label maps."""

import argparse
from pathlib import Path

from ..core.contract import EXIT_OK
from .common import path_argument


def add_command(commands) -> None:
    """Add the command to the subparsers of the whole command line."""
    synthesize = commands.add_parser("synthesize", help="make isointense subjects (T1, T2, label) from label maps")
    synthesize.add_argument("--output-dir", required=True, type=path_argument, metavar="DIR")
    synthesize.add_argument("--subjects", type=int, default=1, metavar="N", help="how many (default 1)")
    synthesize.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed makes the same subjects (default 0)")
    synthesize.add_argument("--label-maps", metavar="PATH", help="a label map or a folder of them; the bundled demo subject's by default")
    synthesize.add_argument("--phase", choices=("newborn", "isointense", "late"), default="isointense", help="stage of myelination")
    synthesize.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the subjects; give the exit code."""
    from ..training.experiments.train import run_synthesize

    label_maps = None if arguments.label_maps is None else Path(arguments.label_maps)
    for folder in run_synthesize(Path(arguments.output_dir), arguments.subjects, arguments.seed, label_maps, arguments.phase):
        print(f"Wrote {folder}")
    return EXIT_OK
