"""What a user chooses of a segmentation."""

from dataclasses import dataclass, field
from pathlib import Path

from ..networks.sliding_window import SlidingWindowConfig
from ..preparation.bias import AUTO
from .cleanup import CleanupConfig


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment.

    Attributes
    ----------
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    weights_dir : str, path or None
        A folder with fcn1.pt, fcn2.pt and manifest.json, or one of these files; None for the bundled ones.
    use_context : bool
        Both stages; False stops after the first, without spatial context.
    rounds : int
        How often the second stage runs: once, as in the paper; the second time on the mirrored brain with distance maps of its own result,
        and a third time on the brain as it lies with those of the first two. The last two results are averaged.
    flip : bool
        Average the probabilities of each run of a network with those of the left-right mirrored brain: twice the time.
    window : SlidingWindowConfig or None
        None for windows as each network was trained (`predictor.trained_window`).
    cleanup : CleanupConfig
    age_months : float or None
        From birth at term; the brain's volume is then checked against that age.
    align : str
        "auto" moves T2 onto T1 where it does not lie there, as measured; "off" takes the headers' word.
    bias_correction : str
        "auto" corrects raw scans with a mask, "on" all, "off" none.
    extract : str
        "auto" takes the cerebrum out of whole heads, and cerebellum and brainstem out of stripped ones, unless there is a mask;
        "off" takes the scans as they are.
    """

    device: str = "auto"
    weights_dir: str | Path | None = None
    use_context: bool = True
    flip: bool = False
    window: SlidingWindowConfig | None = None
    cleanup: CleanupConfig = field(default_factory=CleanupConfig)
    age_months: float | None = None
    align: str = "auto"
    bias_correction: str = AUTO
    extract: str = "auto"
    rounds: int = 3

    def __post_init__(self):
        if self.rounds not in (1, 2, 3):
            raise ValueError(f"rounds is {self.rounds}; wanted 1, 2 or 3.")
