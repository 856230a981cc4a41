import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import SimpleITK as sitk

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "out", "runs", "*.egg-info", "__pycache__", "Testing")


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with our wheel, and the packages that it needs from this one; gives the folder of its programs."""
    home = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT, home / "clone", ignore=LEFT_OUT)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", home, "clone/", cwd=home)
    (wheel,) = home.glob("infantbrainseg-*.whl")
    shutil.rmtree(home / "clone")
    run(sys.executable, "-m", "venv", "--without-pip", "env", cwd=home)
    programs = home / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=home)
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    (Path(own) / "needs.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))  # after pip: ours stays
    return programs


@pytest.mark.slow
def test_the_wheel_runs_every_command_outside_the_clone(installed, tmp_path):
    where = run(installed / "python", "-c", "import InfantBrainSegLib; print(InfantBrainSegLib.__file__)", cwd=tmp_path)
    assert installed.parent in Path(where.strip()).parents
    commands = re.findall(r"^    ([\w-]+)", run(installed / "infantbrainseg", "--help", cwd=tmp_path), re.MULTILINE)
    assert {"segment", "batch", "bids-app", "devices", "evaluate", "synthesize", "train", "finetune", "reproduce"} <= set(commands)
    for command in commands:
        assert command in run(installed / "infantbrainseg", command, "--help", cwd=tmp_path)
    run(installed / "infantbrainseg", "devices", cwd=tmp_path)


@pytest.mark.slow
def test_the_wheel_brings_the_sample_from_which_synthesize_makes_a_subject(installed, tmp_path):
    sample = next(installed.parent.rglob("InfantBrainSegLib/sample"))
    assert sorted(path.name for path in sample.iterdir()) == ["T1.nii.gz", "T2.nii.gz", "label.nii.gz"]
    run(installed / "infantbrainseg", "synthesize", "--output-dir", "out", cwd=tmp_path)
    labels = sitk.ReadImage(str(tmp_path / "out/subject-01/label.nii.gz"))
    assert set(sitk.GetArrayViewFromImage(labels).ravel().tolist()) == {0, 1, 2, 3}


@pytest.mark.slow
def test_the_wheel_segments_and_evaluates_its_own_sample(installed, tmp_path):
    sample = next(installed.parent.rglob("InfantBrainSegLib/sample"))
    scans = ["--t1", sample / "T1.nii.gz", "--t2", sample / "T2.nii.gz"]
    run(installed / "infantbrainseg", "segment", *scans, "--output-dir", "out", "--no-context", "--device", "cpu", cwd=tmp_path)
    found = run(
        installed / "infantbrainseg",
        "evaluate",
        "--prediction",
        "out/segmentation.nii.gz",
        "--reference",
        sample / "label.nii.gz",
        cwd=tmp_path,
    )
    assert "WM" in found


@pytest.mark.slow
def test_the_wheel_trains_with_its_own_recipes(installed, tmp_path):
    sample = next(installed.parent.rglob("InfantBrainSegLib/sample"))
    (recipe,) = installed.parent.rglob("recipes/bundled_fcn1_start.json")
    refused = subprocess.run([installed / "infantbrainseg", "train", "--config", recipe], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.startswith("Error: No label maps were named")
    assert refused.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
    (tmp_path / "maps").mkdir()
    for name in ("own", "adult_15"):
        shutil.copy(sample / "label.nii.gz", tmp_path / "maps" / f"{name}.nii.gz")
    small = {
        "network": {"base_width": 2, "norm": "instance"},
        "iterations": 1,
        "patch_voxels": 16,
        "validation_patches": 1,
        "compile": False,
    }
    config = {**json.loads(recipe.read_text(encoding="utf-8")), **small, "output_dir": "run", "pack": "pack.npz", "start_from": ""}
    (tmp_path / "small.json").write_text(json.dumps(config), encoding="utf-8")
    run(installed / "infantbrainseg", "train", "--config", "small.json", "--label-maps", "maps", cwd=tmp_path)
    assert (tmp_path / "run" / "weights" / "fcn1.pt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("command", "word"), [("batch", "--input"), ("finetune", "--subjects"), ("reproduce", "--iseg")])
def test_the_wheel_refuses_scans_that_are_not_there_in_one_line(installed, tmp_path, command, word):
    argv = [installed / "infantbrainseg", command, word, "nowhere", "--output-dir", "out"]
    refused = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "nowhere does not exist" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
