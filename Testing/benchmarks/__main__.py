"""Every measurement of this repository by one command.

    python -m Testing.benchmarks NAME --data DIR     measure what is missing or stale of one study, and put its tables into the pages
    python -m Testing.benchmarks card [--write]      print every table from the stored figures, and what is stale of them; needs no data

DIR holds `subjects` (of test-subjects), `raw_heads` (of raw-heads), `images/neonate`, `images/infant`, `labelmaps/adult`, and the packs
that training made of label maps, `labelmaps.npz` and `heads.npz`; a study takes what it needs of these. The names are:
"""

import argparse
import ast
import importlib
import sys
from pathlib import Path

STUDIES = {
    "accuracy": "measure_accuracy",
    "robustness": "measure_robustness",
    "raw": "measure_raw",
    "alignment": "measure_alignment",
    "axes": "measure_axes",
    "ablations": "ablate",
    "pictures": "make_pictures",
    "anatomy": "measure_anatomy",
    "edits": "measure_edits",
    "compare-speed": "compare_speed",
}
OTHERS = {
    "card": "card",
    "speed": "benchmark_segment",
    "training-speed": "benchmark_training",
    "scale": "measure_scale",
    "calibration": "plot_calibration",
    "test-subjects": "make_test_subjects",
    "raw-heads": "make_raw_heads",
    "demo-subject": "make_demo_subject",
    "compare-weights": "compare_weights",
    "mix-weights": "mix_weights",
    "store-weights": "store_weights",
    "label-anatomy": "anatomy",
}


def study_module(name: str):
    return importlib.import_module(f".{STUDIES[name]}", __package__)


def listing() -> str:
    """Each name with the first line of its file."""
    lines = []
    for name, module in {**STUDIES, **OTHERS}.items():
        text = ast.get_docstring(ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8")))
        lines.append(f"  {name:<16}{text.splitlines()[0]}")
    return "\n".join(lines)


def measure(name: str, words: list[str]) -> None:
    from .card import write
    from .study import Data

    module = study_module(name)
    parser = argparse.ArgumentParser(
        prog=f"python -m Testing.benchmarks {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="see `python -m Testing.benchmarks --help`")
    parser.add_argument("--again", action="store_true", help="also what was stored without a record of what made it")
    getattr(module, "add_arguments", lambda parser: None)(parser)
    arguments = parser.parse_args(words)
    if not arguments.data.is_dir():
        parser.error(f"--data is {arguments.data}; wanted a folder")
    module.study().run(module.jobs(Data(arguments.data), arguments), arguments.again)
    write()


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks",
        description=f"{__doc__}\n{listing()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=[*STUDIES, *OTHERS], metavar="NAME")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="NAME --help says which")
    arguments = parser.parse_args(words)
    if arguments.name in STUDIES:
        measure(arguments.name, arguments.words)
    else:
        sys.argv = [f"python -m Testing.benchmarks {arguments.name}", *arguments.words]
        importlib.import_module(f".{OTHERS[arguments.name]}", __package__).main()


if __name__ == "__main__":
    main()
