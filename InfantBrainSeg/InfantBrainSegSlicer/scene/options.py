"""What a person chooses before a run, and how the child is told."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from InfantBrainSegLib.core.errors import InputError

AUTO, ON, OFF = "auto", "on", "off"
_CHOICES = {"extract": (AUTO, OFF), "align": (AUTO, OFF), "biasCorrection": (AUTO, ON, OFF)}


@dataclass(frozen=True)
class Scans:
    """The nodes of one brain.

    Attributes
    ----------
    t1, t2 : vtkMRMLScalarVolumeNode or None
        One of them may be missing.
    mask : vtkMRMLLabelMapVolumeNode, vtkMRMLSegmentationNode or None
    """

    t1: Any = None
    t2: Any = None
    mask: Any = None

    @property
    def main(self) -> Any:
        """The scan on whose grid the result lies: T1, or T2 when it is alone."""
        return self.t2 if self.t1 is None else self.t1

    def named(self) -> dict[str, Any]:
        """Give the nodes that are there, by the names that the library's messages have for them."""
        nodes = {"T1": self.t1, "T2": self.t2, "The brain mask": self.mask}
        return {name: node for name, node in nodes.items() if node is not None}


@dataclass(frozen=True)
class SegmentParameters:
    """How to segment.

    Attributes
    ----------
    maskNode : vtkMRMLLabelMapVolumeNode, vtkMRMLSegmentationNode or None
        None lets the cerebrum be found.
    device : str
        "auto", "cpu", "cuda:N" or "mps".
    weightsPath : str
        A folder with fcn1.pt, fcn2.pt and manifest.json, or one of these files; empty for the bundled weights.
    useContext : bool
        Both stages; False stops after the first.
    secondRound : bool
        Run the second stage three times, guided by its own result from the second time on.
    flip : bool
        Also segment the mirror image and average; twice the time.
    saveProbabilities : bool
        One more volume node for each tissue.
    saveMask : bool
        One more labelmap node with the cerebrum that was segmented.
    ageMonths : float or None
        From birth at term; the brain's volume is then checked against that age.
    extract : str
        "auto" takes the cerebrum out of whole heads when there is no mask; "off" takes the scans as they are.
    align : str
        "auto" moves T2 onto T1 where it lies elsewhere; "off" takes the headers' word.
    biasCorrection : str
        "auto", "on" or "off".
    """

    maskNode: object = None
    device: str = "auto"
    weightsPath: str = ""
    useContext: bool = True
    secondRound: bool = True
    flip: bool = False
    saveProbabilities: bool = False
    saveMask: bool = False
    ageMonths: float | None = None
    extract: str = AUTO
    align: str = AUTO
    biasCorrection: str = AUTO

    def check(self) -> None:
        """Check what no widget keeps in bounds.

        Raises
        ------
        InputError
        """
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name} is '{getattr(self, name)}'; wanted {', '.join(choices[:-1])} or {choices[-1]}: choose one of them."
                )
        if self.ageMonths is not None and not math.isfinite(self.ageMonths):
            raise InputError("The age is no number; wanted months from birth at term, such as 6 or 4.5: mend it, or leave it empty.")

    def options(self) -> list[str]:
        """The command line's options that a single run and a batch share."""
        options = ["--device", self.device or "auto"]
        if self.weightsPath:
            options += ["--weights", str(Path(self.weightsPath).absolute())]
        if not self.useContext:
            options.append("--no-context")
        elif not self.secondRound:
            options += ["--rounds", "1"]
        if self.flip:
            options.append("--flip")
        if self.saveProbabilities:
            options.append("--save-probabilities")
        options += ["--extract", self.extract, "--align", self.align, "--bias-correction", self.biasCorrection]
        return [*options, "--progress", "lines"]

    def age_options(self) -> list[str]:
        """The option that a single run has and a batch has not; an age below 0 is not taken for an option."""
        return [] if self.ageMonths is None else [f"--age-months={self.ageMonths:g}"]
