"""Time and memory of this version against an older one, side by side, and how they grow with voxels and brain.

    git worktree add ../old 3e80b25
    python -m Testing.benchmarks compare-speed --data DIR --old ../old
    python -m Testing.benchmarks compare-speed --data DIR --old ../old --repeats 3 --only command/demo pass/fcn2

Every command is a process of its own on the CPU. Old and new run in turn; of several repeats the fastest counts. "Others" is how many CPU
cores other processes used meanwhile, on average: measure again where it is much above 0. `pass/fcn2` needs `pip install monai`.
Seconds of each step come from the reports, so each pair is a profile before and after too.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from InfantBrainSegLib.core.cores import SPINS
from InfantBrainSegLib.imaging.files import read_image, write_image

from .measure_alignment import add_skull_and_scalp
from .study import ROOT, Data, Figure, Key, Study, bundled_weights, code_of

SAMPLE = ROOT / "InfantBrainSeg" / "Resources" / "SampleData"
BUSY = "while True: pass"
VOXELS_MM = (1.5, 1.0, 0.8, 0.5)
SCALES = (0.8, 1.15)  # of the brain's edges
COPIES = 10
PASS_VOXELS, PASS_WINDOW = 140, 80  # eight windows, where both plans agree
GROUPS = {
    "command": {"demo": "sample", "raw": "sample's brain in a painted head", "month09": "month-9 pair, 320³ voxels of 0.8 mm"},
    "beside": {"idle": "sample, `--rounds 1`, nothing beside", "busy": "sample, `--rounds 1`, one busy process beside"},
    "batch": {"ten": "ten copies of the sample"},
    "pass": {"fcn2": "one pass of FCN-2, eight windows of 80³"},
    "growth": {f"{mm}mm": f"sample at {mm} mm" for mm in VOXELS_MM} | {f"brain-{scale}": f"its edges times {scale}" for scale in SCALES},
}

Scans = dict[str, Path]


def busy_seconds() -> float:
    """CPU time of all processes of this machine since it started."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    user, nice, system = (int(field) for field in fields[:3])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(root: Path, *words: str) -> dict:
    """Run one command of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    wall, ours, all_busy = time.perf_counter(), children_seconds(), busy_seconds()
    command = [sys.executable, "-m", "InfantBrainSegLib", *words, "--device", "cpu", "--progress", "none"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    wall, ours, all_busy = time.perf_counter() - wall, children_seconds() - ours, busy_seconds() - all_busy
    return {"seconds": round(wall, 1), "cpu_seconds": round(ours, 1), "others": round(max(all_busy - ours, 0) / wall, 2)}


def segment(root: Path, scans: Scans, *options: str) -> dict:
    """Segment with a checkout, and give what the run told."""
    with tempfile.TemporaryDirectory() as folder:
        words = [word for kind, path in scans.items() for word in (f"--{kind}", str(path))]
        found = run(root, "segment", *words, "--output-dir", folder, *options)
        report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    steps = {step: round(seconds, 2) for step, seconds in report["seconds"].items()}
    return {**found, "steps": steps, "peak_mb": report["peak_memory_mb"]}


def pair(old: Path, repeats: int, scans: Callable[[Path], Scans], *options: str, busy: bool = False) -> dict:
    """Old and new in turn."""
    runs: dict[str, list[dict]] = {"old": [], "new": []}
    with tempfile.TemporaryDirectory() as folder, beside(busy):
        given = scans(Path(folder))
        for _ in range(repeats):
            for name, root in (("old", old), ("new", ROOT)):
                runs[name].append(segment(root, given, *options))
    return {name: min(several, key=lambda one: one["seconds"]) for name, several in runs.items()}


@contextlib.contextmanager
def beside(busy: bool) -> Iterator[None]:
    """Let another program compute in the block."""
    if not busy:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        try:
            yield
        finally:
            process.kill()


def batch(folder_of: Path = SAMPLE) -> dict:
    """One batch of ten scans, and ten single commands; the single ones take ten times the mean of one before and one after."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(COPIES):
            anat = folder / f"bids/sub-{number:02d}/anat"
            anat.mkdir(parents=True)
            for kind in ("T1", "T2"):
                shutil.copy(folder_of / f"{kind}.nii.gz", anat / f"sub-{number:02d}_{kind}w.nii.gz")
        before = segment(ROOT, sample_scans(folder))
        together = run(ROOT, "batch", "--input", str(folder / "bids"), "--output-dir", str(folder / "out"))
        singles = (before, segment(ROOT, sample_scans(folder)))
        labels = {path.read_bytes() for path in (folder / "out").rglob("*_dseg.nii.gz")}
        peaks = [json.loads(path.read_text(encoding="utf-8"))["peak_memory_mb"] for path in (folder / "out").rglob("*_report.json")]
    if len(labels) != 1 or len(peaks) != COPIES:
        raise SystemExit(f"{len(peaks)} results with {len(labels)} different labels; wanted {COPIES} with the same.")
    one, used = (statistics.mean(single[name] for single in singles) for name in ("seconds", "cpu_seconds"))
    return {
        "old": {
            "seconds": round(COPIES * one, 1),
            "cpu_seconds": round(COPIES * used, 1),
            "others": max(single["others"] for single in singles),
            "peak_mb": singles[0]["peak_mb"],
        },
        "new": {**together, "peak_mb": max(peaks)},
    }


def one_pass() -> dict:
    """One pass over a volume by our sliding window and by MONAI's, in turn in one process whose threads wait as those of a command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": SPINS}
    command = [sys.executable, "-m", f"{__package__}.compare_speed"]
    return json.loads(subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)


def both_passes() -> dict:
    import torch
    from monai.inferers import sliding_window_inference

    from InfantBrainSegLib.core.allocator import keep_freed_memory
    from InfantBrainSegLib.networks.device import autocast_dtype
    from InfantBrainSegLib.networks.sliding_window import SlidingWindowConfig, predict
    from InfantBrainSegLib.networks.weights import Networks

    keep_freed_memory()
    device, network = torch.device("cpu"), Networks().get("fcn2").network.eval()
    inputs = torch.from_numpy(np.random.default_rng(1).normal(size=(5, *[PASS_VOXELS] * 3)).astype(np.float32))
    config = SlidingWindowConfig(PASS_WINDOW, 0.25, batch_size=1)
    dtype = autocast_dtype(device)

    def ours() -> None:
        predict(network, inputs, None, config, device)

    def monai() -> None:
        with torch.inference_mode(), torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            sliding_window_inference(inputs[None], [PASS_WINDOW] * 3, 1, network, 0.25, "gaussian").softmax(1)

    seconds: dict[str, list[float]] = {"old": [], "new": []}
    for name, one in 3 * [("old", monai), ("new", ours)]:
        started = time.perf_counter()
        one()
        seconds[name].append(time.perf_counter() - started)
    return {name: {"seconds": round(min(several[1:]), 2)} for name, several in seconds.items()}


def sample_scans(_: Path) -> Scans:
    return {"t1": SAMPLE / "T1.nii.gz", "t2": SAMPLE / "T2.nii.gz"}


def painted_head(folder: Path) -> Scans:
    t1, t2 = (read_image(path) for path in sample_scans(folder).values())
    heads = add_skull_and_scalp((t1, t2), np.random.default_rng(1))
    scans = {"t1": folder / "t1.nii.gz", "t2": folder / "t2.nii.gz"}
    for path, head in zip(scans.values(), heads, strict=True):
        write_image(head, path)
    return scans


def resampled(folder: Path, voxel_mm: float, scale: float = 1.0) -> Scans:
    """Give the sample with other voxels, its brain enlarged."""
    written = {}
    for kind, path in sample_scans(folder).items():
        scan = read_image(path)
        scan.SetSpacing([scale * mm for mm in scan.GetSpacing()])
        size = [round(count * mm / voxel_mm) for count, mm in zip(scan.GetSize(), scan.GetSpacing(), strict=True)]
        spacing = [count * mm / new for count, mm, new in zip(scan.GetSize(), scan.GetSpacing(), size, strict=True)]
        grid = sitk.Image(size, scan.GetPixelID())
        grid.SetSpacing(spacing)
        grid.SetDirection(scan.GetDirection())
        corner = [(new - mm) / 2 / mm for new, mm in zip(spacing, scan.GetSpacing(), strict=True)]
        grid.SetOrigin(scan.TransformContinuousIndexToPhysicalPoint(corner))
        written[kind] = folder / f"{kind}.nii.gz"
        write_image(sitk.Resample(scan, grid, sitk.Transform(), sitk.sitkLinear), written[kind])
    return written


def grown(voxel_mm: float, scale: float = 1.0) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        scans = resampled(Path(folder), voxel_mm, scale)
        voxels = sum(int(np.prod(read_image(path).GetSize())) for path in scans.values())
        return {"millions": round(voxels / 1e6, 1), "brain_ml": round(735 * scale**3), **segment(ROOT, scans)}


def key(figure: Figure) -> Key:
    weights = bundled_weights("fcn1", "fcn2", "locate", "refine")
    code = code_of(("core", "imaging", "networks", "preparation", "extraction", "checks", "pipeline", "outputs", "batch"))
    return Key(weights, {}, code)


def study() -> Study:
    return Study("compare-speed", key, tables)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--old", type=Path, required=True, help="a checkout of the version before")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=[f"{group}/{case}" for group, cases in GROUPS.items() for case in cases])


def jobs(data: Data, arguments: argparse.Namespace) -> Iterator[tuple[Figure, Callable[[], dict]]]:
    old = getattr(arguments, "old", None)
    both = partial(pair, old and old.resolve(), getattr(arguments, "repeats", 1))
    month = {kind: (data.infants / f"month09_{kind.upper()}w.nii.gz").resolve() for kind in ("t1", "t2")}
    measures = {
        ("command", "demo"): partial(both, sample_scans),
        ("command", "raw"): partial(both, painted_head),
        ("command", "month09"): partial(both, lambda folder: month),
        ("beside", "idle"): partial(both, sample_scans, "--rounds", "1"),
        ("beside", "busy"): partial(both, sample_scans, "--rounds", "1", busy=True),
        ("batch", "ten"): batch,
        ("pass", "fcn2"): one_pass,
    }
    measures |= {("growth", f"{mm}mm"): partial(grown, mm) for mm in VOXELS_MM}
    measures |= {("growth", f"brain-{scale}"): partial(grown, 1.0, scale) for scale in SCALES}
    only = getattr(arguments, "only", None)
    return iter([(figure, measure) for figure, measure in measures.items() if not only or "/".join(figure) in only])


def tables(results: dict) -> str:
    """Both versions side by side, the profile of each pair, and the growth."""
    lines = ["| two CPU cores, before and now | seconds | ratio | processor seconds | ratio | others, cores | peak MB |", f"|{'---|' * 7}"]
    names = {"batch": " (before: ten single commands of today)", "pass": " (before: MONAI's sliding window)"}
    for group in ("command", "beside", "batch", "pass"):
        for case, one in results.get(group, {}).items():
            cells = [_both(one, "seconds", 1), _ratio(one, "seconds"), _both(one, "cpu_seconds", 0), _ratio(one, "cpu_seconds")]
            cells += [_both(one, "others", 1), _both(one, "peak_mb", 0)]
            lines.append(f"| {GROUPS[group][case]}{names.get(group, '')} | {' | '.join(cells)} |")
    profiled = results.get("command", {})
    if profiled:
        titles = " | ".join(f"{GROUPS['command'][case]}, before | now" for case in profiled)
        lines += ["", f"| step, s | {titles} |", f"|---|{'---|' * 2 * len(profiled)}"]
        for step in dict.fromkeys(step for one in profiled.values() for version in ("old", "new") for step in one[version]["steps"]):
            cells = [one[version]["steps"].get(step) for one in profiled.values() for version in ("old", "new")]
            lines.append(f"| {step} | {' | '.join('' if cell is None else f'{cell:.1f}' for cell in cells)} |")
    if "growth" in results:
        lines += ["", "| | million voxels of T1 and T2 | brain, ml | s | processor s | others, cores | peak MB |", f"|{'---|' * 7}"]
        for case, one in results["growth"].items():
            title = GROUPS["growth"][case]
            used = f"{one['seconds']:.1f} | {one['cpu_seconds']:.0f} | {one['others']:.1f}"
            lines.append(f"| {title} | {one['millions']} | {one['brain_ml']} | {used} | {one['peak_mb']:.0f} |")
    return "\n".join(lines)


def _both(one: dict, name: str, decimals: int) -> str:
    return " / ".join(f"{one[version][name]:.{decimals}f}" for version in ("old", "new") if name in one[version])


def _ratio(one: dict, name: str) -> str:
    return f"{one['new'][name] / one['old'][name]:.2f}" if name in one["old"] else ""


if __name__ == "__main__":
    print(json.dumps(both_passes()))
