"""How well a header with wrong axes is found out: here the limits of `locate` were chosen.

    python -m Testing.benchmarks axes --data DIR

One head of each whole-head map of training is painted anew, turned by up to 45 degrees, and each of the 24 ways of its axes taken for what
the header says. Of stripped brains without cerebellum (the synthetic subjects, the real newborns inside the mask of their manual labels,
the real older infants) it is told by how much the network is surer of the brain turned by half a turn about the vertical.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from InfantBrainSegLib.core.labels import LEFT_CEREBRUM, RIGHT_CEREBRUM
from InfantBrainSegLib.evaluation.metrics import dice
from InfantBrainSegLib.extraction import locate
from InfantBrainSegLib.extraction.head import Head, images_on
from InfantBrainSegLib.extraction.pose import VERTICAL
from InfantBrainSegLib.imaging.files import read_image
from InfantBrainSegLib.imaging.resample import resample_linearly
from InfantBrainSegLib.imaging.space import ras_grid
from InfantBrainSegLib.training.config import HELD_OUT
from InfantBrainSegLib.training.simulation.heads import load_heads

from .make_raw_heads import RAW, write_head
from .measure_accuracy import newborn_case
from .measure_raw import predictor, silent
from .study import SEGMENTATION, TRAINING, Data, Figure, Key, Study, bundled_weights, code_of

SEED = 91
LOST = (0.03, 0.1)  # DOC of the cerebrum at 3 mm, less than with the best way of the axes


def attempts(folder: Path) -> tuple[list[float], list[float]]:
    """Score and cerebrum DOC with the axes in each of the 24 orders, the right one first."""
    t1, t2, mask = (read_image(folder / f"{name}.nii.gz") for name in ("T1", "T2", "mask"))
    heads = {"T1": Head(t1, "T1"), "T2": Head(t2, "T2")}
    grid = ras_grid(heads["T1"].corners_mm(), locate.LOCATE_MM, 0.0)
    truth = resample_linearly(sitk.Cast(mask, sitk.sitkFloat32), grid) > 0.5
    search = locate._Search(grid, images_on(heads, grid), predictor())
    found = [search.attempt(order, silent) for order in sorted(locate._orders(), key=lambda order: order != locate._HEADERS)]
    cerebra = [np.isin(sitk.GetArrayFromImage(one.parts), (LEFT_CEREBRUM, RIGHT_CEREBRUM)) for one in found]
    return [one.score for one in found], [dice(cerebrum, truth) for cerebrum in cerebra]


def chosen(scores: list[float], header: int) -> int:
    """The order that `locate` takes where the header says this one."""
    other = max((n for n in range(len(scores)) if n != header), key=lambda n: scores[n])
    return other if scores[header] < locate.MIN_CONFIDENCE and scores[other] >= scores[header] + locate.MIN_GAIN else header


def surer_of_half_turn(scans: dict[str, sitk.Image]) -> float:
    """By how much the network is surer of a brain without cerebellum that is turned by half a turn."""
    heads = {name: Head(scan, name) for name, scan in scans.items()}
    grid = ras_grid(next(iter(heads.values())).corners_mm(), locate.LOCATE_MM, 0.0)
    search = locate._Search(grid, images_on(heads, grid), predictor())
    as_given, turned = (search.attempt(order, silent).score for order in (locate._HEADERS, locate._HALF_TURNS[VERTICAL]))
    return round(turned - as_given, 4)


def stripped_brains(data: Data) -> Iterator[tuple[str, dict[str, sitk.Image]]]:
    """Names and scans: pairs of all, and of the real ones each scan alone."""
    for folder in sorted(path for path in data.synthetic.iterdir() if path.is_dir()):
        yield f"synthetic {folder.name}", {name: read_image(folder / f"{name}.nii.gz") for name in ("T1", "T2")}
    real = {}
    for folder in sorted(path for path in data.newborns.iterdir() if path.is_dir()):
        t1, t2, mask, _, _ = newborn_case(folder)
        real[f"newborn {folder.name}"] = {"T1": sitk.Mask(t1, mask), "T2": sitk.Mask(t2, mask)}
    for month in ("00", "04", "06", "09"):
        paths = sorted(data.infants.glob(f"month{month}_*.nii.gz"))
        real[f"month {month}"] = {path.name.split("_")[1][:2]: read_image(path) for path in paths}
    for name, pair in real.items():
        yield name, pair
        if len(pair) > 1:
            yield from ((f"{name}, {one} alone", {one: scan}) for one, scan in pair.items())


def all_heads(pack: Path) -> dict:
    maps = load_heads(pack, lambda name: name not in HELD_OUT)
    lost, upright_moved = [], 0
    for number, head in enumerate(maps):
        with tempfile.TemporaryDirectory() as folder:
            with torch.inference_mode():
                write_head(head, RAW, np.random.default_rng([SEED, number]), Path(folder))
            scores, doc = attempts(Path(folder))
        upright_moved += chosen(scores, 0) != 0
        lost += [doc[0] - doc[chosen(scores, header)] for header in range(1, len(scores))]
        print(f"head {number + 1}: {scores[0]:.3f}, others up to {max(scores[1:]):.3f}", flush=True)
    return {
        "heads": len(maps),
        "right headers not believed": upright_moved,
        "wrong headers": len(lost),
        **{f"cost more than {limit}": int(np.sum(np.array(lost) > limit)) for limit in LOST},
    }


def tables(results: dict) -> str:
    heads = results["headers"]["all heads"]
    costs = ", ".join(f"{heads[f'cost more than {limit}']} cost more than {limit}" for limit in LOST)
    gains = results["surer of half a turn"]
    turned = [name for name, gain in gains.items() if gain >= locate.MIN_GAIN_OF_BACK]
    return (
        f"Of {heads['heads']} right headers {heads['right headers not believed']} were given up; of {heads['wrong headers']} wrong ones "
        f"{costs} of the cerebrum's Dice. Of {len(gains)} stripped brains {len(turned)} are taken to lie the other way round: "
        f"{', '.join(turned)}."
    )


def key(figure: Figure) -> Key:
    code = code_of(TRAINING if figure[0] == "headers" else SEGMENTATION, "measure_axes")
    return Key(bundled_weights("locate"), {"seed": SEED} if figure[0] == "headers" else {}, code)


def study() -> Study:
    return Study("axes", key, tables)


def jobs(data: Data, arguments: argparse.Namespace) -> Iterator[tuple[Figure, Callable[[], dict | float]]]:
    yield ("headers", "all heads"), partial(all_heads, data.pack("heads"))
    for name, scans in stripped_brains(data):
        yield ("surer of half a turn", name), partial(surer_of_half_turn, scans)
