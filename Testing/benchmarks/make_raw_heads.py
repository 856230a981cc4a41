"""Write synthetic raw heads: skull, scalp, neck and noisy air, in random poses and fields of view, from label maps kept out of training.

    python -m Testing.benchmarks raw-heads PACK OUT [--subjects 20]

PACK is what training made of the whole-head maps (`training.heads.build_head_pack`). Each folder gets T1, T2, mask (cerebrum with its
CSF) and label. Of the folders `turned_NN` the header hides that the head lies along other axes; the heads `warped_NN` are deformed as in
training, more than anatomy varies. Folders that are there already are kept.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from InfantBrainSegLib.core.labels import INFRATENTORIAL
from InfantBrainSegLib.imaging.files import write_image
from InfantBrainSegLib.imaging.space import centered_image
from InfantBrainSegLib.training.config import HELD_OUT
from InfantBrainSegLib.training.simulation.head_synthesis import HeadConfig, HeadSimulator
from InfantBrainSegLib.training.simulation.heads import HeadMap, load_heads
from InfantBrainSegLib.training.simulation.labelmaps import SYNTHESIS_CLASSES, SYNTHESIS_TO_LABEL

WARPED = HeadConfig(voxel_mm=1.0, rotation_degrees=26.0, rotated_share=0.0, stripped_share=0.0, cut_share=0.0)  # up to 45 degrees in all
RAW = replace(WARPED, warp_mm=4.0)  # the amplitude of the tissue networks' test subjects
TURNED = replace(RAW, rotation_degrees=10.0, rotated_share=1.0)
INTENSITY_SCALE = 300


def write_head(head: HeadMap, config: HeadConfig, rng: np.random.Generator, folder: Path) -> None:
    simulator = HeadSimulator([head], config)
    inside = np.argwhere(head.target > 0)
    reach = int(np.ceil(np.linalg.norm(np.ptp(inside, axis=0)) / 2 / 8) * 8)  # the brain fits however it lies
    synthesized = simulator.synthesize(head, inside.mean(axis=0), (2 * reach,) * 3, rng)
    parts = synthesized.parts.numpy()
    classes = synthesized.classes.numpy()
    cerebrum = (parts > 0) & (parts != INFRATENTORIAL)
    labels = np.where(cerebrum, SYNTHESIS_TO_LABEL[np.where(classes < SYNTHESIS_CLASSES, classes, 0)], 0).astype(np.uint8)
    box = []
    for part, length in zip(ndimage.find_objects((parts > 0).astype(np.uint8))[0], parts.shape, strict=True):
        before, after = rng.integers(4, 60, 2)  # field of view
        box.append(slice(max(part.start - int(before), 0), min(part.stop + int(after), length)))
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(("T1", "T2"), synthesized.images.numpy(), strict=True):
        write_image(centered_image(np.clip(image[tuple(box)] * INTENSITY_SCALE, 0, 65535).astype(np.uint16)), folder / f"{name}.nii.gz")
    write_image(centered_image(cerebrum[tuple(box)].astype(np.uint8)), folder / "mask.nii.gz")
    write_image(centered_image(labels[tuple(box)]), folder / "label.nii.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--subjects", type=int, default=20)
    arguments = parser.parse_args()
    heads = load_heads(arguments.pack, lambda name: name in HELD_OUT)
    kinds = (("raw", RAW, arguments.subjects), ("turned", TURNED, arguments.subjects // 3), ("warped", WARPED, arguments.subjects))
    for seed, (kind, config, count) in enumerate(kinds, 77):
        for number in range(count):
            folder = arguments.output_dir / f"{kind}_{number + 1:02d}"
            if not (folder / "label.nii.gz").is_file():
                with torch.inference_mode():
                    write_head(heads[number % len(heads)], config, np.random.default_rng([seed, number]), folder)
                print(folder.name, flush=True)
