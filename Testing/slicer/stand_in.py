"""In place of the library's command line: takes its arguments, cuts the phantom's levels apart, and really writes the output files.

Usage: stand_in.py MODE segment --t1 F --t2 F --output-dir DIR ...; MODE is "good" or a way to fail. The probabilities are not
probabilities: they are T2 on T1's grid, so that a test can see where the child saw T2.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def command(mode):
    """Give the command that starts it, for `SceneLogic.command`."""
    return [sys.executable, __file__, mode]


def tell(step, progress):
    print(json.dumps({"step": step, "progress": progress}), flush=True)


def hang():
    """Ignore SIGTERM and keep a grandchild that does too; its process number goes to the folder of the log."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    grandchild = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    grandchild.stdout.readline()
    print(f"pids {os.getpid()} {grandchild.pid}", file=sys.stderr, flush=True)
    tell("stage 1", 0.3)
    time.sleep(600)


def segment(arguments):
    import numpy as np
    import SimpleITK as sitk

    from InfantBrainSegLib.images import read_image, write_image
    from InfantBrainSegLib.labels import TISSUES

    t1, t2 = read_image(arguments.t1), read_image(arguments.t2)
    tell("prepare", 0.1)
    labels = sitk.GetImageFromArray(np.digitize(sitk.GetArrayFromImage(t1), [20, 70, 115]).astype(np.uint8))
    labels.CopyInformation(t1)
    if arguments.mask:
        labels = sitk.Mask(labels, sitk.Resample(read_image(arguments.mask) > 0, t1, sitk.Transform(), sitk.sitkNearestNeighbor))
    output = Path(arguments.output_dir)
    output.mkdir()
    write_image(labels, output / "segmentation.nii.gz")
    tell("stage 2", 0.8)
    on_t1 = sitk.Resample(sitk.Cast(t2, sitk.sitkFloat32), t1, sitk.Transform(), sitk.sitkNearestNeighbor)
    for tissue in TISSUES if arguments.save_probabilities else ():
        write_image(on_t1, output / f"probability_{tissue.short_name.lower()}.nii.gz")
    report = {
        "inputs": {"t1": arguments.t1},
        "versions": {"InfantBrainSeg": "0", "torch": "none"},
        "weights": {"fcn1": {"sha256": "ab" * 32, "training": {"folder": arguments.t1}}},
        "device": {"used": "cpu"},
        "options": {"use_context": not arguments.no_context, "weights": arguments.t1},
        "volumes": [{"tissue": tissue.short_name, "mean_confidence": 0.9} for tissue in TISSUES],
        "warnings": [f"{arguments.t2} looks odd."],
        "seconds": {"total": 1.0},
    }
    (output / "report.json").write_text(json.dumps(report))
    print(f"Warning: {arguments.t2} looks odd.", file=sys.stderr)
    tell("done", 1.0)


def main():
    mode = sys.argv[1]
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    for name in ("--t1", "--t2", "--output-dir", "--mask", "--device", "--weights", "--progress", "--input"):
        parser.add_argument(name)
    for name in ("--no-context", "--flip", "--save-probabilities"):
        parser.add_argument(name, action="store_true")
    arguments = parser.parse_args(sys.argv[2:])
    tell("read", 0.0)
    if mode == "hang":
        hang()
    elif mode == "abort":
        print("terminate called", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif mode == "traceback":
        raise ValueError("something unforeseen")
    elif mode == "refuse":
        print(f"Error: {arguments.t1} has no brain; wanted one: choose another.", file=sys.stderr)
        return 2
    elif mode == "no torch":
        print("ModuleNotFoundError: No module named 'torch'", file=sys.stderr)
        return 1
    elif mode == "empty":
        return 0
    elif mode == "echo":
        print(json.dumps(sys.argv[2:]), file=sys.stderr)
        return int(arguments.device) if arguments.device.isdigit() else 0
    else:
        segment(arguments)
        if mode == "shifted":
            import SimpleITK as sitk

            path = str(Path(arguments.output_dir) / "segmentation.nii.gz")
            image = sitk.ReadImage(path)
            image.SetOrigin([value + 5 for value in image.GetOrigin()])
            sitk.WriteImage(image, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
