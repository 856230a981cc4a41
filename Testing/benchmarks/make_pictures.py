"""Segment the real infants, the bundled sample and a raw head as a user does, and keep their overviews in Resources/.

    python Testing/benchmarks/make_pictures.py --infants ../shared/data/images/infant --heads RAW_HEADS

RAW_HEADS is what make_raw_heads.py wrote. Shares of tissues and verdicts go into docs/results.md; what is seen is for a person to say.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import SimpleITK as sitk

from InfantBrainSegLib.cli.main import main as command_line
from InfantBrainSegLib.core.labels import TISSUES
from InfantBrainSegLib.evaluation.metrics import dice
from InfantBrainSegLib.imaging.files import read_image, write_text

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "InfantBrainSeg" / "Resources" / "SampleData"
CARD = ROOT / "docs" / "results.md"
BEGIN, END = "<!-- pictures: begin -->", "<!-- pictures: end -->"


def segmented(name: str, scans: dict[str, Path], out: Path) -> dict:
    """Run `segment`, keep the overview, give the report."""
    given = [word for kind, path in scans.items() for word in (f"--{kind}", str(path))]
    if command_line(["segment", *given, "--output-dir", str(out)]) != 0:
        raise SystemExit(f"{name} was not segmented.")
    shutil.copy(out / "overview.png", ROOT / "Resources" / f"overview_{name}.png")
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def row(title: str, name: str, report: dict) -> str:
    verdict = report["verdict"]
    shares = " | ".join(f"{100 * verdict['fractions'][tissue.short_name]:.1f} %" for tissue in TISSUES)
    said = verdict["decision"] + "".join(f"; {reason['text']}" for reason in verdict["reasons"])
    return f"| [{title}](../Resources/overview_{name}.png) | {shares} | {said} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--infants", type=Path, required=True)
    parser.add_argument("--heads", type=Path, required=True)
    arguments = parser.parse_args()
    infants, raw = arguments.infants, arguments.heads / "raw_02"
    pictures = {
        "month00": ("month 0", {kind: infants / f"month00_{kind.upper()}w.nii.gz" for kind in ("t1", "t2")}),
        "month04": ("month 4, T1 alone", {"t1": infants / "month04_T1w_only.nii.gz"}),
        "month06": ("month 6, T1 alone", {"t1": infants / "month06_T1w_only.nii.gz"}),
        "month09": ("month 9", {kind: infants / f"month09_{kind.upper()}w.nii.gz" for kind in ("t1", "t2")}),
        "raw": ("raw_02, a synthetic head", {kind: raw / f"{kind.upper()}.nii.gz" for kind in ("t1", "t2")}),
        "demo": ("the bundled synthetic subject", {kind: SAMPLE / f"{kind.upper()}.nii.gz" for kind in ("t1", "t2")}),
    }
    lines = ["| | CSF | GM | WM | verdict |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for name, (title, scans) in pictures.items():
            lines.append(row(title, name, segmented(name, scans, Path(folder) / name)))
        labels, truth = (
            sitk.GetArrayFromImage(read_image(path)) for path in (Path(folder) / "demo" / "segmentation.nii.gz", SAMPLE / "label.nii.gz")
        )
    doc = [f"{tissue.short_name} {dice(labels == tissue.value, truth == tissue.value):.3f}" for tissue in TISSUES]
    lines += ["", f"Dice of the bundled synthetic subject: {', '.join(doc)}."]
    head, _, rest = CARD.read_text(encoding="utf-8").partition(BEGIN)
    write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}", CARD)


if __name__ == "__main__":
    main()
