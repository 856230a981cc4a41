"""Accuracy of the bundled weights.

    python -m Testing.benchmarks accuracy --data DIR

Each subject is segmented with spatial context as by default, with one round of it (the paper's way) and without, the newborns also from
T1 or T2 alone, with one round; --flip adds the left-right flip on the adult maps' subjects, which takes half of the time. Painted labels
hold specks that no rater would leave, and one of them decides a maximum Hausdorff distance: it is also measured against labels that were
cleaned by the rule for results.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage, stats

from InfantBrainSegLib.core.labels import BACKGROUND, CLASS_COUNT, CSF, GM, TISSUES, WM
from InfantBrainSegLib.evaluation.metrics import evaluate_labels, hausdorff_mm
from InfantBrainSegLib.imaging.files import read_image
from InfantBrainSegLib.pipeline.cleanup import CleanupConfig, clean
from InfantBrainSegLib.pipeline.segmenter import SegmentOptions, segment
from InfantBrainSegLib.training.simulation.labelmaps import SYNTHESIS_TO_LABEL, infratentorial, synthesis_classes

from .study import SEGMENTATION, Data, Figure, Key, Study, bundled_weights, code_of, plain

NAMES = [tissue.short_name for tissue in (CSF, GM, WM)]
COLUMNS = {
    "dice": "Dice",
    "average_surface_distance_mm": "ASD mm",
    "hausdorff_mm": "max Hausdorff mm",
    "hausdorff95_mm": "HD95 mm",
    "modified_hausdorff_mm": "Dubuisson-Jain mm",
}
WITH, ONE_ROUND, WITHOUT, FLIP = "with context", "with context, one round", "without context", "with context, flip"
T1_ALONE, T2_ALONE = "T1 alone", "T2 alone"
SYNTHETIC, NEWBORNS = (WITH, ONE_ROUND, WITHOUT), (WITH, ONE_ROUND, WITHOUT, T1_ALONE, T2_ALONE)
CLEAN_KEY, VOLUME_KEY = "hausdorff_to_cleaned_reference_mm", "volume_ratio"
Case = tuple[sitk.Image, sitk.Image, sitk.Image | None, np.ndarray, np.ndarray | None]  # T1, T2, mask, reference, evaluation mask


def synthetic_case(folder: Path) -> Case:
    t1, t2, label = (read_image(folder / f"{name}.nii.gz") for name in ("T1", "T2", "label"))
    return t1, t2, None, sitk.GetArrayFromImage(label), None


def newborn_case(folder: Path) -> Case:
    """A real newborn; cerebellum and brainstem are taken off by the manual labels, and only manually labelled voxels count."""
    t1, t2 = read_image(folder / "T1w_brain.nii.gz"), read_image(folder / "T2w_brain.nii.gz")
    codes = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "Segmentation.nii.gz"))).astype(int)
    nearest = ndimage.distance_transform_edt(codes == 0, return_distances=False, return_indices=True)
    mask = (sitk.GetArrayFromImage(t1) > 0) & ~infratentorial(codes[tuple(nearest)])
    reference = SYNTHESIS_TO_LABEL[synthesis_classes(codes)]
    mask_image = sitk.GetImageFromArray(mask.astype(np.uint8))
    mask_image.CopyInformation(t1)
    return t1, t2, mask_image, reference, reference > 0


def options_of(variant: str, weights_dir: Path | None = None) -> SegmentOptions:
    rounds = SegmentOptions.rounds if variant in (WITH, FLIP) else 1
    return SegmentOptions("auto", weights_dir, variant != WITHOUT, variant == FLIP, rounds=rounds)


def configuration_of(options: SegmentOptions) -> dict:
    return {name: value for name, value in plain(asdict(options)).items() if name not in ("device", "weights_dir")}


def measure(case: Case, variant: str, weights_dir: Path | None = None) -> dict:
    t1, t2, mask, reference, inside = case
    options = options_of(variant, weights_dir)
    result = segment(None if variant == T2_ALONE else t1, None if variant == T1_ALONE else t2, mask, options)
    labels, spacing_mm = sitk.GetArrayFromImage(result.labels), t1.GetSpacing()[::-1]
    metrics = evaluate_labels(labels, reference, spacing_mm, inside)
    scores = {name: {key: asdict(metrics[name])[key] for key in (*COLUMNS, VOLUME_KEY)} for name in NAMES}
    for volume in result.volumes:
        scores[volume.tissue] |= {"confidence": volume.mean_confidence, "fraction": volume.fraction}
    if variant == WITH and inside is None:
        cleaned = without_specks(reference)
        for tissue in TISSUES:
            scores[tissue.short_name][CLEAN_KEY] = hausdorff_mm(labels == tissue.value, cleaned == tissue.value, spacing_mm)
    return scores


def without_specks(reference: np.ndarray) -> np.ndarray:
    """A reference of 1 mm after the clean-up that results get; a speck goes to the commonest tissue round it."""
    shares = np.stack([ndimage.uniform_filter((reference == value).astype(np.float32), 3) for value in range(CLASS_COUNT)])
    return clean(reference, shares, reference != BACKGROUND, (1.0, 1.0, 1.0), CleanupConfig()).labels


def key(figure: Figure) -> Key:
    if figure[0] == "overlaps":
        return Key(code=code_of(("training",)))
    options = options_of(figure[-1])
    stages = ("fcn1", "fcn2") if options.use_context else ("fcn1",)
    return Key(bundled_weights(*stages), configuration_of(options), code_of(SEGMENTATION, "measure_accuracy"))


def study() -> Study:
    return Study("accuracy", key, tables)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--flip", action="store_true", help="also the left-right flip on the adult maps' subjects")


def jobs(data: Data, arguments: argparse.Namespace) -> Iterator[tuple[Figure, Callable[[], dict]]]:
    yield ("overlaps", "adult maps"), partial(overlaps, data.synthetic)
    for group, folder, read in (("newborns", data.newborns, newborn_case), ("synthetic", data.synthetic, synthetic_case)):
        for subject in sorted(path for path in folder.iterdir() if path.is_dir()):
            flipped = [FLIP] if arguments.flip and subject.name.startswith("adult") else []
            for variant in (*variants(subject.name), *flipped):
                yield (group, subject.name, variant), lambda read=read, subject=subject, variant=variant: measure(read(subject), variant)


def overlaps(folder: Path) -> dict[str, float]:
    """Mean GM/WM histogram overlaps of the adult maps' subjects."""
    each = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("adult*/overlaps.json")]
    return {name: float(np.mean([one[name] for one in each])) for name in ("t1", "t2", "both")}


def variants(subject: str) -> tuple[str, ...]:
    return SYNTHETIC if subject.startswith(("adult", "infant")) else NEWBORNS


def table(subjects: dict, title: str, columns: dict[str, str]) -> str:
    shown = variants(next(iter(subjects))) + ((FLIP,) if all(FLIP in scores for scores in subjects.values()) else ())
    lines = [f"**{title}** ({len(subjects)} subjects, mean (SD))", ""]
    lines += ["| | tissue | " + " | ".join(columns.values()) + " |", "|---|---|" + "---|" * len(columns)]
    for variant in shown:
        for name in NAMES:
            cells = []
            for column in columns:
                cells.append(spread(subjects, variant, name, column))
            lines.append(f"| {variant} | {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        gain(subjects, "context (one round)", WITHOUT, ONE_ROUND),
        "",
        gain(subjects, "the second and third round", ONE_ROUND, WITH),
        "",
    ]
    if FLIP in shown:
        lines += [gain(subjects, "the left-right flip", WITH, FLIP), ""]
    return "\n".join(lines)


def specks(subjects: dict) -> str:
    values = {name: [scores[WITH][name][CLEAN_KEY] for scores in subjects.values()] for name in NAMES}
    found = ", ".join(f"{name} {np.mean(v):.2f} ({np.std(v, ddof=1):.2f})" for name, v in values.items())
    return f"Maximum Hausdorff with context, mm, where the reference is cleaned of specks by the rule for results: {found}.\n"


def volumes(subjects: dict, names: list[str]) -> str:
    values = {name: [scores[WITH][name][VOLUME_KEY] for scores in subjects.values()] for name in names}
    found = ", ".join(f"{name} {np.mean(v):.2f} ({min(v):.2f} to {max(v):.2f})" for name, v in values.items())
    return f"Volume with context over that of the reference, mean (range): {found}.\n"


def gain(subjects: dict, what: str, before: str, after: str) -> str:
    tests = []
    for name in NAMES:
        pair = [[scores[variant][name]["dice"] for scores in subjects.values()] for variant in (after, before)]
        tests.append(f"{name} {np.mean(np.subtract(*pair)):+.4f} (p = {stats.ttest_rel(*pair).pvalue:.2g})")
    return f"Dice gained by {what}, paired t-test: {', '.join(tests)}."


def calibration(subjects: dict) -> str:
    """How the mean confidence of a tissue goes with its Dice over subjects."""
    lines = ["| tissue | mean confidence | Dice | correlation over subjects |", "|---|---|---|---|"]
    for name in NAMES:
        confidence, dice = (np.array([scores[WITH][name][key] for scores in subjects.values()]) for key in ("confidence", "dice"))
        r = np.corrcoef(confidence, dice)[0, 1]
        lines.append(f"| {name} | {confidence.mean():.3f} | {dice.mean():.3f} | {r:.2f} |")
    return "**Confidence against accuracy** (all synthetic subjects, with context)\n\n" + "\n".join(lines) + "\n"


def tables(results: dict) -> str:
    adults, infants = adults_of(results), infants_of(results)
    t1, t2, both = (results["overlaps"]["adult maps"][name] for name in ("t1", "t2", "both"))
    parts = [
        f"Synthetic isointense whole volumes; mean GM/WM histogram overlap of the adult maps' subjects {t1:.2f} on T1, {t2:.2f} on T2 and "
        f"{both:.2f} on both together (iSeg-2017: 0.70, 0.87 and 0.615).\n",
        table(adults, "Synthetic, from held-out adult maps 15, 17, 18", COLUMNS),
        specks(adults),
        volumes(adults, NAMES),
        table(infants, "Synthetic, from held-out infant maps at 5 and 8 months", COLUMNS),
        calibration(results["synthetic"]),
        table(results["newborns"], "Real newborns, inside the manual labels", {"dice": "Dice"}),
        volumes(results["newborns"], ["GM", "WM"]),
        f"{worst_newborn(results)} "
        "The newborns' manual labels hold CSF in the ventricles alone, so their CSF figure says little. T1 alone and T2 alone: one round.",
    ]
    return "\n".join(parts)


def adults_of(results: dict) -> dict:
    return {name: scores for name, scores in results["synthetic"].items() if name.startswith("adult")}


def infants_of(results: dict) -> dict:
    return {name: scores for name, scores in results["synthetic"].items() if not name.startswith("adult")}


def worst_newborn(results: dict) -> str:
    worst = {name: min(scores[WITH][name]["dice"] for scores in results["newborns"].values()) for name in ("GM", "WM")}
    return f"Worst newborn: GM {worst['GM']:.3f}, WM {worst['WM']:.3f}."


def card(results: dict) -> str:
    """The tables of the model card."""
    keys = {"dice": "Dice", "average_surface_distance_mm": "ASD mm", "hausdorff95_mm": "HD95 mm"}
    lines = []
    for title, subjects in (("adult", adults_of(results)), ("infant", infants_of(results))):
        lines += [f"**Synthetic, {title} anatomy** ({len(subjects)})", "", f"| tissue | {' | '.join(keys.values())} | volume |"]
        lines += ["|---|---|---|---|---|"]
        for name in NAMES:
            lines.append(f"| {name} | {' | '.join(spread(subjects, WITH, name, key) for key in keys)} | {mean_volume(subjects, name)} |")
        lines.append("")
    newborns = results["newborns"]
    lines += [f"**Real newborns** ({len(newborns)}; Dice; one scan alone: FCN-2 once)", ""]
    lines += ["| tissue | T1 and T2 | T1 alone | T2 alone | volume |", "|---|---|---|---|---|"]
    for name in ("GM", "WM"):
        cells = [spread(newborns, variant, name, "dice") for variant in (WITH, T1_ALONE, T2_ALONE)]
        lines.append(f"| {name} | {' | '.join(cells)} | {mean_volume(newborns, name)} |")
    return "\n".join([*lines, "", worst_newborn(results)])


def spread(subjects: dict, variant: str, tissue: str, key: str) -> str:
    values = [scores[variant][tissue][key] for scores in subjects.values()]
    return f"{np.nanmean(values):.3f} ({np.nanstd(values, ddof=1):.3f})"


def mean_volume(subjects: dict, tissue: str) -> str:
    return f"{np.mean([scores[WITH][tissue][VOLUME_KEY] for scores in subjects.values()]):.2f}"
