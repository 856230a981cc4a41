"""Weights files that mean harm, each with a manifest that fits: refused in one line before anything is built of them."""

import hashlib
import json
import math
import pickle
import zipfile

import pytest
import torch

from InfantBrainSegLib.core.errors import WeightsError
from InfantBrainSegLib.networks.fcn import PAPER_FCN2, MultiStreamFCN, NetworkConfig, count_parameters, expected_shapes
from InfantBrainSegLib.networks.weights import load_network, save_weights
from InfantBrainSegLib.networks.weights_guard import MOST_PARAMETERS, check_archive

LARGE_BYTES = 1 << 26


@pytest.fixture
def good(tmp_path):
    torch.manual_seed(0)
    save_weights(MultiStreamFCN(NetworkConfig((1, 1), base_width=2)), "fcn1", {"training": {"seed": 3}}, tmp_path / "fcn1.pt")
    return tmp_path


def listed(folder):
    raw = (folder / "fcn1.pt").read_bytes()
    entry = {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
    (folder / "manifest.json").write_text(json.dumps({"fcn1.pt": entry}), encoding="utf-8")


def changed(folder, part, **values):
    """Save the file with other values in one of its parts, and list it."""
    content = torch.load(folder / "fcn1.pt", weights_only=True)
    content[part].update(values)
    torch.save(content, folder / "fcn1.pt")
    listed(folder)


def refusal(folder):
    with pytest.raises(WeightsError) as caught:
        load_network("fcn1", folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(folder))
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"convs_per_level": (1, 1, 2, 10**9)}, "convolutions of a level"),
        ({"convs_per_level": (1,) * 1000}, "number of levels"),
        ({"convs_per_level": (1, 1)}, "number of levels"),
        ({"convs_per_level": 3}, "convs_per_level is 3"),
        ({"convs_per_level": (1, 1, "2", 2)}, "convolutions of a level is '2'"),
        ({"base_width": 1024}, "base_width is 1024"),
        ({"base_width": -1}, "base_width is -1"),
        ({"base_width": 2.0}, "base_width is 2.0"),
        ({"base_width": True}, "base_width is True"),
        ({"base_width": math.nan}, "base_width is nan"),
        ({"stream_channels": (1,) * 10**4}, "number of streams"),
        ({"stream_channels": (1,) * 10**6}, "list of content is longer"),
        ({"stream_channels": (1, 10**9)}, "number of channels"),
        ({"stream_channels": ()}, "number of streams"),
        ({"classes": 10**9}, "classes is 1000000000"),
        ({"classes": None}, "classes is None"),
        ({"norm": ["batch"]}, "norm is"),
        ({"patch_norm": 1}, "patch_norm is 1"),
        ({"kernel": 99}, "kernel"),
    ],
)
def test_a_network_beyond_the_limits_is_refused(good, values, said):
    changed(good, "network", **values)
    assert said in refusal(good)


def test_a_network_within_each_limit_but_too_large_in_all_is_refused_without_its_memory(good):
    widest = {"base_width": 128, "convs_per_level": (8, 8, 8, 8, 8, 8)}
    assert sum(map(math.prod, expected_shapes(NetworkConfig((1, 1), **widest)).values())) > MOST_PARAMETERS
    changed(good, "network", **widest)
    assert "parameters; wanted 200000000 at most" in refusal(good)


def test_the_papers_larger_network_is_within_the_limits():
    shapes = expected_shapes(PAPER_FCN2)
    assert sum(map(math.prod, shapes.values())) < MOST_PARAMETERS


def test_expected_shapes_are_those_of_the_network():
    network = MultiStreamFCN(NetworkConfig((1, 1, 3), base_width=2))
    shapes = expected_shapes(network.config)
    assert shapes == {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert sum(math.prod(shapes[name]) for name, _ in network.named_parameters()) == count_parameters(network)


def test_a_tensor_of_another_shape_is_named(good):
    name = "encoders.0.levels.0.0.conv.weight"
    changed(good, "state_dict", **{name: torch.zeros(1).expand(10**6, 10**6)})
    said = refusal(good)
    assert name in said
    assert "(1000000, 1000000); wanted (2, 1, 3, 3, 3)" in said


def test_a_tensor_too_many_or_of_another_kind_is_refused(good):
    changed(good, "state_dict", extra=torch.zeros(1))
    assert "1 tensors are missing or too many, extra among them" in refusal(good)


def test_something_else_in_place_of_a_tensor_is_refused(good):
    changed(good, "state_dict", **{"encoders.0.levels.0.0.conv.weight": [1.0]})
    assert "no plain tensor" in refusal(good)


def test_a_network_of_another_number_of_channels_than_its_stage_sees_is_refused(tmp_path):
    save_weights(MultiStreamFCN(NetworkConfig((1, 1, 3), base_width=2)), "fcn1", {}, tmp_path / "fcn1.pt")
    assert "5 channels; wanted 2 for the stage fcn1" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dice": math.nan}, "holds nan; wanted finite"),
        ({"scores": [1.0, {"GM": -math.inf}]}, "holds -inf; wanted finite"),
        ({"patch_voxels": 10**9}, "patches of 1000000000 voxels"),
        ({"patch_voxels": "80"}, "patches of '80' voxels"),
        ({"patch_voxels": 0}, "patches of 0 voxels"),
        ({"note": "x" * 10**5}, "too long"),
        ({"list": [0] * 10**5}, "too long"),
        ({"seed": 10**500}, "too many digits"),
        ({"tensor": torch.zeros(2)}, "holds a Tensor"),
        ({3: 4}, "3 for a name"),
    ],
)
def test_a_training_record_that_no_report_could_hold_is_refused(good, values, said):
    content = torch.load(good / "fcn1.pt", weights_only=True)
    content["training"].update(values)
    torch.save(content, good / "fcn1.pt")
    listed(good)
    assert said in refusal(good)


def test_a_training_record_nested_without_end_is_refused(good):
    nest = []
    for _ in range(300):
        nest = [nest]
    changed(good, "training", nest=nest)
    assert "too long" in refusal(good)


@pytest.mark.parametrize("values", [{"clip_mm": math.nan}, {"clip_mm": 0}, {"clip_mm": "10"}, {"signed": 1}, {"divisor_mm": -1.0}])
def test_distance_maps_that_cannot_be_made_are_refused(good, values):
    content = torch.load(good / "fcn1.pt", weights_only=True)
    content["context"] = {"signed": True, "clip_mm": 10.0, "divisor_mm": None, **values}
    torch.save(content, good / "fcn1.pt")
    listed(good)
    assert next(iter(values)) in refusal(good)


def test_a_bomb_is_refused_before_it_unpacks(good):
    with zipfile.ZipFile(good / "fcn1.pt") as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    largest = max(parts, key=lambda name: len(parts[name]))
    parts[largest] = b"\0" * LARGE_BYTES
    with zipfile.ZipFile(good / "fcn1.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    listed(good)
    assert (good / "fcn1.pt").stat().st_size < LARGE_BYTES / 100
    assert "unpack to" in refusal(good)


def test_a_type_that_no_weights_have_is_refused_before_it_is_made(tmp_path):
    class Filler:
        def __reduce__(self):
            return bytearray, (LARGE_BYTES,)

    path = tmp_path / "fcn1.pt"
    torch.save({"format": 1, "filler": Filler()}, path)
    with pytest.raises(ValueError, match=r"bytearray.*wanted tensors and plain values"):
        check_archive(path.read_bytes())
    listed(tmp_path)
    assert "bytearray" in refusal(tmp_path)


def test_a_list_of_content_under_a_name_in_capitals_is_read_as_well(good):
    with zipfile.ZipFile(good / "fcn1.pt") as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(good / "fcn1.pt", "w") as archive:
        for name, content in parts.items():
            is_list = name.endswith("data.pkl")
            archive.writestr(name.replace("data.pkl", "data.PKL"), pickle.dumps(print, 2) if is_list else content)
    listed(good)
    assert "print" in refusal(good)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"fcn1.pt": "' + "0" * (1 << 20) + '"}'], ids=["nested", "long"])
def test_a_manifest_that_no_one_wrote_by_hand_or_by_us_is_refused(good, text):
    (good / "manifest.json").write_text(text, encoding="utf-8")
    assert "is damaged" in refusal(good)
