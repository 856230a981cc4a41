"""Write the synthetic test set: isointense subjects at the measured overlaps, from label maps kept out of training.

    python -m Testing.benchmarks test-subjects LABEL_MAPS OUT [--per-map 7] [--ventricles-mm 0 4 8 12 | --six-months]

With --ventricles-mm each held-out adult map gives one brain with its ventricles wider by each of these instead, at no set overlap.
With --six-months each held-out map, and each of four individuals mixed of them, gives subjects of the simulation "six months" whose GM is
1.4 to 1.7 times their WM.
Subjects that are there already are kept, so that a stopped run goes on.
"""

import argparse
import json
from pathlib import Path

from InfantBrainSegLib.imaging.files import write_text
from InfantBrainSegLib.training.config import HELD_OUT
from InfantBrainSegLib.training.experiments.train import write_subject
from InfantBrainSegLib.training.simulation.labelmaps import read_label_map
from InfantBrainSegLib.training.simulation.measure import isointense_subject, six_month_subject, widened_subject
from InfantBrainSegLib.training.simulation.mixing import mixed_maps

MIXED = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("label_maps", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--per-map", type=int, default=7)
    parser.add_argument("--ventricles-mm", type=float, nargs="+", metavar="MM")
    parser.add_argument("--six-months", action="store_true")
    arguments = parser.parse_args()
    maps = {
        path.name.split(".")[0]: read_label_map(path)
        for path in arguments.label_maps.rglob("*.nii.gz")
        if path.name.split(".")[0] in HELD_OUT
    }
    if arguments.ventricles_mm:
        for name, label_map in sorted(maps.items()):
            for wider_mm in arguments.ventricles_mm if name.startswith("adult") else ():
                folder = arguments.output_dir / f"wide_{name}_{wider_mm:02.0f}"
                if not (folder / "label.nii.gz").is_file():
                    write_subject(widened_subject(label_map, wider_mm, 2000), folder)
                    print(folder.name, flush=True)
        return
    if arguments.six_months:
        mixed = mixed_maps([maps[name] for name in sorted(maps)], MIXED, arguments.output_dir / "mixed.npz")
        maps |= {label_map.name.replace(" ", "-"): label_map for label_map in mixed}
        for number in range(arguments.per_map):
            for name, label_map in sorted(maps.items()):
                folder = arguments.output_dir / f"sixmonths_{name}_{number + 1}"
                if not (folder / "label.nii.gz").is_file():
                    write_subject(six_month_subject(label_map, 3000 + number), folder)
                    print(folder.name, flush=True)
        return
    for number in range(arguments.per_map):
        for name, label_map in sorted(maps.items()):
            folder = arguments.output_dir / f"{name}_{number + 1}"
            if (folder / "overlaps.json").is_file():
                continue
            synthesized, overlaps = isointense_subject(label_map, 1000 + number)
            write_subject(synthesized, folder)
            write_text(json.dumps(dict(zip(("t1", "t2", "both"), overlaps, strict=True))), folder / "overlaps.json")
            print(folder.name, *(f"{overlap:.2f}" for overlap in overlaps), flush=True)
