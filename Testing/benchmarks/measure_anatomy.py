"""Anatomy that the simulator draws, and that results have, beside that of real six-month-olds.

    python -m Testing.benchmarks anatomy --data DIR

Of each simulation and each kind of label map, isointense subjects are drawn and their labels measured; the real infants are segmented as by
default. `python -m Testing.benchmarks label-anatomy FILE` measures other maps.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np

from InfantBrainSegLib.imaging.files import read_image, write_image
from InfantBrainSegLib.pipeline.segmenter import SegmentOptions, segment
from InfantBrainSegLib.training.simulation.labelmaps import LabelMap, load_pack
from InfantBrainSegLib.training.simulation.synthesis import SIMULATIONS, Simulator

from .anatomy import BLADES, BY_DEPTH, CORTEX, CROWN, GM_WM, SHARES, header, measure_anatomy, read_labels, row, six_months
from .measure_accuracy import configuration_of
from .study import SEGMENTATION, Data, Figure, Key, Study, bundled_weights, code_of

KINDS = {"adult": 6, "infant": 4}  # how many subjects
SEED = 300
RESULTS = {  # scans
    "month 6, T1 alone": ("month06_T1w_only.nii.gz", None),
}


def drawn(maps: Callable[[], list[LabelMap]], simulation: str, kind: str) -> list[dict]:
    """Measures of subjects of one kind of map, each of another map as far as they go."""
    own = [label_map for label_map in maps() if label_map.name.startswith(kind)]
    simulator = Simulator(own, SIMULATIONS[simulation])
    found = []
    for number in range(KINDS[kind]):
        synthesized = simulator.subject(own[number % len(own)], np.random.default_rng([SEED, number]), "isointense")
        found.append(measure_anatomy(synthesized.labels.numpy().astype(np.uint8)))
    return found


def result(t1: Path, t2: Path | None, folder: Path) -> dict:
    """Measures of a result."""
    labels = segment(read_image(t1), read_image(t2) if t2 else None, None, SegmentOptions()).labels
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{t1.name.split('_')[0]}_labels.nii.gz"
    write_image(labels, path)
    return measure_anatomy(read_labels(path))


def mean_and_range(values) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def summary(title: str, subjects: list[dict]) -> str:
    """One line of the table: mean and range over subjects."""
    shares = np.mean([one[SHARES] for one in subjects], axis=0)
    cells = [
        mean_and_range([one[GM_WM] for one in subjects]),
        ", ".join(f"{100 * share:.0f}" for share in shares),
        *(mean_and_range([one[BY_DEPTH][shell] for one in subjects]) for shell in range(len(subjects[0][BY_DEPTH]))),
        *(
            f"{np.mean(values):.1f}"
            for values in ([one[CORTEX][1] for one in subjects], *([one[n] for one in subjects] for n in (BLADES, CROWN)))
        ),
    ]
    return f"| {title} | {' | '.join(cells)} |"


def tables(results: dict) -> str:
    lines = [*header(), six_months()]
    for simulation, kinds in results["drawn"].items():
        lines += [summary(f'"{simulation}", {kind} maps ({len(subjects)})', subjects) for kind, subjects in kinds.items()]
    lines += [row(f"result, {name}", found) for name, found in results["results"].items()]
    return "\n".join(lines)


def key(figure: Figure) -> Key:
    own = ("anatomy", "measure_anatomy")
    if figure[0] == "drawn":
        return Key(configuration={"subjects": KINDS[figure[-1]]}, code=code_of(("training",), *own))
    return Key(bundled_weights("fcn1", "fcn2"), configuration_of(SegmentOptions()), code_of(SEGMENTATION, *own))


def study() -> Study:
    return Study("anatomy", key, tables)


def jobs(data: Data, arguments: argparse.Namespace) -> Iterator[tuple[Figure, Callable[[], list[dict] | dict]]]:
    maps = cache(partial(load_pack, data.pack("labelmaps")))
    for simulation in SIMULATIONS:
        for kind in KINDS:
            yield ("drawn", simulation, kind), partial(drawn, maps, simulation, kind)
    for name, (t1, t2) in RESULTS.items():
        yield ("results", name), partial(result, data.infants / t1, data.infants / t2 if t2 else None, data.folder / "anatomy")
