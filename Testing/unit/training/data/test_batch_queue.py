import itertools

import numpy as np
import pytest
import torch

from InfantBrainSegLib.core.errors import TrainingError
from InfantBrainSegLib.training.data.batch_queue import BatchQueue
from InfantBrainSegLib.training.data.batches import BatchMaker, WithContext
from InfantBrainSegLib.training.recipe import BUNDLED
from InfantBrainSegLib.training.simulation.synthesis import Simulator


class Numbered:
    """Batches that hold a number drawn from their seed, which grows along x."""

    def __init__(self):
        self.made = itertools.count()

    def batch(self, rng, size, augment=True):
        next(self.made)
        along_x = torch.arange(3.0).view(1, 1, 3, 1, 1).expand(size, 2, 3, 2, 2)
        return along_x + int(rng.integers(1000)), along_x[:, 0].long()


def number_of(seed, batch):
    return int(np.random.default_rng([*seed, batch]).integers(1000))


def test_each_iteration_gets_the_batch_of_its_number():
    queue = BatchQueue(Numbered(), (5, 0), 2, uses=1, workers=0, iterations=range(3, 6))
    for iteration in range(3, 6):
        images, labels = queue.take(iteration)
        assert images.shape == (2, 2, 3, 2, 2)
        assert images[0, 0, :, 0, 0].tolist() == [number_of((5, 0), iteration) + x for x in range(3)]
        assert labels[0, :, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("first", [0, 40, 64])
def test_a_batch_that_serves_twice_comes_again_32_iterations_later_and_mirrored(first):
    queue = BatchQueue(Numbered(), (5, 0), 1, uses=2, workers=0, iterations=range(first, 130))
    for iteration in range(first, 130):
        images, labels = queue.take(iteration)
        block, place = divmod(iteration, 64)
        number = number_of((5, 0), block * 32 + place % 32)
        order = [2, 1, 0] if place >= 32 else [0, 1, 2]
        assert images[0, 1, :, 1, 1].tolist() == [number + x for x in order]
        assert labels[0, :, 1, 1].tolist() == order


def test_a_batch_that_serves_twice_is_synthesized_once():
    source = Numbered()
    queue = BatchQueue(source, (5, 0), 1, uses=2, workers=0, iterations=range(64))
    for iteration in range(64):
        queue.take(iteration)
    assert next(source.made) <= 34  # 32, and one or two ahead


def double(images):
    return torch.cat([images, images], 1)


@pytest.mark.parametrize("context", [None, double])
def test_processes_paint_what_a_thread_paints(label_map, context):
    def source():
        maker = BatchMaker(Simulator([label_map]), BUNDLED, 16, stream_dropout=0.3)
        return WithContext(maker, context) if context else maker

    def batches(workers):
        queue = BatchQueue(source(), (5, 0), 2, 1, workers, range(4))
        return [queue.take(iteration) for iteration in range(4)]

    by_processes = batches(2)  # first: to fork while a thread computes is not safe
    for one, other in zip(by_processes, batches(0), strict=True):
        torch.testing.assert_close(one, other)


def test_processes_for_other_patches_are_refused():
    with pytest.raises(TrainingError, match="set workers to 0"):
        BatchQueue(Numbered(), (5, 0), 1, uses=1, workers=2, iterations=range(4))
