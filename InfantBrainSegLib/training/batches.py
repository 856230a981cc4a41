"""Fresh batches from the simulator, as a network sees them."""

import numpy as np
import torch

from ..context import ContextConfig, distance_maps
from .augment import rotate_and_flip
from .synthesis import Painted, Simulator

_CLIP_QUANTILES = (0.005, 0.995)  # those of prepare.normalise


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
    """Makes batch number i of a run; the same number gives the same batch.

    Parameters
    ----------
    simulator : Simulator
    recipe : str
        See `TrainingConfig`.
    patch_voxels : int
    add_context : callable, optional
        Takes (B, 2, X, Y, Z) images and returns (B, 5, X, Y, Z) with the distance maps of the first stage.
    stream_dropout : float
        Chance that an augmented patch lacks T1 or T2: that image is all zeros, as inference gives an absent one.
    """

    def __init__(self, simulator: Simulator, recipe: str, patch_voxels: int, add_context=None, stream_dropout: float = 0.0):
        self.simulator = simulator
        self.recipe = recipe
        self.patch_voxels = patch_voxels
        self.add_context = add_context
        self.stream_dropout = stream_dropout

    def batch(self, rng: np.random.Generator, size: int, augment: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, 2 or 5, X, Y, Z) float32 and labels (B, X, Y, Z) int64."""
        images, labels = zip(*(self._patch(rng, augment) for _ in range(size)), strict=True)
        stacked = torch.stack(images)
        return (self.add_context(stacked) if self.add_context else stacked), torch.stack(labels)

    def _patch(self, rng, augment):
        painted = self.simulator.patch(rng, self.patch_voxels)
        if self.recipe == "paper":
            image = normalise_like_a_volume(painted, None)  # the network itself standardises each patch
            return rotate_and_flip(image, painted.labels, rng) if augment else (image, painted.labels)
        image = normalise_like_a_volume(painted, rng if augment else None)
        if augment and rng.random() < self.stream_dropout:
            image[rng.integers(2)] = 0
        return image, painted.labels


class ContextFromFirstStage:
    """Adds the distance maps of what a trained FCN-1 really outputs.

    Parameters
    ----------
    fcn1 : torch.nn.Module
    config : ContextConfig
    autocast : callable
        Returns the context manager to run `fcn1` under.
    """

    def __init__(self, fcn1: torch.nn.Module, config: ContextConfig, autocast):
        self.fcn1 = fcn1.eval()
        self.config = config
        self.autocast = autocast

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 2, X, Y, Z) to (B, 5, X, Y, Z)."""
        with self.autocast():
            logits = self.fcn1(images)
        labels = logits.argmax(1).to(torch.uint8).cpu().numpy()  # (B, X, Y, Z)
        maps = np.stack([distance_maps(one, self.config) for one in labels])
        return torch.cat([images, torch.as_tensor(maps, device=images.device)], 1)
