"""The bundled weights on what scanners give.

    python -m Testing.benchmarks robustness --data DIR

All with one round of context, which takes less time: what matters here are the differences. The first synthetic subject of each adult map
is given other voxels, rings, a bias field, noise or no rim of fluid, one thing at a time, and compared with its own labels on the same
grid. Newborns and late infants are painted from the same held-out maps.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from InfantBrainSegLib.core.labels import CSF
from InfantBrainSegLib.training.experiments.train import write_subject
from InfantBrainSegLib.training.simulation.artefacts import ArtefactConfig, degrade, smooth_noise
from InfantBrainSegLib.training.simulation.labelmaps import read_label_map
from InfantBrainSegLib.training.simulation.synthesis import Simulator

from .measure_accuracy import NAMES, ONE_ROUND, T1_ALONE, T2_ALONE, Case, configuration_of, measure, options_of, synthetic_case
from .study import TRAINING, Data, Figure, Key, Study, bundled_weights, code_of

MAPS = ("adult_15", "adult_17", "adult_18")
ONLY_MOTION = ArtefactConfig(
    blur_mm=(0.05, 0.05),
    thick_share=0.0,
    sharpen_share=0.0,
    bias=0.0,
    texture=0.0,
    motion_share=1.0,
    motion_mm=(1.5, 1.5),
    noise=(1e-4, 1e-4),
)


def with_voxels(case: Case, spacing_mm: tuple[float, float, float]) -> Case:
    """On a grid of other voxels; those that grow hold the mean of what they cover, their label is the most frequent one."""
    t1, t2, _, labels, _ = case
    size = [round(n / mm) for n, mm in zip(t1.GetSize(), spacing_mm, strict=True)]
    sigma = [np.sqrt(max(mm**2 - 1, 0) / 12) for mm in reversed(spacing_mm)]  # of a box of that width, less the voxel's own

    def sampled(array: np.ndarray) -> np.ndarray:
        image = sitk.GetImageFromArray(ndimage.gaussian_filter(array.astype(np.float32), sigma))
        image.CopyInformation(t1)
        corner = [(mm - 1) / 2 for mm in spacing_mm]
        origin = t1.TransformContinuousIndexToPhysicalPoint(corner)
        return sitk.GetArrayFromImage(sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, origin, spacing_mm, t1.GetDirection()))

    def image_of(array: np.ndarray) -> sitk.Image:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing_mm)
        image.SetDirection(t1.GetDirection())
        return image

    reference = np.stack([sampled(labels == value) for value in range(4)]).argmax(0).astype(np.uint8)
    share = sampled(sitk.GetArrayFromImage(t1) > 0)  # of brain: the air that stripping left must not darken the rim
    scans = [np.where(share > 0.5, sampled(sitk.GetArrayFromImage(scan)) / share.clip(0.5), 0) for scan in (t1, t2)]
    new_t1, new_t2 = (image_of(array.astype(np.float32)) for array in scans)
    return new_t1, new_t2, None, np.where(share > 0.5, reference, 0), None


def degraded(case: Case, change: Callable[[torch.Tensor, torch.Generator], torch.Tensor]) -> Case:
    """With both scans changed, in units of their median."""
    t1, t2, _, labels, _ = case
    generator = torch.Generator().manual_seed(0)
    scans = []
    for scan in (t1, t2):
        array = sitk.GetArrayFromImage(scan).astype(np.float32)
        unit = np.median(array[array > 0])
        worse = change(torch.as_tensor(array / unit), generator).numpy() * unit
        scans.append(sitk.GetImageFromArray(np.where(array > 0, worse.clip(0.01 * unit), 0).astype(np.float32)))
        scans[-1].CopyInformation(scan)
    return scans[0], scans[1], None, labels, None


def with_rings(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return degrade(image, image > 0, ONLY_MOTION, np.random.default_rng(0), generator)


def with_bias(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return image * torch.exp(0.2 * smooth_noise((1, *image.shape), 60.0, generator)[0])


def with_noise(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return image + 0.08 * torch.randn(image.shape, generator=generator)


def without_rim(case: Case, rim_mm: float) -> Case:
    """Without the fluid within some mm of the brain's outside, as a tight skull stripping leaves it."""
    t1, t2, _, labels, _ = case
    inside = sitk.GetArrayFromImage(t1) > 0
    rim = (labels == CSF.value) & (ndimage.distance_transform_edt(inside) <= rim_mm)
    kept = sitk.GetImageFromArray((inside & ~rim).astype(np.uint8))
    kept.CopyInformation(t1)
    return sitk.Mask(t1, kept), sitk.Mask(t2, kept), None, np.where(rim, 0, labels), None


CONDITIONS: dict[str, Callable[[Case], Case]] = {
    "as they are: 1 mm": lambda case: case,
    "voxels of 0.7 mm": lambda case: with_voxels(case, (0.7, 0.7, 0.7)),
    "voxels of 1.5 mm": lambda case: with_voxels(case, (1.5, 1.5, 1.5)),
    "voxels of 2 mm": lambda case: with_voxels(case, (2.0, 2.0, 2.0)),
    "slices of 3 mm": lambda case: with_voxels(case, (1.0, 1.0, 3.0)),
    "rings of motion, 1.5 mm": lambda case: degraded(case, with_rings),
    "a further bias field, SD 20 %": lambda case: degraded(case, with_bias),
    "further noise, SD 8 %": lambda case: degraded(case, with_noise),
    "2 mm of the fluid's rim cut off": lambda case: without_rim(case, 2.0),
}


def synthesized_case(folder: Path, label_maps: Path, name: str, phase: str) -> Case:
    """A subject of a held-out map in another phase."""
    subject = folder / f"{phase}_{name}"
    if not (subject / "label.nii.gz").is_file():
        label_map = read_label_map(label_maps / f"{name}.nii.gz")
        write_subject(Simulator([label_map]).subject(label_map, np.random.default_rng(2000), phase), subject)
    return synthetic_case(subject)


def tables(results: dict) -> str:
    lines = ["| | CSF | GM | WM |", "|---|---|---|---|"]
    for condition, subjects in results["conditions"].items():
        cells = [f"{np.mean([scores[name] for scores in subjects.values()]):.3f}" for name in NAMES]
        lines.append(f"| {condition} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def card(results: dict) -> str:
    """What the model card says of motion and thick voxels."""

    def mean(condition: str, tissue: str) -> str:
        return f"{np.mean([scores[tissue] for scores in results['conditions'][condition].values()]):.3f}"

    motion = [mean("rings of motion, 1.5 mm", tissue) for tissue in NAMES]
    return (
        f"- **Motion:** simulated rings of 1.5 mm lower Dice to {motion[0]}, {motion[1]} and {motion[2]}; "
        'the check "motion ringing" warns.\n'
        f"- **Thick voxels:** at 2 mm GM falls from {mean('as they are: 1 mm', 'GM')} to {mean('voxels of 2 mm', 'GM')}."
    )


def key(figure: Figure) -> Key:
    options = options_of(ONE_ROUND)  # T1 or T2 alone takes the same
    return Key(bundled_weights("fcn1", "fcn2"), configuration_of(options), code_of(TRAINING, "measure_robustness", "measure_accuracy"))


def study() -> Study:
    return Study("robustness", key, tables)


def jobs(data: Data, arguments: argparse.Namespace) -> Iterator[tuple[Figure, Callable[[], dict]]]:
    for condition, name, variant, read in cases(data):
        yield ("conditions", condition, name), lambda read=read, variant=variant: dice_of(measure(read(), variant))


def dice_of(scores: dict) -> dict[str, float]:
    return {tissue: scores[tissue]["dice"] for tissue in NAMES}


def cases(data: Data) -> Iterator[tuple[str, str, str, Callable[[], Case]]]:
    """Condition, map, variant and how to come by the case."""
    for name in MAPS:
        folder = data.synthetic / f"{name}_1"
        for condition, change in CONDITIONS.items():
            yield condition, name, ONE_ROUND, lambda folder=folder, change=change: change(synthetic_case(folder))
        for variant in (T1_ALONE, T2_ALONE):
            yield f"{variant}, isointense", name, variant, lambda folder=folder: synthetic_case(folder)
        for phase in ("newborn", "late"):
            titles = {ONE_ROUND: f"painted as {phase}s" if phase == "newborn" else "painted as late infants"}
            titles |= {variant: f"{variant}, {phase}" for variant in (T1_ALONE, T2_ALONE)}
            for variant, title in titles.items():
                yield title, name, variant, lambda name=name, phase=phase: synthesized_case(data.phases, data.adult_maps, name, phase)
