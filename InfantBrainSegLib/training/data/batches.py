"""Fresh batches from the simulator, as a network sees them."""

from typing import Protocol

import numpy as np
import torch

from ...networks.context import ContextConfig, distance_maps, signed_distance_maps
from ..simulation.synthesis import Painted, Simulator
from .augment import rotate_and_flip

_CLIP_QUANTILES = (0.005, 0.995)  # those of prepare.normalise


class PatchSource(Protocol):
    """What batches come from: `BatchMaker`, `WithContext`, `head_synthesis.HeadPatches` or `scans.ScanPatches`."""

    def batch(self, rng: np.random.Generator, size: int, augment: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, C, X, Y, Z) float32 and labels (B, X, Y, Z) int64."""


def normalise_like_a_volume(painted: Painted, rng: np.random.Generator | None) -> torch.Tensor:
    """Z-score a patch with its whole brain's statistics, as inference does with a volume.

    Parameters
    ----------
    painted : Painted
    rng : numpy.random.Generator or None
        Draws a gain and an offset on top; None for none.

    Returns
    -------
    (2, X, Y, Z) float32 torch.Tensor
        0 outside the mask.
    """
    channels = []
    for image, (mean, sd) in zip(painted.images, painted.whole_brain, strict=True):
        z = (image - mean) / sd
        inside = z[painted.mask][::5]
        if inside.numel() > 1:
            low, high = torch.quantile(inside, torch.tensor(_CLIP_QUANTILES, device=z.device))
            z = z.clamp(low, high)
        if rng is not None:
            z = z * np.exp(rng.normal(0, 0.15)) + rng.normal(0, 0.2)
        channels.append(torch.where(painted.mask, z, 0.0))
    return torch.stack(channels)


class BatchMaker:
    """Makes batches of painted patches; the same random numbers give the same batch.

    Parameters
    ----------
    simulator : Simulator
    recipe : str
        See `TrainingConfig`.
    patch_voxels : int
    stream_dropout : float
        Chance that an augmented patch lacks T1 or T2: that image is all zeros, as inference gives an absent one.
    """

    def __init__(self, simulator: Simulator, recipe: str, patch_voxels: int, stream_dropout: float = 0.0):
        self.simulator = simulator
        self.recipe = recipe
        self.patch_voxels = patch_voxels
        self.stream_dropout = stream_dropout

    def batch(self, rng: np.random.Generator, size: int, augment: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, 2, X, Y, Z) float32 and labels (B, X, Y, Z) int64."""
        images, labels = zip(*(self._patch(rng, augment) for _ in range(size)), strict=True)
        return torch.stack(images), torch.stack(labels)

    def _patch(self, rng, augment):
        painted = self.simulator.patch(rng, self.patch_voxels)
        if self.recipe == "paper":
            image = normalise_like_a_volume(painted, None)  # the network itself standardises each patch
            return rotate_and_flip(image, painted.labels, rng) if augment else (image, painted.labels)
        image = normalise_like_a_volume(painted, rng if augment else None)
        if augment and rng.random() < self.stream_dropout:
            image[rng.integers(2)] = 0
        return image, painted.labels


class ContextFromNetwork:
    """Gives images the distance maps of what a trained network really outputs.

    Parameters
    ----------
    network : torch.nn.Module
        FCN-1; or FCN-2, whose own result guides it in its second round.
    config : ContextConfig
    autocast : callable
        Returns the context manager to run `network` under.
    """

    def __init__(self, network: torch.nn.Module, config: ContextConfig, autocast):
        self.network = network.eval()
        self.config = config
        self.autocast = autocast
        self.device = next(network.parameters()).device

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(B, as many as the network takes, X, Y, Z) to (B, 5, X, Y, Z), T1 and T2 before the maps, on the network's device."""
        images = images.to(self.device, memory_format=torch.channels_last_3d)
        with self.autocast():
            labels = self.network(images).argmax(1).to(torch.uint8)  # (B, X, Y, Z)
        if self.config.signed:
            maps = signed_distance_maps(labels, self.config.clip_mm)
        else:
            maps = torch.from_numpy(np.stack([distance_maps(one, self.config) for one in labels.cpu().numpy()])).to(self.device)
        return torch.cat([images[:, :2], maps], 1)


class WithContext:
    """Patches of another source with distance maps.

    Parameters
    ----------
    source : PatchSource
    add_context : ContextFromNetwork
    """

    def __init__(self, source: PatchSource, add_context: ContextFromNetwork):
        self.source = source
        self.add_context = add_context

    def batch(self, rng: np.random.Generator, size: int, augment: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, 5, X, Y, Z) float32 and labels (B, X, Y, Z) int64."""
        images, labels = self.source.batch(rng, size, augment)
        return self.add_context(images), labels
