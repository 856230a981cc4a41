"""What a check is, how a list of them is told, as a table and as warnings, and what a reason of a verdict is."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

PASS, WARN, STOP = "pass", "warn", "stop"


class CheckCode(Enum):
    """What a check looked at, in the order of the table. The values lie in files and stay as they are."""

    CEREBRUM = "cerebrum"
    POSE = "pose"
    FIELD_OF_VIEW = "field_of_view"
    SPACING = "spacing"
    SLICE_GAP = "slice_gap"
    OVERLAP = "overlap"
    MASK_COVER = "mask_cover"
    ALIGNMENT = "alignment"
    SINGLE_SCAN = "single_scan"
    SAME_IMAGE = "same_image"
    SAME_CONTRAST = "same_contrast"
    CONTRASTS = "contrasts"
    SKULL = "skull"
    INTENSITY_RANGE = "intensity_range"
    CLIPPING = "clipping"
    MOTION_RINGING = "motion_ringing"
    BRAIN_VOLUME = "brain_volume"
    SYMMETRY = "symmetry"
    SHAPE = "shape"
    MASK_LEAKAGE = "mask_leakage"
    HOLES = "holes"
    LOOSE_PIECES = "loose_pieces"


_ORDER = {code: index for index, code in enumerate(CheckCode)}
_SHARED_NAMES = {  # of rows that stand in one another's place
    CheckCode.MASK_COVER: "overlap",
    CheckCode.SINGLE_SCAN: "contrasts",
    CheckCode.SAME_IMAGE: "contrasts",
    CheckCode.SAME_CONTRAST: "contrasts",
}


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Attributes
    ----------
    code : CheckCode
    status : "pass", "warn" or "stop"
    found, wanted : str
        With units.
    remedy : str
        What to do; empty for a pass.
    """

    code: CheckCode
    status: str
    found: str
    wanted: str
    remedy: str = ""

    @property
    def name(self) -> str:
        """The code in words, for a reader."""
        return _SHARED_NAMES.get(self.code, self.code.value.replace("_", " "))

    @property
    def passes(self) -> bool:
        """Whether all is well."""
        return self.status == PASS

    def sentence(self) -> str:
        """Give the check as a warning of one line."""
        return f"{self.name.capitalize()}: {self.found}; wanted {self.wanted}: {self.remedy}."

    def as_dict(self) -> dict[str, str]:
        """Give plain values for a file."""
        return {
            "code": self.code.value,
            "name": self.name,
            "status": self.status,
            "found": self.found,
            "wanted": self.wanted,
            "remedy": self.remedy,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> "Check":
        """Read what `as_dict` gave; raises KeyError or ValueError where that is no check."""
        return cls(CheckCode(values["code"]), values["status"], values["found"], values["wanted"], values["remedy"])


class SignCode(Enum):
    """What a run's own signs say; the checks of its images have codes of their own."""

    TISSUE_FRACTION = "tissue_fraction"
    STAGE_AGREEMENT = "stage_agreement"
    CONFIDENCE = "confidence"
    ISLANDS = "islands"
    DOUBTFUL_PLACES = "doubtful_places"
    LABEL_INTENSITY = "label_intensity"
    FLUID = "fluid"
    GRAY_TO_WHITE = "gray_to_white"


@dataclass(frozen=True)
class Reason:
    """Why a result is not simply accepted.

    Attributes
    ----------
    code : CheckCode or SignCode
    text : str
        What was found.
    remedy : str
        What to do, where a check knows it.
    """

    code: CheckCode | SignCode
    text: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Give plain values for a file."""
        return {"code": self.code.value, "text": self.text, "remedy": self.remedy}

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> "Reason":
        """Read what `as_dict` gave."""
        own = {code.value for code in SignCode}
        code = SignCode(values["code"]) if values["code"] in own else CheckCode(values["code"])
        return cls(code, values["text"], values["remedy"])


def graded(value: float, warn: float, stop: float = math.inf) -> str:
    """Grade a measure of which less is better.

    Parameters
    ----------
    value, warn, stop : the measure, and where "warn" and "stop" begin

    Returns
    -------
    "pass", "warn" or "stop"
    """
    return STOP if value >= stop else WARN if value >= warn else PASS


def inside_of(value: float, bounds: tuple[float, float]) -> bool:
    """Tell whether a value lies between two bounds."""
    return bounds[0] <= value <= bounds[1]


def make_check(code: CheckCode, status: str, found: str, wanted: str, remedy: str) -> Check:
    """Make a check; one that passes needs no remedy."""
    return Check(code, status, found, wanted, "" if status == PASS else remedy)


def in_order(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Sort checks as the table has them."""
    return tuple(sorted(checks, key=lambda check: _ORDER[check.code]))


def warnings_of(checks: Iterable[Check]) -> tuple[str, ...]:
    """Give a sentence for each check that is no pass."""
    return tuple(check.sentence() for check in checks if not check.passes)


def to_table(checks: tuple[Check, ...]) -> str:
    """Lay the checks out for a terminal.

    Returns
    -------
    str, a line for each check and one more where there is a remedy
    """
    rows = [("check", "", "measured", "wanted"), *((c.name, c.status, c.found, c.wanted) for c in checks)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows]
    for index, check in reversed(list(enumerate(checks, 1))):
        if check.remedy:
            lines.insert(index + 1, f"    {check.remedy}")
    return "\n".join(lines)
