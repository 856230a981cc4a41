import sys

import pytest
import torch

from InfantBrainSegLib.core.labels import WM
from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.networks.weights import load_network, save_weights
from Testing.benchmarks import mix_weights


def saved(folder, seed, width=2):
    torch.manual_seed(seed)
    for stage, streams in (("fcn1", (1, 1)), ("fcn2", (1, 1, 3))):
        network = MultiStreamFCN(NetworkConfig(streams, base_width=width, norm="instance"))
        with torch.no_grad():
            for weight in network.parameters():
                weight.normal_(0, 0.1)
        save_weights(network, stage, {"training": {"seed": seed}}, folder / f"{stage}.pt")
    return folder


def test_weights_lie_between_those_of_both_and_white_matter_gets_its_bias(tmp_path, monkeypatch):
    first, second, out = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2), tmp_path / "out"
    monkeypatch.setattr(
        sys, "argv", ["mix-weights", str(first), str(second), str(out), "--share", "0.25", "--wm-bias", "0.5", "--newborn-wm-bias", "0.3"]
    )
    mix_weights.main()
    for stage in ("fcn1", "fcn2"):
        one, other, both = (load_network(stage, folder) for folder in (first, second, out))
        states = [loaded.network.state_dict() for loaded in (one, other, both)]
        for name, wanted in {name: 0.75 * states[0][name] + 0.25 * states[1][name] for name in states[0]}.items():
            if stage == "fcn2" and name == "classifiers.2.bias":
                wanted = wanted + 0.5 * torch.eye(len(wanted))[WM.value]
            assert torch.allclose(states[2][name], wanted, atol=0.004), name  # they are stored in 8 bits
        assert both.training["seed"] == 1
        assert both.newborn_wm_bias == (0.3 if stage == "fcn2" else 0)
        assert both.training["mixed_with"] == {"sha256": other.sha256, "share": 0.25} | ({"wm_bias": 0.5} if stage == "fcn2" else {})


def test_a_mixture_of_a_mixture_tells_of_both(tmp_path, monkeypatch):
    first, second, once, twice = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2), tmp_path / "once", tmp_path / "twice"
    for start, out, share in ((first, once, "0.5"), (once, twice, "0.25")):
        monkeypatch.setattr(sys, "argv", ["mix-weights", str(start), str(second), str(out), "--share", share])
        mix_weights.main()
    told = load_network("fcn2", twice).training["mixed_with"]
    assert (told["share"], told["earlier"]["share"]) == (0.25, 0.5)


def test_networks_of_another_shape_are_refused(tmp_path, monkeypatch, capsys):
    first, second = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2, width=4)
    monkeypatch.setattr(sys, "argv", ["mix-weights", str(first), str(second), str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        mix_weights.main()
    assert "of another shape" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
