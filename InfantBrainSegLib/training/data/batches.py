"""Fresh batches from the simulator, as a network sees them: patches, their augmentation and context, and the maps that they come from."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ...core.errors import TrainingError
from ...core.lock import sole_owner
from ...imaging.files import check_writable_folder
from ...networks.context import ContextConfig, distance_maps, signed_distance_maps
from ..config import TrainingConfig
from ..recipe import Recipe
from ..simulation.head_synthesis import HeadConfig, HeadPatches, HeadSimulator
from ..simulation.heads import build_head_pack, load_heads
from ..simulation.labelmaps import build_pack, checksums, is_made_of, load_pack
from ..simulation.mixing import mixed_maps
from ..simulation.synthesis import SIMULATIONS, Simulator, Synthesized

_CLIP_QUANTILES = (0.005, 0.995)  # those of prepare.normalise


class PatchSource(Protocol):
    """What batches come from: `BatchMaker`, `WithContext`, `head_synthesis.HeadPatches` or `scans.ScanPatches`."""

    def batch(self, rng: np.random.Generator, size: int, augment: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, C, X, Y, Z) float32 and labels (B, X, Y, Z) int64."""


def rotate_and_flip(images: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn a patch by 0, 90, 180 or 270 degrees about z, and mirror it along y in half of the cases (paper, section 4.1).

    Parameters
    ----------
    images : (C, X, Y, Z) torch.Tensor
    labels : (X, Y, Z) torch.Tensor
    rng : numpy.random.Generator

    Returns
    -------
    images, labels : torch.Tensor
        X and Y change places at odd quarter turns.
    """
    quarters = int(rng.integers(4))
    images, labels = torch.rot90(images, quarters, (1, 2)), torch.rot90(labels, quarters, (0, 1))
    if rng.random() < 0.5:
        images, labels = images.flip(2), labels.flip(1)
    return images.contiguous(), labels.contiguous()


def normalise_like_a_volume(synthesized: Synthesized, rng: np.random.Generator | None) -> torch.Tensor:
    """Z-score a patch with its whole brain's statistics, as inference does with a volume.

    Parameters
    ----------
    synthesized : Synthesized
    rng : numpy.random.Generator or None
        Draws a gain and an offset on top; None for none.

    Returns
    -------
    (2, X, Y, Z) float32 torch.Tensor
        0 outside the mask.
    """
    channels = []
    for image, (mean, sd) in zip(synthesized.images, synthesized.whole_brain, strict=True):
        z = (image - mean) / sd
        inside = z[synthesized.mask][::5]
        if inside.numel() > 1:
            low, high = torch.quantile(inside, torch.tensor(_CLIP_QUANTILES, device=z.device))
            z = z.clamp(low, high)
        if rng is not None:
            z = z * np.exp(rng.normal(0, 0.15)) + rng.normal(0, 0.2)
        channels.append(torch.where(synthesized.mask, z, 0.0))
    return torch.stack(channels)


class BatchMaker:
    """Makes batches of synthesized patches; the same random numbers give the same batch.

    Parameters
    ----------
    simulator : Simulator
    recipe : Recipe
    patch_voxels : int
    stream_dropout : float
        Chance that an augmented patch lacks T1 or T2: that image is all zeros, as inference gives an absent one.
    """

    def __init__(self, simulator: Simulator, recipe: Recipe, patch_voxels: int, stream_dropout: float = 0.0):
        self.simulator = simulator
        self.recipe = recipe
        self.patch_voxels = patch_voxels
        self.stream_dropout = stream_dropout

    def batch(self, rng: np.random.Generator, size: int, augment: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, 2, X, Y, Z) float32 and labels (B, X, Y, Z) int64."""
        images, labels = zip(*(self._patch(rng, augment) for _ in range(size)), strict=True)
        return torch.stack(images), torch.stack(labels)

    def _patch(self, rng, augment):
        synthesized = self.simulator.patch(rng, self.patch_voxels)
        if self.recipe.quarter_turns:
            image = normalise_like_a_volume(synthesized, None)  # the network itself standardises each patch
            return rotate_and_flip(image, synthesized.labels, rng) if augment else (image, synthesized.labels)
        image = normalise_like_a_volume(synthesized, rng if augment else None)
        if augment and rng.random() < self.stream_dropout:
            image[rng.integers(2)] = 0
        return image, synthesized.labels


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
        """(B, as many as the network takes, X, Y, Z) to (B, 1 + classes, X, Y, Z), T1 and T2 before the maps, on the network's device."""
        images = images.to(self.device, memory_format=torch.channels_last_3d)
        with self.autocast():
            logits = self.network(images)
        labels = logits.argmax(1).to(torch.uint8)  # (B, X, Y, Z)
        if self.config.signed:
            maps = signed_distance_maps(labels, self.config.clip_mm)
        else:
            maps = torch.from_numpy(np.stack([distance_maps(one, self.config) for one in labels.cpu().numpy()])).to(self.device)
        return torch.cat([images[:, :2], maps[:, : logits.shape[1] - 1]], 1)


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


def simulated_sources(config: TrainingConfig, device: torch.device, fcn1, autocast) -> tuple[PatchSource, PatchSource]:
    """Patches to train on and held-out ones, synthesized by the simulator of the config's stage.

    Parameters
    ----------
    config : TrainingConfig
    device : torch.device
        Of the training, and of the synthesis unless processes do it.
    fcn1 : torch.nn.Module or None
        On `device`; gives the context of stage "fcn2".
    autocast : callable
        See `ContextFromNetwork`.

    Raises
    ------
    TrainingError
        If there are no label maps to train on or to hold out, or the context cannot be made of patches.
    """
    _make_pack(config)
    if heads := config.stage_facts.heads:
        return _heads(config, heads, device, False), _heads(config, heads, device, True)
    add_context = None
    if fcn1 is not None:
        if not config.context.signed and config.context.divisor_mm is None:
            raise TrainingError(
                "context divides unsigned distances by their maximum, which a simulated patch does not know of its volume: set "
                "context.divisor_mm or context.signed; `reproduce` trains on the paper's maps."
            )
        add_context = ContextFromNetwork(fcn1, config.context, autocast)
    training, held_out = (_brains(config, torch.device("cpu") if config.workers else device, held) for held in (False, True))
    return (WithContext(training, add_context), WithContext(held_out, add_context)) if add_context else (training, held_out)


def check_label_maps(config: TrainingConfig) -> None:
    """Tell whether there is something to make patches of, before any work.

    Raises
    ------
    TrainingError
        If there is neither a pack nor a folder of label maps.
    """
    if not config.label_maps and Path(config.pack).is_file():
        return
    if not config.label_maps or not Path(config.label_maps).is_dir():
        found = f"{config.label_maps} is no folder of label maps" if config.label_maps else "No label maps were named"
        raise TrainingError(
            f"{found}; wanted .nii.gz files of FreeSurfer codes at 1 mm (adults: github.com/BBillot/SynthSeg, data/training_label_maps; "
            "infants: the history of github.com/DCAN-Labs/BIBSnet, data/template_input_asegs): name their folder with --label-maps."
        )


def _make_pack(config: TrainingConfig) -> None:
    """Pack the label maps, unless the pack is there and was made of just these; without a folder the pack that is there serves."""
    check_label_maps(config)
    folder, pack = Path(config.label_maps), Path(config.pack)
    if not config.label_maps or is_made_of(pack, checksums(folder)):
        return
    check_writable_folder(pack.parent)
    with sole_owner(pack):
        (build_head_pack if config.stage_facts.heads else build_pack)(folder, pack)


def _brains(config: TrainingConfig, device: torch.device, held_out: bool) -> BatchMaker:
    maps = load_pack(Path(config.pack), lambda name: (name in config.held_out) == held_out)
    drawn = SIMULATIONS[config.simulation]
    if not held_out and config.mixed_maps:
        maps += mixed_maps(maps, config.mixed_maps, _mixed_pack(config))
    if not held_out:
        drawn = replace(drawn, contrast=replace(drawn.contrast, phase_shares=config.phase_shares))
    simulator = Simulator(maps, drawn, device)
    return BatchMaker(simulator, config.recipe_facts, config.patch_voxels, config.stream_dropout)


def _mixed_pack(config: TrainingConfig) -> Path:
    pack = Path(config.pack)
    return pack.with_name(f"{pack.stem}_mixed.npz")


def _heads(config: TrainingConfig, drawn: HeadConfig, device: torch.device, held_out: bool) -> HeadPatches:
    heads = load_heads(Path(config.pack), lambda name: (name in config.held_out) == held_out)
    simulator = HeadSimulator(heads, drawn, device)
    return HeadPatches(simulator, config.patch_voxels, config.stream_dropout)
