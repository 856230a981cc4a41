"""The real infants, the bundled sample and a raw head, segmented as a user does; their overviews are kept in Resources/.

    python -m Testing.benchmarks pictures --data DIR

Shares of tissues and verdicts go into docs/results.md; what is seen is for a person to say.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import SimpleITK as sitk

from InfantBrainSegLib.cli.main import main as command_line
from InfantBrainSegLib.core.labels import TISSUES
from InfantBrainSegLib.evaluation.metrics import dice
from InfantBrainSegLib.imaging.files import read_image

from .study import ROOT, SEGMENTATION, Data, Figure, Key, Study, bundled_weights, code_of

TITLES = {
    "month00": "month 0",
    "month04": "month 4, T1 alone",
    "month06": "month 6, T1 alone",
    "month09": "month 9",
    "raw": "raw_02, a synthetic head",
    "demo": "the bundled synthetic subject",
}
SAMPLE = ROOT / "InfantBrainSeg" / "Resources" / "SampleData"


def picture(name: str, scans: dict[str, Path]) -> dict:
    """Run `segment`, keep the overview, give shares and verdict, and of the bundled sample the Dice."""
    given = [word for kind, path in scans.items() for word in (f"--{kind}", str(path))]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        if command_line(["segment", *given, "--output-dir", str(out)]) != 0:
            raise SystemExit(f"{name} was not segmented.")
        shutil.copy(out / "overview.png", ROOT / "Resources" / f"overview_{name}.png")
        verdict = json.loads((out / "report.json").read_text(encoding="utf-8"))["verdict"]
        labels = sitk.GetArrayFromImage(read_image(out / "segmentation.nii.gz"))
    found = {
        "percent": {tissue.short_name: round(100 * verdict["fractions"][tissue.short_name], 1) for tissue in TISSUES},
        "verdict": verdict["decision"] + "".join(f"; {reason['text']}" for reason in verdict["reasons"]),
    }
    if name == "demo":
        truth = sitk.GetArrayFromImage(read_image(SAMPLE / "label.nii.gz"))
        found["dice"] = {tissue.short_name: round(dice(labels == tissue.value, truth == tissue.value), 3) for tissue in TISSUES}
    return found


def tables(results: dict) -> str:
    lines = ["| | CSF | GM | WM | verdict |", "|---|---|---|---|---|"]
    for name, title in TITLES.items():
        one = results["pictures"][name]
        shares = " | ".join(f"{share:.1f} %" for share in one["percent"].values())
        lines.append(f"| [{title}](../Resources/overview_{name}.png) | {shares} | {one['verdict']} |")
    found = [f"{name} {value:.3f}" for name, value in results["pictures"]["demo"]["dice"].items()]
    return "\n".join([*lines, "", f"Dice of the bundled synthetic subject: {', '.join(found)}."])


def key(figure: Figure) -> Key:
    return Key(bundled_weights("fcn1", "fcn2", "locate", "refine"), {}, code_of((*SEGMENTATION, "checks", "outputs"), "make_pictures"))


def study() -> Study:
    return Study("pictures", key, tables)


def jobs(data: Data, arguments: argparse.Namespace) -> Iterator[tuple[Figure, Callable[[], dict]]]:
    infants, raw = data.infants, data.raw_heads / "raw_02"
    scans = {
        "month00": {kind: infants / f"month00_{kind.upper()}w.nii.gz" for kind in ("t1", "t2")},
        "month04": {"t1": infants / "month04_T1w_only.nii.gz"},
        "month06": {"t1": infants / "month06_T1w_only.nii.gz"},
        "month09": {kind: infants / f"month09_{kind.upper()}w.nii.gz" for kind in ("t1", "t2")},
        "raw": {kind: raw / f"{kind.upper()}.nii.gz" for kind in ("t1", "t2")},
        "demo": {kind: SAMPLE / f"{kind.upper()}.nii.gz" for kind in ("t1", "t2")},
    }
    for name, given in scans.items():
        yield ("pictures", name), partial(picture, name, given)
