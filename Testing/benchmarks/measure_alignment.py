"""T2 moved by known rigid transforms: how far off the alignment leaves it.

    python -m Testing.benchmarks alignment --data DIR

Four groups of cases, over all subjects in turn:
- stripped: brains; turned by up to 15 degrees about any axis and moved by up to 20 mm,
- heads: the same with skull, scalp, shading and a noisy background painted round the brain; every other T2 has slices of 3 mm,
- aligned: each pair as it is, stripped and as a head; none should be moved,
- strangers: T1 of one subject, T2 of another, moved, stripped and as a head in turn; all should be refused.
The error is the mean displacement over the brain.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.files import read_image
from InfantBrainSegLib.preparation.registration import align, move_grid

from .study import Data, Figure, Key, Study, code_of

COUNTS = {"stripped": 40, "strangers": 12, "heads": 16, "aligned": 35}
SEED = 1000
MAX_DEGREES, MAX_MM = 15.0, 20.0
GOOD_MM, BAD_MM = 1.0, 3.0
HEAD_MARGIN_MM, THICK_MM = 30.0, 3.0
T1_SHELL, T2_SHELL = (0.4, 0.1, 1.6), (1.8, 0.1, 0.9)  # of the brain's median: CSF, bone, scalp

Subject = tuple[str, Path, Path]
Pair = tuple[sitk.Image, sitk.Image]


def subjects(synthetic: Path, newborns: Path) -> list[Subject]:
    found = [(f"synthetic {path.name}", path / "T1.nii.gz", path / "T2.nii.gz") for path in folders(synthetic)]
    found += [(f"newborn {path.name}", path / "T1w_brain.nii.gz", path / "T2w_brain.nii.gz") for path in folders(newborns)]
    return [subject for subject in found if subject[1].is_file()]


def folders(parent: Path) -> list[Path]:
    return sorted(parent.iterdir()) if parent.is_dir() else []


def direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def random_motion(rng: np.random.Generator, center_mm: np.ndarray) -> sitk.Euler3DTransform:
    turn = sitk.VersorRigid3DTransform()
    turn.SetCenter(center_mm.tolist())
    turn.SetRotation(direction(rng).tolist(), float(np.deg2rad(rng.uniform(0, MAX_DEGREES))))
    motion = sitk.Euler3DTransform()
    motion.SetCenter(center_mm.tolist())
    motion.SetMatrix(turn.GetMatrix())
    motion.SetTranslation((direction(rng) * rng.uniform(0, MAX_MM)).tolist())
    return motion


def add_skull_and_scalp(pair: Pair, rng: np.random.Generator) -> Pair:
    """Put the same CSF, bone and scalp round both brains, then each scan's own shading and Rician noise."""
    padded = [sitk.ConstantPad(scan, *[[round(HEAD_MARGIN_MM / s) for s in scan.GetSpacing()]] * 2) for scan in pair]
    brain = sitk.GetArrayViewFromImage(padded[0]) > 0  # (K, J, I)
    outside_mm = ndimage.distance_transform_edt(~ndimage.binary_closing(brain, iterations=4), padded[0].GetSpacing()[::-1])
    bone_mm = 2 + 1.5 * smooth_field(brain.shape, rng)
    scalp_mm = bone_mm + 4 + 2 * smooth_field(brain.shape, rng)
    end_mm = scalp_mm + 5 + 3 * smooth_field(brain.shape, rng)
    layer = (outside_mm > bone_mm).astype(int) + (outside_mm > scalp_mm) + (outside_mm > end_mm)
    heads = []
    for scan, shell in zip(padded, (T1_SHELL, T2_SHELL), strict=True):
        values = sitk.GetArrayFromImage(scan).astype(np.float32)
        unit = np.median(values[brain])
        values = np.where(brain, values, unit * np.array([*shell, 0.0], np.float32)[layer])
        values = ndimage.gaussian_filter(values, 0.5) * (1 + 0.2 * smooth_field(brain.shape, rng))
        noise = rng.normal(0, 0.04 * unit, (2, *brain.shape))
        head = sitk.GetImageFromArray(np.hypot(values + noise[0], noise[1]).astype(np.float32))
        head.CopyInformation(scan)
        heads.append(head)
    return heads[0], heads[1]


def smooth_field(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Give smooth noise from -1 to 1."""
    coarse = rng.uniform(-1, 1, (4, 4, 4))
    return ndimage.zoom(coarse, np.array(shape) / 4, order=1, mode="nearest", grid_mode=True)


def thicken(scan: sitk.Image, axis: int) -> sitk.Image:
    """Give the scan in thick slices along one of its axes."""
    spacing, size = list(scan.GetSpacing()), list(scan.GetSize())
    blurred = sitk.RecursiveGaussian(
        sitk.Cast(scan, sitk.sitkFloat32), THICK_MM / 2.355, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, axis
    )
    size[axis], spacing[axis] = int(size[axis] * spacing[axis] / THICK_MM), THICK_MM
    grid = sitk.Image(size, sitk.sitkFloat32)
    grid.SetOrigin(scan.GetOrigin())
    grid.SetDirection(scan.GetDirection())
    grid.SetSpacing(spacing)
    return sitk.Resample(blurred, grid)


def brain_points_mm(scan: sitk.Image) -> np.ndarray:
    index = np.argwhere(sitk.GetArrayViewFromImage(scan) > 0)[::997, ::-1]
    return np.array([scan.TransformIndexToPhysicalPoint(point) for point in index.tolist()])


def measure(pair: Pair, motion: sitk.Euler3DTransform, points: np.ndarray) -> dict:
    truth = motion.GetInverse()
    case = {"moved_mm": distance_mm(sitk.Euler3DTransform(), truth, points)}
    moved = move_grid(pair[1], motion)
    started, busy = time.perf_counter(), time.process_time()
    try:
        found = align(pair[0], moved)
    except InputError as error:
        case |= {"refused": str(error)}
    else:
        case |= {"error_mm": distance_mm(found.transform or sitk.Euler3DTransform(), truth, points), **found.report}
    return {**case, "seconds": round(time.perf_counter() - started, 1), "processor_seconds": round(time.process_time() - busy, 1)}


def distance_mm(one: sitk.Transform, other: sitk.Transform, points: np.ndarray) -> float:
    apart = [np.subtract(one.TransformPoint(point), other.TransformPoint(point)) for point in points.tolist()]
    return round(float(np.linalg.norm(apart, axis=1).mean()), 3)


def run_case(given: list[Subject], group: str, number: int) -> dict:
    order = np.random.default_rng(7).permutation(len(given))
    rng = np.random.default_rng(SEED + number)
    name, t1, t2 = given[order[number % len(given)]]
    pair = read_image(t1), read_image(t2)
    points = brain_points_mm(pair[0])
    motion = sitk.Euler3DTransform() if group == "aligned" else random_motion(rng, points.mean(axis=0))
    if group == "heads" or (group == "aligned" and number >= len(given)):
        pair = add_skull_and_scalp(pair, rng)
        if number % 2:
            pair = pair[0], thicken(pair[1], number // 2 % 3)
    elif group == "strangers":
        other, _, t2 = next_of_another_brain(given, order, number)
        name, pair = f"{name} and {other}", (pair[0], read_image(t2))
        if number % 2:
            pair = add_skull_and_scalp((pair[0], pair[0]), rng)[0], add_skull_and_scalp((pair[1], pair[1]), rng)[1]
    return {"subject": name, **measure(pair, motion, points)}


def next_of_another_brain(given: list[Subject], order: np.ndarray, number: int) -> Subject:
    """Give the next subject that was not drawn from the same label map."""
    name = given[order[number % len(given)]][0]
    following = (given[order[(number + step) % len(given)]] for step in range(1, len(given)))
    return next(subject for subject in following if subject[0].rsplit("_", 1)[0] != name.rsplit("_", 1)[0])


def tables(results: dict) -> str:
    lines = ["| | cases | refused | moved | under 1 mm | accepted over 3 mm | error, mm (worst) | processor seconds (most) |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for group in COUNTS:
        cases = list(results[group].values())
        errors = [case["error_mm"] for case in cases if "error_mm" in case]
        within = [str(sum(error < GOOD_MM for error in errors)), str(sum(error > BAD_MM for error in errors)), ""]
        if errors:
            within[2] = f"{np.mean(errors):.2f} ({max(errors):.2f})"
        seconds = [case["processor_seconds"] for case in cases]
        moved = sum(case.get("moved", False) for case in cases)
        cells = [group, len(cases), len(cases) - len(errors), moved, *within, f"{np.mean(seconds):.1f} ({max(seconds):.1f})"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def key(figure: Figure) -> Key:
    return Key({}, {"seed": SEED}, code_of(("core", "imaging", "preparation"), "measure_alignment"))


def study() -> Study:
    return Study("alignment", key, tables)


def jobs(data: Data, arguments: argparse.Namespace) -> Iterator[tuple[Figure, Callable[[], dict]]]:
    given = subjects(data.synthetic, data.newborns)
    for group, count in COUNTS.items():
        for number in range(count):
            yield (group, f"{number + 1:02d}"), partial(run_case, given, group, number)
