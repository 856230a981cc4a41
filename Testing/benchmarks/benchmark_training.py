"""Seconds of a training step, and hours of a stage, of `finetune` and of `reproduce` on this machine, side by side.

    python -m Testing.benchmarks training-speed
    python -m Testing.benchmarks training-speed --device cuda:0 --steps 50

Patches come from the bundled synthetic subject; the first steps, which allocate memory, are not counted.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from InfantBrainSegLib.networks.context import distance_maps
from InfantBrainSegLib.networks.device import resolve_device
from InfantBrainSegLib.networks.weights import load_network
from InfantBrainSegLib.training.config import TrainingConfig
from InfantBrainSegLib.training.data.scans import LabelledScan, ScanPatches, read_scan
from InfantBrainSegLib.training.data.sites import LabelledFiles
from InfantBrainSegLib.training.experiments.stages import finetune_plan, paper_plan
from InfantBrainSegLib.training.trainer import Trainer

DEMO = Path(__file__).parents[2] / "InfantBrainSeg" / "Resources" / "SampleData"


def seconds_a_step(config: TrainingConfig, scan: LabelledScan, device: torch.device, steps: int) -> float:
    """Train for twice `steps` iterations; give the seconds of one of the second half, its share of one validation patch included."""
    if config.stage == "fcn2":
        scan = replace(scan, images=np.concatenate([scan.images, distance_maps(scan.labels, config.context)]))
    with tempfile.TemporaryDirectory() as folder:
        config = replace(config, iterations=2 * steps, validate_every=steps, validation_patches=1, output_dir=folder)
        patches = ScanPatches([scan], config, device)
        lines: list[str] = []
        Trainer(config, device, sources=(patches, patches)).run(lines.append)
    return json.loads(lines[-1])["seconds"] / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    files = LabelledFiles("demo", DEMO / "T1.nii.gz", DEMO / "T2.nii.gz", DEMO / "label.nii.gz")
    plans = {"finetune": finetune_plan((load_network("fcn1"), load_network("fcn2"))), "reproduce": paper_plan()}
    print(f"{device}, {torch.get_num_threads()} CPU threads\n{'':<16}{'s a step':>10}{'iterations':>12}{'hours':>8}")
    for name, plan in plans.items():
        scan = read_scan(files, plan.standardised)
        for config in (plan.first, plan.second):
            seconds = seconds_a_step(config, scan, device, arguments.steps)
            print(
                f"{name} {config.stage}".ljust(16) + f"{seconds:10.2f}{config.iterations:12,}{seconds * config.iterations / 3600:8.1f}",
                flush=True,
            )
