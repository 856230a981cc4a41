"""Seconds of each step and peak memory of one segmentation, in mixed precision and in float32, side by side.

    python -m Testing.benchmarks speed
    python -m Testing.benchmarks speed --t1 T1.nii.gz --t2 T2.nii.gz --device cuda:0 --repeats 3

Each run is a process of its own, so that its peak memory is its own; of several repeats the fastest counts.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from InfantBrainSegLib.imaging.files import read_image
from InfantBrainSegLib.networks import predictor, sliding_window
from InfantBrainSegLib.pipeline.report import peak_memory_mb
from InfantBrainSegLib.pipeline.segmenter import SegmentOptions, segment

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "InfantBrainSeg" / "Resources" / "SampleData"
PRECISIONS = ("mixed", "float32")


def run_once(arguments: argparse.Namespace) -> dict:
    """Segment in this process and give the run's figures."""
    options = SegmentOptions(arguments.device, arguments.weights)
    if arguments.precision == "float32":
        sliding_window.autocast_dtype = predictor.autocast_dtype = lambda device: None
    mask = read_image(arguments.mask) if arguments.mask else None
    report = segment(read_image(arguments.t1), read_image(arguments.t2), mask, options).report
    seconds = {**report.seconds, "total": sum(report.seconds.values())}
    device = report.device
    return {
        "device": f"{device.get('name', device['used'])}, {device['threads']} CPU threads",
        "precision": device["precision"],
        "seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
        "gpu_peak_memory_mb": device.get("peak_memory_mb"),
    }


def run_apart(arguments: argparse.Namespace, precision: str) -> dict:
    """Segment in a process of its own; give the fastest of the repeats."""
    command = [sys.executable, "-m", "Testing.benchmarks.benchmark_segment", "--precision", precision]
    for name in ("t1", "t2", "mask", "device", "weights"):
        if getattr(arguments, name) is not None:
            value = getattr(arguments, name)
            command += [f"--{name}", str(value.resolve() if isinstance(value, Path) else value)]
    runs = [
        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout)
        for _ in range(arguments.repeats)
    ]
    return min(runs, key=lambda run: run["seconds"]["total"])


def table(mixed: dict, full: dict) -> str:
    """Lay out two runs and their ratio."""
    lines = [f"{mixed['device']}; mixed precision here is {mixed['precision']}", f"{'':<21}{'mixed':>10}{'float32':>10}{'ratio':>8}"]
    for step in {**full["seconds"], **mixed["seconds"]}:  # the second stage may run again in one of them alone
        fast, slow = (run["seconds"].get(step, 0.0) for run in (mixed, full))
        lines.append(f"{step + ', s':<21}{fast:10.2f}{slow:10.2f}{slow / max(fast, 1e-3):8.2f}")
    for name, key in (("peak memory, MB", "peak_memory_mb"), ("GPU memory, MB", "gpu_peak_memory_mb")):
        if mixed[key] and full[key]:
            lines.append(f"{name:<21}{mixed[key]:10.0f}{full[key]:10.0f}{full[key] / mixed[key]:8.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--t1", type=Path, default=DEMO / "T1.nii.gz")
    parser.add_argument("--t2", type=Path, default=DEMO / "T2.nii.gz")
    parser.add_argument("--mask", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--precision", choices=PRECISIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.precision:
        print(json.dumps(run_once(arguments)))
    else:
        print(table(*(run_apart(arguments, precision) for precision in PRECISIONS)))


if __name__ == "__main__":
    main()
