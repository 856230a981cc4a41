"""The method taken apart: FCN-1 trained with one part changed at a time.

    python -m Testing.benchmarks ablations --data DIR

Every run sees the same patches in the same order (painted once and kept in memory, 1.1 GB for 400 iterations) but for the run with another
seed and the one whose patches are painted otherwise. Each is a short run at base width 8: enough to rank large effects, no more; the run
with another seed shows how much is chance. After FCN-1 the form of FCN-2's context is changed, each time on the distance maps of the
bundled FCN-1.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from InfantBrainSegLib.networks.context import ContextConfig
from InfantBrainSegLib.networks.device import resolve_device, training_autocast
from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.networks.weights import BUNDLED_DIR, load_network, save_weights
from InfantBrainSegLib.training.config import HELD_OUT, TrainingConfig, config_to_dict
from InfantBrainSegLib.training.data.batches import BatchMaker, ContextFromNetwork, PatchSource, WithContext
from InfantBrainSegLib.training.recipe import BUNDLED
from InfantBrainSegLib.training.simulation.contrast import ContrastConfig
from InfantBrainSegLib.training.simulation.labelmaps import load_pack
from InfantBrainSegLib.training.simulation.synthesis import Simulator, SimulatorConfig
from InfantBrainSegLib.training.trainer import Trainer

from .measure_accuracy import NAMES, ONE_ROUND, WITHOUT, Case, measure, newborn_case, synthetic_case
from .study import TRAINING, Data, Figure, Key, Study, bundled_weights, code_of, plain

ITERATIONS = 400
STREAM_DROPOUT = 0.15
BASE = NetworkConfig((1, 1), base_width=8, norm="batch")


@dataclass(frozen=True)
class Variant:
    """One run: what differs from the first."""

    network: NetworkConfig = BASE
    loss_weights: tuple[float, ...] = (1.0, 0.67, 0.33)
    contrast: ContrastConfig | None = None
    seed: int = 50
    recipe: str = "bundled"
    learning_rate: float = 3e-3
    context: ContextConfig | None = None


VARIANTS = {
    "batch normalisation, half the width": Variant(),
    "the same, another seed": Variant(seed=51),
    "no deep supervision": Variant(loss_weights=(1.0, 0.0, 0.0)),
    "long skips from T1 alone": Variant(replace(BASE, skip_streams="first")),
    "white matter painted evenly (no myelination field)": Variant(contrast=ContrastConfig(field_weight=0.0)),
    "no short skips": Variant(replace(BASE, short_skips=False)),
    "instance normalisation, as bundled": Variant(replace(BASE, norm="instance")),
    "the bundled width": Variant(replace(BASE, base_width=16)),
    "the paper's optimiser (SGD, momentum 0.9, rate 0.001), last weights": Variant(recipe="paper", learning_rate=1e-3),
}
FCN2 = NetworkConfig((1, 1, 3), base_width=8, norm="instance")
CONTEXT_VARIANTS = {
    "signed distances, clipped at 10 mm, as bundled": Variant(FCN2, context=ContextConfig()),
    "unsigned distances, divided by 30 mm": Variant(FCN2, context=ContextConfig(signed=False, divisor_mm=30.0)),
    "signed and clipped, another seed": Variant(FCN2, context=ContextConfig(), seed=51),
}


class Remembered:
    """Patches of another source, painted once for all runs that ask for the same ones.

    Parameters
    ----------
    source : PatchSource
    """

    def __init__(self, source: PatchSource):
        self.source = source
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def batch(self, rng: np.random.Generator, size: int, augment: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PatchSource`; images are kept in half precision."""
        key = int(rng.integers(2**62))  # the generator's state tells the batch
        if key not in self._kept:
            images, labels = self.source.batch(rng, size, augment)
            self._kept[key] = images.half(), labels.to(torch.uint8)
        images, labels = self._kept[key]
        return images.float(), labels.long()


def with_context(sources: tuple[PatchSource, PatchSource], context: ContextConfig) -> tuple[PatchSource, PatchSource]:
    device = resolve_device("auto")
    fcn1 = load_network("fcn1").network.to(device, memory_format=torch.channels_last_3d)
    add = ContextFromNetwork(fcn1, context, lambda: training_autocast(device))
    return WithContext(sources[0], add), WithContext(sources[1], add)


def patches(pack: Path, simulator: SimulatorConfig, keep: Callable[[str], bool]) -> Remembered:
    return Remembered(BatchMaker(Simulator(load_pack(pack, keep), simulator), BUNDLED, 64, STREAM_DROPOUT))


def train(name: str, variant: Variant, sources: tuple[PatchSource, PatchSource], folder: Path) -> None:
    """Train one variant and write its weights below `folder`."""
    stage = "fcn1" if variant.context is None else "fcn2"
    config = TrainingConfig(
        stage=stage,
        fcn1="" if variant.context is None else "fcn1",
        context=variant.context or ContextConfig(),
        network=variant.network,
        recipe=variant.recipe,
        output_dir=str(folder),
        iterations=ITERATIONS,
        learning_rate=variant.learning_rate,
        loss_weights=variant.loss_weights,
        seed=variant.seed,
        stream_dropout=STREAM_DROPOUT,
        average_decay=0.99,
        validate_every=ITERATIONS,
    )
    state = Trainer(config, resolve_device("auto"), sources=sources).run(lambda line: print(name, line, flush=True))
    network = MultiStreamFCN(config.network)
    network.load_state_dict(state)
    if variant.context is not None:
        for name in ("fcn1.pt", "manifest.json"):
            shutil.copyfile(BUNDLED_DIR / name, folder / name)
    save_weights(network, stage, {"context": variant.context, "training": config_to_dict(config)}, folder / f"{stage}.pt")


def score(cases: Iterator[Case], weights: Path, how: str) -> dict[str, list[float]]:
    """Dice of each subject."""
    scores = [measure(case, how, weights) for case in cases]
    return {name: [one[name]["dice"] for one in scores] for name in NAMES}


def table(variants: dict) -> list[str]:
    lines = ["", "| | adult maps' GM | WM | newborns' GM | WM |", "|---|---|---|---|---|"]
    for name, scores in variants.items():
        cells = [f"{np.mean(scores[kind][tissue]):.3f}" for kind in ("synthetic", "newborns") for tissue in ("GM", "WM")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def tables(results: dict) -> str:
    lines = [
        f"FCN-1 alone, {ITERATIONS} iterations of batch 2 from random weights; Dice on the first three synthetic "
        "subjects of each adult map and on the ten real newborns.",
        *table(results["variants"]),
    ]
    if results.get("context_variants"):
        lines += [
            "",
            f"FCN-2, {ITERATIONS} iterations from random weights at base width 8, instance normalisation, on the "
            "distance maps of the bundled FCN-1; the same subjects.",
            *table(results["context_variants"]),
        ]
    return "\n".join(lines)


def key(figure: Figure) -> Key:
    kind, name = figure
    variant = {"variants": VARIANTS, "context_variants": CONTEXT_VARIANTS}[kind][name]
    weights = {} if variant.context is None else bundled_weights("fcn1")
    return Key(weights, {"iterations": ITERATIONS, "variant": plain(asdict(variant))}, code_of(TRAINING, "ablate", "measure_accuracy"))


def study() -> Study:
    return Study("ablations", key, tables)


def jobs(data: Data, arguments: argparse.Namespace) -> Iterator[tuple[Figure, Callable[[], dict]]]:
    @cache
    def shared() -> tuple[Remembered, Remembered]:
        pack, config = data.pack("labelmaps"), SimulatorConfig()
        training, held_out = (patches(pack, config, lambda name, held=held: (name in HELD_OUT) == held) for held in (False, True))
        return training, held_out

    for kind, variants in (("variants", VARIANTS), ("context_variants", CONTEXT_VARIANTS)):
        for name, variant in variants.items():
            yield (kind, name), partial(trained_and_scored, data, kind, name, variant, shared)


def trained_and_scored(
    data: Data, kind: str, name: str, variant: Variant, shared: Callable[[], tuple[Remembered, Remembered]]
) -> dict[str, dict[str, list[float]]]:
    folder = data.ablations / kind / name.replace(" ", "_")
    sources: tuple[PatchSource, PatchSource] = shared()
    if variant.contrast is not None:
        own = patches(data.pack("labelmaps"), SimulatorConfig(contrast=variant.contrast), lambda name: name not in HELD_OUT)
        sources = (own, sources[1])
    if variant.context is not None:
        sources = with_context(sources, variant.context)
    train(name, variant, sources, folder)
    how = WITHOUT if variant.context is None else ONE_ROUND
    return {
        "synthetic": score(map(synthetic_case, sorted(data.synthetic.glob("adult_*_[123]"))), folder, how),
        "newborns": score(map(newborn_case, sorted(path for path in data.newborns.iterdir() if path.is_dir())), folder, how),
    }
