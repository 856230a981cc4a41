"""The synthesized batches of a run, ready before its iterations ask for them."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ...core.errors import TrainingError
from ...core.stops import ignore_stops
from .batches import BatchMaker, PatchSource, WithContext

Batch = tuple[torch.Tensor, torch.Tensor]

_BLOCK = 32  # batches that come round together where each serves more than once
_AHEAD = 4  # batches a worker makes ahead


class BatchQueue:
    """Gives iteration i its batch, from one thread or from processes that work ahead.

    Which batch an iteration gets depends on the seed and its number alone.

    Parameters
    ----------
    source : PatchSource
        A `BatchMaker`, with context or without, if processes are to synthesize.
    seed : tuple of int
        With the number of a batch behind it, the seed of its random numbers.
    batch_size : int
    uses : int
        Iterations that each batch serves, 32 batches coming round together; at every second use it is mirrored left to right.
    workers : int
        Processes that synthesize; 0 for a thread.
    iterations : range
        Of the run, from the one it resumes at.

    Raises
    ------
    TrainingError
        If processes are asked for and the source is no `BatchMaker`.
    """

    def __init__(self, source: PatchSource, seed: tuple[int, ...], batch_size: int, uses: int, workers: int, iterations: range):
        self.uses = uses
        self.block = _BLOCK if uses > 1 else 1
        self._kept: dict[int, Batch] = {}
        numbers = range(self._place(iterations.start)[0], self._place(iterations.stop)[0] + self.block)
        make = _by_processes if workers else _by_a_thread
        self._synthesized = make(source, seed, batch_size, workers, numbers)

    def _place(self, iteration: int) -> tuple[int, int, int]:
        """First batch of an iteration's block, its own batch, and how often that was used before."""
        block, place = divmod(iteration, self.uses * self.block)
        use, index = divmod(place, self.block)
        return block * self.block, block * self.block + index, use

    def take(self, iteration: int) -> Batch:
        """Images (B, C, X, Y, Z) and labels (B, X, Y, Z) of an iteration; iterations are asked for in order."""
        first, wanted, use = self._place(iteration)
        self._kept = {number: batch for number, batch in self._kept.items() if number >= first}
        while wanted not in self._kept:
            number, batch = next(self._synthesized)
            self._kept[number] = batch
        images, labels = self._kept[wanted]
        return (images.flip(2), labels.flip(1)) if use % 2 else (images, labels)


def _by_a_thread(source, seed, batch_size, _workers, numbers) -> Iterator[tuple[int, Batch]]:
    thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
    batches = _SynthesizedBatches(source, seed, batch_size)
    following: Future = thread.submit(batches.__getitem__, numbers[0])
    for number in numbers:
        current, following = following, thread.submit(batches.__getitem__, number + 1)
        yield number, current.result()


def _by_processes(source, seed, batch_size, workers, numbers) -> Iterator[tuple[int, Batch]]:
    maker, finish = (source.source, source.add_context) if isinstance(source, WithContext) else (source, None)
    if not isinstance(maker, BatchMaker):
        raise TrainingError("workers synthesize patches of tissue only: set workers to 0.")
    maker.simulator.prepare()
    loader = DataLoader(
        _SynthesizedBatches(maker, seed, batch_size),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=_AHEAD,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=ignore_stops,  # a terminal sends Ctrl-C to them too, while the batch they paint is still wanted
    )
    return ((number, (finish(images) if finish else images, labels)) for number, (images, labels) in zip(numbers, loader, strict=True))


class _SynthesizedBatches(Dataset):
    def __init__(self, source: PatchSource, seed: tuple[int, ...], batch_size: int):
        self.source, self.seed, self.batch_size = source, seed, batch_size

    def __getitem__(self, number: int) -> Batch:
        return self.source.batch(np.random.default_rng([*self.seed, number]), self.batch_size)
