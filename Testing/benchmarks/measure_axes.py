"""Measure how well a header with wrong axes is found out, on heads of the training maps: here the limits of `locate` were chosen.

    python Testing/benchmarks/measure_axes.py PACK

PACK is what training made of the whole-head maps (`training.heads.build_head_pack`). One head of each map is painted anew, turned by up to
45 degrees, and each of the 24 ways of its axes taken for what the header says. The figures go to Testing/benchmarks/results/axes.json.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from make_raw_heads import RAW, write_head
from measure_raw import runner, silent

from InfantBrainSegLib import locate
from InfantBrainSegLib.head import Head, images_on, ras_grid
from InfantBrainSegLib.images import read_image, write_text
from InfantBrainSegLib.labels import LEFT_CEREBRUM, RIGHT_CEREBRUM
from InfantBrainSegLib.metrics import dice
from InfantBrainSegLib.resample import resample_linearly
from InfantBrainSegLib.training.config import HELD_OUT
from InfantBrainSegLib.training.heads import load_heads
from InfantBrainSegLib.weights import load_network

RESULTS = Path(__file__).parent / "results" / "axes.json"
SEED = 91
LOST = (0.03, 0.1)  # DOC of the cerebrum at 3 mm, less than with the best way of the axes


def attempts(folder: Path) -> tuple[list[float], list[float]]:
    """Score and cerebrum DOC with the axes in each of the 24 orders, the right one first."""
    t1, t2, mask = (read_image(folder / f"{name}.nii.gz") for name in ("T1", "T2", "mask"))
    heads = {"T1": Head(t1), "T2": Head(t2)}
    grid = ras_grid(heads["T1"].corners_mm(), locate.LOCATE_MM, 0.0)
    truth = resample_linearly(sitk.Cast(mask, sitk.sitkFloat32), grid) > 0.5
    search = locate._Search(grid, images_on(heads, grid), runner().predict_once)
    found = [search.attempt(order, silent) for order in sorted(locate._orders(), key=lambda order: order != locate._HEADERS)]
    cerebra = [np.isin(sitk.GetArrayFromImage(one.parts), (LEFT_CEREBRUM, RIGHT_CEREBRUM)) for one in found]
    return [one.score for one in found], [dice(cerebrum, truth) for cerebrum in cerebra]


def chosen(scores: list[float], header: int) -> int:
    """The order that `locate` takes where the header says this one."""
    other = max((n for n in range(len(scores)) if n != header), key=lambda n: scores[n])
    return other if scores[header] < locate.SURE and scores[other] >= scores[header] + locate.SURER else header


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    maps = load_heads(parser.parse_args().pack, lambda name: name not in HELD_OUT)
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
    }
    write_text(json.dumps(results, indent=1) + "\n", RESULTS)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
