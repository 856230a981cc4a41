"""`finetune`: the weights on a site's own scans."""

import argparse
from pathlib import Path

from ..core.contract import EXIT_OK
from .common import NOTE, add_device, path_argument, resumable, say


def add_command(commands) -> None:
    """Add the command to the subparsers of the whole command line."""
    finetune = commands.add_parser("finetune", help="fine-tune the weights on your own labelled scans; resumes where it was stopped")
    finetune.add_argument(
        "--subjects", required=True, metavar="PATH", help="a folder a subject with T1, T2, label[, mask]; iSeg's files; or a CSV"
    )
    finetune.add_argument(
        "--output-dir", required=True, type=path_argument, metavar="DIR", help="gets weights/, for segment --weights, and held_out.txt"
    )
    finetune.add_argument("--iterations", type=int, metavar="N", help="of each stage (default 1000)")
    finetune.add_argument("--held-out", nargs="+", default=(), metavar="NAME", help="subjects kept for the report (default: one in five)")
    finetune.add_argument("--weights", metavar="DIR", help="weights to start from in place of the bundled ones")
    add_device(finetune)
    finetune.set_defaults(run=resumable(run))


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune, and print the report; give the exit code."""
    from ..training.experiments.finetune import FinetuneOptions, run_finetune

    given = {} if arguments.iterations is None else {"iterations": arguments.iterations}
    options = FinetuneOptions(
        Path(arguments.subjects),
        Path(arguments.output_dir),
        device=arguments.device,
        held_out=tuple(arguments.held_out),
        weights_dir=None if arguments.weights is None else Path(arguments.weights),
        **given,
    )
    print(run_finetune(options, say))
    print(f"Wrote {options.output_dir / 'weights'}: use it with segment --weights. {NOTE}")
    return EXIT_OK
