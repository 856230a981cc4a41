"""Raw input: the extracted cerebrum, and what the tissues lose against the same head prepared ideally.

    python -m Testing.benchmarks raw --data DIR

Ideal means the true mask and, where the head was turned, the same pose correction. Of the newborns (stripped, with cerebellum and
brainstem) the tissues are compared with those inside the manual mask.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from InfantBrainSegLib.evaluation.metrics import dice, evaluate_labels, surface_distances
from InfantBrainSegLib.extraction.extract import Extraction, extract
from InfantBrainSegLib.imaging.files import read_image
from InfantBrainSegLib.networks.device import resolve_device
from InfantBrainSegLib.networks.predictor import Predictor
from InfantBrainSegLib.pipeline.prepare_scans import HEAD_CONFIDENCE
from InfantBrainSegLib.pipeline.segmenter import SegmentOptions, segment
from InfantBrainSegLib.preparation.registration import move_grid

from .measure_accuracy import NAMES, configuration_of, newborn_case
from .study import SEGMENTATION, Data, Figure, Key, Study, bundled_weights, code_of

ALONE = ("raw_01", "raw_02", "raw_03", "raw_04", "raw_05", "raw_06")  # heads that are also tried with one scan
# The pairs lie on one grid as they should, and upright; one round of context, since only differences matter.
PREPARED = SegmentOptions(align="off", extract="off", rounds=1)
GOAL_DOC, GOAL_MM, GOAL_LOSS = 0.96, 3, 0.02
STAGES = ("fcn1", "fcn2", "locate", "refine")


def silent(share: float) -> None:
    """Say nothing."""


def predictor() -> Predictor:
    options = SegmentOptions()
    return Predictor(resolve_device("auto"), "auto", options.window, False)


def measure_mask(folder: Path) -> dict:
    return _mask_scores(folder)[0]


def measure_head(folder: Path) -> dict:
    scores, extraction = _mask_scores(folder)
    mask, label = (read_image(folder / f"{name}.nii.gz") for name in ("mask", "label"))
    reference = sitk.GetArrayFromImage(label)
    t1, t2, found, ideal = (  # set upright here: `PREPARED` does not look at the pose
        image if image is None or extraction.rotation is None else move_grid(image, extraction.rotation)
        for image in (extraction.t1, extraction.t2, extraction.mask, mask)
    )
    for kind, given in (("raw", found), ("ideal", ideal)):  # the tissues of what was extracted, as `segment` goes on with it
        labels = sitk.GetArrayFromImage(segment(t1, t2, given, PREPARED).labels)
        scores[kind] = {name: asdict(metrics)["dice"] for name, metrics in evaluate_labels(labels, reference, (1.0, 1.0, 1.0)).items()}
    return scores


def _mask_scores(folder: Path) -> tuple[dict, Extraction]:
    t1, t2, mask = (read_image(folder / f"{name}.nii.gz") for name in ("T1", "T2", "mask"))
    started = time.perf_counter()
    extraction = extract(t1, t2, predictor(), silent)
    seconds = time.perf_counter() - started
    truth = sitk.GetArrayFromImage(mask) > 0
    found = sitk.GetArrayFromImage(extraction.mask) > 0 if extraction.mask is not None else sitk.GetArrayFromImage(t1) > 0
    distances = surface_distances(found, truth, (1.0, 1.0, 1.0))
    surface = np.concatenate([distances.to_reference_mm, distances.to_prediction_mm])
    scores = {
        "mask_dice": dice(found, truth),
        "surface95_mm": float(np.percentile(surface, 95)),
        "rotation_degrees": extraction.report.rotation_degrees,
        "confidence": extraction.report.confidence,
        "extract_seconds": round(seconds, 1),
    }
    for name, given in (("T1 alone", (t1, None)), ("T2 alone", (None, t2))) if folder.name in ALONE else ():
        alone = extract(*given, predictor(), silent)
        scores[f"mask_dice, {name}"] = 0.0 if alone.mask is None else dice(sitk.GetArrayFromImage(alone.mask) > 0, truth)
    return scores, extraction


def measure_newborn(folder: Path) -> dict:
    t1, t2, mask, reference, inside = newborn_case(folder)
    spacing = t1.GetSpacing()[::-1]
    extraction = extract(t1, t2, predictor(), silent)
    truth = sitk.GetArrayFromImage(mask) > 0
    found = sitk.GetArrayFromImage(extraction.mask) > 0 if extraction.mask is not None else sitk.GetArrayFromImage(t1) > 0
    scores: dict = {"mask_dice": dice(found, truth), "rotation_degrees": extraction.report.rotation_degrees}
    for kind, given in (("raw", (extraction.t1, extraction.t2, extraction.mask)), ("ideal", (t1, t2, mask))):
        labels = sitk.GetArrayFromImage(segment(*given, PREPARED).labels)
        scores[kind] = {name: asdict(metrics)["dice"] for name, metrics in evaluate_labels(labels, reference, spacing, inside).items()}
    return scores


def losses(subjects: dict) -> str:
    if not any("raw" in scores for scores in subjects.values()):
        return " | | "
    cells = []
    for name in NAMES:
        raw, ideal = ([scores[kind][name] for scores in subjects.values()] for kind in ("raw", "ideal"))
        cells.append(f"{np.mean(raw):.3f} ({np.mean(np.subtract(raw, ideal)):+.3f})")
    return " | ".join(cells)


def csf_line(heads: list[dict]) -> str:
    """What the mask's errors cost CSF, which is most of what lies along the mask's border."""
    lacks = np.array([1 - scores["mask_dice"] for scores in heads])
    lost = np.array([scores["ideal"]["CSF"] - scores["raw"]["CSF"] for scores in heads])
    slope = lacks @ lost / (lacks @ lacks)
    return (
        f"CSF, which lies along the mask's border, loses {slope:.1f} times what the mask Dice lacks of 1 (least squares through 0 over the "
        f"first row): to lose {GOAL_LOSS} at most, a mask Dice of {1 - GOAL_LOSS / slope:.3f} is needed."
    )


def warned_line(heads: list[dict]) -> str:
    """How many heads the check "cerebrum" warns of, and how many of those that missed the goal."""
    warned = [scores["confidence"] < HEAD_CONFIDENCE for scores in heads]
    missed = [scores["mask_dice"] < GOAL_DOC for scores in heads]
    found = f"among them {sum(map(all, zip(warned, missed, strict=True)))} of the {sum(missed)} whose mask has a Dice under {GOAL_DOC}"
    if not any(missed):
        found = f"though none has a mask with a Dice under {GOAL_DOC}"
    return f'Of all {len(heads)} heads the check "cerebrum" warns of {sum(warned)}, {found}.'


def tables(results: dict) -> str:
    lines = [
        "| | subjects | mask Dice (worst) | 95 % of the surface within, mm (worst) | CSF Dice (against ideal) | GM | WM |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, title in (
        ("raw", "heads turned by up to 45 degrees"),
        ("turned", "heads along other axes than the header's"),
        ("warped", "heads deformed as in training"),
        ("newborn", "real newborns"),
    ):
        subjects = {name: scores for name, scores in results["subjects"].items() if name.startswith(kind)}
        if not subjects:
            continue
        doc = [scores["mask_dice"] for scores in subjects.values()]
        surface = [scores["surface95_mm"] for scores in subjects.values() if "surface95_mm" in scores]
        within = f"{np.mean(surface):.1f} ({np.max(surface):.1f})" if surface else ""
        lines.append(f"| {title} | {len(subjects)} | {np.mean(doc):.3f} ({np.min(doc):.3f}) | {within} | {losses(subjects)} |")
    upright = [scores for name, scores in results["subjects"].items() if name.startswith("raw")]
    good, close = (
        sum(goal(scores) for scores in upright) for goal in (lambda s: s["mask_dice"] >= GOAL_DOC, lambda s: s["surface95_mm"] <= GOAL_MM)
    )
    reached = (
        f"Of the {len(upright)} heads of the first row {good} have a mask Dice of {GOAL_DOC} or more, and {close} have 95 % of the surface"
    )
    heads = [scores for scores in results["subjects"].values() if "extract_seconds" in scores]
    seconds = np.mean([scores["extract_seconds"] for scores in heads])
    alone = [
        f"{name} {np.mean([scores[key] for scores in heads if key in scores]):.3f}"
        for name in ("T1 alone", "T2 alone")
        if any((key := f"mask_dice, {name}") in scores for scores in heads)
    ]
    lines += ["", f"{reached} within {GOAL_MM} mm (median {np.median([scores['surface95_mm'] for scores in upright]):.1f} mm)."]
    lines += ["", csf_line(upright)]
    lines += ["", warned_line([scores for scores in results["subjects"].values() if "confidence" in scores])]
    if alone:
        lines += ["", f"Mask Dice of six heads with {', '.join(alone)}."]
    return "\n".join([*lines, "", f"Extraction took {seconds:.0f} s a head."])


def card(results: dict) -> str:
    """The raw heads of the model card."""
    heads = [scores for name, scores in results["subjects"].items() if name.startswith("raw")]
    doc, surface = ([scores[key] for scores in heads] for key in ("mask_dice", "surface95_mm"))
    lost = {name: np.mean([scores["ideal"][name] - scores["raw"][name] for scores in heads]) for name in NAMES}
    return (
        f"**Raw heads** ({len(heads)}): mask Dice {np.mean(doc):.3f} (worst {np.min(doc):.3f}); 95 % of the surface within "
        f"{np.mean(surface):.1f} mm (worst {np.max(surface):.1f}). Against the true mask CSF loses {lost['CSF']:.3f} of Dice, "
        f"GM {lost['GM']:.3f}, WM {lost['WM']:.3f}."
    )


def key(figure: Figure) -> Key:
    code = code_of(SEGMENTATION, "measure_raw", "measure_accuracy")
    if figure[1].startswith("warped"):
        return Key(bundled_weights("locate", "refine"), {}, code)
    return Key(bundled_weights(*STAGES), configuration_of(PREPARED), code)


def study() -> Study:
    return Study("raw", key, tables)


def jobs(data: Data, arguments: argparse.Namespace) -> Iterator[tuple[Figure, Callable[[], dict]]]:
    for path in sorted(path for path in data.newborns.iterdir() if path.is_dir()):
        yield ("subjects", f"newborn {path.name}"), partial(measure_newborn, path)
    for path in sorted((path for path in data.raw_heads.iterdir() if path.is_dir()), key=lambda path: (path.name[-2:], path.name)):
        yield ("subjects", path.name), partial(measure_mask if path.name.startswith("warped") else measure_head, path)
