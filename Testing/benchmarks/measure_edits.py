"""What a person's edits mend beyond themselves.

    python -m Testing.benchmarks edits --data DIR

Held-out synthetic subjects, drawn here from the pack of label maps, and real newborns are segmented; the worst places of the result are
mended by the true labels as a hand would, up to 1 % and 5 % of all wrong voxels: in strokes in one slice, with two slices between them, or
in whole blobs. The errors outside the edited voxels are then counted without and with refinement.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from InfantBrainSegLib.core.contract import STAGES
from InfantBrainSegLib.core.progress import silent
from InfantBrainSegLib.imaging.resample import on_grid_of
from InfantBrainSegLib.networks.device import resolve_device
from InfantBrainSegLib.networks.predictor import Predictor
from InfantBrainSegLib.networks.weights import Networks
from InfantBrainSegLib.pipeline import segmenter
from InfantBrainSegLib.pipeline.edits import Edits, RefineConfig
from InfantBrainSegLib.pipeline.report import Steps
from InfantBrainSegLib.pipeline.segmenter import Segmentation, SegmentOptions, segment
from InfantBrainSegLib.training.config import HELD_OUT
from InfantBrainSegLib.training.experiments.train import write_subject
from InfantBrainSegLib.training.simulation.labelmaps import load_pack
from InfantBrainSegLib.training.simulation.synthesis import Simulator, SimulatorConfig

from .measure_accuracy import Case, newborn_case, synthetic_case
from .study import Data, Figure, Key, Study, bundled_weights, code_of

SEED = 400
SYNTHETIC = tuple(f"{name} {number}" for number in (1, 2) for name in HELD_OUT)  # a map, and which subject of it
NEWBORNS = ("01", "03", "05", "07", "09")
SHARES = {"1 %": 0.01, "5 %": 0.05}
SLICES, BLOBS = "strokes in one slice", "whole blobs"
ALONE, REFINED = "maps alone", "refined"  # the second stage with maps of the edited labels, without and with the pull
DENSITY_MM = 3.0  # SD of the Gaussian by which the worst places are found
BLOB_MM, STROKE_MM = 5.0, 8.0  # radius of what is mended at once
GAP_SLICES = 2  # between two strokes in the same place
NEAR_MM = RefineConfig.reach_mm
NETWORKS = Networks()


class Hand:
    """Mends a result.

    Parameters
    ----------
    labels, reference : (K, J, I) arrays
    inside : (K, J, I) bool array
        Where it looks.
    spacing_mm : float
    """

    def __init__(self, labels: np.ndarray, reference: np.ndarray, inside: np.ndarray, spacing_mm: float):
        self.wrong = (labels != reference) & inside
        self.edited = np.zeros_like(self.wrong)
        self.strokes = 0
        self._reference, self._spacing_mm = reference, spacing_mm
        density = ndimage.gaussian_filter(self.wrong.astype(np.float32), DENSITY_MM / spacing_mm)
        self._worth = np.where(self.wrong, density, 0)

    def mend(self, share: float, style: str) -> None:
        """Go on until this share of the wrong voxels is mended."""
        while self.edited.sum() < share * self.wrong.sum() and self._worth.max() > 0:
            self._stroke(np.unravel_index(self._worth.argmax(), self._worth.shape), style)
            self.strokes += 1

    def _stroke(self, place: tuple, style: str) -> None:
        """Mend what lacks one tissue and hangs together round the worst place."""
        reach = round((STROKE_MM if style == SLICES else BLOB_MM) / self._spacing_mm)
        steps = (0 if style == SLICES else reach, reach, reach)
        ends = zip(place, steps, self.wrong.shape, strict=True)
        box = tuple(slice(max(index - step, 0), min(index + step + 1, length)) for index, step, length in ends)
        here = np.ogrid[box]
        ball = sum((axis - index) ** 2 for axis, index in zip(here, place, strict=True)) <= reach**2
        lacking = (self.wrong & ~self.edited)[box] & ball & (self._reference[box] == self._reference[place])
        pieces, _ = ndimage.label(lacking, np.ones((3, 3, 3), bool))
        blob = pieces == pieces[tuple(index - part.start for index, part in zip(place, box, strict=True))]
        self.edited[box] |= blob
        self._worth[box][blob] = 0
        if style == SLICES:
            around = ndimage.binary_dilation(np.pad(blob[0], 2), iterations=2)[2:-2, 2:-2]
            low, high = max(place[0] - GAP_SLICES, 0), place[0] + GAP_SLICES + 1
            self._worth[(slice(low, high), *box[1:])][:, around] = 0


def variants(style: str, share: str) -> tuple[str, ...]:
    """What is measured: a blob does not pull, and once says what the maps alone give."""
    return (ALONE, REFINED) if (style, share) == (SLICES, "5 %") else (REFINED,)


def measure(read: Callable[[], Case]) -> dict:
    t1, t2, mask, reference, inside = read()
    result = segment(t1, t2, mask, SegmentOptions())
    labels, spacing_mm = sitk.GetArrayFromImage(result.labels), t1.GetSpacing()[0]
    inside = (labels > 0) | (reference > 0) if inside is None else inside
    found: dict = {}
    for style in (SLICES, BLOBS):
        for name, share in SHARES.items():
            hand = Hand(labels, reference, inside, spacing_mm)
            hand.mend(share, style)
            edited = on_grid_of(result.labels, np.where(hand.edited, reference, labels).astype(np.uint8))
            outside = inside & ~hand.edited
            near = outside & (ndimage.distance_transform_edt(~hand.edited, sampling=spacing_mm) <= NEAR_MM)
            counts = {"strokes": hand.strokes, "edited": int(hand.edited.sum()), "near": int((hand.wrong & near).sum())}
            counts["outside"] = int((hand.wrong & outside).sum())
            for variant in variants(style, name):
                after = refined(result, Edits(edited, result.labels, configuration_of(variant)))
                counts[variant] = int(((after != reference) & outside).sum())
            found.setdefault(style, {})[name] = counts
    return found


def refined(result: Segmentation, edits: Edits) -> np.ndarray:
    """As `segment` with edits, without preparing the scans again: (K, J, I) labels."""
    means = segmenter._Means(predictor(), [NETWORKS.get(stage) for stage in STAGES], SegmentOptions(), Steps(silent))
    labelled = segmenter._with_edits(means, result._prepared, edits)
    return sitk.GetArrayFromImage(labelled.on_scan(result._prepared))


def predictor() -> Predictor:
    return Predictor(resolve_device("auto"), "auto", None, False, NETWORKS)


def configuration_of(variant: str) -> RefineConfig:
    return RefineConfig() if variant == REFINED else replace(RefineConfig(), pull=0.0)


def drawn(data: Data, subject: str) -> Case:
    """A subject of a held-out map, drawn once."""
    name, number = subject.split()
    folder = data.folder / "edits" / f"{name}_{number}"
    if not (folder / "label.nii.gz").is_file():
        maps = load_pack(data.pack("labelmaps"), lambda other: other == name)
        write_subject(
            Simulator(maps, SimulatorConfig()).subject(maps[0], np.random.default_rng([SEED, int(number) - 1]), "isointense"), folder
        )
    return synthetic_case(folder)


def jobs(data: Data, arguments: argparse.Namespace) -> Iterator[tuple[Figure, Callable[[], dict]]]:
    for subject in SYNTHETIC:
        yield ("synthetic", subject), partial(measure, partial(drawn, data, subject))
    for name in NEWBORNS:
        yield ("newborns", name), partial(measure, partial(newborn_case, Path(data.newborns / name)))


def tables(results: dict) -> str:
    lines = [
        f"Change of the errors outside the edited voxels, in percent of those within {NEAR_MM:g} mm of them; mean over subjects.",
        "",
        "| subjects | edits | wrong voxels mended | strokes | edited voxels | maps alone | refined (worst) | mended per edited voxel |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group in ("synthetic", "newborns"):
        cases = results.get(group)
        if not cases:
            continue
        for style in (SLICES, BLOBS):
            for share in SHARES:
                lines.append(f"| {group} ({len(cases)}) | {style} | {share} | {row([case[style][share] for case in cases.values()])} |")
    return "\n".join(lines)


def row(counts: list[dict]) -> str:
    """One line of the table: means over subjects."""
    change = {
        name: [100 * (one[name] - one["outside"]) / max(one["near"], 1) for one in counts] for name in counts[0] if name in (ALONE, REFINED)
    }
    cells = [f"{np.mean([one[name] for one in counts]):.0f}" for name in ("strokes", "edited")]
    cells.append(f"{np.mean(change[ALONE]):+.1f} %" if ALONE in change else "")
    cells.append(f"{np.mean(change[REFINED]):+.1f} % ({max(change[REFINED]):+.1f} %)")
    cells.append(f"{np.mean([(one['outside'] - one[REFINED]) / max(one['edited'], 1) for one in counts]):+.2f}")
    return " | ".join(cells)


def key(figure: Figure) -> Key:
    hand = {"density": DENSITY_MM, "blob": BLOB_MM, "stroke": STROKE_MM, "gap": GAP_SLICES, "shares": SHARES, "seed": SEED}
    configuration = {"refine": asdict(RefineConfig()), "rounds": SegmentOptions.rounds, "hand": hand}
    return Key(bundled_weights("fcn1", "fcn2"), configuration, code_of(("pipeline",)))


def study() -> Study:
    return Study("edits", key, tables)
