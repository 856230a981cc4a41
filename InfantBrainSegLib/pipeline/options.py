"""What a user chooses of a segmentation. Light: the command line and the Slicer module import it without torch, numpy or SimpleITK."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.contract import STAGES
from ..core.option import PANEL, SEGMENT, option, options_in

if TYPE_CHECKING:
    from ..networks.sliding_window import SlidingWindowConfig


@dataclass(frozen=True)
class CleanupConfig:
    """What counts as an island, a hole or a rind; tuples are in the order of `labels.TISSUES`.

    The defaults follow real anatomy: in manual labels of newborns and in adult maps, GM is one piece (no other of 20 mm³ or more) and WM
    nearly so (none of 50), while closed pockets of CSF in the sulci are real from a few mm³ upwards. Sheets of GM under 3 mm thick reach
    no further than 5 mm from thicker GM, but for fewer than 120 mm³ in 23 of 25 label maps; further out, on the walls of the
    ventricles, they are mixtures of CSF and WM, pieces of up to 134 mm³ in 137 results. Larger ones may be a cortex that large ventricles
    have thinned.

    Attributes
    ----------
    island_mm3 : a float for each tissue
        A tissue's pieces under this volume, joined to the rest not even by a corner, go to the best tissue that they touch.
    hole_mm3 : a float for each tissue
        Other tissues' regions under this volume, closed in by one tissue on all faces, go to that tissue.
    gm_reach_mm : float
        GM that is further than this, on a way through GM, from GM that holds a ball of 1 mm radius is a rind.
    rind_mm3 : float
        Rinds under this volume go to CSF or WM.
    stray_mm3 : float
        Pieces of brain under this volume, surrounded by background and apart from the largest piece, become background.
    enabled : bool
        False leaves the labels as they are inside the mask.
    """

    island_mm3: tuple[float, ...] = (5.0, 100.0, 30.0)
    hole_mm3: tuple[float, ...] = (30.0, 5.0, 30.0)
    gm_reach_mm: float = 5.0
    rind_mm3: float = 300.0
    stray_mm3: float = 1000.0  # rests of dura, skin or an eye; a brain is 300 times larger
    enabled: bool = True


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment.

    A field made by `option` is on the command line of `segment` and `batch` and in the panel's parameters, as its facts say.

    Attributes
    ----------
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    weights_dir : str, path or None
        A folder with fcn1.pt, fcn2.pt and manifest.json, or one of these files; None for the bundled ones.
    use_context : bool
        Both stages; False stops after the first, without spatial context.
    flip : bool
        Average the probabilities of each run of a network with those of the left-right mirrored brain: twice the time.
    window : SlidingWindowConfig or None
        None for windows as each network was trained (`predictor.trained_window`).
    cleanup : CleanupConfig
    age_months : float or None
        From birth at term; the brain's volume is then checked against that age.
    align : str
        "auto" moves T2 onto T1 where it does not lie there, as measured; "off" trusts the headers.
    bias_correction : str
        "auto" corrects raw scans with a mask, "on" all, "off" none.
    extract : str
        "auto" takes the cerebrum out of whole heads, and cerebellum and brainstem out of stripped ones, unless there is a mask;
        "off" takes the scans as they are.
    rounds : int
        How often the second stage runs: once, as in the paper; the second time on the mirrored brain with distance maps of its own result,
        and a third time on the brain as it lies with those of the first two. The result is a mean of the last two, in which the later
        one counts more.
    threads : int
        CPU threads of the networks; 0 for as many as there are physical cores, or fewer where OMP_NUM_THREADS says so.

    Raises
    ------
    ValueError
        If a value is not one that its option takes.
    """

    device: str = option("auto", "--device", "auto (default), cpu, cuda, cuda:N or mps", metavar="NAME", recorded=False)
    weights_dir: str | Path | None = option(  # noqa: RUF009
        None,
        "--weights",
        "folder with fcn1.pt, fcn2.pt and manifest.json, or one of them",
        metavar="PATH",
        panel="weightsPath",
        recorded=False,
    )
    use_context: bool = option(True, "--no-context", "stop after the first stage, without spatial context")
    flip: bool = option(False, "--flip", "average with the left-right mirrored brain: twice the time")
    window: "SlidingWindowConfig | None" = None
    cleanup: CleanupConfig = field(default_factory=CleanupConfig)
    age_months: float | None = option(
        None,
        "--age-months",
        "age from birth at term: checks the brain's volume against it",
        kind=float,
        unit="months",
        metavar="N",
        shows=(SEGMENT, PANEL),
    )
    align: str = option("auto", "--align", "auto (default): move T2 onto T1 where it lies elsewhere; off: never", choices=("auto", "off"))
    bias_correction: str = option(
        "auto", "--bias-correction", "N4; auto (default): for raw scans with a mask", choices=("auto", "on", "off")
    )
    extract: str = option(
        "auto", "--extract", "auto (default): take out the cerebrum unless there is a mask; off: take all", choices=("auto", "off")
    )
    rounds: int = option(
        2,
        "--rounds",
        "runs of the second stage; 1: as in the paper; 2 (default), 3: on its own result, the second time on the mirrored brain",
        kind=int,
        choices=(1, 2, 3),
        panel="secondRound",
        switch=(2, 1),
    )
    threads: int = option(
        0,
        "--threads",
        "CPU threads of the networks; 0 (default): one for each physical core",
        kind=int,
        minimum=0,
        metavar="N",
        recorded=False,
    )

    @property
    def stages(self) -> tuple[str, ...]:
        """The tissue networks that run."""
        return STAGES if self.use_context else STAGES[:1]

    def __post_init__(self):
        for name, fact in options_in(self).items():
            if not fact.allows(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; wanted {fact.wanted}.")
