"""Trainings in processes of their own, stopped, killed and started twice."""

import json
import os
import signal
import time

import pytest
import torch
from processes import start, stop, wait_for

from InfantBrainSegLib.core.lock import LOCK

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]


@pytest.fixture
def train(label_map_folder, tmp_path):
    """Gives what starts `train` of a long run of a tiny network."""
    config = {
        "network": {"stream_channels": [1, 1], "base_width": 2, "norm": "instance"},
        "label_maps": str(label_map_folder),
        "pack": str(tmp_path / "pack.npz"),
        "output_dir": str(tmp_path / "run"),
        "iterations": 100_000,
        "patch_voxels": 16,
        "validation_patches": 1,
        "validate_every": 5,
        "checkpoint_minutes": 60.0,
        "device": "cpu",
    }

    def begin(**changes):
        (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
        return start(["train", "--config", "config.json"], tmp_path)

    return begin


def logged(folder):
    path = folder / "run" / "log.jsonl"
    return [json.loads(line)["iteration"] for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_a_stop_saves_and_says_how_to_go_on_and_the_next_run_does(train, tmp_path, number, workers):
    process = train(workers=workers)
    wait_for(lambda: logged(tmp_path), process)
    assert stop(process, number) == 130
    (line,) = (tmp_path / "stderr").read_text().splitlines()
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["iteration"]
    assert line.startswith(f"Stopped after iteration {saved} of 100000, which ")
    assert line.endswith("the same command goes on from there.")
    assert saved >= logged(tmp_path)[-1]
    assert not (tmp_path / "run" / LOCK).exists()
    process = train(iterations=saved + 1)
    assert process.wait(120) == 0
    numbers = logged(tmp_path)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == saved + 1


def test_after_kill_9_the_log_holds_each_line_once_and_the_lock_lets_the_next_run_in(train, tmp_path):
    process = train(checkpoint_minutes=0.0)
    wait_for(lambda: len(logged(tmp_path)) > 1 and (tmp_path / "run" / "checkpoint.pt").is_file(), process)
    stop(process, signal.SIGKILL)
    last = max(logged(tmp_path)) + 7
    with (tmp_path / "run" / "log.jsonl").open("a") as log:  # later than the checkpoint, and one cut short
        log.write(json.dumps({"iteration": 90_000}) + '\n{"iteration": 3')
    assert (tmp_path / "run" / LOCK).exists()
    assert train(iterations=last).wait(120) == 0
    numbers = logged(tmp_path)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == last


def test_a_second_training_in_a_folder_is_told_who_is_there(train, tmp_path):
    first = train()
    wait_for(lambda: logged(tmp_path), first)
    second = train()
    assert second.wait(120) == 2
    (line,) = (tmp_path / "stderr").read_text().splitlines()
    assert f"in use by process {first.pid} on" in line
    assert stop(first) == 130


def finetune(labelled_folder, weights_dir, folder):
    given = [
        "finetune",
        "--subjects",
        labelled_folder,
        "--output-dir",
        "out",
        "--weights",
        weights_dir,
        "--iterations",
        12,
        "--device",
        "cpu",
    ]
    return start([str(word) for word in given], folder)


def test_finetune_goes_on_after_a_stop_and_kill_9_and_measures_nothing_twice(labelled_folder, weights_dir, tmp_path):
    process = finetune(labelled_folder, weights_dir, tmp_path)
    wait_for(lambda: (tmp_path / "out" / "measured.json").is_file(), process)
    wait_for(lambda: "from iteration 0 to 12" in (tmp_path / "stdout").read_text(), process)
    time.sleep(1)  # into the first steps
    assert stop(process) == 130
    assert (tmp_path / "out" / "fcn1" / "checkpoint.pt").is_file()
    assert (tmp_path / "stderr").read_text().endswith("the same command goes on from there.\n")
    process = finetune(labelled_folder, weights_dir, tmp_path)
    wait_for(lambda: "fcn2 of" in (tmp_path / "stdout").read_text(), process)
    stop(process, signal.SIGKILL)
    process = finetune(labelled_folder, weights_dir, tmp_path)
    assert process.wait(300) == 0
    told = (tmp_path / "stdout").read_text()
    assert "Measures the new weights on subject-03, 1 of 1." in told
    assert "the weights as they are" not in told
    assert len(json.loads((tmp_path / "out" / "measured.json").read_text())) == 2
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
