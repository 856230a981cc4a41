"""Two sets of weights on the same subjects, paired: Dice and volumes of both, the mean change and the worst.

    python -m Testing.benchmarks compare-weights OLD NEW --data DIR [--out FILE]

OLD and NEW are folders of weights, DIR is as for `accuracy`. A group is the subjects whose names begin alike: newborns, adult, wide...
What is in FILE is not measured again.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from InfantBrainSegLib.imaging.files import write_text

from .measure_accuracy import NAMES, VOLUME_KEY, WITH, measure, newborn_case, synthetic_case
from .study import Data

Scores = dict[str, dict[str, dict]]  # of a subject: old and new, then from a tissue's short name


def subjects_of(data: Data) -> dict[str, tuple]:
    """From "group subject" to what reads it, and its folder."""
    found = {}
    for folder, read in ((data.newborns, newborn_case), (data.synthetic, synthetic_case)):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_dir():
                group = "newborns" if read is newborn_case else path.name.split("_")[0]
                found[f"{group} {path.name}"] = (read, path)
    return found


def table(scores: Scores) -> str:
    lines = ["| subjects | tissue | Dice old | new | change | worst | volume old | new |", "|---|---|---|---|---|---|---|---|"]
    for group in dict.fromkeys(subject.split()[0] for subject in scores):
        pairs = [pair for subject, pair in scores.items() if subject.split()[0] == group]
        for name in NAMES:
            old, new = (np.array([[pair[which][name][key] for key in ("dice", VOLUME_KEY)] for pair in pairs]) for which in ("old", "new"))
            (dice_old, volume_old), (dice_new, volume_new), change = old.mean(0), new.mean(0), new[:, 0] - old[:, 0]
            lines.append(
                f"| {group} ({len(pairs)}) | {name} | {dice_old:.4f} | {dice_new:.4f} | {change.mean():+.4f} | {change.min():+.4f} "
                f"| {volume_old:.3f} | {volume_new:.3f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="keeps the scores of each subject")
    arguments = parser.parse_args()
    known = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out and arguments.out.is_file() else {}
    for subject, (read, folder) in subjects_of(Data(arguments.data)).items():
        if subject not in known:
            case = read(folder)
            known[subject] = {which: measure(case, WITH, getattr(arguments, which)) for which in ("old", "new")}
            print(subject, flush=True)
            if arguments.out:
                write_text(json.dumps(known) + "\n", arguments.out)
    print(table(known))
