"""What made a result and how it was judged, as text in a node beside it: written after a run, read back for the panel."""

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from InfantBrainSegLib import __version__
from InfantBrainSegLib.core.check import Check, Reason
from InfantBrainSegLib.core.option import options_in
from InfantBrainSegLib.pipeline.options import SegmentOptions

from .places import OWN_MM, Place

PROVENANCE_ROLE = "InfantBrainSeg.Provenance"
_PUBLIC_PARTS = (  # of the report; no paths, no names
    "versions",
    "device",
    "volumes",
    "cleanup",
    "edits",
    "extraction",
    "alignment",
    "bias_corrected",
    "newborn_wm_bias",
    "checks",
    "verdict",
    "warnings",
    "seconds",
    "peak_memory_mb",
)
_PUBLIC_CHOICES = tuple(
    name for name, fact in options_in(SegmentOptions).items() if fact.choices
)  # options whose text is one of ours, and so no path


@dataclass(frozen=True)
class Record:
    """How a result was judged.

    Attributes
    ----------
    checks : tuple of Check
        Of the images, before the networks ran.
    decision : str
        "accept", "look", "do not use"; empty where no verdict was kept.
    reasons : tuple of Reason
    places : tuple of Place
        The most doubtful first.
    notes : tuple of str
        What was done to the scans before.
    age_months : float or None
        That the run was told.
    followed : tuple of two ints or None
        Of a refinement: how many edited voxels stayed, and how many others changed.
    """

    checks: tuple[Check, ...] = ()
    decision: str = ""
    reasons: tuple[Reason, ...] = ()
    places: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()
    age_months: float | None = None
    followed: tuple[int, int] | None = None


def provenance_text(report: dict[str, Any]) -> str:
    """Write what made a result as indented JSON, without file paths, node names or anything else of the patient.

    Parameters
    ----------
    report : dict of the child
    """
    weights = {stage: entry.get("sha256") for stage, entry in report.get("weights", {}).items()}
    chosen = report.get("options", {})
    options = {
        name: value for name, value in chosen.items() if "weights" not in name and (name in _PUBLIC_CHOICES or not isinstance(value, str))
    }
    parts = {name: report[name] for name in _PUBLIC_PARTS if name in report}
    made = {
        "program": "InfantBrainSeg",
        "module_version": __version__,
        "finished_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "weights_sha256": weights,
        "options": options,
        **parts,
        "note": "Research use only; not a medical device.",
    }
    return json.dumps(made, indent=2)


def told_of(segmentation_node) -> dict[str, Any] | None:
    """Give a result's provenance as it was written.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode or None

    Returns
    -------
    dict, or None for a segmentation that no run made

    Raises
    ------
    ValueError
        If the text is no JSON object: it can be edited.
    """
    node = segmentation_node.GetNodeReference(PROVENANCE_ROLE) if segmentation_node is not None else None
    if node is None:
        return None
    told = json.loads(node.GetText() or "{}")
    if not isinstance(told, dict):
        raise ValueError("The provenance is no JSON object.")
    return told


def made_with(segmentation_node) -> dict[str, Any]:
    """Give the options of the library that a result was made with, as far as they were kept."""
    try:
        options = (told_of(segmentation_node) or {}).get("options")
    except ValueError:  # an edited text
        return {}
    return options if isinstance(options, dict) else {}


def read_record(segmentation_node) -> Record:
    """Read how a result was judged.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode or None

    Returns
    -------
    Record, empty for a segmentation that no run made
    """
    try:
        return record_of(told_of(segmentation_node) or {})
    except (ValueError, KeyError, TypeError, AttributeError):  # an edited text, and older ones lack parts
        return Record()


def record_of(report: dict[str, Any]) -> Record:
    """Take checks and verdict out of a provenance or a report whose places are known in the scan's own space."""
    verdict = report.get("verdict", {})
    places = tuple(
        Place(int(place["slice_index"]), tuple(map(float, place[OWN_MM])), float(place["doubtful_share"]))
        for place in verdict.get("places", ())
    )
    checks = tuple(Check.from_dict(check) for check in report.get("checks", ()))
    done = [report.get("extraction", {}), report.get("alignment", {})]
    notes = tuple(str(step["message"]) for step in done if step.get("message") and step.get("moved", True))
    reasons = tuple(Reason.from_dict(reason) for reason in verdict.get("reasons", ()))
    age_months = report.get("options", {}).get("age_months")
    age_months = None if age_months is None else float(age_months)
    edits = report.get("edits")
    followed = (int(edits["fixed_voxels"]), int(edits["changed_voxels"])) if edits else None
    return Record(checks, verdict.get("decision", ""), reasons, places, notes, age_months, followed)
