"""Where the windows go, and their predictions blended into one volume (paper, section 4.1)."""

import copy
import itertools
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..core.errors import WeightsError
from ..core.labels import BACKGROUND
from .device import autocast_dtype, prefers_channels_last

Start = tuple[int, int, int]
FIT, OVERLAP, PAPER = "fit", "overlap", "paper"
RIM_VOXELS = 5  # that fitted windows see round the brain: without, as networks do not know it, isointense subjects lose up to 0.005 of Dice
STEP = 8  # voxels: edges of fitted windows are multiples of it, and exceed the size asked for by one at most


@dataclass(frozen=True)
class SlidingWindowConfig:
    """How a volume is cut into windows and put together again.

    Attributes
    ----------
    patch_voxels : int
        Edge of a window.
    overlap : float
        Share of a window's edge that the next one covers again, at least, for the plans "fit" and "overlap".
    blend : str
        "gaussian": a window counts most at its centre, where the network saw the most around; "uniform": the paper's plain average.
    plan : str
        "fit": on each axis as few windows as cover the brain and a rim with edges of about `patch_voxels`, their edges fitted to it;
        "overlap": cubes over the whole volume; "paper": floor(L / patch_voxels) + 2 cubes on an axis of L voxels.
    batch_size : int
        Windows in one pass of the network.
    amp : bool
        Mixed precision, on devices where it is exact and fast enough (`device.autocast_dtype`).
    """

    patch_voxels: int = 64  # paper, section 4.1
    overlap: float = 0.25
    blend: str = "gaussian"
    plan: str = FIT
    batch_size: int = 4
    amp: bool = True

    def __post_init__(self):
        if self.blend not in ("gaussian", "uniform"):
            raise ValueError(f"blend is {self.blend!r}; wanted 'gaussian' or 'uniform'.")
        if self.plan not in (FIT, OVERLAP, PAPER):
            raise ValueError(f"plan is {self.plan!r}; wanted 'fit', 'overlap' or 'paper'.")
        if self.patch_voxels < 1 or self.batch_size < 1:
            raise ValueError(f"patch_voxels is {self.patch_voxels} and batch_size {self.batch_size}; wanted 1 or more.")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap is {self.overlap}; wanted at least 0 and under 1.")


@dataclass(frozen=True)
class WindowPlan:
    """Where the windows of one volume lie.

    Attributes
    ----------
    size : (x, y, z)
        Voxels of each window.
    starts : tuple of (x, y, z)
        First voxel of each window. Negative on an axis that is shorter than a window, which is centred then: what it sees beyond the
        volume is 0.
    """

    size: tuple[int, int, int]
    starts: tuple[Start, ...]


def _cube_starts(length: int, config: SlidingWindowConfig) -> list[int]:
    patch = config.patch_voxels
    room = length - patch
    if room <= 0:
        return [-(-room // 2)]  # one centred window, that sticks out over both ends
    if config.plan == PAPER:
        count = length // patch + 2
    else:
        step = max(1, math.floor(patch * (1 - config.overlap)))
        count = math.ceil(room / step) + 1
    return sorted({round(index * room / (count - 1)) for index in range(count)})  # evenly spread from end to end


def _fitted(first: int, last: int, length: int, config: SlidingWindowConfig) -> tuple[int, list[int]]:
    """Edge and starts of the windows that cover voxels `first` to `last` of an axis of `length` voxels."""
    extent = last - first + 1
    shared = round(config.overlap * config.patch_voxels)
    edge, count = 0, 0
    while not count or edge > config.patch_voxels + STEP:
        count += 1
        edge = STEP * math.ceil((extent + (count - 1) * shared) / count / STEP)
    if edge >= length:
        return edge, [-((edge - length) // 2)]
    low, high = first, last + 1 - edge
    if high <= low:  # one window, centred on the brain as far as the volume reaches
        return edge, [min(max((low + high) // 2, 0), length - edge)]
    return edge, [low + round(index * (high - low) / (count - 1)) for index in range(count)]


def plan_windows(shape: Sequence[int], mask: np.ndarray | None, config: SlidingWindowConfig) -> WindowPlan:
    """Lay out the windows that hold brain.

    Parameters
    ----------
    shape : three ints
        Size of the volume.
    mask : (X, Y, Z) bool array or None
        The brain; None keeps every window.
    config : SlidingWindowConfig
    """
    if mask is not None and not mask.any():
        return WindowPlan((config.patch_voxels,) * 3, ())
    if config.plan == FIT:
        ends = [(0, length - 1) for length in shape] if mask is None else [_ends(mask, axis) for axis in range(3)]
        (x, xs), (y, ys), (z, zs) = (_fitted(*pair, length, config) for pair, length in zip(ends, shape, strict=True))
        size = (x, y, z)
    else:
        xs, ys, zs = (_cube_starts(length, config) for length in shape)
        size = (config.patch_voxels,) * 3
    starts = itertools.product(xs, ys, zs)
    return WindowPlan(size, tuple(start for start in starts if mask is None or mask[_inside(start, size)].any()))


def _ends(mask: np.ndarray, axis: int) -> tuple[int, int]:
    others = tuple(other for other in range(3) if other != axis)
    places = np.flatnonzero(mask.any(others))
    return max(int(places[0]) - RIM_VOXELS, 0), min(int(places[-1]) + RIM_VOXELS, mask.shape[axis] - 1)


def _inside(start: Start, size: Sequence[int]) -> tuple[slice, slice, slice]:
    """The voxels of a volume that a window covers."""
    x, y, z = (slice(max(0, first), first + length) for first, length in zip(start, size, strict=True))
    return x, y, z


def even_batch(count: int, most: int) -> int:
    """Size of batches that take so many windows in as few passes, `most` at most."""
    passes = math.ceil(count / most)
    return math.ceil(count / passes) if passes else most


def window_weights(size: Sequence[int], blend: str) -> torch.Tensor:
    """How much each voxel of a window counts in the blend.

    Returns
    -------
    (x, y, z) float32 torch.Tensor, above 0 everywhere
    """
    if blend == "uniform":
        return torch.ones(*size)
    x, y, z = (_profile(length) for length in size)
    weights = x[:, None, None] * y[None, :, None] * z[None, None, :]
    return weights.clamp_min(1e-6).float()  # a corner seen by one window alone must still divide well


def _profile(length: int) -> torch.Tensor:
    offset = torch.arange(length, dtype=torch.float64) - (length - 1) / 2
    return torch.exp(-0.5 * (offset / (length / 8)) ** 2)  # as wide as makes a face count 1/3000 of the centre


def predict(
    network: nn.Module,
    inputs: torch.Tensor,
    mask: np.ndarray | None,
    config: SlidingWindowConfig,
    device: torch.device,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """Class probabilities of a whole volume, which stays on the device.

    Parameters
    ----------
    network : nn.Module
        From (B, C, x, y, z) to logits (B, K, x, y, z) of its K classes; it is moved to the device and set to evaluation mode.
    inputs : (C, X, Y, Z) float32 torch.Tensor
        Moved to the device, if it is elsewhere.
    mask : (X, Y, Z) bool array or None
        Windows without brain are skipped; what no window saw is background.
    config : SlidingWindowConfig
    device : torch.device
    progress : callable, optional
        Called with the share of windows done, from 0 to 1.

    Returns
    -------
    (K, X, Y, Z) float32 torch.Tensor on the device

    Raises
    ------
    WeightsError
        If the network's output is not finite.
    torch.cuda.OutOfMemoryError
        If the device's memory runs out (`device.run_with_memory_ladder` handles it).
    """
    plan = plan_windows(inputs.shape[1:], mask, config)
    inputs = inputs.to(device)
    dtype = autocast_dtype(device) if config.amp else None
    if dtype is not None:
        probabilities = _blend(_reduced(network, device, dtype), inputs.to(dtype), plan, config, progress)
        if bool(torch.isfinite(probabilities.sum())):
            return probabilities
    probabilities = _blend(_placed(network, device), inputs, plan, config, progress)
    if not bool(torch.isfinite(probabilities.sum())):
        raise WeightsError("The network's output holds NaN or infinite numbers; wanted finite logits: check or replace the weights.")
    return probabilities


@torch.inference_mode()
def _blend(
    network: nn.Module, inputs: torch.Tensor, plan: WindowPlan, config: SlidingWindowConfig, progress: Callable[[float], None] | None
) -> torch.Tensor:
    """Weighted mean of the windows' probabilities: (K, X, Y, Z) float32; NaN where the network gave no finite logits."""
    device, shape = inputs.device, inputs.shape[1:]
    before = [max(0, -min((start[axis] for start in plan.starts), default=0)) for axis in range(3)]
    after = [max(0, max((start[axis] + plan.size[axis] for start in plan.starts), default=0) - shape[axis]) for axis in range(3)]
    padded = F.pad(inputs, [side for axis in (2, 1, 0) for side in (before[axis], after[axis])])
    weights = window_weights(plan.size, config.blend).to(device)
    memory_format = torch.channels_last_3d if prefers_channels_last(device) else torch.contiguous_format
    blended = None  # (K, X', Y', Z'), once the network has shown how many classes it knows
    total = torch.zeros(padded.shape[1:], device=device)
    batch_size = even_batch(len(plan.starts), config.batch_size)
    for first in range(0, len(plan.starts), batch_size):
        boxes = [_inside((x + before[0], y + before[1], z + before[2]), plan.size) for x, y, z in plan.starts[first : first + batch_size]]
        batch = torch.stack([padded[:, x, y, z] for x, y, z in boxes])
        probabilities = network(batch.contiguous(memory_format=memory_format)).float().softmax(1)  # (B, K, x, y, z)
        if blended is None:
            blended = torch.zeros((probabilities.shape[1], *padded.shape[1:]), device=device)
        for one, (x, y, z) in zip(probabilities, boxes, strict=True):
            blended[:, x, y, z] += one * weights
            total[x, y, z] += weights
        if progress is not None:
            progress((first + len(boxes)) / len(plan.starts))
    if blended is None:
        nothing = torch.zeros((1, len(inputs), *plan.size), dtype=inputs.dtype, device=device)
        blended = torch.zeros((network(nothing.contiguous(memory_format=memory_format)).shape[1], *padded.shape[1:]), device=device)
    unseen = total == 0
    blended[BACKGROUND][unseen] = 1
    blended /= total.masked_fill_(unseen, 1)
    x, y, z = (slice(start, start + length) for start, length in zip(before, shape, strict=True))
    return blended[:, x, y, z]


_REDUCED: "weakref.WeakKeyDictionary[nn.Module, tuple[object, nn.Module]]" = weakref.WeakKeyDictionary()


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    memory_format = torch.channels_last_3d if prefers_channels_last(device) else torch.contiguous_format
    return network.to(device=device, memory_format=memory_format).eval()  # type: ignore[call-overload]


def _reduced(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A copy of a network for mixed precision, made again when it has changed: convolutions in `dtype`, normalisation in float32."""
    state = (dtype, *(tensor._version for tensor in network.state_dict().values()))
    made_of, reduced = _REDUCED.get(network, (None, network))
    if made_of != state:
        convolutions = [module for module in network.modules() if isinstance(module, nn.Conv3d | nn.ConvTranspose3d)]
        weights = {id(weight): weight.detach().to(dtype) for module in convolutions for weight in module.parameters()}
        reduced = copy.deepcopy(network, {known: nn.Parameter(weight, False) for known, weight in weights.items()})
        _REDUCED[network] = (state, reduced)
    return _placed(reduced, device)
