"""What Dask costs: many small scans through workers against one process, with processor time and memory of each part.

    python -m Testing.benchmarks scale --scans 200
    python -m Testing.benchmarks scale --scans 2000 --stand-in

Each scan is an ellipsoid in 36×36×36 voxels of 2.8 mm; one round, random networks of two channels. With
--stand-in no network runs and the labels come from T1's levels: what is left is reading, writing and Dask. Processor time counts, so that
other work on the machine matters little; wall time is printed too. Needs `pip install 'infantbrainseg[cluster]'`.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import SimpleITK as sitk
import torch
from distributed import Client

from InfantBrainSegLib.batch.job import BatchOptions, Cluster
from InfantBrainSegLib.batch.run import run_batch
from InfantBrainSegLib.networks.context import ContextConfig
from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.networks.weights import save_weights
from InfantBrainSegLib.pipeline.segmenter import SegmentOptions

ROOT = Path(__file__).parents[2]
SIDE_VOXELS, VOXEL_MM = 36, 2.8
STAND_IN = """
import sys
sys.path.insert(0, {unit!r})
import stand_ins
from InfantBrainSegLib.batch import cluster
from InfantBrainSegLib.networks.weights import Networks
stand_in = stand_ins.StandIn()
stand_in.networks = Networks({weights!r})
cluster._segmenters[({weights!r}, "cpu")] = stand_in
"""


def write_scans(folder: Path, count: int) -> None:
    """Write a T1 and a T2 of three tissues; every subject's files are links to them."""
    axes = np.indices((SIDE_VOXELS,) * 3) - SIDE_VOXELS / 2
    radius = np.sqrt((axes[0] / 11) ** 2 + (axes[1] / 14) ** 2 + (axes[2] / 10) ** 2)
    noise = np.random.default_rng(1).normal(0, 3, radius.shape)
    for suffix, levels in (("T1w", (0, 130, 100, 40)), ("T2w", (0, 120, 160, 400))):
        values = np.select([radius < 0.5, radius < 0.85, radius < 1], levels[1:], 0) + np.where(radius < 1, noise, 0)
        image = sitk.GetImageFromArray(values.astype(np.float32))
        image.SetSpacing((VOXEL_MM,) * 3)
        sitk.WriteImage(image, str(folder / f"{suffix}.nii.gz"))
        for number in range(count):
            anat = folder / f"bids/sub-{number:05d}/anat"
            anat.mkdir(parents=True, exist_ok=True)
            (anat / f"sub-{number:05d}_{suffix}.nii.gz").hardlink_to(folder / f"{suffix}.nii.gz")


def write_weights(folder: Path) -> Path:
    """Write both stages, tiny and random."""
    torch.manual_seed(0)
    save_weights(MultiStreamFCN(NetworkConfig((1, 1), base_width=2)), "fcn1", {"training": {"seed": 0}}, folder / "fcn1.pt")
    save_weights(MultiStreamFCN(NetworkConfig((1, 1, 3), base_width=2)), "fcn2", {"context": ContextConfig()}, folder / "fcn2.pt")
    return folder


@contextlib.contextmanager
def started(program: str, *words: str):
    """Run a program of Dask in the block."""
    command = [sys.executable, "-m", f"distributed.cli.{program}", *words, "--no-dashboard"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        yield psutil.Process(process.pid)
        process.terminate()


def processes_of(process: psutil.Process) -> list[psutil.Process]:
    """A process and those that it started; of this one, which started all others, itself alone."""
    return [process, *([] if process.pid == os.getpid() else process.children(recursive=True))]


def cpu_seconds(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in processes_of(process)]
    return sum(one.user + one.system for one in times)


def resident_mb(process: psutil.Process) -> float:
    return max(one.memory_info().rss for one in processes_of(process)) / 2**20


def measure(source: Path, output: Path, options: BatchOptions, processes: dict[str, psutil.Process]) -> dict[str, float]:
    """Segment all; give seconds of wall and of processors, and memory at the end."""
    before, wall = {name: cpu_seconds(process) for name, process in processes.items()}, time.perf_counter()
    rows = run_batch(source, output, options)
    wall = time.perf_counter() - wall
    assert [row["status"] for row in rows] == ["ok"] * len(rows), next(row for row in rows if row["status"] != "ok")
    found = {"scans": len(rows), "wall_s": wall, "wall_s_per_scan": wall / len(rows)}
    for name, process in processes.items():
        found[f"{name}_cpu_s_per_scan"] = (cpu_seconds(process) - before[name]) / len(rows)
        found[f"{name}_mb"] = resident_mb(process)
    return found


def tell(name: str, found: dict[str, float]) -> None:
    print(name, json.dumps({key: round(value, 3) for key, value in found.items()}, indent=2), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--alone", type=int, default=20, help="scans in one process; 0: skip that")
    parser.add_argument("--stand-in", action="store_true", help="no networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    here = psutil.Process()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scans(folder, arguments.scans)
        weights = write_weights(folder)
        options = BatchOptions(SegmentOptions("cpu", weights, extract="off", rounds=1))
        if arguments.alone and not arguments.stand_in:
            (folder / "few").mkdir()
            write_scans(folder / "few", arguments.alone)
            tell("one process", measure(folder / "few/bids", folder / "alone", options, {"client": here}))
        file = folder / "scheduler.json"
        with started("dask_scheduler", "--scheduler-file", str(file), "--port", "0") as scheduler:
            words = ("--scheduler-file", str(file), "--nworkers", str(arguments.workers), "--nthreads", "1")
            with started("dask_worker", *words) as workers:
                while not file.exists():
                    time.sleep(0.1)
                with Client(scheduler_file=str(file), set_as_default=False) as client:
                    client.wait_for_workers(arguments.workers, timeout=120)
                    if arguments.stand_in:
                        client.run(exec, STAND_IN.format(unit=str(ROOT / "Testing/unit"), weights=str(weights)))
                    parts = {"client": here, "scheduler": scheduler, "workers": workers}
                    on_dask = BatchOptions(options.segment, cluster=Cluster(str(file)))
                    tell(f"Dask, {arguments.workers} workers", measure(folder / "bids", folder / "out", on_dask, parts))


if __name__ == "__main__":
    main()
