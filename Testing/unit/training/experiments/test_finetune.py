import csv
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.core.errors import InputError, TrainingError
from InfantBrainSegLib.networks.weights import load_network
from InfantBrainSegLib.training.data.sites import LabelledFiles
from InfantBrainSegLib.training.experiments.finetune import FinetuneOptions, find_subjects, run_finetune, split


@pytest.fixture(scope="module")
def finished(labelled_folder, weights_dir, tmp_path_factory):
    """Options and the report of a short run."""
    options = FinetuneOptions(
        labelled_folder, tmp_path_factory.mktemp("tuned"), 2, "cpu", ("subject-02",), weights_dir=weights_dir, patch_voxels=32
    )
    lines = []
    return options, run_finetune(options, lines.append), lines


@pytest.mark.slow
def test_the_weights_are_those_that_segment_takes(finished, tmp_path):
    options, _, _ = finished
    t1, t2 = (str(options.subjects / "subject-02" / f"{name}.nii.gz") for name in ("T1", "T2"))
    given = ["segment", "--t1", t1, "--t2", t2, "--output-dir", str(tmp_path), "--device", "cpu"]
    assert main([*given, "--weights", str(options.output_dir / "weights")]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    manifest = json.loads((options.output_dir / "weights" / "manifest.json").read_text(encoding="utf-8"))
    assert {f"{stage}.pt": one["sha256"] for stage, one in report["weights"].items()} == {
        name: one["sha256"] for name, one in manifest.items()
    }


@pytest.mark.slow
def test_the_weights_hold_config_and_label_scheme_but_no_names_of_subjects(finished):
    options, _, _ = finished
    content = torch.load(options.output_dir / "weights" / "fcn2.pt", weights_only=True)
    assert content["labels"] == [0, 1, 2, 3]
    assert content["network"]["base_width"] == 2
    assert content["training"]["finetuned_from"] == load_network("fcn2", options.weights_dir).sha256
    assert content["training"]["subjects"] == 2
    assert "subject-0" not in str(content["training"])


@pytest.mark.slow
def test_both_stages_started_from_the_given_weights_and_moved(finished):
    options, _, _ = finished
    for stage in ("fcn1", "fcn2"):
        before = load_network(stage, options.weights_dir).network.state_dict()["encoders.0.levels.0.0.conv.weight"]
        after = load_network(stage, options.output_dir / "weights").network.state_dict()["encoders.0.levels.0.0.conv.weight"]
        assert 0 < float((after - before).abs().max()) < 0.05


@pytest.mark.slow
def test_the_report_compares_the_held_out_subjects_before_and_after(finished):
    options, text, lines = finished
    assert lines[0] == "Trains on subject-01, subject-03; holds out subject-02."
    header = text.splitlines()[0]
    assert "Dice before" in header
    assert "HD95 mm after" in header
    assert header.rstrip().endswith("volume / reference before  volume / reference after")
    assert (options.output_dir / "held_out.txt").read_text(encoding="utf-8") == text + "\n"
    figures = json.loads((options.output_dir / "held_out.json").read_text(encoding="utf-8"))
    assert set(figures["before"]) == set(figures["after"]) == {"subject-02"}
    assert 0 <= figures["after"]["subject-02"]["GM"]["dice"] <= 1
    assert not [path for path in options.output_dir.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_a_disk_that_is_full_leaves_the_earlier_weights(finished, monkeypatch, tmp_path):
    options, _, _ = finished
    shutil.copytree(options.output_dir, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "weights").iterdir()}

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("InfantBrainSegLib.networks.weights.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        run_finetune(replace(options, output_dir=tmp_path / "out"), lambda line: None)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "weights").iterdir()} == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "fcn1",
        "fcn2",
        "held_out.json",
        "held_out.txt",
        "measured.json",
        "weights",
    ]


def test_a_csv_with_masks_serves_as_well(labelled_folder, tmp_path):
    rows = [["subject", "t1", "t2", "label", "mask"]]
    for name in ("subject-01", "subject-02"):
        label = sitk.ReadImage(str(labelled_folder / name / "label.nii.gz"))
        sitk.WriteImage(sitk.Cast(label > 0, sitk.sitkUInt8), str(tmp_path / f"{name}-mask.nii.gz"))
        files = [os.path.relpath(labelled_folder / name / f"{role}.nii.gz", tmp_path) for role in ("T1", "T2", "label")]
        rows.append([name, *files, f"{name}-mask.nii.gz"])
    with (tmp_path / "subjects.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = find_subjects(tmp_path / "subjects.csv")
    assert [files.mask.name for files in found] == ["subject-01-mask.nii.gz", "subject-02-mask.nii.gz"]


def test_isegs_layout_serves_but_a_subject_without_a_label_is_refused(iseg_folder):
    assert len(find_subjects(iseg_folder / "iSeg-2017-Training")) == 3
    with pytest.raises(InputError, match=r"no label .subject-4"):
        find_subjects(iseg_folder)


def test_one_subject_in_five_is_held_out_unless_named():
    subjects = [LabelledFiles(f"s{number:02d}", *[None] * 3) for number in range(11)]
    assert [subject.name for subject in split(subjects, ())[1]] == ["s08", "s09", "s10"]
    assert [subject.name for subject in split(subjects, ("s03",))[1]] == ["s03"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"held_out": ("nobody",)}, "no subject nobody"),
        ({"held_out": ("subject-01", "subject-02", "subject-03")}, "wanted at least one more"),
        ({"iterations": 0}, "0 iterations"),
    ],
)
def test_options_that_can_not_be_are_refused(finished, tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        run_finetune(replace(finished[0], output_dir=tmp_path / "out", **change), lambda line: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_other_scans_in_the_same_folder_are_refused(finished, labelled_folder, tmp_path):
    options, _, _ = finished
    shutil.copytree(options.output_dir, tmp_path / "out")
    shutil.copytree(labelled_folder, tmp_path / "scans")
    path = tmp_path / "scans" / "subject-01" / "T1.nii.gz"
    image = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(image)
    values[np.nonzero(values)[0][0]] += 1
    changed = sitk.GetImageFromArray(values)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(path))
    with pytest.raises(TrainingError, match=r"another config .data") as error:
        run_finetune(replace(options, subjects=tmp_path / "scans", output_dir=tmp_path / "out"), lambda line: None)
    assert "\n" not in str(error.value)
