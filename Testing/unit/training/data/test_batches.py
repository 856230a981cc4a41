import numpy as np
import pytest
import torch

from InfantBrainSegLib.training.data.batches import BatchMaker
from InfantBrainSegLib.training.simulation.synthesis import Simulator


def absent(images):
    """Which of T1 and T2 each patch lacks."""
    return [tuple(bool(torch.any(stream)) for stream in patch) for patch in images]


@pytest.mark.parametrize(("chance", "augment", "lacking"), [(0.0, True, False), (1.0, True, True), (1.0, False, False)])
def test_a_patch_lacks_one_stream_with_the_chance_asked_for_and_only_in_training(label_map, chance, augment, lacking):
    maker = BatchMaker(Simulator([label_map], device=torch.device("cpu")), "bundled", 16, stream_dropout=chance)
    images, _ = maker.batch(np.random.default_rng(3), 6, augment=augment)
    found = absent(images)
    assert set(found) == ({(True, False), (False, True)} if lacking else {(True, True)})
