"""Print every table of docs/results.md and MODEL_CARD.md from the stored figures, and say which are stale.

    python -m Testing.benchmarks card
    python -m Testing.benchmarks card --write

--write puts them between their markers in the pages. No data are needed and nothing is measured.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from InfantBrainSegLib.imaging.files import write_text

from . import (
    ablate,
    compare_speed,
    make_pictures,
    measure_accuracy,
    measure_alignment,
    measure_anatomy,
    measure_axes,
    measure_edits,
    measure_raw,
    measure_robustness,
)
from .study import PAGE, ROOT, placed

STUDIES = (
    measure_accuracy,
    measure_robustness,
    measure_raw,
    measure_alignment,
    measure_axes,
    ablate,
    make_pictures,
    measure_anatomy,
    measure_edits,
    compare_speed,
)
SUMMARY = (measure_accuracy, measure_raw, measure_robustness)
MODEL_CARD = ROOT / "MODEL_CARD.md"


def parts() -> Iterator[tuple[Path, str, str]]:
    """Page, name of the markers and what stands between them."""
    for module in STUDIES:
        study = module.study()
        yield PAGE, study.name, study.text()
    for module in SUMMARY:
        study = module.study()
        yield MODEL_CARD, study.name, f"{module.card(study.results)}\n\n{study.line()}"


def pages() -> dict[Path, str]:
    """Both pages as the stored figures make them today."""
    found = {page: page.read_text(encoding="utf-8") for page in (PAGE, MODEL_CARD)}
    for page, name, text in parts():
        found[page] = placed(found[page], name, text)
    return found


def write() -> None:
    for page, text in pages().items():
        write_text(text, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into the pages")
    if parser.parse_args().write:
        write()
        return
    for page, name, text in parts():
        print(f"== {page.relative_to(ROOT)}, {name}\n\n{text}\n")
    print("The table of both precisions belongs to one machine and is not stored: `python -m Testing.benchmarks speed` measures it.")


if __name__ == "__main__":
    main()
