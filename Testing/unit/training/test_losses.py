import math

import pytest
import torch

from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.training.losses import deep_supervision_loss, downsample_labels, parameter_groups


def test_the_loss_is_the_weighted_sum_of_three_cross_entropies():
    labels = torch.ones(1, 4, 4, 4, dtype=torch.int64)
    logits = [torch.zeros(1, 4, n, n, n) for n in (4, 2, 1)]
    assert float(deep_supervision_loss(logits, labels)) == pytest.approx((1.0 + 0.67 + 0.33) * math.log(4), rel=1e-6)


def test_each_scale_has_its_own_weight():
    labels = torch.ones(1, 4, 4, 4, dtype=torch.int64)
    right = torch.zeros(1, 4, 4, 4, 4)
    right[:, 1] = 50
    logits = [right, torch.zeros(1, 4, 2, 2, 2), right[:, :, :1, :1, :1]]
    assert float(deep_supervision_loss(logits, labels)) == pytest.approx(0.67 * math.log(4), rel=1e-5)


def test_labels_are_downsampled_by_majority_not_by_maximum():
    labels = torch.full((1, 2, 2, 2), 1)
    labels[0, 0, 0, :] = 3
    assert downsample_labels(labels, 2, 4).item() == 1


def test_the_classes_that_vote_are_those_of_the_network():
    labels = torch.full((1, 4, 4, 4), 4)
    right = [torch.zeros(1, 5, n, n, n) for n in (4, 2, 1)]
    for logits in right:
        logits[:, 4] = 50
    assert float(deep_supervision_loss(right, labels)) == pytest.approx(0, abs=1e-6)


def test_odd_sizes_round_up():
    assert downsample_labels(torch.zeros(1, 5, 4, 3, dtype=torch.int64), 2, 4).shape == (1, 3, 2, 2)


def test_weight_decay_is_on_weights_only():
    network = MultiStreamFCN(NetworkConfig(base_width=2))
    decayed, free = parameter_groups(network, 0.005)
    assert decayed["weight_decay"] == 0.005
    assert free["weight_decay"] == 0
    assert all(p.ndim == 5 for p in decayed["params"])
    assert all(p.ndim == 1 for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(network.parameters()))
