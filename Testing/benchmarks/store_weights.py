"""Write weights files again as this version stores them: rounded to 8 bits, with a scale for each output channel.

    python -m Testing.benchmarks store-weights FOLDER OUT

FOLDER holds files of any format that can be read, OUT gets files of the same names and a manifest. Training records are kept as they are.
"""

import argparse
from pathlib import Path

from InfantBrainSegLib.networks.weights import load_network, save_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output_dir", type=Path)
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("*.pt"))
    if not paths:
        parser.error(f"{arguments.folder} holds no .pt file")
    for path in paths:
        wanted = arguments.output_dir / path.name
        before = path.stat().st_size  # both may be one file
        loaded = load_network(path)
        save_weights(loaded.network, loaded.stage, loaded.meta, wanted)
        print(f"{path.name}: {before / 1e6:.2f} MB, now {wanted.stat().st_size / 1e6:.2f} MB")
