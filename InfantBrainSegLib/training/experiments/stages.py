"""Both stages trained on labelled scans, the second on what the first makes of them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ...core.errors import TrainingError
from ...core.progress import SlowLines
from ...networks.context import ContextConfig
from ...networks.fcn import MultiStreamFCN
from ...networks.predictor import Predictor
from ...networks.sliding_window import SlidingWindowConfig
from ...networks.weights import LoadedNetwork
from ...training import recipes_folder
from ..config import TrainingConfig, config_to_dict, read_config
from ..data.scans import LabelledScan, ScanPatches, alone, probabilities_of, with_context
from ..trainer import Trainer

FINETUNE_ITERATIONS = 1000  # of each stage: some hundred patches of each of a few subjects
_FINETUNE_RATE = 5e-4  # a quarter of what the bundled weights were trained with


@dataclass(frozen=True)
class StagePlan:
    """How both stages are trained and run.

    Attributes
    ----------
    first, second : TrainingConfig
    initial : pair of dict or None
        Weights that each stage starts from.
    window : SlidingWindowConfig
        For whole volumes.
    standardised : bool
        See `scans.read_scan`.
    """

    first: TrainingConfig
    second: TrainingConfig
    initial: tuple[dict | None, dict | None]
    window: SlidingWindowConfig
    standardised: bool

    def predictor(self, device: torch.device) -> Predictor:
        """What segments whole volumes with these windows."""
        return Predictor(device, str(device), self.window, False)


def paper_plan() -> StagePlan:
    """The paper's recipe (section 4.1), from the library's own recipes; both stages start at random.

    Where the paper is silent this goes another way than its authors' code: tested with the running statistics of batch normalisation
    (there: those of each patch), and probabilities, not logits, are averaged over overlapping patches in the first stage as well.
    """
    first, second = (read_config(recipes_folder() / f"paper_{stage}.json") for stage in ("fcn1", "fcn2"))
    window = SlidingWindowConfig(plan="paper", blend="uniform", amp=False)
    return StagePlan(first, second, (None, None), window, standardised=False)


def finetune_plan(loaded: tuple[LoadedNetwork, LoadedNetwork]) -> StagePlan:
    """Fine-tune both stages of a weights folder, as they were trained but at a lower rate and for less long."""
    first, second = (
        TrainingConfig(
            stage=one.stage,
            network=one.network.config,
            context=one.context or ContextConfig(),
            fcn1="" if one.stage == "fcn1" else "own",
            start_from=f"{one.stage} {one.sha256}",
            iterations=FINETUNE_ITERATIONS,
            learning_rate=_FINETUNE_RATE,
            stream_dropout=float(one.training.get("stream_dropout", 0.0)),  # what they can do with T1 or T2 alone is to last
            own_context=float(one.training.get("own_context", 0.0)),  # and what they make of their own result
            average_decay=0.995,
            validate_every=100,
        )
        for one in loaded
    )
    states = (loaded[0].network.state_dict(), loaded[1].network.state_dict())
    return StagePlan(first, second, states, SlidingWindowConfig(), standardised=True)


def train_pair(
    plan: StagePlan,
    scans: tuple[list[LabelledScan], list[LabelledScan]],
    folder: Path,
    device: torch.device,
    report: Callable[[str], None],
) -> tuple[LoadedNetwork, LoadedNetwork]:
    """Train FCN-1, then FCN-2 on the distance maps that FCN-1 gives of the same scans; each goes on from its checkpoint.

    Parameters
    ----------
    plan : StagePlan
    scans : pair of lists of LabelledScan
        To train on, and held out for the log.
    folder : Path
        Gets the folders fcn1 and fcn2.
    device : torch.device
    report : callable
        Takes each line of the log.

    Returns
    -------
    fcn1, fcn2 : LoadedNetwork

    Raises
    ------
    TrainingError
        If a run is lost, or its checkpoints do not go with the plan.
    """
    networks: list[LoadedNetwork] = []
    predictor = plan.predictor(device)
    training, held_out = scans
    single = [alone(scan) for scan in training] if plan.first.stream_dropout or plan.second.stream_dropout else []
    for config, initial in zip((plan.first, plan.second), plan.initial, strict=True):
        if networks:
            report(f"Distance maps of {len(training) + len(held_out)} subjects from the trained FCN-1.")
            maps = partial(_with_maps, fcn1=networks[0], predictor=predictor, plan=plan, report=report)
            training, held_out = list(map(maps, training)), list(map(maps, held_out))
            single = [(maps(t1_alone), maps(t2_alone)) for t1_alone, t2_alone in single]
            config = replace(config, fcn1=f"own {networks[0].sha256}")
        config = replace(config, output_dir=str(folder / config.stage))
        sources = (ScanPatches(training, config, device, single), ScanPatches(held_out, config, device))
        trainer = Trainer(config, device, initial=initial, sources=sources)
        if not networks:
            _check_second_stage(trainer, folder)
        report(f"{config.stage} of {folder}, from iteration {trainer.iteration} to {config.iterations}:")
        network = MultiStreamFCN(config.network)
        network.load_state_dict(trainer.run(report))
        context = config.context if config.stage_facts.needs_fcn1 else None
        networks.append(LoadedNetwork(network.eval(), config.stage, _digest(network), context, config_to_dict(config)))
    return networks[0], networks[1]


def _check_second_stage(first: Trainer, folder: Path) -> None:
    """Refuse to train the first stage further than the second stage's checkpoint knows it."""
    second = folder / "fcn2" / "checkpoint.pt"
    if second.is_file() and first.iteration < first.config.iterations:
        raise TrainingError(
            f"FCN-1 of {folder} has {first.iteration} of {first.config.iterations} iterations, but {second} was begun on it: "
            f"ask for {first.iteration} iterations, or take another output folder."
        )


def _with_maps(
    scan: LabelledScan, fcn1: LoadedNetwork, predictor: Predictor, plan: StagePlan, report: Callable[[str], None]
) -> LabelledScan:
    """The scan with the distance maps of what the first stage makes of it."""
    found = probabilities_of(scan, fcn1, predictor, SlowLines(report, f"Distance maps of {scan.name}"))
    return with_context(scan, found, plan.second.context)


def _digest(network: MultiStreamFCN) -> str:
    """Of the weights: as yet they have no file."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
