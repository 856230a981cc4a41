"""Make the bundled demo subject: painted by the simulator on a heavily deformed map that was kept out of training.

python -m Testing.benchmarks demo-subject LABEL_MAPS/adult/adult_17.nii.gz InfantBrainSeg/Resources/SampleData
"""

import argparse
from pathlib import Path

import numpy as np

from InfantBrainSegLib.training.experiments.train import write_subject
from InfantBrainSegLib.training.simulation.artefacts import ArtefactConfig
from InfantBrainSegLib.training.simulation.contrast import ContrastConfig
from InfantBrainSegLib.training.simulation.labelmaps import read_label_map
from InfantBrainSegLib.training.simulation.measure import gm_wm_overlaps
from InfantBrainSegLib.training.simulation.synthesis import Simulator, SimulatorConfig

SEED = 16
CONFIG = SimulatorConfig(
    adult_scale=(0.8, 0.82),
    rotation_degrees=5.0,
    shear=0.08,
    warp_mm=5.0,
    warp_scale_mm=(24.0, 32.0),
    cortex=(1.3, 1.4),
    rim_mm=(2.0, 2.5),
    dura_share=0.0,
    contrast=ContrastConfig(isointense_csf_t2=(1.3, 1.7)),
    artefacts=ArtefactConfig(noise=(0.015, 0.03), thick_share=0.0, motion_share=0.0, bias=0.06),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("label_map", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    label_map = read_label_map(arguments.label_map)
    synthesized = Simulator([label_map], CONFIG).subject(label_map, np.random.default_rng(arguments.seed), "isointense")
    write_subject(synthesized, arguments.output_dir)
    print("GM/WM histogram overlap on T1, on T2 and on both: {:.2f}, {:.2f}, {:.2f}".format(*gm_wm_overlaps(synthesized)))
