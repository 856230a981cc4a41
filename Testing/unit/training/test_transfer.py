import pytest
import torch

from InfantBrainSegLib.core.errors import TrainingError, WeightsError
from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.networks.weights import load_network, save_weights
from InfantBrainSegLib.training.transfer import partial_transfer, start_from, transfer_table, widen


def test_a_second_stage_started_from_the_first_gives_the_same_answer():
    fcn1 = MultiStreamFCN(NetworkConfig((1, 1), base_width=2)).eval()
    fcn2 = MultiStreamFCN(NetworkConfig((1, 1, 3), base_width=2)).eval()
    report = start_from(fcn2, fcn1.state_dict())
    x = torch.randn(1, 5, 16, 16, 16)
    assert torch.allclose(fcn2(x), fcn1(x[:, :2]), atol=1e-6)
    assert report["decoder.0.up.weight"] == "extended"
    assert report["encoders.2.levels.0.0.conv.weight"] == "kept"
    assert report["encoders.1.levels.0.0.conv.weight"] == "copied"


def test_weights_of_another_network_are_refused():
    with pytest.raises(TrainingError, match="same width"):
        start_from(MultiStreamFCN(NetworkConfig(base_width=2)), {"other.weight": torch.zeros(3)})


def c3d_tensors(width=2):
    """C3D's first layers and one beyond, small: {(name a, b, c, d): weight}."""
    sizes = [(3, width), (width, 2 * width), (2 * width, 4 * width), (4 * width, 4 * width), (4 * width, 8 * width), (8 * width, 8 * width)]
    generator = torch.Generator().manual_seed(3)
    return [torch.randn((out, into, 3, 3, 3), generator=generator) for into, out in [*sizes, (8 * width, 8 * width)]]


LAYOUTS = {
    "ports": ["conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a"],
    "sequential": ["features.0", "features.3", "features.6", "features.8", "features.11", "features.13", "features.16"],
    "mmaction2": [f"backbone.{name}.conv" for name in ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a")],
    "caffe": ["conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a"],
}


def save_c3d(path, layout, width=2, wrap=False):
    state = {}
    for name, weight in zip(LAYOUTS[layout], c3d_tensors(width), strict=True):
        state[f"{name}.weight"], state[f"{name}.bias"] = weight, torch.ones(len(weight))
    torch.save({"state_dict": state} if wrap else state, path)
    return str(path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_c3d_layout_fills_the_t2_encoder_and_nothing_else(tmp_path, layout):
    network = MultiStreamFCN(NetworkConfig(base_width=2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    report = partial_transfer(network, init_t2=save_c3d(tmp_path / "c3d.pt", layout, wrap=layout == "mmaction2"))
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"encoders.1.levels.{place}.conv.weight" for place in ("0.0", "1.0", "2.0", "2.1", "3.0", "3.1")}
    assert changed == {line.tensor for line in report if line.action == "adapted"}
    skipped = {line.tensor: line.reason for line in report if line.action == "skipped"}
    beyond = LAYOUTS[layout][-1].removeprefix("backbone.")
    assert "conv4b" in skipped[f"{beyond}.weight"]
    assert len(skipped) == 6 + 2 + len(before) - 6  # the biases of the six, conv5a, what no file gave


def test_conv1a_answers_a_gray_video_as_the_one_channel_encoder_does_its_image(tmp_path):
    network = MultiStreamFCN(NetworkConfig(base_width=2))
    partial_transfer(network, init_t2=save_c3d(tmp_path / "c3d.pt", "ports"))
    image = torch.randn(1, 1, 8, 9, 10)  # (B, 1, X, Y, Z)
    video = image.permute(0, 1, 4, 3, 2).expand(1, 3, 10, 9, 8)  # (B, RGB, T, H, W)
    wanted = torch.nn.functional.conv3d(video, c3d_tensors()[0], padding=1)
    assert torch.allclose(network.encoders[1].levels[0][0].conv(image), wanted.permute(0, 1, 4, 3, 2), atol=1e-5)


def test_a_one_stream_network_becomes_the_whole_t1_path(tmp_path):
    femur = MultiStreamFCN(NetworkConfig((1,), base_width=2, skip_streams="first")).eval()
    torch.save(femur.state_dict(), tmp_path / "femur.pt")
    network = MultiStreamFCN(NetworkConfig((1, 1), base_width=2, skip_streams="first")).eval()
    report = {line.tensor: line for line in partial_transfer(network, init_t1=str(tmp_path / "femur.pt"))}
    x = torch.randn(1, 2, 16, 16, 16)
    assert torch.allclose(network(x), femur(x[:, :1]), atol=1e-6)
    assert report["decoder.0.up.weight"].action == "adapted"
    assert "16 input channels" in report["decoder.0.up.weight"].reason
    assert report["classifiers.2.bias"].action == report["encoders.0.levels.3.1.norm.running_var"].action == "taken"
    assert report["encoders.1.levels.0.0.conv.weight"].action == "skipped"


def test_an_own_weights_file_of_either_format_and_an_own_checkpoint_give_the_same_t1_path(tmp_path):
    save_weights(MultiStreamFCN(NetworkConfig((1, 1), base_width=2)), "fcn1", {}, tmp_path / "weights.pt")
    own = load_network(tmp_path / "weights.pt").network
    torch.save({"network": own.state_dict(), "iteration": 3}, tmp_path / "checkpoint.pt")
    torch.save({"format": 1, "network": {"base_width": 2}, "state_dict": own.state_dict()}, tmp_path / "format1.pt")
    states = []
    for name in ("checkpoint.pt", "format1.pt", "weights.pt"):
        torch.manual_seed(5)
        network = MultiStreamFCN(NetworkConfig(base_width=2))
        report = partial_transfer(network, init_t1=str(tmp_path / name))
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], state[name]) for state in states for name in states[0])
    assert {line.reason.split(" (")[0] for line in report if line.tensor.startswith("encoders.1.")} >= {"not of the T1 path"}


def test_both_files_together_fill_both_streams(tmp_path):
    torch.save(MultiStreamFCN(NetworkConfig((1,), base_width=2, skip_streams="first")).state_dict(), tmp_path / "femur.pt")
    network = MultiStreamFCN(NetworkConfig((1, 1, 3), base_width=2, skip_streams="first"))
    report = partial_transfer(network, str(tmp_path / "femur.pt"), save_c3d(tmp_path / "c3d.pt", "caffe"))
    kept = {line.tensor for line in report if line.reason.startswith("in no file")}
    assert all(name.startswith("encoders.2.") or ".norm." in name for name in kept)
    assert transfer_table(report).splitlines()[-1].endswith("skipped")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (NetworkConfig(base_width=4), r"conv1.weight of .*\(2, 3, 3, 3, 3\).*\(4, 1, 3, 3, 3\)"),
        (NetworkConfig(base_width=2, convs_per_level=(1, 1, 1, 1)), r"lacks encoders.1.levels.2.1.conv.weight"),
    ],
)
def test_a_c3d_that_can_not_fit_is_an_error_that_names_the_tensor(tmp_path, config, said):
    with pytest.raises(WeightsError, match=said):
        partial_transfer(MultiStreamFCN(config), init_t2=save_c3d(tmp_path / "c3d.pt", "ports"))


def test_a_t1_path_of_another_width_is_an_error_that_names_the_tensor(tmp_path):
    torch.save(MultiStreamFCN(NetworkConfig(base_width=4)).state_dict(), tmp_path / "own.pt")
    with pytest.raises(WeightsError, match=r"encoders.0.levels.0.0.conv.weight of .*\(4, 1, 3, 3, 3\).*\(2, 1, 3, 3, 3\)"):
        partial_transfer(MultiStreamFCN(NetworkConfig(base_width=2)), init_t1=str(tmp_path / "own.pt"))


@pytest.mark.parametrize("option", ["init_t1", "init_t2"])
def test_a_file_with_other_tensors_is_refused_with_its_names(tmp_path, option):
    torch.save({"layer9.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"T1 encoder|layer9.weight"):
        partial_transfer(MultiStreamFCN(NetworkConfig(base_width=2)), **{option: str(tmp_path / "other.pt")})


class Trap:
    """Would write a file if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_with_python_objects_is_not_unpickled(tmp_path):
    torch.save({"conv1.weight": Trap(tmp_path / "sprung")}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match="Python objects"):
        partial_transfer(MultiStreamFCN(NetworkConfig(base_width=2)), init_t2=str(tmp_path / "evil.pt"))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("damage", ["missing", "truncated", "text"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "c3d.pt"
    if damage != "missing":
        save_c3d(path, "ports")
        path.write_bytes(path.read_bytes()[:100] if damage == "truncated" else b"not weights")
    with pytest.raises(WeightsError, match=r"c3d.pt") as error:
        partial_transfer(MultiStreamFCN(NetworkConfig(base_width=2)), init_t2=str(path))
    assert "\n" not in str(error.value)


def trained(config: NetworkConfig) -> MultiStreamFCN:
    """A network none of whose weights has a value of its start."""
    network = MultiStreamFCN(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value += 0.2 * torch.rand(value.shape, generator=generator) * (1 if "running_var" in name else value.abs().mean() + 0.1)
    return network


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("wide", [4, 5])
@pytest.mark.parametrize("shape", [{}, {"stream_channels": (1, 1, 3)}, {"skip_streams": "first", "convs_per_level": (1, 1, 2, 2, 2)}])
def test_a_widened_network_computes_the_same(norm, wide, shape):
    narrow = trained(NetworkConfig(**{"base_width": 2, "norm": norm} | shape))
    network = MultiStreamFCN(NetworkConfig(**{"base_width": wide, "norm": norm} | shape))
    report = start_from(network, narrow.state_dict())
    assert set(report.values()) == {"copied"}
    images = torch.rand(1, sum(narrow.config.stream_channels), 32, 32, 32)
    with torch.no_grad():
        wanted, got = narrow.eval()(images), network.eval()(images)
    assert wanted.std() > 0.01
    assert (got - wanted).abs().max() < 1e-3 * wanted.std()


def test_copies_of_a_channel_are_read_by_unlike_shares():
    state = widen(trained(NetworkConfig(base_width=2)).state_dict(), 4)
    first = state["encoders.0.levels.0.0.conv.weight"]
    assert torch.equal(first[:2], first[2:])
    read = state["encoders.0.levels.1.0.conv.weight"]
    assert (read[:, :2] - read[:, 2:]).abs().min() > 0
    assert torch.allclose(read[0, :2] / (read[0, :2] + read[0, 2:]), (read[0, :2] / (read[0, :2] + read[0, 2:])).mean((1, 2, 3), True))


def test_two_stages_of_unlike_width():
    fcn1 = trained(NetworkConfig(base_width=2, norm="instance"))
    fcn2 = MultiStreamFCN(NetworkConfig((1, 1, 3), base_width=3, norm="instance"))
    report = start_from(fcn2, fcn1.state_dict())
    assert report["decoder.0.up.weight"] == report["decoder.2.merge.conv.weight"] == "extended"
    images = torch.rand(1, 5, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(fcn2.eval()(images), fcn1.eval()(images[:, :2]), atol=1e-4, rtol=1e-4)


def test_weights_of_the_same_width_and_of_other_networks_stay():
    state = trained(NetworkConfig(base_width=2)).state_dict()
    assert widen(state, 2) is state
    other = {"conv1a.weight": torch.zeros(2, 1, 3, 3, 3)}
    assert widen(other, 4) is other


def test_wider_weights_are_an_error():
    with pytest.raises(TrainingError, match="base width 4; wanted at most this network's, 2"):
        widen(trained(NetworkConfig(base_width=4)).state_dict(), 2)
