import pytest
import torch

from InfantBrainSegLib.errors import TrainingError
from InfantBrainSegLib.network import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.training.transfer import start_from


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
