"""A person's review of a result, kept in its provenance: who, when, and of which voxels."""

import getpass
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

import slicer

from .provenance import PROVENANCE_ROLE, told_of

_KEY = "review"


@dataclass(frozen=True)
class Review:
    """Who looked a result through, and when.

    Attributes
    ----------
    by : str
    utc : str
        Date and time.
    shapes : dict
        Checksum of each segment as it was, by its name.
    """

    by: str
    utc: str
    shapes: dict[str, str] = field(default_factory=dict)


def reviewer() -> str:
    """Name who sits here: as in Slicer's Application Settings under User, else the login."""
    application = getattr(slicer, "app", None)
    logic = application.applicationLogic() if hasattr(application, "applicationLogic") else None
    person = logic.GetUserInformation() if logic is not None else None
    return (person.GetName() if person is not None else "") or getpass.getuser()


def mark_reviewed(segmentation_node, by: str, shapes: Mapping[str, str]) -> None:
    """Write into a result's provenance that a person looked it through now.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode with a provenance
    by : str
    shapes : mapping of str to str
        Checksum of each segment, by its name.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="minutes")
    _write(segmentation_node, {"by": by, "utc": now, "shapes": dict(shapes)})


def unmark_reviewed(segmentation_node) -> None:
    """Take the review out of a result's provenance."""
    _write(segmentation_node, None)


def read_review(segmentation_node) -> Review | None:
    """Read the review of a result, None where nobody has looked it through."""
    try:
        told = (told_of(segmentation_node) or {})[_KEY]
        return Review(str(told["by"]), str(told["utc"]), {str(name): str(shape) for name, shape in told["shapes"].items()})
    except (ValueError, KeyError, TypeError, AttributeError):  # the text can be edited
        return None


def can_be_reviewed(segmentation_node) -> bool:
    """Whether there is a provenance to write into."""
    try:
        return told_of(segmentation_node) is not None
    except ValueError:
        return False


def _write(segmentation_node, review: dict | None) -> None:
    told = {name: value for name, value in (told_of(segmentation_node) or {}).items() if name != _KEY}
    if review is not None:
        told[_KEY] = review
    segmentation_node.GetNodeReference(PROVENANCE_ROLE).SetText(json.dumps(told, indent=2))
