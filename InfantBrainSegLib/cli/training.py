"""The command line of synthesize, train, finetune and reproduce; only a chosen command imports what it needs."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

EXIT_STOPPED = 130


def add_training_commands(commands) -> None:
    """Add the four commands to the subparsers of the whole command line."""
    synthesize = commands.add_parser("synthesize", help="make isointense subjects (T1, T2, label) from label maps")
    synthesize.add_argument("--output-dir", required=True, metavar="DIR")
    synthesize.add_argument("--subjects", type=int, default=1, metavar="N", help="how many (default 1)")
    synthesize.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed makes the same subjects (default 0)")
    synthesize.add_argument("--label-maps", metavar="PATH", help="a label map or a folder of them; the bundled demo subject's by default")
    synthesize.add_argument("--phase", choices=("newborn", "isointense", "late"), default="isointense", help="stage of myelination")
    synthesize.set_defaults(run=_synthesize)

    train = commands.add_parser("train", help="train a network; goes on where it was stopped")
    train.add_argument("--config", required=True, metavar="FILE", help="a recipe")
    train.add_argument("--label-maps", metavar="DIR", help="folder of FreeSurfer label maps, in place of the recipe's")
    train.set_defaults(run=_resumable(_train))

    finetune = commands.add_parser("finetune", help="fine-tune the weights on your own labelled scans; goes on where it was stopped")
    finetune.add_argument(
        "--subjects", required=True, metavar="PATH", help="a folder a subject with T1, T2, label[, mask]; iSeg's files; or a CSV"
    )
    finetune.add_argument("--output-dir", required=True, metavar="DIR", help="gets weights/, for segment --weights, and held_out.txt")
    finetune.add_argument("--iterations", type=int, metavar="N", help="of each stage (default 1000)")
    finetune.add_argument("--held-out", nargs="+", default=(), metavar="NAME", help="subjects kept for the report (default: one in five)")
    finetune.add_argument("--weights", metavar="DIR", help="weights to start from in place of the bundled ones")
    _add_device(finetune)
    finetune.set_defaults(run=_resumable(_finetune))

    reproduce = commands.add_parser(
        "reproduce", help="the paper's experiment on iSeg-2017 or iSeg-2019: trains, tests, prints Tables 1 and 2"
    )
    reproduce.add_argument("--iseg", required=True, metavar="DIR", help="folder with subject-N-T1.hdr and so on, at any depth")
    reproduce.add_argument("--output-dir", required=True, metavar="DIR", help="gets tables.txt, tables.json and a folder a fold")
    reproduce.add_argument("--fold", type=int, metavar="K", help="this fold alone; folds finished before join the tables")
    reproduce.add_argument("--resume", action="store_true", help="go on with what lies in the output folder")
    reproduce.add_argument(
        "--init", choices=("bundled",), default="", help="fine-tune the bundled weights in place of the paper's training"
    )
    reproduce.add_argument("--init-t1", default="", metavar="FILE", help="weights of the T1 path with decoder and classifiers (paper, 3.3)")
    reproduce.add_argument("--init-t2", default="", metavar="FILE", help="C3D weights of the T2 encoder (paper, 3.3)")
    reproduce.add_argument("--iterations", type=int, metavar="N", help="of each stage (default: the paper's 10000; 1000 from the bundled)")
    _add_device(reproduce)
    reproduce.set_defaults(run=_resumable(_reproduce))


def _resumable(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Say, when a training is stopped, that it can go on."""

    def with_advice(arguments: argparse.Namespace) -> int:
        try:
            return run(arguments)
        except KeyboardInterrupt:
            again = "the same command with --resume" if arguments.command == "reproduce" else "the same command"
            print(f"Stopped; {again} goes on from the last checkpoint, where there is one.", file=sys.stderr)
            return EXIT_STOPPED

    return with_advice


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu, cuda, cuda:N or mps")


def _synthesize(arguments: argparse.Namespace) -> int:
    from ..training.experiments.train import run_synthesize

    label_maps = None if arguments.label_maps is None else Path(arguments.label_maps)
    for folder in run_synthesize(Path(arguments.output_dir), arguments.subjects, arguments.seed, label_maps, arguments.phase):
        print(f"Wrote {folder}")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from ..training.experiments.train import run_train

    label_maps = None if arguments.label_maps is None else Path(arguments.label_maps)
    print(f"Wrote {run_train(Path(arguments.config), label_maps=label_maps)}")
    return 0


def _finetune(arguments: argparse.Namespace) -> int:
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
    print(run_finetune(options, _say))
    print(f"Wrote {options.output_dir / 'weights'}: use it with segment --weights. Research use only; not a medical device.")
    return 0


def _reproduce(arguments: argparse.Namespace) -> int:
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
    print(run_reproduce(options, _say))
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
