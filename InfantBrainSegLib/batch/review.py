"""What people decided on the page of a cohort: a JSON file beside the table, which the next table takes in."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ..core.contract import REVIEW, SCAN_COLUMN
from ..core.errors import InputError
from .cohort import SEPARATOR, Row

DECISIONS = ("accept", "reject", "")  # the last one is a note alone
FORMAT = 1


@dataclass(frozen=True)
class Decision:
    """What a person decided of a scan.

    Attributes
    ----------
    decision : "accept", "reject" or ""
    note : str
    made : str
        Tells which labels were looked at.
    """

    decision: str
    note: str
    made: str


def read_review(folder: Path) -> dict[str, Decision]:
    """Read what was decided, by scan.

    Parameters
    ----------
    folder : Path
        Of the table.

    Returns
    -------
    dict, empty where there is no such file

    Raises
    ------
    InputError
        If the file is none of ours.
    """
    path = folder / REVIEW
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}); wanted the JSON that the page saves: save it again.") from error
    try:
        if told["format"] != FORMAT:
            raise ValueError(told["format"])
        found = {
            str(scan): Decision(entry["decision"], " ".join(str(entry.get("note", "")).split()), str(entry.get("made", "")))
            for scan, entry in told["scans"].items()
        }
        if any(given.decision not in DECISIONS for given in found.values()):
            raise ValueError(DECISIONS)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is no review of ours; wanted format {FORMAT} with accept or reject for each scan: save it from the page again."
        ) from error
    return found


def with_decision(row: Row, decisions: dict[str, Decision]) -> Row:
    """Add to a row what was decided; a decision on labels that were made again since then counts no more, and the row says so."""
    given = decisions.get(row[SCAN_COLUMN])
    if given is None:
        return row
    if given.made != made_of(row):
        again = f"It was reviewed ({given.decision or given.note}) before it was segmented again: look at it again."
        return {**row, "warnings": SEPARATOR.join(filter(None, (row.get("warnings"), again)))}
    return {**row, "review": given.decision, "review_note": given.note}


def made_of(row: Row) -> str:
    """Tell the result of a row from another one of the same scan; a row without a result has one too."""
    cells = [row.get(name, "") for name in sorted(row) if name.endswith(("_ml", "_confidence", "_sha256")) or name == "version"]
    return hashlib.sha256("\n".join(cells).encode()).hexdigest()[:12]
