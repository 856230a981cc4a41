from dataclasses import replace

import numpy as np
import pytest
import torch

from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.networks.weights import LoadedNetwork
from InfantBrainSegLib.training.data.scans import read_scan
from InfantBrainSegLib.training.data.sites import find_in_folders
from InfantBrainSegLib.training.experiments import stages
from InfantBrainSegLib.training.experiments.stages import finetune_plan, train_pair


def tiny_plan(training, of_second=None):
    training = {"fcn1": training, "fcn2": of_second or training}
    torch.manual_seed(3)  # some random networks see no tissue at all
    loaded = [
        LoadedNetwork(MultiStreamFCN(NetworkConfig(streams, 2)), stage, "00", None, training[stage]) for stage, streams in STAGES.items()
    ]
    plan = finetune_plan(tuple(loaded))
    short = {"iterations": 1, "patch_voxels": 32, "validation_patches": 1}
    window = replace(plan.window, patch_voxels=32, overlap=0.0, amp=False)
    return replace(plan, first=replace(plan.first, **short), second=replace(plan.second, **short), window=window)


STAGES = {"fcn1": (1, 1), "fcn2": (1, 1, 3)}


@pytest.fixture(scope="module")
def scans(labelled_folder):
    return [read_scan(files, 4) for files in find_in_folders(labelled_folder)[:2]]


def test_fine_tuning_keeps_up_what_the_weights_can_do_with_one_image(scans, tmp_path, monkeypatch):
    seen = []

    class Seen(stages.Trainer):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            seen.append(self)

    monkeypatch.setattr(stages, "Trainer", Seen)
    train_pair(tiny_plan({"stream_dropout": 0.3}), (scans[:1], scans[1:]), tmp_path, torch.device("cpu"), lambda line: None)
    assert [trainer.config.stream_dropout for trainer in seen] == [0.3, 0.3]
    second = seen[1].training
    t1_alone, t2_alone = second.alone[0]
    assert not t1_alone.images[1].any()
    assert not t2_alone.images[0].any()
    assert not np.array_equal(t1_alone.images[2:], second.scans[0].images[2:])  # its maps are of what stage one makes of T1 alone


def test_weights_trained_without_dropout_are_tuned_without():
    assert tiny_plan({}).first.stream_dropout == 0.0


def test_weights_that_learned_from_their_own_result_are_tuned_on_it(scans, tmp_path, monkeypatch):
    rounds = []
    with_own = stages.Trainer._second_round

    def seen(self, images, labels, numbers):
        rounds.append(self.config.stage)
        shown, shown_labels = with_own(self, images, labels, numbers)
        assert torch.equal(shown[:, :2].flip(2), images[:, :2]) == (self.config.stage == "fcn2")
        return shown, shown_labels

    monkeypatch.setattr(stages.Trainer, "_second_round", seen)
    train_pair(tiny_plan({}, {"own_context": 1.0}), (scans[:1], scans[1:]), tmp_path, torch.device("cpu"), lambda line: None)
    assert set(rounds) == {"fcn1", "fcn2"}


def test_networks_come_back_on_the_cpu_ready_to_predict(scans, tmp_path):
    fcn1, fcn2 = train_pair(tiny_plan({}), (scans[:1], scans[1:]), tmp_path, torch.device("cpu"), lambda line: None)
    assert not fcn1.network.training
    assert not fcn2.network.training
    assert [one.context is None for one in (fcn1, fcn2)] == [True, False]
    assert fcn2.network(torch.zeros(1, 5, 16, 16, 16)).shape == (1, 4, 16, 16, 16)
