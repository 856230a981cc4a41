"""`reproduce`: the paper's experiment."""

import argparse
from pathlib import Path

from ..core.contract import EXIT_OK
from .common import add_device, path_argument, resumable, say


def add_command(commands) -> None:
    """Add the command to the subparsers of the whole command line."""
    reproduce = commands.add_parser(
        "reproduce", help="the paper's experiment on iSeg-2017 or iSeg-2019: trains, tests, prints Tables 1 and 2"
    )
    reproduce.add_argument("--iseg", required=True, metavar="DIR", help="folder with subject-N-T1.hdr and so on, at any depth")
    reproduce.add_argument(
        "--output-dir", required=True, type=path_argument, metavar="DIR", help="gets tables.txt, tables.json and a folder a fold"
    )
    reproduce.add_argument("--fold", type=int, metavar="K", help="this fold alone; folds finished before join the tables")
    reproduce.add_argument("--resume", action="store_true", help="resume what lies in the output folder")
    reproduce.add_argument(
        "--init", choices=("bundled",), default="", help="fine-tune the bundled weights in place of the paper's training"
    )
    reproduce.add_argument("--init-t1", default="", metavar="FILE", help="weights of the T1 path with decoder and classifiers (paper, 3.3)")
    reproduce.add_argument("--init-t2", default="", metavar="FILE", help="C3D weights of the T2 encoder (paper, 3.3)")
    reproduce.add_argument("--iterations", type=int, metavar="N", help="of each stage (default: the paper's 10000; 1000 from the bundled)")
    add_device(reproduce)
    reproduce.set_defaults(run=resumable(run))


def run(arguments: argparse.Namespace) -> int:
    """Train, test and print the tables; give the exit code."""
    from ..training.experiments.reproduce import ReproduceOptions, run_reproduce

    options = ReproduceOptions(
        Path(arguments.iseg),
        Path(arguments.output_dir),
        arguments.fold,
        arguments.resume,
        init=arguments.init,
        init_t1=arguments.init_t1,
        init_t2=arguments.init_t2,
        device=arguments.device,
        iterations=arguments.iterations,
    )
    print(run_reproduce(options, say))
    return EXIT_OK
