import contextlib

import numpy as np
import pytest
import torch

from InfantBrainSegLib.context import ContextConfig
from InfantBrainSegLib.labels import CSF, GM
from InfantBrainSegLib.training.batches import BatchMaker, ContextFromNetworks
from InfantBrainSegLib.training.synthesis import Simulator


def absent(images):
    """Which of T1 and T2 each patch lacks."""
    return [tuple(bool(torch.any(stream)) for stream in patch) for patch in images]


@pytest.mark.parametrize(("chance", "augment", "lacking"), [(0.0, True, False), (1.0, True, True), (1.0, False, False)])
def test_a_patch_lacks_one_stream_with_the_chance_asked_for_and_only_in_training(label_map, chance, augment, lacking):
    maker = BatchMaker(Simulator([label_map], device=torch.device("cpu")), "bundled", 16, stream_dropout=chance)
    images, _ = maker.batch(np.random.default_rng(3), 6, augment=augment)
    found = absent(images)
    assert set(found) == ({(True, False), (False, True)} if lacking else {(True, True)})


class Splits(torch.nn.Module):
    """In place of a network: CSF on one side of a plane across x and GM on the other; remembers what it was given."""

    def __init__(self, plane):
        super().__init__()
        self.plane = plane
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        logits = torch.zeros(len(x), 4, *x.shape[2:])
        logits[:, CSF.value, : self.plane] = 1
        logits[:, GM.value, self.plane :] = 1
        return logits


@pytest.mark.parametrize(("share", "plane"), [(0.0, 3), (1.0, 5)])
def test_the_context_is_that_of_fcn1_or_with_the_chance_asked_for_that_of_fcn2_guided_by_fcn1s(share, plane):
    fcn1, fcn2 = Splits(3), Splits(5)
    images = torch.rand(2, 2, 8, 8, 8)
    add = ContextFromNetworks(fcn1, ContextConfig(), contextlib.nullcontext, fcn2, share)
    result = add(images, np.random.default_rng(1))
    expected = {at: (np.arange(8) - at) + (np.arange(8) >= at) for at in (3, 5)}  # signed distance to CSF in voxels, no voxel at 0
    assert torch.equal(result[:, :2], images)
    assert result[:, 2, :, 0, 0].numpy() * 10 == pytest.approx(np.stack([expected[plane]] * 2), abs=1e-5)
    assert len(fcn2.seen) == int(share)
    if share:
        assert torch.equal(fcn2.seen[0][:, :2], images)
        assert fcn2.seen[0][0, 2, :, 0, 0].numpy() * 10 == pytest.approx(expected[3], abs=1e-5)
