"""What a person chooses before a run, and how the child is told."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import Any

from InfantBrainSegLib.core.cores import usable_cores
from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.core.option import PANEL, defaults, options_in, to_arguments
from InfantBrainSegLib.pipeline.options import SegmentOptions

AUTO, ON, OFF = "auto", "on", "off"


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


def _panel_names() -> dict[str, str]:
    """From an option's field to its name here."""
    names = {}
    for name, fact in options_in(SegmentOptions, PANEL).items():
        first, *rest = name.split("_")
        names[name] = fact.panel or first + "".join(word.capitalize() for word in rest)
    return names


PANEL_NAMES = _panel_names()


def _threads_beside_slicer() -> int:
    """Leave one physical core to Slicer, so that its windows stay quick; 0, the library's own choice, where there are but two."""
    cores = usable_cores()
    return cores - 1 if cores > 2 else 0


class _Parameters:
    """What can be done with the choices."""

    def check(self) -> None:
        """Check what no widget keeps in bounds.

        Raises
        ------
        InputError
        """
        if self.ageMonths is not None and not math.isfinite(self.ageMonths):
            raise InputError("The age is no number; wanted months from birth at term, such as 6 or 4.5: mend it, or leave it empty.")
        for name, fact in options_in(SegmentOptions, PANEL).items():
            shown = PANEL_NAMES[name]
            value = getattr(self, shown)
            if fact.switch is None and not fact.allows(value):
                remedy = "choose one of them" if fact.choices else "change it"
                raise InputError(f"{shown} is '{value}'; wanted {fact.wanted}: {remedy}.")

    def options(self) -> SegmentOptions:
        """Give the library's options; a text that is empty leaves the default."""
        values = {}
        for name, fact in options_in(SegmentOptions, PANEL).items():
            value = getattr(self, PANEL_NAMES[name])
            if fact.switch is not None:
                value = fact.switch[0 if value else 1]
            if value != "":
                values[name] = value
        if "weights_dir" in values:
            values["weights_dir"] = str(Path(values["weights_dir"]).absolute())  # the child runs in another folder
        return SegmentOptions(**values)

    def made_with(self, told: Mapping[str, Any]) -> Any:
        """Give these choices with the options that made a result, as far as it tells them; the age stays as it is chosen now.

        Parameters
        ----------
        told : mapping
            Values of the library's options by their names there.
        """
        values = {}
        for name, fact in options_in(SegmentOptions, PANEL).items():
            if fact.recorded and name != "age_months" and name in told:
                value = told[name]
                values[PANEL_NAMES[name]] = value if fact.switch is None else value == fact.switch[0]
        return replace(self, **values)

    def arguments(self, place: str) -> list[str]:
        """Give the options on the command line of "segment" or "batch"."""
        probabilities = ["--save-probabilities"] if self.saveProbabilities else []
        options = self.options()
        if not options.threads:
            options = replace(options, threads=_threads_beside_slicer())
        return [*to_arguments(options, place), *probabilities, "--progress", "lines"]


def _shown_options() -> list[tuple[str, Any, Any]]:
    """Name, type and default of each option that the panel shows."""
    shown = []
    for name, fact in options_in(SegmentOptions, PANEL).items():
        kind, default = fact.kind, defaults(SegmentOptions)[name]
        if fact.switch is not None:
            kind, default = bool, default == fact.switch[0]
        elif default is None:
            kind, default = (str, "") if kind is str else (kind | None, None)
        shown.append((PANEL_NAMES[name], kind, default))
    return shown


SegmentParameters = make_dataclass(
    "SegmentParameters",
    [("maskNode", object, None), ("saveProbabilities", bool, False), ("saveMask", bool, False), *_shown_options()],
    bases=(_Parameters,),
    frozen=True,
    namespace={
        "__module__": __name__,
        "__doc__": """How to segment.

    Beside these there is each option of the library's `SegmentOptions` that shows in the panel, in camel case, such as `device`, `flip` or
    `ageMonths`; `weightsPath`, empty for the bundled weights; and `secondRound`, which runs the second stage twice or once.

    Attributes
    ----------
    maskNode : vtkMRMLLabelMapVolumeNode, vtkMRMLSegmentationNode or None
        None lets the cerebrum be found.
    saveProbabilities : bool
        One more volume node for each tissue.
    saveMask : bool
        One more labelmap node with the cerebrum that was segmented.
    """,
    },
)
