import hashlib
import json

import numpy as np
import pytest
import torch

from InfantBrainSegLib.core.errors import WeightsError
from InfantBrainSegLib.networks.context import ContextConfig
from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.networks.sliding_window import SlidingWindowConfig, predict
from InfantBrainSegLib.networks.weights import load_network, save_weights
from Testing.benchmarks import store_weights


def tiny_network(streams=(1, 1)):
    torch.manual_seed(0)
    return MultiStreamFCN(NetworkConfig(streams, base_width=2)).eval()


def test_a_saved_network_comes_back_with_its_stage_context_and_training(tmp_path):
    meta = {"context": ContextConfig(signed=False, clip_mm=7.0), "training": {"seed": 3}}
    sha256 = save_weights(tiny_network((1, 1, 3)), "fcn2", meta, tmp_path / "fcn2.pt")
    loaded = load_network("fcn2", tmp_path)
    assert (loaded.stage, loaded.sha256, loaded.training) == ("fcn2", sha256, {"seed": 3})
    assert loaded.context == ContextConfig(signed=False, clip_mm=7.0)
    assert not loaded.network.training


def as_format_1(path, wanted):
    """The file as earlier versions wrote it: float16 and no scales."""
    content = torch.load(path, weights_only=True)
    network = load_network(path).network
    half = {name: value.half() if value.is_floating_point() and value.dim() > 1 else value for name, value in network.state_dict().items()}
    del content["scales"]
    wanted.parent.mkdir(exist_ok=True)
    torch.save({**content, "format": 1, "state_dict": half}, wanted)


def test_no_weight_moves_by_more_than_half_a_level_of_its_output_channel(tmp_path):
    network = tiny_network((1, 1, 3))
    save_weights(network, "fcn2", {"context": ContextConfig()}, tmp_path / "fcn2.pt")
    loaded = load_network("fcn2", tmp_path).network.state_dict()
    output_axes = {name: 1 if ".up." in name else 0 for name in loaded}  # transposed convolutions give (in, out, x, y, z)
    for name, value in network.state_dict().items():
        if value.dim() < 2:
            assert torch.equal(loaded[name], value)
            continue
        others = [axis for axis in range(value.dim()) if axis != output_axes[name]]
        half_level = value.abs().amax(others, keepdim=True) / 127 / 2
        assert ((loaded[name] - value).abs() <= half_level * 1.001).all(), name
        assert not torch.equal(loaded[name], value)


def test_loaded_logits_are_close_to_those_of_the_saved_network(tmp_path):
    network = tiny_network()
    save_weights(network, "fcn1", {}, tmp_path / "fcn1.pt")
    x = torch.randn(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    loaded = load_network("fcn1", tmp_path).network
    with torch.inference_mode():
        assert torch.allclose(network(x), loaded(x), atol=3e-2)
    assert all(parameter.dtype == torch.float32 for parameter in loaded.parameters())


def test_matrices_are_stored_as_integers_with_a_scale_for_each_output_channel(tmp_path):
    network = tiny_network()
    save_weights(network, "fcn1", {}, tmp_path / "fcn1.pt")
    content = torch.load(tmp_path / "fcn1.pt", weights_only=True)
    stored = {name for name, tensor in content["state_dict"].items() if tensor.dim() > 1}
    assert {content["state_dict"][name].dtype for name in stored} == {torch.int8}
    assert set(content["scales"]) == stored
    for name, module in network.named_modules():
        if hasattr(module, "out_channels"):
            assert content["scales"][f"{name}.weight"].numel() == module.out_channels


def test_saving_what_was_loaded_changes_nothing(tmp_path):
    save_weights(tiny_network(), "fcn1", {}, tmp_path / "fcn1.pt")
    again = save_weights(load_network("fcn1", tmp_path).network, "fcn1", {}, tmp_path / "again" / "fcn1.pt")
    assert again == load_network("fcn1", tmp_path).sha256


def test_a_channel_of_zeros_stays_zero(tmp_path):
    network = tiny_network()
    with torch.no_grad():
        network.encoders[0].levels[0][0].conv.weight[1] = 0
    save_weights(network, "fcn1", {}, tmp_path / "fcn1.pt")
    assert (load_network("fcn1", tmp_path).network.encoders[0].levels[0][0].conv.weight[1] == 0).all()


@pytest.mark.parametrize("classes", [4, 5])
def test_a_file_of_format_1_gives_the_same_network(tmp_path, classes):
    torch.manual_seed(0)
    save_weights(MultiStreamFCN(NetworkConfig((1, 1), base_width=2, classes=classes)), "fcn1", {}, tmp_path / "fcn1.pt")
    as_format_1(tmp_path / "fcn1.pt", tmp_path / "old.pt")
    old, new = (load_network(tmp_path / name).network for name in ("old.pt", "fcn1.pt"))
    assert old.config.classes == new.config.classes == classes
    for name, value in new.state_dict().items():
        assert torch.allclose(old.state_dict()[name], value, rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize("scales", [{}, None, "none", {"encoders.0.levels.0.0.conv.weight": torch.ones(3)}, "huge"])
def test_integers_without_scales_of_their_own_are_refused(tmp_path, scales):
    save_weights(tiny_network(), "fcn1", {}, tmp_path / "fcn1.pt")
    content = torch.load(tmp_path / "fcn1.pt", weights_only=True)
    if scales == "huge":
        scales = {name: torch.ones(1000, *scale.shape[1:]) for name, scale in content["scales"].items()}  # would multiply the tensor itself
    torch.save({**content, "scales": scales}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="does not fit"):
        load_network(tmp_path / "other.pt")


def test_a_variance_beyond_float16_survives(tmp_path):
    network = tiny_network()
    with torch.no_grad():
        network.encoders[0].levels[0][0].norm.running_var.fill_(1e6)
    save_weights(network, "fcn1", {}, tmp_path / "fcn1.pt")
    loaded = load_network("fcn1", tmp_path).network
    assert loaded.encoders[0].levels[0][0].norm.running_var[0] == 1e6


def test_the_manifest_lists_size_and_sha256_of_each_file(tmp_path):
    save_weights(tiny_network(), "fcn1", {}, tmp_path / "fcn1.pt")
    save_weights(tiny_network((1, 1, 3)), "fcn2", {"context": ContextConfig()}, tmp_path / "fcn2.pt")
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(manifest) == ["fcn1.pt", "fcn2.pt"]
    raw = (tmp_path / "fcn1.pt").read_bytes()
    assert manifest["fcn1.pt"] == {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}


def test_one_flipped_byte_is_refused(tmp_path):
    path = tmp_path / "fcn1.pt"
    save_weights(tiny_network(), "fcn1", {}, path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(WeightsError, match="damaged"):
        load_network("fcn1", tmp_path)


def test_a_stage_without_a_manifest_is_refused_but_a_named_file_is_read(tmp_path):
    save_weights(tiny_network(), "fcn1", {}, tmp_path / "fcn1.pt")
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(WeightsError, match=r"manifest\.json is missing"):
        load_network("fcn1", tmp_path)
    assert load_network(tmp_path / "fcn1.pt").stage == "fcn1"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"fcn1\.pt is missing"):
        load_network("fcn1", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "other.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as weights") as caught:
        load_network(tmp_path / "other.pt")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="not a weights file"):
        load_network(tmp_path / "other.pt")


def test_code_hidden_in_a_checkpoint_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    torch.save({"format": 1, "payload": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError):
        load_network(tmp_path / "evil.pt")
    assert not (tmp_path / "pwned").exists()


def test_weights_of_another_width_are_refused(tmp_path):
    save_weights(tiny_network(), "fcn1", {}, tmp_path / "fcn1.pt")
    content = torch.load(tmp_path / "fcn1.pt", weights_only=True)
    content["network"]["base_width"] = 4
    torch.save(content, tmp_path / "wide.pt")
    with pytest.raises(WeightsError, match="does not fit"):
        load_network(tmp_path / "wide.pt")


def test_a_file_under_the_other_stages_name_is_refused(tmp_path):
    save_weights(tiny_network(), "fcn1", {}, tmp_path / "fcn2.pt")
    with pytest.raises(WeightsError, match="holds the stage 'fcn1'"):
        load_network("fcn2", tmp_path)


def test_one_of_the_files_stands_for_its_folder(tmp_path):
    sha256 = save_weights(tiny_network(), "fcn1", {}, tmp_path / "fcn1.pt")
    assert load_network("fcn1", tmp_path / "manifest.json").sha256 == load_network("fcn1", tmp_path / "fcn1.pt").sha256 == sha256


def test_a_file_of_another_name_is_refused(tmp_path):
    save_weights(tiny_network(), "fcn1", {}, tmp_path / "fcn1.pt")
    (tmp_path / "other.pt").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"other\.pt is not a weights file of ours"):
        load_network("fcn1", tmp_path / "other.pt")


def test_a_tissue_network_of_five_classes_runs_beside_the_bundled_extraction_of_four(tmp_path):
    torch.manual_seed(0)
    save_weights(MultiStreamFCN(NetworkConfig((1, 1), base_width=2, classes=5)), "fcn1", {}, tmp_path / "fcn1.pt")
    networks = [load_network("fcn1", tmp_path), load_network("locate"), load_network("refine")]
    counts = []
    for loaded in networks:
        inputs = np.random.default_rng(0).normal(size=(sum(loaded.network.config.stream_channels), 32, 36, 32)).astype(np.float32)
        probabilities = predict(loaded.network, torch.from_numpy(inputs), None, SlidingWindowConfig(patch_voxels=32), torch.device("cpu"))
        np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
        counts.append(len(probabilities))
    assert counts == [5, 4, 4]


def test_a_file_from_before_networks_told_their_classes_has_four(tmp_path):
    save_weights(tiny_network(), "fcn1", {}, tmp_path / "fcn1.pt")
    content = torch.load(tmp_path / "fcn1.pt", weights_only=True)
    del content["network"]["classes"]
    torch.save(content, tmp_path / "old.pt")
    assert load_network(tmp_path / "old.pt").network.config.classes == 4


@pytest.mark.parametrize("bias", [5.0, float("nan"), float("-inf")])
def test_a_bias_that_leaves_other_tissues_no_chance_is_refused(tmp_path, bias):
    save_weights(tiny_network((1, 1, 3)), "fcn2", {"context": ContextConfig(), "newborn_wm_bias": bias}, tmp_path / "fcn2.pt")
    with pytest.raises(WeightsError, match=r"newborn_wm_bias is \S+; wanted -4 to 4"):
        load_network("fcn2", tmp_path)


def test_a_file_that_tells_no_bias_has_none(tmp_path):
    save_weights(tiny_network((1, 1, 3)), "fcn2", {"context": ContextConfig()}, tmp_path / "fcn2.pt")
    content = torch.load(tmp_path / "fcn2.pt", weights_only=True)
    del content["newborn_wm_bias"]
    torch.save(content, tmp_path / "old.pt")
    assert load_network(tmp_path / "old.pt").newborn_wm_bias == 0


def test_labels_that_are_not_those_of_the_files_own_network_are_refused(tmp_path):
    save_weights(tiny_network(), "fcn1", {}, tmp_path / "fcn1.pt")
    content = torch.load(tmp_path / "fcn1.pt", weights_only=True)
    content["labels"] = [0, 1, 2]
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"labels \[0, 1, 2\] and a network of 4 classes"):
        load_network(tmp_path / "other.pt")


def test_the_command_that_stores_again_keeps_what_a_file_tells(tmp_path, monkeypatch):
    meta = {"context": ContextConfig(clip_mm=7.0), "training": {"seed": 3}, "newborn_wm_bias": 0.5}
    save_weights(tiny_network((1, 1, 3)), "fcn2", meta, tmp_path / "fcn2.pt")
    as_format_1(tmp_path / "fcn2.pt", tmp_path / "old" / "fcn2.pt")
    monkeypatch.setattr("sys.argv", ["store-weights", str(tmp_path / "old"), str(tmp_path / "new")])
    store_weights.main()
    old, new = (load_network(tmp_path / name / "fcn2.pt") for name in ("old", "new"))
    assert (new.stage, new.meta) == (old.stage, old.meta) == ("fcn2", meta)
    assert (tmp_path / "new" / "fcn2.pt").stat().st_size < (tmp_path / "old" / "fcn2.pt").stat().st_size
    assert load_network("fcn2", tmp_path / "new").network.config == old.network.config
