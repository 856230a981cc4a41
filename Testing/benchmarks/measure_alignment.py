"""Move T2 by known rigid transforms and measure how far off the alignment leaves it.

    python Testing/benchmarks/measure_alignment.py --synthetic TEST_SUBJECTS --newborns ../shared/data/images/neonate --cases 40

Turns up to 15 degrees and moves up to 20 mm, one case after the other over all subjects. The error is the mean displacement over the brain.
The figures go to Testing/benchmarks/results/alignment.json.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from InfantBrainSegLib.align import align, move_grid
from InfantBrainSegLib.errors import InputError
from InfantBrainSegLib.images import read_image

RESULTS = Path(__file__).parent / "results" / "alignment.json"
MAX_DEGREES, MAX_MM = 15.0, 20.0
GOOD_MM, BAD_MM, WANTED_SHARE = 1.0, 3.0, 0.95


def subjects(synthetic: Path | None, newborns: Path | None) -> list[tuple[str, Path, Path]]:
    found = (
        [(f"synthetic {path.name}", path / "T1.nii.gz", path / "T2.nii.gz") for path in sorted(synthetic.iterdir())] if synthetic else []
    )
    real = sorted(newborns.iterdir()) if newborns else []
    found += [(f"newborn {path.name}", path / "T1w_brain.nii.gz", path / "T2w_brain.nii.gz") for path in real]
    return [subject for subject in found if subject[1].is_file()]


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


def brain_points_mm(scan: sitk.Image) -> np.ndarray:
    index = np.argwhere(sitk.GetArrayViewFromImage(scan) > 0)[::997, ::-1]
    return np.array([scan.TransformIndexToPhysicalPoint(point) for point in index.tolist()])


def measure(name: str, t1: sitk.Image, t2: sitk.Image, rng: np.random.Generator) -> dict:
    points = brain_points_mm(t1)
    motion = random_motion(rng, points.mean(axis=0))
    truth = motion.GetInverse()
    case = {"subject": name, "moved_mm": distance_mm(sitk.Euler3DTransform(), truth, points)}
    started = time.perf_counter()
    try:
        found = align(t1, move_grid(t2, motion))
    except InputError as error:
        case |= {"refused": str(error)}
    else:
        case |= {"error_mm": distance_mm(found.transform or sitk.Euler3DTransform(), truth, points), **found.report}
    return {**case, "seconds": round(time.perf_counter() - started, 1)}


def distance_mm(one: sitk.Transform, other: sitk.Transform, points: np.ndarray) -> float:
    apart = [np.subtract(one.TransformPoint(point), other.TransformPoint(point)) for point in points.tolist()]
    return round(float(np.linalg.norm(apart, axis=1).mean()), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthetic", type=Path)
    parser.add_argument("--newborns", type=Path)
    parser.add_argument("--cases", type=int, default=40)
    arguments = parser.parse_args()
    given, cases = subjects(arguments.synthetic, arguments.newborns), []
    if not given:
        parser.error("no subject found; give --synthetic or --newborns")
    order = np.random.default_rng(7).permutation(len(given))
    for number in range(arguments.cases):
        name, t1, t2 = given[order[number % len(given)]]
        cases.append(measure(name, read_image(t1), read_image(t2), np.random.default_rng(number)))
        case = cases[-1]
        print(
            number + 1,
            name,
            f"{case['moved_mm']:.1f} mm away,",
            case.get("error_mm", case.get("refused")),
            f"{case['seconds']} s",
            flush=True,
        )
        accepted = [case["error_mm"] for case in cases if "error_mm" in case]
        summary = {
            "cases": len(cases),
            "under_1_mm": sum(error < GOOD_MM for error in accepted),
            "accepted_over_3_mm": sum(error > BAD_MM for error in accepted),
            "refused": len(cases) - len(accepted),
            "mean_error_mm": round(float(np.mean(accepted)), 3) if accepted else None,
            "worst_error_mm": max(accepted, default=None),
        }
        RESULTS.write_text(json.dumps({"summary": summary, "cases": cases}, indent=1) + "\n", encoding="utf-8")
    print(summary, "bar met" if summary["under_1_mm"] >= WANTED_SHARE * len(cases) and not summary["accepted_over_3_mm"] else "bar missed")


if __name__ == "__main__":
    main()
