"""`evaluate`: labels against references."""

import argparse
from pathlib import Path

from ..core.contract import EXIT_OK
from .common import path_argument


def add_command(commands) -> None:
    """Add the command to the subparsers of the whole command line."""
    evaluate = commands.add_parser("evaluate", help="compare labels with a reference: Dice, ASD, Hausdorff distances")
    evaluate.add_argument("--prediction", required=True, type=path_argument, metavar="PATH", help="labelmap, or a folder of them")
    evaluate.add_argument(
        "--reference", required=True, type=path_argument, metavar="PATH", help="labelmap, or a folder with the same file names"
    )
    evaluate.add_argument(
        "--mask", type=path_argument, metavar="PATH", help="compare inside this mask alone; a folder of masks with folders"
    )
    evaluate.add_argument("--json", type=path_argument, metavar="FILE", help="also write the figures as JSON")
    evaluate.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print how well labels agree; give the exit code."""
    from ..evaluation.evaluate import run_evaluate

    paths = [None if given is None else Path(given) for given in (arguments.mask, arguments.json)]
    print(run_evaluate(Path(arguments.prediction), Path(arguments.reference), *paths))
    return EXIT_OK
