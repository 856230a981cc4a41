"""Where to look after a run: places of the verdict in the scan's own space, and how the slice views are moved there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer

if TYPE_CHECKING:
    import numpy as np

OWN_MM = "scan_ras_mm"  # a place before the scan's parent transforms, so that it follows them


@dataclass(frozen=True)
class Place:
    """One place in doubt.

    Attributes
    ----------
    slice_index : int
        Of the third axis of the scan's grid, from 0.
    scan_ras_mm : three floats
        In the scan's own space, before its parent transforms.
    doubtful_share : float
        Of the voxels round it.
    """

    slice_index: int
    scan_ras_mm: tuple[float, float, float]
    doubtful_share: float


def with_own_places(report: dict[str, Any], to_world: np.ndarray) -> dict[str, Any]:
    """Add to each place of a report's verdict where it is in the scan's own space.

    Parameters
    ----------
    report : dict of the child, whose `ras_mm` is in the world
    to_world : (4, 4) array
        The scan's parent transforms when the child was given the scan.

    Returns
    -------
    dict, a new one
    """
    import numpy as np

    verdict = report.get("verdict")
    if not isinstance(verdict, dict):
        return report
    from_world = np.linalg.inv(to_world)
    places = [{**place, OWN_MM: (from_world @ [*place["ras_mm"], 1.0])[:3].round(3).tolist()} for place in verdict.get("places", [])]
    return {**report, "verdict": {**verdict, "places": places}}


def world_mm(node, place: Place) -> tuple[float, float, float]:
    """Give where a place lies in the world.

    Parameters
    ----------
    node : vtkMRMLTransformableNode under the scan's parent transforms, as the segmentation is
    place : Place

    Returns
    -------
    R, A, S in mm
    """
    found = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(place.scan_ras_mm, found)
    return tuple(found)


def show_scan(scan) -> None:
    """Show a scan in every slice view, the whole of it; what lies over it stays."""
    slicer.util.setSliceViewerLayers(background=scan, fit=True)


def jump_to(node, place: Place) -> None:
    """Bring a place into the middle of every slice view.

    Parameters
    ----------
    node : vtkMRMLTransformableNode, as for `world_mm`
    place : Place
    """
    slicer.vtkMRMLSliceNode.JumpAllSlices(node.GetScene(), *world_mm(node, place), slicer.vtkMRMLSliceNode.CenteredJumpSlice)
