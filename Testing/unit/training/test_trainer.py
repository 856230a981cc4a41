import contextlib
import dataclasses
import itertools
import json
import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from InfantBrainSegLib.core.errors import DeviceError, TrainingError
from InfantBrainSegLib.core.stops import Stopped
from InfantBrainSegLib.networks.context import ContextConfig, distance_maps
from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.training import trainer as trainer_module
from InfantBrainSegLib.training.config import TrainingConfig, config_to_dict, read_config
from InfantBrainSegLib.training.trainer import Tally, Trainer, dice_of, learning_rate, load_checkpoint, overlap_counts, save_checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def config(label_map_folder, tmp_path):
    return TrainingConfig(
        network=NetworkConfig(base_width=2),
        label_maps=str(label_map_folder),
        pack=str(tmp_path / "pack.npz"),
        output_dir=str(tmp_path / "run"),
        iterations=4,
        patch_voxels=16,
        validate_every=2,
        validation_patches=1,
        checkpoint_minutes=0.0,
    )


@pytest.fixture
def repeatable_kernels():
    with torch.backends.mkldnn.flags(enabled=False):  # oneDNN sums weight gradients in an order that varies
        yield


@pytest.mark.usefixtures("repeatable_kernels")
@pytest.mark.parametrize("cores", [1, 2])
def test_a_resumed_run_ends_in_the_same_state(config, tmp_path, monkeypatch, cores):
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    config = dataclasses.replace(config, network=NetworkConfig(base_width=2, norm="instance"))
    whole = Trainer(config, CPU).run(lambda line: None)
    again = dataclasses.replace(config, output_dir=str(tmp_path / "again"))
    interrupted = Trainer(again, CPU)
    for _ in range(2):
        interrupted._step()
        interrupted.iteration += 1
    interrupted._save()
    resumed = Trainer(again, CPU)
    assert resumed.iteration == 2
    state = resumed.run(lambda line: None)
    assert all(torch.equal(whole[name], state[name]) for name in whole)


def test_the_log_holds_training_and_held_out_doc_per_tissue(config, tmp_path):
    Trainer(config, CPU).run(lambda line: None)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["iteration"] for line in lines] == [2, 4]
    for line in lines:
        assert set(line["training_doc"]) == set(line["held_out_doc"]) == {"CSF", "GM", "WM"}


class FixedPatches:
    """The same two patches again and again, asked for at once or one by one."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.images = torch.as_tensor(rng.normal(size=(2, 2, 16, 16, 16)), dtype=torch.float32)
        self.labels = torch.as_tensor(rng.integers(4, size=(2, 16, 16, 16)))
        self.given = itertools.count()

    def batch(self, rng, size, augment=True):
        which = [next(self.given) % 2 for _ in range(size)]
        return self.images[which], self.labels[which]


def first_step(config, folder):
    """Loss, overlap counts and gradients of the first batch."""
    trainer = Trainer(dataclasses.replace(config, output_dir=str(folder)), CPU, sources=(FixedPatches(), FixedPatches()))
    loss, counts = trainer._step()
    return trainer._beside is not None, loss, counts, [parameter.grad for parameter in trainer.network.parameters()]


@pytest.mark.usefixtures("repeatable_kernels")
def test_patches_side_by_side_give_the_gradients_of_one_batch(config, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "training_autocast", lambda device: contextlib.nullcontext())
    config = dataclasses.replace(config, network=NetworkConfig(base_width=2, norm="instance"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    beside, loss, counts, gradients = first_step(config, tmp_path / "together")
    assert not beside
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    beside, loss_beside, counts_beside, gradients_beside = first_step(config, tmp_path / "beside")
    assert beside
    assert loss_beside == pytest.approx(loss, rel=1e-5)
    np.testing.assert_array_equal(counts_beside, counts)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    torch.testing.assert_close(gradients_beside, gradients, rtol=1e-3, atol=1e-6)


def test_a_network_that_normalises_by_the_batch_takes_it_whole(config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not first_step(dataclasses.replace(config, network=NetworkConfig(base_width=2, norm="batch")), tmp_path / "run")[0]


@pytest.mark.slow
@pytest.mark.usefixtures("repeatable_kernels")  # oneDNN's bfloat16 kernels of so narrow a network at times give no finite gradient
def test_training_learns(config):
    longer = dataclasses.replace(config, iterations=120, validate_every=30, checkpoint_minutes=9.0, learning_rate=0.02)
    lines = []
    Trainer(longer, CPU).run(lambda line: lines.append(json.loads(line)))
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]  # 0.66 to 0.79 with six seeds


def test_the_second_stage_sees_the_distance_maps_of_the_first(config):
    second = dataclasses.replace(config, stage="fcn2", fcn1="given", network=NetworkConfig((1, 1, 3), base_width=2), iterations=2)
    trainer = Trainer(second, CPU, fcn1=MultiStreamFCN(config.network))
    images, _ = trainer.training.batch(np.random.default_rng(0), 2)
    assert images.shape == (2, 5, 16, 16, 16)
    assert images[:, 2:].abs().max() <= 1
    trainer.run(lambda line: None)


def test_distances_by_the_maximum_of_a_simulated_patch_are_refused(config):
    context = ContextConfig(signed=False)
    second = dataclasses.replace(config, stage="fcn2", fcn1="given", network=NetworkConfig((1, 1, 3), base_width=2), context=context)
    with pytest.raises(TrainingError, match="divisor_mm"):
        Trainer(second, CPU, fcn1=MultiStreamFCN(config.network))


def test_the_papers_schedule_halves_the_rate_every_3000_iterations():
    paper = TrainingConfig(recipe="paper", learning_rate=1e-3)
    assert [learning_rate(paper, i) for i in (0, 2999, 3000, 6000, 9999)] == [1e-3, 1e-3, 5e-4, 2.5e-4, 1.25e-4]


def test_the_paper_recipe_runs_with_sgd(config):
    paper = dataclasses.replace(
        config, recipe="paper", network=NetworkConfig(base_width=2, patch_norm=True), learning_rate=1e-3, weight_decay=0.005
    )
    trainer = Trainer(paper, CPU)
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    assert trainer.optimizer.param_groups[0]["momentum"] == 0.9
    trainer.run(lambda line: None)


def test_a_loss_that_is_not_a_number_stops_and_names_the_iteration(config, monkeypatch):
    monkeypatch.setattr(trainer_module, "deep_supervision_loss", lambda logits, *_: logits[0].sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"iteration 0.*checkpoint"):
        Trainer(config, CPU).run(lambda line: None)


def test_the_error_of_a_lost_run_names_the_last_good_checkpoint(config, monkeypatch):
    trainer = Trainer(config, CPU)
    good = trainer_module.deep_supervision_loss
    monkeypatch.setattr(
        trainer_module, "deep_supervision_loss", lambda *given: good(*given) * (1 if trainer.iteration < 2 else float("nan"))
    )
    with pytest.raises(TrainingError, match=r"iteration 2.*last good checkpoint") as error:
        trainer.run(lambda line: None)
    assert str(trainer.checkpoint_path) in str(error.value)
    state = load_checkpoint(trainer.checkpoint_path, config_to_dict(config))
    assert state["iteration"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())


def hook_gradients(trainer, is_bad):
    """Make the gradients of some iterations infinite."""
    parameter = next(trainer.network.parameters())
    parameter.register_hook(lambda gradient: gradient * float("inf") if is_bad(trainer.iteration) else gradient)


@pytest.mark.usefixtures("repeatable_kernels")  # oneDNN's own infinite gradients would count too
def test_steps_left_out_are_counted_in_the_log(config):
    trainer = Trainer(config, CPU)
    hook_gradients(trainer, lambda iteration: iteration == 1)
    lines = []
    trainer.run(lambda line: lines.append(json.loads(line)))
    assert [line["steps_left_out"] for line in lines] == [1, 0]
    assert all(torch.isfinite(tensor).all() for tensor in trainer.result().values())


@pytest.mark.usefixtures("repeatable_kernels")
def test_fifty_steps_left_out_in_a_row_stop_the_run(config):
    trainer = Trainer(dataclasses.replace(config, iterations=80, validate_every=80, checkpoint_minutes=9.0), CPU)
    hook_gradients(trainer, lambda iteration: iteration >= 10)
    with pytest.raises(TrainingError, match=r"50 steps in a row, up to iteration 59.*no checkpoint yet"):
        trainer.run(lambda line: None)


def test_a_checkpoint_older_than_a_field_of_the_config_still_loads(config, tmp_path):
    Trainer(config, CPU).run(lambda line: None)
    path = tmp_path / "run" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    del state["config"]["init_t1"], state["config"]["data"], state["config"]["network"]["patch_norm"]
    torch.save(state, path)
    assert Trainer(config, CPU).iteration == config.iterations


def test_partial_transfer_by_the_config_starts_the_network_and_leaves_a_report(config, tmp_path):
    own = MultiStreamFCN(config.network)
    torch.save(own.state_dict(), tmp_path / "own.pt")
    given = dataclasses.replace(config, init_t1=str(tmp_path / "own.pt"), iterations=1)
    trainer = Trainer(given, CPU)
    name = "encoders.0.levels.0.0.conv.weight"
    assert torch.equal(trainer.network.state_dict()[name], own.state_dict()[name])
    trainer.run(lambda line: None)
    assert f"taken    {name}" in (tmp_path / "run" / "transfer.txt").read_text(encoding="utf-8")


def test_a_checkpoint_of_another_config_is_refused(config):
    Trainer(config, CPU).run(lambda line: None)
    with pytest.raises(TrainingError, match="seed"):
        Trainer(dataclasses.replace(config, seed=2), CPU)


def test_a_run_may_go_on_longer_and_compiled_or_not(config):
    Trainer(config, CPU).run(lambda line: None)
    longer = dataclasses.replace(config, iterations=config.iterations + 1, compile=not config.compile)
    state = load_checkpoint(Path(config.output_dir) / "checkpoint.pt", config_to_dict(longer))
    assert state["iteration"] == config.iterations


def test_fewer_iterations_than_the_checkpoint_has_are_refused(config):
    Trainer(config, CPU).run(lambda line: None)
    with pytest.raises(TrainingError, match="has 4 iterations and 3 were asked for"):
        Trainer(dataclasses.replace(config, iterations=3), CPU)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")])
def test_memory_that_runs_out_is_reported_in_one_line(config, monkeypatch, error):
    trainer = Trainer(config, CPU)

    def too_much(*given):
        raise error

    monkeypatch.setattr(trainer, "_forward", too_much)
    with pytest.raises(DeviceError, match=r"cpu ran out of memory at iteration 0, with 2 patches of 16³") as raised:
        trainer.run(lambda line: None)
    assert "\n" not in str(raised.value)


def test_another_runtime_error_is_not_taken_for_a_lack_of_memory(config, monkeypatch):
    trainer = Trainer(config, CPU)
    monkeypatch.setattr(trainer, "_forward", lambda images: torch.zeros(1) @ torch.zeros(2))
    with pytest.raises(RuntimeError, match="size"):
        trainer.run(lambda line: None)


def test_a_truncated_checkpoint_is_refused(config, tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint({"config": config_to_dict(config)}, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TrainingError, match="damaged"):
        load_checkpoint(path, config_to_dict(config))


@pytest.mark.parametrize("part", ["iteration", "network", "average", "optimizer"])
@pytest.mark.parametrize("change", ["absent", "of another kind", "of another network"])
def test_a_checkpoint_without_its_parts_is_refused_in_one_line(config, part, change):
    trainer = Trainer(config, CPU)
    trainer._save()
    state = torch.load(trainer.checkpoint_path, weights_only=True)
    if change == "absent":
        del state[part]
    else:
        state[part] = "x" if change == "of another kind" else {"x": torch.zeros(1)}
    save_checkpoint(state, trainer.checkpoint_path)
    with pytest.raises(TrainingError, match=r"has no usable|does not fit the network") as error:
        Trainer(config, CPU)
    assert "\n" not in str(error.value)


def test_the_log_of_a_run_that_goes_on_holds_each_iteration_once(config, tmp_path):
    trainer = Trainer(dataclasses.replace(config, iterations=2), CPU)
    trainer.run(lambda line: None)
    log = tmp_path / "run" / "log.jsonl"
    log.write_text(log.read_text() + '{"iteration": 4}\n{"iteration": 2, "lo')
    Trainer(config, CPU).run(lambda line: None)
    assert [json.loads(line)["iteration"] for line in log.read_text(encoding="utf-8").splitlines()] == [2, 4]


def test_a_stop_during_a_step_saves_the_step_and_ends(config, monkeypatch):
    trainer = Trainer(config, CPU)
    step = trainer._step

    def stopped():
        if trainer.iteration == 2:
            signal.raise_signal(signal.SIGINT)
        return step()

    monkeypatch.setattr(trainer, "_step", stopped)
    with pytest.raises(Stopped, match=r"Stopped after iteration 3 of 4, which .*checkpoint.pt holds"):
        trainer.run(lambda line: None)
    assert Trainer(config, CPU).iteration == 3


def test_a_long_run_says_now_and_then_how_far_it_is(config, monkeypatch):
    monkeypatch.setattr(trainer_module, "QUIET_S", 0.0)
    lines = []
    Trainer(config, CPU).run(lines.append)
    assert [line.split(",")[0] for line in lines if not line.startswith("{")] == ["iteration 1 of 4", "iteration 3 of 4"]


def test_a_checkpoint_that_can_not_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint({"iteration": 1, "config": {}}, path)

    def full(state, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="No space left"):
        save_checkpoint({"iteration": 2, "config": {}}, path)
    assert load_checkpoint(path, {})["iteration"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ('{"widht": 3}', "widht"),
        ('{"stage": "fcn3"}', "fcn3"),
        ('{"stage": "fcn2"}', "streams"),
        ('{"network": {"norm": "x"}}', "norm"),
        ('{"network": 3}', "network is 3; wanted a JSON object"),
        ('{"network": {"base_width": 0}}', "base_width is 0; wanted a whole number of 1 to 128"),
        ('{"network": {"base_width": 100000}}', "base_width is 100000; wanted a whole number of 1 to 128"),
        ('{"batch_size": "two"}', "batch_size is 'two'; wanted a whole number"),
        ('{"iterations": true}', "iterations is True; wanted a whole number"),
        ('{"iterations": 1e3}', "iterations is 1000.0; wanted a whole number"),
        ('{"learning_rate": NaN}', "learning_rate is nan; wanted a number"),
        ('{"learning_rate": -1}', "learning_rate is -1; wanted 0 or more"),
        ('{"seed": -1}', "seed is -1; wanted 0 or more"),
        ('{"stream_dropout": 2}', "stream_dropout is 2; wanted 0 to 1"),
        ('{"held_out": "adult_15"}', "held_out is 'adult_15'; wanted a list, each text"),
        ('{"loss_weights": [1, 1]}', "wanted 3 numbers"),
        ('{"output_dir": ""}', "output_dir is empty"),
        ('{"fcn1": null}', "fcn1 is None; wanted text"),
        ("[]", r"is \[\]; wanted a JSON object"),
        ("[" * 100_000, "no JSON"),
        ("\ud800", "no JSON"),
    ],
)
def test_a_wrong_config_is_refused_in_one_line(tmp_path, text, said):
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(TrainingError, match=said) as error:
        read_config(tmp_path / "config.json")
    assert "\n" not in str(error.value)


def test_the_second_round_is_trained_on_the_mirrored_batch_with_maps_of_the_networks_own_result(config):
    network = NetworkConfig((1, 1, 3), base_width=2, norm="instance")
    second = dataclasses.replace(config, stage="fcn2", fcn1="given", network=network, own_context=1.0, iterations=1)
    trainer = Trainer(second, CPU, fcn1=MultiStreamFCN(config.network))
    images, labels = trainer.training.batch(np.random.default_rng(0), 2)
    with torch.no_grad(), trainer._autocast():
        own = trainer._averaged(images.contiguous(memory_format=torch.channels_last_3d)).argmax(1).numpy().astype(np.uint8)
    mirrored, mirrored_labels = trainer._second_round(images, labels, [0])
    assert torch.equal(mirrored[:, :2].flip(2), images[:, :2])
    assert torch.equal(mirrored_labels.flip(1), labels)
    maps = np.stack([distance_maps(one)[: network.classes - 1] for one in own])
    torch.testing.assert_close(mirrored[:, 2:].flip(2), torch.from_numpy(maps))
    trainer.run(lambda line: None)


def test_a_run_synthesized_by_processes_with_each_batch_used_twice_resumes(config, tmp_path):
    config = dataclasses.replace(config, uses=2, workers=1, iterations=3)
    whole = Trainer(config, CPU).run(lambda line: None)
    again = dataclasses.replace(config, output_dir=str(tmp_path / "again"))
    Trainer(dataclasses.replace(again, iterations=2), CPU).run(lambda line: None)
    resumed = Trainer(again, CPU)
    assert resumed.iteration == 2
    state = resumed.run(lambda line: None)
    assert whole.keys() == state.keys()


def test_the_phases_trained_on_are_those_asked_for_and_held_out_patches_stay_the_same(config):
    newborns, late = (Trainer(dataclasses.replace(config, phase_shares=shares), CPU) for shares in ((1, 0, 0), (0, 0, 1)))
    draws = [np.random.default_rng(number) for number in range(8)]
    assert {newborns.training.simulator.patch(rng, 16).phase for rng in draws} == {"newborn"}
    assert {late.training.simulator.patch(rng, 16).phase for rng in draws} == {"late"}
    held_out = [trainer.held_out.batch(np.random.default_rng(1), 1, augment=False)[0] for trainer in (newborns, late)]
    assert torch.equal(*held_out)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"workers": -1}, "workers is -1"),
        ({"uses": 0}, "uses"),
        ({"own_context": 0.5}, "fcn2"),
        ({"phase_shares": (0.5, 0.5)}, "wanted 3 shares of sum 1: newborn"),
        ({"phase_shares": (0.5, 0.5, 0.5)}, "wanted 3 shares of sum 1: newborn"),
        ({"phase_shares": (0.5, 0.5, float("nan"))}, "wanted 3 shares of sum 1: newborn"),
    ],
)
def test_a_config_that_asks_for_the_impossible_is_refused(config, wrong, said):
    with pytest.raises(TrainingError, match=said):
        dataclasses.replace(config, **wrong)


PREDICTED = torch.tensor([0, 1, 1, 2, 3, 3, 3, 0]).reshape(1, 2, 2, 2)
LABELS = torch.tensor([0, 1, 2, 2, 3, 3, 2, 1]).reshape(1, 2, 2, 2)


def logits_of(labels, classes=4):
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()


def test_overlaps_are_of_as_many_classes_as_the_network_has():
    assert overlap_counts(logits_of(PREDICTED, classes=5), LABELS).shape == (2, 4)


def test_overlap_and_doc_of_eight_voxels():
    counts = overlap_counts(logits_of(PREDICTED), LABELS)
    np.testing.assert_array_equal(counts, [[1, 1, 2], [2 + 2, 1 + 3, 3 + 2]])
    np.testing.assert_allclose(dice_of(counts), [2 / 4, 2 / 4, 4 / 5])


def test_a_tissue_that_neither_has_scores_0():
    np.testing.assert_array_equal(dice_of(overlap_counts(logits_of(torch.zeros_like(LABELS)), torch.zeros_like(LABELS))), [0, 0, 0])


def test_means_of_a_run_are_over_all_voxels():
    tally = Tally(4)
    assert math.isnan(tally.loss)
    tally.add(1.0, np.array([[1, 0, 0], [4, 2, 0]]), left_out=False)
    tally.add(0.5, np.array([[2, 0, 0], [4, 2, 0]]), left_out=True)
    assert tally.loss == pytest.approx(0.75)
    assert tally.left_out == 1
    np.testing.assert_allclose(tally.dice, [6 / 8, 0, 0])
    assert tally.seconds >= 0
