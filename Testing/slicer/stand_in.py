"""In place of the library's command line: takes its arguments, cuts the phantom's levels apart, and really writes the output files.

Usage: stand_in.py MODE segment --t1 F --t2 F --output-dir DIR ...; MODE is "good", "moved" (T2 was), "maskless" or a way to fail.
The probabilities are not probabilities: they are T2 on T1's grid, so that a test can see where the child saw T2.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from InfantBrainSegLib.core.option import SEGMENT, add_options
from InfantBrainSegLib.pipeline.options import SegmentOptions

ROOT = Path(__file__).parents[2]
CHECKS = [
    {"code": "field_of_view", "name": "field of view", "status": "pass", "found": "1 %", "wanted": "under 10 %", "remedy": ""},
    {"code": "spacing", "name": "spacing", "status": "warn", "found": "2.5 mm", "wanted": "2 mm", "remedy": "use a finer scan"},
]


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


def t1_to_t2():
    """Give where mode "moved" says that T2 was found: from a point of T1 to its point in T2, as the library writes it."""
    import SimpleITK as sitk

    return sitk.Euler3DTransform((3.0, -2.0, 5.0), 0.1, -0.2, 0.05, (4.0, 6.0, -8.0))


def judgement(main):
    """Give checks and a verdict with the middle of the grid as the place to look at, which lies in the world."""
    import numpy as np

    from InfantBrainSegLib.imaging.files import index_to_physical

    middle_lps_mm = index_to_physical(main) @ [*(np.array(main.GetSize()) // 2), 1]
    place = {"slice_index": main.GetSize()[2] // 2, "ras_mm": (middle_lps_mm[:3] * [-1, -1, 1]).tolist(), "doubtful_share": 0.52}
    reasons = [
        {"code": "spacing", "text": "spacing: 2.5 mm", "remedy": "use a finer scan"},
        {"code": "doubtful_places", "text": "1 place is in doubt", "remedy": ""},
    ]
    return {
        "checks": CHECKS,
        "verdict": {
            "decision": "look",
            "message": "Look at a slice.",
            "reasons": reasons,
            "places": [place],
            "fractions": {},
            "agreement": {},
            "mean_confidence": 0.8,
            "islands_removed": 0,
        },
        "extraction": {"message": "A mask was given."},
    }


def followed(edited):
    """Give edited labels of which the first voxel of GM became WM, as if it had followed the edits."""
    import numpy as np
    import SimpleITK as sitk

    values = sitk.GetArrayFromImage(edited)
    values[tuple(np.argwhere(values == 2)[0])] = 3
    labels = sitk.GetImageFromArray(values)
    labels.CopyInformation(edited)
    return labels


def segment(arguments):
    import numpy as np
    import SimpleITK as sitk

    from InfantBrainSegLib.core.labels import TISSUES
    from InfantBrainSegLib.imaging.files import read_image, write_image
    from InfantBrainSegLib.pipeline.volumes import measure

    t1 = read_image(arguments.t1 or arguments.t2)
    t2 = read_image(arguments.t2 or arguments.t1)
    tell("prepare", 0.1)
    labels = sitk.GetImageFromArray(np.digitize(sitk.GetArrayFromImage(t1), [20, 70, 115]).astype(np.uint8))
    labels.CopyInformation(t1)
    if arguments.mask:
        labels = sitk.Mask(labels, sitk.Resample(read_image(arguments.mask) > 0, t1, sitk.Transform(), sitk.sitkNearestNeighbor))
    edits = {}
    if arguments.edited_labels:
        edited = read_image(arguments.edited_labels)
        fixed = sitk.GetArrayFromImage(edited) != sitk.GetArrayFromImage(labels)
        labels, edits = followed(edited), {"edits": {"fixed_voxels": int(fixed.sum()), "changed_voxels": 1}}
    output = Path(arguments.output_dir)
    output.mkdir()
    write_image(labels, output / "segmentation.nii.gz")
    write_image(labels > 0, output / "brain_mask.nii.gz")
    tell("stage 2", 0.8)
    on_t1 = sitk.Resample(sitk.Cast(t2, sitk.sitkFloat32), t1, sitk.Transform(), sitk.sitkNearestNeighbor)
    for tissue in TISSUES if arguments.save_probabilities else ():
        write_image(on_t1, output / f"probability_{tissue.short_name.lower()}.nii.gz")
    report = {
        "inputs": {"t1": arguments.t1},
        "versions": {"InfantBrainSeg": "0", "torch": "none"},
        "weights": {"fcn1": {"sha256": "ab" * 32, "training": {"folder": arguments.t1}}},
        "device": {"used": "cpu", "precision": "float32", "threads": 1},
        "options": {
            "use_context": arguments.use_context,
            "weights": arguments.t1,
            "align": arguments.align,
            "age_months": arguments.age_months,
        },
        "volumes": [{**asdict(volume), "mean_confidence": 0.9} for volume in measure(labels)],
        "warnings": [f"{arguments.t2} looks odd.", "Spacing: 2.5 mm; wanted 2 mm: use a finer scan."],
        "notes": [f"{arguments.t2} looks odd."],
        "seconds": {"total": 1.0},
        **edits,
        **judgement(t1),
    }
    (output / "report.json").write_text(json.dumps(report))
    print(f"Warning: {arguments.t2} looks odd.", file=sys.stderr)
    tell("done", 1.0)


def write_cohort(folder, failed):
    """Write the table of a batch of three scans."""
    status = ("failed", "ok", "failed") if failed else ("ok", "ok", "ok")
    rows = "".join(f"{subject},,{subject},{text},\n" for subject, text in zip(("sub-1", "sub-2", "sub-3"), status, strict=True))
    folder.mkdir()
    (folder / "cohort.csv").write_text(f"subject,session,scan,status,reason\n{rows}")


def main():
    mode = sys.argv[1]
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    for name in ("t1", "t2", "output-dir", "mask", "progress", "input", "json", "edited-labels"):
        parser.add_argument(f"--{name}")
    for name in ("--save-probabilities", "--check-only"):
        parser.add_argument(name, action="store_true")
    add_options(parser, SegmentOptions, SEGMENT)
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
        if arguments.command == "batch":
            write_cohort(Path(arguments.output_dir), failed=arguments.device == "3")
        return int(arguments.device) if arguments.device.isdigit() else 0
    elif arguments.check_only:
        Path(arguments.json).write_text(json.dumps(CHECKS))
        return 2
    else:
        segment(arguments)
        if mode == "moved":
            import SimpleITK as sitk

            sitk.WriteTransform(t1_to_t2(), str(Path(arguments.output_dir) / "t2_to_t1.tfm"))
        if mode == "maskless":
            (Path(arguments.output_dir) / "brain_mask.nii.gz").unlink()
        if mode == "shifted":
            import SimpleITK as sitk

            path = str(Path(arguments.output_dir) / "segmentation.nii.gz")
            image = sitk.ReadImage(path)
            image.SetOrigin([value + 5 for value in image.GetOrigin()])
            sitk.WriteImage(image, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
