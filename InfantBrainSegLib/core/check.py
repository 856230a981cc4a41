"""What a check is, and how a list of them is told: as a table and as warnings."""

import math
from dataclasses import dataclass

PASS, WARN, STOP = "pass", "warn", "stop"
TOLD_BY_PAIR_SCANS = ("contrasts", "overlap", "skull")  # `pair_scans` warns of these in its own words


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Attributes
    ----------
    name : str
    status : "pass", "warn" or "stop"
    measured, limit : str
        With units.
    remedy : str
        What to do; empty for a pass.
    """

    name: str
    status: str
    measured: str
    limit: str
    remedy: str = ""

    def sentence(self) -> str:
        """Give the check as a warning of one line."""
        return f"{self.name.capitalize()}: {self.measured}; wanted {self.limit}: {self.remedy}."


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


def make_check(name: str, status: str, measured: str, limit: str, remedy: str) -> Check:
    """Make a check; one that passes needs no remedy."""
    return Check(name, status, measured, limit, "" if status == PASS else remedy)


def new_warnings(checks: tuple[Check, ...]) -> list[str]:
    """Give a sentence for each check that is no pass and that `pair_scans` did not warn of in its own words.

    Parameters
    ----------
    checks : tuple of Check

    Returns
    -------
    list of str
    """
    return [check.sentence() for check in checks if check.status != PASS and check.name not in TOLD_BY_PAIR_SCANS]


def to_table(checks: tuple[Check, ...]) -> str:
    """Lay the checks out for a terminal.

    Parameters
    ----------
    checks : tuple of Check

    Returns
    -------
    str, a line for each check and one more where there is a remedy
    """
    rows = [("check", "", "measured", "wanted"), *((c.name, c.status, c.measured, c.limit) for c in checks)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows]
    for index, check in reversed(list(enumerate(checks, 1))):
        if check.remedy:
            lines.insert(index + 1, f"    {check.remedy}")
    return "\n".join(lines)
