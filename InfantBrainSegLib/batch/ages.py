"""How old a subject was at a scan, as a BIDS dataset or a CSV tells it; an age whose units are not told is not used, with a note."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

_DAYS_PER_MONTH = 30.4375  # a year of 365.25 days by twelve
_MONTHS = {
    **dict.fromkeys(("day", "days", "d"), 1 / _DAYS_PER_MONTH),
    **dict.fromkeys(("week", "weeks", "wk", "wks"), 7 / _DAYS_PER_MONTH),
    **dict.fromkeys(("month", "months", "mo", "mos"), 1.0),
    **dict.fromkeys(("year", "years", "yr", "yrs", "a"), 12.0),
}
_ABSENT = ("", "n/a", "na", "nan")
IN_MONTHS, IN_ANY_UNITS = "age_months", "age"  # names of columns
Cells = dict[str, str]  # of one line of a table


@dataclass(frozen=True)
class Age:
    """An age, or none.

    Attributes
    ----------
    months : float or None
    note : str
        Why an age that is written there is not used; empty when it is, and when there is none.
    """

    months: float | None = None
    note: str = ""


NO_AGE = Age()


def age_of(cells: Cells, units: str | None, place: str, remedy: str) -> Age:
    """Read the age in one line of a table: from the column age_months, or from age where its units are known.

    Parameters
    ----------
    cells : dict, by the columns' names in small letters
    units : str or None
        Of the column age.
    place : str
        Where the line stands, for the note.
    remedy : str
        How to give the units of the column age.
    """
    column = next((name for name in (IN_MONTHS, IN_ANY_UNITS) if cells.get(name, "").lower() not in _ABSENT), None)
    if column is None:
        return NO_AGE
    factor = 1.0 if column == IN_MONTHS else _MONTHS.get((units or "").strip().lower())
    if factor is None:
        found = "no units" if not units else "unknown units"
        return Age(note=f"The age in {place} has {found} and was not used; wanted a column {IN_MONTHS}{remedy}.")
    try:
        months = float(cells[column].replace(",", ".")) * factor
    except ValueError:
        months = math.nan
    if not math.isfinite(months):
        return Age(note=f"The column {column} in {place} holds no number and was not used; wanted one, or n/a: correct it.")
    return Age(months)


class BidsAges:
    """The ages in a BIDS dataset's sessions.tsv and participants.tsv.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path):
        self._root = root

    def find(self, subject: str, session: str, several: bool) -> Age:
        """Give the age at one session: as its own line tells it, else as the subject's does.

        Parameters
        ----------
        subject, session : str
            "sub-01" and "ses-1"; the session is empty where there is none.
        several : bool
            Whether the subject has more than one session: then its own line does not tell the age at any of them.
        """
        sessions = f"{subject}_sessions"
        age = NO_AGE
        if session:
            folder = self._root / subject
            age = self._age(folder / f"{sessions}.tsv", session, [folder / f"{sessions}.json", self._root / "sessions.json"])
        if age == NO_AGE:
            age = self._age(self._root / "participants.tsv", subject, [self._root / "participants.json"])
            if several and age.months is not None:
                return Age(note=f"participants.tsv gives one age for several sessions, so it was not used: give each in {sessions}.tsv.")
        return age

    @staticmethod
    def _age(table: Path, label: str, sidecars: list[Path]) -> Age:
        try:
            if not table.is_file():
                return NO_AGE
            lines = list(csv.reader(table.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"))
            units = _units(sidecars)
        except (OSError, ValueError, csv.Error):
            return Age(note=f"{table.name} or its JSON cannot be read, so no age was used: save both as UTF-8.")
        names = [name.strip().lower() for name in lines[0]] if lines else []
        found = [line for line in lines[1:] if line and line[0].strip().split("-", 1)[-1] == label.split("-", 1)[-1]]
        remedy = f", or the units of age in {sidecars[0].name}"
        ages = {age_of(dict(zip(names, (cell.strip() for cell in line), strict=False)), units, table.name, remedy) for line in found}
        if len(ages) > 1:
            return Age(note=f"{table.name} gives several ages for {label}, so none was used: keep one line.")
        return ages.pop() if ages else NO_AGE


def _units(sidecars: list[Path]) -> str | None:
    """Give the units of the column age from the nearest sidecar that tells them."""
    for path in sidecars:
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            column = content.get(IN_ANY_UNITS) if isinstance(content, dict) else None
            if isinstance(column, dict) and isinstance(column.get("Units"), str):
                return column["Units"]
    return None
