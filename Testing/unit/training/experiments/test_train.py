import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.core.errors import InputError, TrainingError
from InfantBrainSegLib.core.stops import Stopped
from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.networks.weights import load_network, save_weights
from InfantBrainSegLib.training import recipes_folder
from InfantBrainSegLib.training.config import read_config
from InfantBrainSegLib.training.experiments.train import run_synthesize, run_train


def test_synthesized_subjects_are_t1_t2_and_label_on_one_ras_grid(label_map_folder, tmp_path):
    folders = run_synthesize(tmp_path, subjects=2, seed=1, label_maps=label_map_folder)
    for folder in folders:
        t1, t2, label = (sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("T1", "T2", "label"))
        assert t1.GetSize() == t2.GetSize() == label.GetSize()
        assert np.allclose(t1.GetDirection(), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
        labels = sitk.GetArrayFromImage(label)
        assert set(np.unique(labels)) == {0, 1, 2, 3}
        assert (sitk.GetArrayFromImage(t1)[labels > 0] > 0).all()


def test_a_seed_repeats_a_subject(label_map_folder, tmp_path):
    one, two = (run_synthesize(tmp_path / str(n), 1, seed=5, label_maps=label_map_folder)[0] for n in range(2))
    assert np.array_equal(*(sitk.GetArrayFromImage(sitk.ReadImage(str(f / "T2.nii.gz"))) for f in (one, two)))


@pytest.mark.slow
def test_the_bundled_demo_map_is_the_default(tmp_path):
    (folder,) = run_synthesize(tmp_path, subjects=1, seed=2)
    assert sitk.ReadImage(str(folder / "T1.nii.gz")).GetNumberOfPixels() > 10**6


@pytest.mark.parametrize(("subjects", "source"), [(0, None), (1, "nowhere")])
def test_nothing_to_synthesize_is_an_error(tmp_path, subjects, source):
    with pytest.raises(InputError):
        run_synthesize(tmp_path, subjects, 1, Path(source) if source else None)


def short_run(label_map_folder, folder, **changes):
    """The config file of one iteration."""
    config = {
        "network": {"stream_channels": [1, 1], "base_width": 2},
        "label_maps": str(label_map_folder),
        "pack": str(folder / "pack.npz"),
        "output_dir": str(folder / "run"),
        "iterations": 1,
        "patch_voxels": 16,
        "validation_patches": 1,
        "device": "cpu",
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "config.json"


def test_train_writes_weights_that_load(label_map_folder, tmp_path):
    path = run_train(short_run(label_map_folder, tmp_path), lambda line: None)
    loaded = load_network(path)
    assert loaded.stage == "fcn1"
    assert loaded.training["seed"] == 1


def test_a_run_does_not_go_on_with_another_first_stage_of_the_same_name(label_map_folder, tmp_path):
    def first_stage(seed):
        torch.manual_seed(seed)
        save_weights(MultiStreamFCN(NetworkConfig(base_width=2)), "fcn1", {"context": None, "training": {}}, tmp_path / "first" / "fcn1.pt")

    network = {"stream_channels": [1, 1, 3], "base_width": 2}
    config = short_run(label_map_folder, tmp_path, stage="fcn2", network=network, fcn1=str(tmp_path / "first" / "fcn1.pt"))
    (tmp_path / "first").mkdir()
    first_stage(1)
    run_train(config, lambda line: None)
    run_train(config, lambda line: None)
    first_stage(2)
    with pytest.raises(TrainingError, match=r"another config .fcn1"):
        run_train(config, lambda line: None)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["reproduce", "--iseg", "nowhere", "--output-dir", "out"], "nowhere does not exist"),
        (["finetune", "--subjects", "nowhere", "--output-dir", "out"], "nowhere does not exist"),
        (["reproduce", "--iseg", ".", "--output-dir", "out", "--device", "abacus"], "subject-1-T1.hdr"),
    ],
)
def test_the_commands_refuse_bad_input_in_one_line(argv, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label_maps": ""}, "No label maps were named; wanted .nii.gz files"),
        ({"label_maps": "nowhere"}, "nowhere is no folder of label maps; wanted .nii.gz files"),
        ({"start_from": "/etc/hosts"}, "/etc/hosts cannot be read as weights"),
        ({"stage": "fcn2", "network": {"stream_channels": [1, 1, 3]}, "fcn1": "/etc/hosts"}, "/etc/hosts cannot be read as weights"),
        ({"stage": "fcn2", "network": {"stream_channels": [1, 1, 3]}, "fcn1": "fcn2"}, 'fcn2, which holds the stage "fcn2"; wanted'),
        ({"batch_size": "two"}, "batch_size is 'two'; wanted a whole number"),
        ({"device": "abacus"}, "Unknown device"),
    ],
)
def test_train_refuses_what_it_cannot_use_in_one_line_before_it_makes_a_folder(label_map_folder, tmp_path, capsys, changes, said):
    config = short_run(label_map_folder, tmp_path, **changes)
    assert main(["train", "--config", str(config)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert said in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(("command", "word", "again"), [("reproduce", "--iseg", " with --resume"), ("finetune", "--subjects", "")])
@pytest.mark.parametrize(
    ("stopped", "said"),
    [
        (KeyboardInterrupt(), "Stopped; the same command{} goes on from the last checkpoint, where there is one.\n"),
        (Stopped("Stopped after iteration 3 of 4"), "Stopped after iteration 3 of 4; the same command{} goes on from there.\n"),
    ],
)
def test_a_stopped_training_says_how_to_go_on(command, word, again, stopped, said, tmp_path, monkeypatch, capsys):
    def stop(*given):
        raise stopped

    monkeypatch.setattr(f"InfantBrainSegLib.training.experiments.{command}.run_{command}", stop)
    assert main([command, word, "x", "--output-dir", str(tmp_path)]) == 130
    assert capsys.readouterr().err == said.format(again)


def test_every_recipe_in_the_library_is_valid():
    names = [path.name for path in sorted(recipes_folder().glob("*.json")) if read_config(path)]
    tissues = [
        "bundled_fcn1.json",
        "bundled_fcn1_start.json",
        "bundled_fcn2.json",
        "bundled_fcn2_start.json",
        "paper_fcn1.json",
        "paper_fcn2.json",
    ]
    tissues += ["six_months_fcn1.json", "six_months_fcn2.json"]
    assert sorted(set(names) - set(tissues)) == [
        "bundled_locate.json",
        "bundled_locate_start.json",
        "bundled_refine.json",
        "bundled_refine_start.json",
    ]
    assert set(tissues) <= set(names)
