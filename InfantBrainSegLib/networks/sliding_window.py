"""Where the windows go, and their predictions blended into one volume (paper, section 4.1)."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import EllipsisType

import numpy as np
import torch
from torch import nn

from ..core.errors import WeightsError
from ..core.labels import BACKGROUND
from .device import autocast_dtype, prefers_channels_last

Start = tuple[int, int, int]
Box = tuple[EllipsisType, slice, slice, slice]  # the last three axes of an array of any kind


@dataclass(frozen=True)
class SlidingWindowConfig:
    """How a volume is cut into windows and put together again.

    Attributes
    ----------
    patch_voxels : int
        Edge of a window.
    overlap : float
        Least share of a window's edge that the next one covers again, for the plan "overlap".
    blend : str
        "gaussian": a window counts most at its centre, where the network saw the most around; "uniform": the paper's plain average.
    plan : str
        "overlap", or "paper": floor(L / patch_voxels) + 2 windows on an axis of L voxels.
    batch_size : int
        Windows in one pass of the network.
    amp : bool
        Mixed precision, on devices where it is exact and fast enough (`device.autocast_dtype`).
    """

    patch_voxels: int = 64  # paper, section 4.1
    overlap: float = 0.5  # each voxel is then seen by 8 windows
    blend: str = "gaussian"
    plan: str = "overlap"
    batch_size: int = 4  # a fifth less CPU time than 1, for 0.3 GB more
    amp: bool = True

    def __post_init__(self):
        if self.blend not in ("gaussian", "uniform"):
            raise ValueError(f"blend is {self.blend!r}; wanted 'gaussian' or 'uniform'.")
        if self.plan not in ("overlap", "paper"):
            raise ValueError(f"plan is {self.plan!r}; wanted 'overlap' or 'paper'.")
        if self.patch_voxels < 1 or self.batch_size < 1:
            raise ValueError(f"patch_voxels is {self.patch_voxels} and batch_size {self.batch_size}; wanted 1 or more.")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap is {self.overlap}; wanted at least 0 and under 1.")


def _axis_starts(length: int, config: SlidingWindowConfig) -> list[int]:
    patch = config.patch_voxels
    room = length - patch
    if room <= 0:
        return [-(-room // 2)]  # one centred window, that sticks out over both ends
    if config.plan == "paper":
        count = length // patch + 2
    else:
        step = max(1, math.floor(patch * (1 - config.overlap)))
        count = math.ceil(room / step) + 1
    return sorted({round(index * room / (count - 1)) for index in range(count)})  # evenly spread from end to end


def plan_windows(shape: Sequence[int], mask: np.ndarray | None, config: SlidingWindowConfig) -> list[Start]:
    """List the first voxels of all windows that hold brain.

    Parameters
    ----------
    shape : three ints
        Size of the volume.
    mask : (X, Y, Z) bool array or None
        The brain; None keeps every window.
    config : SlidingWindowConfig

    Returns
    -------
    list of (x, y, z)
        Negative on an axis that is shorter than a window: the window is centred on it and what it sees beyond is 0.
    """
    x_starts, y_starts, z_starts = (_axis_starts(length, config) for length in shape)
    starts = list(itertools.product(x_starts, y_starts, z_starts))
    if mask is None:
        return starts
    return [start for start in starts if mask[_inside(start, shape, config.patch_voxels)[0]].any()]


def even_batch(count: int, most: int) -> int:
    """Size of batches that take so many windows in as few passes, `most` at most: on a CPU a lone window takes as long as two."""
    passes = math.ceil(count / most)
    return math.ceil(count / passes) if passes else most


def _inside(start: Start, shape: Sequence[int], patch: int) -> tuple[Box, Box]:
    """Slices of the volume and of the window that meet each other."""
    pairs = list(zip(start, shape, strict=True))
    x, y, z = (slice(max(0, first), min(length, first + patch)) for first, length in pairs)
    u, v, w = (slice(max(0, -first), min(length - first, patch)) for first, length in pairs)
    return (..., x, y, z), (..., u, v, w)


def window_weights(config: SlidingWindowConfig) -> torch.Tensor:
    """How much each voxel of a window counts in the blend.

    Returns
    -------
    (P, P, P) float32 torch.Tensor, above 0 everywhere
    """
    patch = config.patch_voxels
    if config.blend == "uniform":
        return torch.ones(patch, patch, patch)
    offset = torch.arange(patch, dtype=torch.float64) - (patch - 1) / 2
    profile = torch.exp(-0.5 * (offset / (patch / 8)) ** 2)  # as wide as makes a face count 1/3000 of the centre
    weights = profile[:, None, None] * profile[None, :, None] * profile[None, None, :]
    return weights.clamp_min(1e-6).float()  # a corner seen by one window alone must still divide well


def predict(
    network: nn.Module,
    inputs: np.ndarray,
    mask: np.ndarray | None,
    config: SlidingWindowConfig,
    device: torch.device,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Class probabilities of a whole volume.

    Parameters
    ----------
    network : nn.Module
        From (B, C, P, P, P) to logits (B, K, P, P, P) of its K classes; it is moved to the device and set to evaluation mode.
    inputs : (C, X, Y, Z) float32 array
    mask : (X, Y, Z) bool array or None
        Windows without brain are skipped; what no window saw is background.
    config : SlidingWindowConfig
    device : torch.device
    progress : callable, optional
        Called with the share of windows done, from 0 to 1.

    Returns
    -------
    (K, X, Y, Z) float32 array

    Raises
    ------
    WeightsError
        If the network's output is not finite.
    torch.OutOfMemoryError
        If the device's memory runs out (`device.run_with_memory_ladder` handles it).
    """
    shape, patch = inputs.shape[1:], config.patch_voxels
    starts = plan_windows(shape, mask, config)
    memory_format = torch.channels_last_3d if prefers_channels_last(device) else torch.contiguous_format
    network.to(device=device, memory_format=memory_format).eval()  # type: ignore[call-overload]
    source = torch.from_numpy(np.ascontiguousarray(inputs, np.float32))
    weights = window_weights(config).to(device)
    blended = None  # (K, X, Y, Z), once the network has shown how many classes it knows
    total = torch.zeros(shape, device=device)
    batch_size = even_batch(len(starts), config.batch_size)
    for first in range(0, len(starts), batch_size):
        group = starts[first : first + batch_size]
        batch = torch.zeros((len(group), len(source), patch, patch, patch)).to(memory_format=memory_format)
        for index, start in enumerate(group):
            volume, window = _inside(start, shape, patch)
            batch[index][window] = source[volume]
        probabilities = _probabilities(network, batch.to(device), config.amp)  # (B, K, P, P, P)
        if blended is None:
            blended = torch.zeros((probabilities.shape[1], *shape), device=device)
        for index, start in enumerate(group):
            volume, window = _inside(start, shape, patch)
            blended[volume] += (probabilities[index] * weights)[window]
            total[volume] += weights[window]
        if progress is not None:
            progress((first + len(group)) / len(starts))
    if blended is None:
        nothing = torch.zeros((1, len(source), patch, patch, patch), device=device)
        blended = torch.zeros((_probabilities(network, nothing, config.amp).shape[1], *shape), device=device)
    blended[BACKGROUND][total == 0] = 1
    blended /= total.masked_fill_(total == 0, 1)
    return blended.cpu().numpy()


@torch.inference_mode()
def _probabilities(network: nn.Module, batch: torch.Tensor, amp: bool) -> torch.Tensor:
    """Softmax of a batch's logits, in mixed precision where that is asked for, good here and finite."""
    dtype = autocast_dtype(batch.device) if amp else None
    if dtype is not None:
        with torch.autocast(batch.device.type, dtype):
            logits = network(batch).float()
        if torch.isfinite(logits).all():
            return logits.softmax(1)
    logits = network(batch).float()
    if not torch.isfinite(logits).all():
        raise WeightsError("The network's output holds NaN or infinite numbers; wanted finite logits: check or replace the weights.")
    return logits.softmax(1)
