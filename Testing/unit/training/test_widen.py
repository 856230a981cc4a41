import pytest
import torch

from InfantBrainSegLib.core.errors import TrainingError
from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.training.transfer import start_from
from InfantBrainSegLib.training.widen import widen


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
