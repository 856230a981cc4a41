"""`train`: a network from a recipe."""

import argparse
from pathlib import Path

from ..core.contract import EXIT_OK
from .common import resumable


def add_command(commands) -> None:
    """Add the command to the subparsers of the whole command line."""
    train = commands.add_parser("train", help="train a network; resumes where it was stopped")
    train.add_argument("--config", required=True, metavar="FILE", help="a recipe")
    train.add_argument("--label-maps", metavar="DIR", help="folder of FreeSurfer label maps, in place of the recipe's")
    train.set_defaults(run=resumable(run))


def run(arguments: argparse.Namespace) -> int:
    """Train the network; give the exit code."""
    from ..training.experiments.train import run_train

    label_maps = None if arguments.label_maps is None else Path(arguments.label_maps)
    print(f"Wrote {run_train(Path(arguments.config), label_maps=label_maps)}")
    return EXIT_OK
