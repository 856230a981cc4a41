"""What a training does differently by its stage and by its recipe, each told once."""

from dataclasses import dataclass

from ..core.labels import PART_NAMES, TISSUES
from .simulation.head_synthesis import FIND, REFINE, HeadConfig


@dataclass(frozen=True)
class Stage:
    """One of the four networks, and what it learns from.

    Attributes
    ----------
    guided : bool
        Whether a third stream holds distance maps of what the stage before found.
    class_names : tuple of str
        Of the labels from 1 on.
    heads : HeadConfig or None
        How whole heads are drawn for it; None for one that learns from stripped brains.
    needs_fcn1 : bool
        Whether its context comes from a trained FCN-1.
    """

    name: str
    guided: bool = False
    class_names: tuple[str, ...] = tuple(tissue.short_name for tissue in TISSUES)
    heads: HeadConfig | None = None
    needs_fcn1: bool = False

    def streams(self, classes: int) -> tuple[int, ...]:
        """Channels of each stream of a network of so many classes."""
        return (1, 1, classes - 1) if self.guided else (1, 1)


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
        Stage("fcn1"),
        Stage("fcn2", guided=True, needs_fcn1=True),
        Stage("locate", class_names=PART_NAMES, heads=FIND),
        Stage("refine", guided=True, class_names=PART_NAMES, heads=REFINE),
    )
}
