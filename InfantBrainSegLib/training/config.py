"""What a training run needs to know, read from a JSON file."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..core.errors import TrainingError
from ..core.plain import from_plain
from ..networks.context import ContextConfig
from ..networks.fcn import BUNDLED_FCN1, NetworkConfig
from .losses import LOSS_WEIGHTS
from .recipe import RECIPES, STAGES, Recipe, Stage
from .simulation.contrast import PHASE_SHARES, PHASES
from .simulation.synthesis import SIMULATIONS

HELD_OUT = ("adult_15", "adult_17", "adult_18", "infant_05mo", "infant_08mo")
_MORE = math.inf
_LIMITS: dict[str, tuple[float, float]] = {
    "iterations": (1, _MORE),
    "batch_size": (1, _MORE),
    "patch_voxels": (1, 512),  # a whole head at 0.5 mm
    "uses": (1, _MORE),
    "validate_every": (1, _MORE),
    "validation_patches": (1, _MORE),
    "workers": (0, 256),
    "seed": (0, _MORE),
    "mixed_maps": (0, 1000),
    "learning_rate": (0, _MORE),
    "weight_decay": (0, _MORE),
    "checkpoint_minutes": (0, _MORE),
    "stream_dropout": (0, 1),
    "own_context": (0, 1),
    "average_decay": (0, 1),
}


@dataclass(frozen=True)
class TrainingConfig:
    """One run. Paths are relative to the working directory.

    Attributes
    ----------
    stage : str
        "fcn1" or "fcn2"; "locate" or "refine" for the two networks of cerebrum extraction, which learn from whole heads.
    recipe : str
        "bundled": AdamW, polynomial decay, average of the weights over iterations, z-score by the whole brain, random gain.
        "paper": SGD with momentum 0.9, the rate halved every 3,000 iterations, z-score by the patch, quarter turns and
        mirroring (section 4.1).
    label_maps : str
        Folder of FreeSurfer label maps, read once into `pack` and again when they change; empty where `pack` was made before.
    pack, output_dir : str
    held_out : tuple of str
        Names of maps kept for the held-out Dice.
    network, context
        See `NetworkConfig`, `ContextConfig`.
    fcn1 : str
        For "fcn2": weights file or bundled stage name of the FCN-1 that makes the context.
    start_from : str
        Weights file whose tensors start this network (a narrower one is widened); empty for random ones.
    init_t1, init_t2 : str
        Files for partial transfer learning (paper, section 3.3), see `transfer.partial_transfer`; empty for none.
    data : tuple of str
        Names and checksums of the labelled scans trained on; empty for simulated patches. Keeps a run from going on with other scans.
    iterations, batch_size, patch_voxels, learning_rate, weight_decay, seed
        The paper: 10,000, 2, 64, 1e-3, 0.005.
    simulation : str
        "shrunken": adult maps brought to an infant's size, as the bundled weights learned from; "six months": anatomy and contrast that
        enclose those of real six-month-olds, and wide ventricles. See `synthesis.SIMULATIONS`.
    mixed_maps : int
        How many new individuals are mixed of the maps trained on (see `mixing`) and kept beside `pack`; each takes half a minute of a core.
    phase_shares : tuple of float
        See `ContrastConfig`: of the patches that "fcn1" or "fcn2" trains on; held-out ones keep its default shares.
    stream_dropout : float
        Chance that a training patch of the recipe "bundled" lacks T1 or T2.
    own_context : float
        For "fcn2": chance that a batch is mirrored and gets distance maps of the moving average's own result in place of FCN-1's, as in
        the second round.
    uses, workers : int
        Iterations that each synthesized batch serves, mirrored every second time; processes that synthesize for a GPU, 0 for a thread.
    average_decay : float
        Of the moving average of the weights that is validated and saved by the recipe "bundled".
    device : str
    checkpoint_minutes : float
    validate_every, validation_patches : int
    compile : bool
        Fuse the network's operations with `torch.compile`, which needs a C++ compiler. With instance normalisation leave it off: a step on
        a CPU then takes twice as long.
    """

    stage: str = "fcn1"
    recipe: str = "bundled"
    label_maps: str = ""
    pack: str = "runs/labelmaps.npz"
    output_dir: str = "runs/fcn1"
    held_out: tuple[str, ...] = HELD_OUT
    network: NetworkConfig = BUNDLED_FCN1
    context: ContextConfig = field(default_factory=ContextConfig)
    fcn1: str = ""
    start_from: str = ""
    init_t1: str = ""
    init_t2: str = ""
    data: tuple[str, ...] = ()
    iterations: int = 10_000
    batch_size: int = 2
    patch_voxels: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    loss_weights: tuple[float, ...] = LOSS_WEIGHTS
    seed: int = 1
    simulation: str = "shrunken"
    mixed_maps: int = 0
    phase_shares: tuple[float, ...] = PHASE_SHARES
    stream_dropout: float = 0.0
    own_context: float = 0.0
    uses: int = 1
    workers: int = 0
    average_decay: float = 0.998
    device: str = "auto"
    checkpoint_minutes: float = 4.0
    validate_every: int = 250
    validation_patches: int = 10
    compile: bool = False

    @property
    def stage_facts(self) -> Stage:
        """What the stage's name stands for."""
        return STAGES[self.stage]

    @property
    def recipe_facts(self) -> Recipe:
        """What the recipe's name stands for."""
        return RECIPES[self.recipe]

    def __post_init__(self):
        if self.stage not in STAGES:
            raise TrainingError(f"stage is {self.stage!r}; wanted one of {', '.join(STAGES)}.")
        if self.recipe not in RECIPES:
            raise TrainingError(f"recipe is {self.recipe!r}; wanted one of {', '.join(RECIPES)}.")
        if self.simulation not in SIMULATIONS:
            raise TrainingError(f"simulation is {self.simulation!r}; wanted one of {', '.join(SIMULATIONS)}.")
        streams = self.stage_facts.streams(self.network.classes)
        if self.network.stream_channels != streams:
            raise TrainingError(
                f"{self.stage} has streams of {self.network.stream_channels} channels; wanted {streams}: set network.stream_channels."
            )
        if self.stage_facts.needs_fcn1 and not self.fcn1:
            raise TrainingError('stage "fcn2" needs the weights of an FCN-1 to make its context from: set fcn1.')
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                wanted = f"{low} or more" if high == math.inf else f"{low} to {high}"
                raise TrainingError(f"{name} is {getattr(self, name)}; wanted {wanted}: correct it.")
        for name in ("pack", "output_dir"):
            if not getattr(self, name).strip():
                raise TrainingError(f"{name} is empty; wanted a path: name one.")
        if len(self.loss_weights) != len(LOSS_WEIGHTS) or min(self.loss_weights) < 0:
            raise TrainingError(f"loss_weights is {self.loss_weights}; wanted {len(LOSS_WEIGHTS)} numbers of 0 or more, one a scale.")
        if len(self.phase_shares) != len(PHASES) or min(self.phase_shares) < 0 or not math.isclose(sum(self.phase_shares), 1):
            raise TrainingError(f"phase_shares is {self.phase_shares}; wanted {len(PHASES)} shares of sum 1: {', '.join(PHASES)}.")
        if self.own_context and not self.stage_facts.needs_fcn1:
            raise TrainingError(f'own_context is {self.own_context} and stage {self.stage!r}; wanted stage "fcn2" or 0.')


def read_config(path: Path) -> TrainingConfig:
    """Read a JSON file of `TrainingConfig`'s fields; those absent keep their defaults.

    Raises
    ------
    TrainingError
        If the file is missing, is no JSON, names a field that does not exist, or holds a value that cannot be.
    """
    try:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"The training config {path} cannot be read ({error.strerror}): give a JSON file.") from error
    except json.JSONDecodeError as error:
        raise TrainingError(
            f"The training config {path} is no JSON (line {error.lineno}: {error.msg}); wanted a JSON file: correct that line."
        ) from error
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"The training config {path} is no JSON ({type(error).__name__}); wanted a JSON file in UTF-8.") from error
    try:
        return config_from_dict(given)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error


def config_from_dict(given: object) -> TrainingConfig:
    """Make a `TrainingConfig` of plain values, as `asdict` gives them.

    Raises
    ------
    TrainingError
        If a field does not exist, or a value cannot be.
    """
    try:
        return from_plain(TrainingConfig, given, "The training config")
    except (TrainingError, ValueError) as error:
        raise TrainingError(f"The training config cannot be used: {error}") from error


def config_to_dict(config: TrainingConfig) -> dict:
    """Plain values of a config, for JSON and checkpoints."""
    return json.loads(json.dumps(asdict(config)))
