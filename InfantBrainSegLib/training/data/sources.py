"""Where a run's patches come from: label maps kept for training, and those held out."""

from pathlib import Path

import torch

from ...core.errors import TrainingError
from ..config import HEAD_STAGES, TrainingConfig
from ..simulation.contrast import ContrastConfig
from ..simulation.head_synthesis import FIND, REFINE, HeadPatches, HeadSimulator
from ..simulation.synthesis import Simulator, SimulatorConfig
from .batches import BatchMaker, ContextFromNetwork, PatchSource, WithContext
from .heads import build_head_pack, load_heads
from .labelmaps import build_pack, load_pack


def simulated_sources(config: TrainingConfig, device: torch.device, fcn1, autocast) -> tuple[PatchSource, PatchSource]:
    """Patches to train on and held-out ones, painted by the simulator of the config's stage.

    Parameters
    ----------
    config : TrainingConfig
    device : torch.device
        Of the training, and of the painting unless processes paint.
    fcn1 : torch.nn.Module or None
        On `device`; gives the context of stage "fcn2".
    autocast : callable
        See `ContextFromNetwork`.

    Raises
    ------
    TrainingError
        If there are no label maps to train on or to hold out, or the context can not be made of patches.
    """
    if config.stage in HEAD_STAGES:
        return _heads(config, device, False), _heads(config, device, True)
    add_context = None
    if fcn1 is not None:
        if not config.context.signed and config.context.divisor_mm is None:
            raise TrainingError(
                "context divides unsigned distances by their maximum, which a simulated patch does not know of its volume: set "
                "context.divisor_mm or context.signed; `reproduce` trains on the paper's maps."
            )
        add_context = ContextFromNetwork(fcn1, config.context, autocast)
    training, held_out = (_brains(config, torch.device("cpu") if config.painters else device, held) for held in (False, True))
    return (WithContext(training, add_context), WithContext(held_out, add_context)) if add_context else (training, held_out)


def _brains(config: TrainingConfig, device: torch.device, held_out: bool) -> BatchMaker:
    pack = Path(config.pack)
    if not pack.is_file():
        build_pack(Path(config.label_maps), pack)
    maps = load_pack(pack, lambda name: (name in config.held_out) == held_out)
    contrast = ContrastConfig() if held_out else ContrastConfig(phase_shares=config.phase_shares)
    simulator = Simulator(maps, SimulatorConfig(contrast=contrast), device)
    return BatchMaker(simulator, config.recipe, config.patch_voxels, config.stream_dropout)


def _heads(config: TrainingConfig, device: torch.device, held_out: bool) -> HeadPatches:
    pack = Path(config.pack)
    if not pack.is_file():
        build_head_pack(Path(config.label_maps), pack)
    heads = load_heads(pack, lambda name: (name in config.held_out) == held_out)
    simulator = HeadSimulator(heads, FIND if config.stage == "locate" else REFINE, device)
    return HeadPatches(simulator, config.patch_voxels, config.stream_dropout)
