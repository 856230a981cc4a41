"""The commands `batch` and `devices`, as a user types them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import cohort, files_below, terminate_at
from stand_ins import of_arrays

from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.networks import predictor as runner_module


def command(source, output_dir, weights_dir, *more):
    words = ["batch", "--input", source, "--output-dir", output_dir, "--weights", weights_dir, "--device", "cpu", "--extract", "off", *more]
    return [str(word) for word in words]


@pytest.mark.slow
def test_the_command_segments_with_the_networks_and_writes_probabilities(scan_files, weights_dir, tmp_path, capsys):
    t1, t2 = scan_files
    (tmp_path / "list.csv").write_text(f"subject,t1,t2\na,{t1},{t2}\n")
    argv = command(tmp_path / "list.csv", tmp_path / "out", weights_dir, "--save-probabilities", "--progress", "lines")
    assert main(argv) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == {"step": "done", "progress": 1.0}
    assert list(dict.fromkeys(line["step"] for line in lines))[5:8] == [
        "sub-a: stage 1",
        "sub-a: context",
        "sub-a: stage 2",
    ]
    stem = tmp_path / "out/sub-a/anat/sub-a_space-T1w"
    total = sum(sitk.GetArrayFromImage(sitk.ReadImage(f"{stem}_label-{tissue}_probseg.nii.gz")) for tissue in ("CSF", "GM", "WM"))
    assert 0.5 < total.max() < 1.01
    assert Path(f"{stem}_probseg.json").is_file()
    row = cohort(tmp_path / "out")["sub-a"]
    manifest = json.loads((weights_dir / "manifest.json").read_text(encoding="utf-8"))
    assert [row["weights_fcn1_sha256"], row["weights_fcn2_sha256"]] == [manifest[f"fcn{n}.pt"]["sha256"] for n in (1, 2)]
    assert 0 < float(row["gm_confidence"] or row["wm_confidence"] or row["csf_confidence"]) <= 1
    assert main(argv[:-3]) == 0  # probabilities that nobody asks for any more are no reason to segment again
    assert "All 1 scans are segmented" in capsys.readouterr().out
    assert Path(f"{stem}_probseg.json").is_file()


def all_gray(network, inputs, mask, config, device, progress=None):
    probabilities = np.full((4, *mask.shape), 0.1, np.float32)
    probabilities[2] = 0.7
    return probabilities


def test_the_command_ends_with_3_when_some_scans_failed(scan_files, weights_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner_module, "predict", of_arrays(all_gray))
    t1, t2 = scan_files
    (tmp_path / "list.csv").write_text(f"subject,t1,t2\na,{t1},{t2}\nb,{t1},none.nii\n")
    assert main(command(tmp_path / "list.csv", tmp_path / "out", weights_dir)) == 3
    out, err = capsys.readouterr()
    assert out == ""
    warning, error = err.splitlines()
    assert warning.startswith("Warning: sub-b: ")
    assert error.startswith("Error: 1 of 2 scans have no new result")


def test_the_command_ends_with_2_and_one_line_when_there_is_nothing_to_do(weights_dir, tmp_path, capsys):
    assert main(command(tmp_path, tmp_path / "out", weights_dir)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "holds no subject" in err
    assert files_below(tmp_path) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_a_terminated_batch_tidies_up_and_keeps_its_table(scan_files, weights_dir, tmp_path):
    t1, t2 = scan_files
    (tmp_path / "list.csv").write_text(f"subject,t1,t2\na,{t1},{t2}\n")
    argv = command(tmp_path / "list.csv", tmp_path / "out", weights_dir, "--progress", "lines")
    returncode, err = terminate_at("sub-a: stage 1", argv)
    assert (returncode, err.count("\n")) == (130, 1)
    assert "the same command continues" in err
    assert [row["status"] for row in cohort(tmp_path / "out").values()] == ["pending"]
    assert files_below(tmp_path / "out") == [".bidsignore", "cohort.csv", "dataset_description.json", "dseg.tsv"]
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]


def test_devices_are_printed_as_json_with_auto_and_the_cpu_first(capsys):
    assert main(["devices"]) == 0
    devices = json.loads(capsys.readouterr().out)
    assert [device["value"] for device in devices[:2]] == ["auto", "cpu"]
    assert devices[0]["label"] == "Automatic"
