"""What a training does differently by its stage and by its recipe, each told once."""

from dataclasses import dataclass

from ..core.labels import PART_NAMES, TISSUES
from .simulation.head_synthesis import FIND, REFINE, HeadConfig


@dataclass(frozen=True)
class Stage:
    """One of the four networks, and what it learns from.

    Attributes
    ----------
    streams : tuple of int
        Channels of each stream.
    class_names : tuple of str
        Of the labels 1, 2 and 3.
    heads : HeadConfig or None
        How whole heads are drawn for it; None for one that learns from stripped brains.
    needs_fcn1 : bool
        Whether its context comes from a trained FCN-1.
    """

    name: str
    streams: tuple[int, ...]
    class_names: tuple[str, ...] = tuple(tissue.short_name for tissue in TISSUES)
    heads: HeadConfig | None = None
    needs_fcn1: bool = False


@dataclass(frozen=True)
class Recipe:
    """How a network is optimised and how its patches are varied.

    Attributes
    ----------
    averaged : bool
        Whether the moving average of the weights is validated and saved, in place of the last ones.
    momentum : float or None
        Of SGD; None for AdamW.
    halved_every : int or None
        Iterations after which the rate is halved; None for warm-up and polynomial decay.
    largest_gradient : float
        Norm that gradients are clipped to.
    mixed_precision : bool
    quarter_turns : bool
        Patches are cropped anywhere, turned by quarters about z and mirrored along y; if not, they lie round a voxel of the brain
        and get a random gain and offset.
    """

    name: str
    averaged: bool
    momentum: float | None
    halved_every: int | None
    largest_gradient: float
    mixed_precision: bool
    quarter_turns: bool


BUNDLED = Recipe("bundled", True, None, None, 5.0, True, False)
PAPER = Recipe("paper", False, 0.9, 3000, float("inf"), False, True)  # section 4.1
RECIPES = {recipe.name: recipe for recipe in (BUNDLED, PAPER)}
STAGES = {
    stage.name: stage
    for stage in (
        Stage("fcn1", (1, 1)),
        Stage("fcn2", (1, 1, len(TISSUES)), needs_fcn1=True),
        Stage("locate", (1, 1), PART_NAMES, FIND),
        Stage("refine", (1, 1, 3), PART_NAMES, REFINE),
    )
}
