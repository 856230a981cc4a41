"""Measure how well a header with wrong axes is found out: here the limits of `locate` were chosen.

    python Testing/benchmarks/measure_axes.py PACK --synthetic TEST_SUBJECTS --images ../shared/data/images

PACK is what training made of the whole-head maps (`training.heads.build_head_pack`). One head of each map is painted anew, turned by up to
45 degrees, and each of the 24 ways of its axes taken for what the header says. Of stripped brains without cerebellum (TEST_SUBJECTS of
make_test_subjects.py, the real newborns inside the mask of their manual labels, the real older infants) it is told by how much the network
is surer of the brain turned by half a turn about the vertical. The figures go to Testing/benchmarks/results/axes.json.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from make_raw_heads import RAW, write_head
from measure_accuracy import newborn_case
from measure_raw import predictor, silent

from InfantBrainSegLib.core.labels import LEFT_CEREBRUM, RIGHT_CEREBRUM
from InfantBrainSegLib.evaluation.metrics import dice
from InfantBrainSegLib.extraction import locate
from InfantBrainSegLib.extraction.head import Head, images_on
from InfantBrainSegLib.imaging.files import read_image, write_text
from InfantBrainSegLib.imaging.resample import resample_linearly
from InfantBrainSegLib.imaging.space import ras_grid
from InfantBrainSegLib.networks.weights import load_network
from InfantBrainSegLib.training.config import HELD_OUT
from InfantBrainSegLib.training.simulation.heads import load_heads

RESULTS = Path(__file__).parent / "results" / "axes.json"
SEED = 91
LOST = (0.03, 0.1)  # DOC of the cerebrum at 3 mm, less than with the best way of the axes


def attempts(folder: Path) -> tuple[list[float], list[float]]:
    """Score and cerebrum DOC with the axes in each of the 24 orders, the right one first."""
    t1, t2, mask = (read_image(folder / f"{name}.nii.gz") for name in ("T1", "T2", "mask"))
    heads = {"T1": Head(t1), "T2": Head(t2)}
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
    heads = {name: Head(scan) for name, scan in scans.items()}
    grid = ras_grid(next(iter(heads.values())).corners_mm(), locate.LOCATE_MM, 0.0)
    search = locate._Search(grid, images_on(heads, grid), predictor())
    as_given, turned = (search.attempt(order, silent).score for order in (locate._HEADERS, locate._HALF_TURN))
    return round(turned - as_given, 4)


def stripped_brains(synthetic: Path, images: Path) -> Iterator[tuple[str, dict[str, sitk.Image]]]:
    """Names and scans: pairs of all, and of the real ones each scan alone."""
    for folder in sorted(path for path in synthetic.iterdir() if path.is_dir()):
        yield f"synthetic {folder.name}", {name: read_image(folder / f"{name}.nii.gz") for name in ("T1", "T2")}
    real = {}
    for folder in sorted(path for path in (images / "neonate").iterdir() if path.is_dir()):
        t1, t2, mask, _, _ = newborn_case(folder)
        real[f"newborn {folder.name}"] = {"T1": sitk.Mask(t1, mask), "T2": sitk.Mask(t2, mask)}
    for month in ("00", "04", "06", "09"):
        paths = sorted((images / "infant").glob(f"month{month}_*.nii.gz"))
        real[f"month {month}"] = {path.name.split("_")[1][:2]: read_image(path) for path in paths}
    for name, pair in real.items():
        yield name, pair
        if len(pair) > 1:
            yield from ((f"{name}, {one} alone", {one: scan}) for one, scan in pair.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--synthetic", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    arguments = parser.parse_args()
    maps = load_heads(arguments.pack, lambda name: name not in HELD_OUT)
    lost, upright_moved = [], 0
    for number, head in enumerate(maps):
        with tempfile.TemporaryDirectory() as folder:
            with torch.inference_mode():
                write_head(head, RAW, np.random.default_rng([SEED, number]), Path(folder))
            scores, doc = attempts(Path(folder))
        upright_moved += chosen(scores, 0) != 0
        lost += [doc[0] - doc[chosen(scores, header)] for header in range(1, len(scores))]
        print(f"head {number + 1}: {scores[0]:.3f}, others up to {max(scores[1:]):.3f}", flush=True)
    results = {
        "weights": load_network("locate").sha256,
        "heads": len(maps),
        "right headers not believed": upright_moved,
        "wrong headers": len(lost),
        **{f"of these cost more than {limit} of DOC": int(np.sum(np.array(lost) > limit)) for limit in LOST},
        "surer of a stripped brain turned by half a turn": {
            name: surer_of_half_turn(scans) for name, scans in stripped_brains(arguments.synthetic, arguments.images)
        },
    }
    write_text(json.dumps(results, indent=1) + "\n", RESULTS)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
