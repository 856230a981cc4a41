"""From the child's files to nodes of the scene: all of them or none.

Files are read and checked first; only then is the scene touched, and whatever fails there is undone.
"""

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer

from InfantBrainSegLib import __version__
from InfantBrainSegLib.errors import InfantBrainSegError
from InfantBrainSegLib.images import read_image, same_grid
from InfantBrainSegLib.labels import TISSUES, Tissue

from .nodes import BINARY_LABELMAP, array_of, ijk_to_ras, image_data_from_array, to_matrix
from .statistics import AUTOMATIC_MM3_TAG, TABLE_ROLE, fill_automatic, measure_segments

T1_ROLE = "InfantBrainSeg.T1"
PROVENANCE_ROLE = "InfantBrainSeg.Provenance"
PROBABILITY_ROLE = "InfantBrainSeg.Probability"  # then the tissue's short name
CLOSED_SURFACE = "Closed surface"
_TOLD = ("versions", "device", "volumes", "cleanup", "warnings", "seconds", "peak_memory_mb")  # of the report; no paths, no names


@dataclass(frozen=True)
class Outcome:
    """What the child wrote, read and checked.

    Attributes
    ----------
    labels : (K, J, I) uint8 array on T1's grid
    report : dict
    probabilities : dict of (K, J, I) float32 arrays by a tissue's short name; empty unless asked for
    """

    labels: np.ndarray
    report: dict[str, Any]
    probabilities: dict[str, np.ndarray]


@dataclass(frozen=True)
class ResultNodes:
    """Where results go, and after the import where they are.

    Attributes
    ----------
    t1 : vtkMRMLScalarVolumeNode
    segmentation, table : nodes, or None for new ones
    labelmap : vtkMRMLLabelMapVolumeNode, or None for none
    provenance : vtkMRMLTextNode or None
    probabilities : tuple of vtkMRMLScalarVolumeNode
    """

    t1: Any
    segmentation: Any = None
    table: Any = None
    labelmap: Any = None
    provenance: Any = None
    probabilities: tuple = ()


def terminology(tissue: Tissue) -> str:
    """Give a segment's terminology entry in Slicer's serialised form."""
    return (
        "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure"
        f"~SCT^{tissue.snomed_code}^{tissue.snomed_meaning}~^^~Anatomic codes - DICOM master list~^^~^^"
    )


def read_outcome(folder: Path, t1: sitk.Image, with_probabilities: bool) -> Outcome:
    """Read the child's files and check that they fit T1.

    Parameters
    ----------
    folder : Path
    t1 : sitk.Image that the child was given
    with_probabilities : bool

    Returns
    -------
    Outcome

    Raises
    ------
    InfantBrainSegError
        If a file is missing, or lies on another grid.
    """
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InfantBrainSegError(
            f"The segmentation process left no readable report ({error}): look into the log, and try again."
        ) from error
    names = {"": "segmentation.nii.gz"}
    if with_probabilities:
        names |= {tissue.short_name: f"probability_{tissue.short_name.lower()}.nii.gz" for tissue in TISSUES}
    arrays = {}
    for key, name in names.items():
        image = read_image(folder / name)
        if not same_grid(t1, image):
            raise InfantBrainSegError(f"The segmentation process wrote {name} on another grid than T1's: keep the log and report this.")
        arrays[key] = sitk.GetArrayFromImage(image)
    return Outcome(arrays.pop("").astype(np.uint8), report, arrays)


def import_outcome(outcome: Outcome, targets: ResultNodes) -> ResultNodes:
    """Put a checked outcome into the scene: into the given nodes, or into new ones beside T1.

    Parameters
    ----------
    outcome : Outcome
    targets : ResultNodes

    Returns
    -------
    ResultNodes

    Raises
    ------
    InfantBrainSegError
        If T1's voxels are no longer those that were segmented.
    """
    t1 = targets.t1
    if t1.GetImageData() is None or array_of(t1.GetImageData()).shape != outcome.labels.shape:
        raise InfantBrainSegError(f"T1 '{t1.GetName()}' was changed during the run and no longer fits its result: press Segment again.")
    scene = t1.GetScene()
    with undone_on_failure(scene) as keep:
        segmentation = targets.segmentation or _add(scene, "vtkMRMLSegmentationNode", f"{t1.GetName()} segmentation")
        referenced = segmentation.GetNodeReference
        table = targets.table or referenced(TABLE_ROLE) or _add(scene, "vtkMRMLTableNode", f"{t1.GetName()} volumes")
        provenance = referenced(PROVENANCE_ROLE) or _add(scene, "vtkMRMLTextNode", f"{t1.GetName()} provenance")
        volumes = {
            name: referenced(PROBABILITY_ROLE + name) or _add(scene, "vtkMRMLScalarVolumeNode", f"{t1.GetName()} probability {name}")
            for name in outcome.probabilities
        }
        for node in (segmentation, table, provenance, targets.labelmap, *volumes.values()):
            keep(node)
        _fill_segmentation(segmentation, outcome.labels, t1)
        confidence = {row["tissue"]: row.get("mean_confidence") for row in outcome.report.get("volumes", [])}
        ours = [volume for volume in measure_segments(segmentation) if volume.segment_id in {tissue.short_name for tissue in TISSUES}]
        fill_automatic(table, [replace(volume, mean_confidence=_number(confidence.get(volume.segment_id))) for volume in ours])
        for volume in ours:
            segmentation.GetSegmentation().GetSegment(volume.segment_id).SetTag(AUTOMATIC_MM3_TAG, repr(volume.volume_mm3))
        provenance.SetText(provenance_text(outcome.report))
        for name, node in volumes.items():
            _fill_volume(node, outcome.probabilities[name], t1)
            segmentation.SetNodeReferenceID(PROBABILITY_ROLE + name, node.GetID())
        if targets.labelmap is not None:
            _fill_volume(targets.labelmap, outcome.labels, t1)
            targets.labelmap.GetDisplayNode().SetAndObserveColorNodeID(_color_table(scene).GetID())
        for role, node in ((T1_ROLE, t1), (TABLE_ROLE, table), (PROVENANCE_ROLE, provenance)):
            segmentation.SetNodeReferenceID(role, node.GetID())
        nodes = (segmentation, table, provenance, targets.labelmap, *volumes.values())
        _place_beside(t1, [node for node in nodes if node is not None])
    return ResultNodes(t1, segmentation, table, targets.labelmap, provenance, tuple(volumes.values()))


@contextlib.contextmanager
def undone_on_failure(scene) -> Iterator:
    """Give a function that notes a node's content; when the block fails, that content returns and every node added in it goes.

    Parameters
    ----------
    scene : vtkMRMLScene
    """
    before = {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}
    kept = []

    def keep(node) -> None:
        if node is not None and node.GetID() in before:
            backup = node.CreateNodeInstance()
            backup.Copy(node)
            kept.append((node, backup))

    try:
        yield keep
    except BaseException:
        for node, backup in kept:
            node.Copy(backup)
        added = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
        for node in reversed([node for node in added if node.GetID() not in before]):
            scene.RemoveNode(node)
        raise


def provenance_text(report: dict[str, Any]) -> str:
    """Write what made a result as indented JSON, without file paths, node names or anything else of the patient.

    Parameters
    ----------
    report : dict of the child

    Returns
    -------
    str
    """
    weights = {stage: entry.get("sha256") for stage, entry in report.get("weights", {}).items()}
    options = {name: value for name, value in report.get("options", {}).items() if "weights" not in name and not isinstance(value, str)}
    told = {name: report[name] for name in _TOLD if name in report}
    made = {
        "program": "InfantBrainSeg",
        "module_version": __version__,
        "finished_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "weights_sha256": weights,
        "options": options,
        **told,
        "note": "Research use only; not a medical device.",
    }
    return json.dumps(made, indent=2)


def _add(scene, class_name: str, name: str):
    node = scene.AddNewNodeByClass(class_name, scene.GenerateUniqueName(name))
    if node.IsA("vtkMRMLDisplayableNode"):
        node.CreateDefaultDisplayNodes()
    return node


def _fill_segmentation(node, labels: np.ndarray, t1) -> None:
    """Replace our three segments; what else is in the segmentation stays."""
    segmentation = node.GetSegmentation()
    had_surface = segmentation.ContainsRepresentation(CLOSED_SURFACE)
    for name in {tissue.short_name for tissue in TISSUES}.intersection(segmentation.GetSegmentIDs()):
        segmentation.RemoveSegment(name)
    if segmentation.GetNumberOfSegments() == 0:
        segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    shared = image_data_from_array(labels, slicer.vtkOrientedImageData())  # one labelmap for the three
    shared.SetImageToWorldMatrix(to_matrix(ijk_to_ras(t1)))
    for tissue in TISSUES:
        segment = slicer.vtkSegment()
        segment.SetName(tissue.name)
        segment.SetColor(*(value / 255 for value in tissue.color))
        segment.SetLabelValue(tissue.value)
        segment.SetTag(segment.GetTerminologyEntryTagName(), terminology(tissue))
        segment.AddRepresentation(BINARY_LABELMAP, shared)
        if not segmentation.AddSegment(segment, tissue.short_name):
            raise InfantBrainSegError(f"'{node.GetName()}' did not take the segment {tissue.name}: choose a new segmentation.")
    node.SetAndObserveTransformNodeID(t1.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(t1)  # after the transform: it is T1's grid as seen from this node
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    if had_surface:
        node.CreateClosedSurfaceRepresentation()


def _fill_volume(node, array: np.ndarray, t1) -> None:
    node.SetIJKToRASMatrix(to_matrix(ijk_to_ras(t1)))
    node.SetAndObserveImageData(image_data_from_array(array))
    node.SetAndObserveTransformNodeID(t1.GetTransformNodeID())
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()


def _color_table(scene):
    """Give the scene's table of our colours, made once."""
    name = "InfantBrainSeg tissues"
    found = scene.GetFirstNode(name, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    table.SetName(name)
    table.SetNumberOfColors(1 + max(tissue.value for tissue in TISSUES))
    table.SetColor(0, "Background", 0, 0, 0, 0)
    for tissue in TISSUES:
        table.SetColor(tissue.value, tissue.name, *(value / 255 for value in tissue.color), 1)
    table.SetHideFromEditors(False)
    return scene.AddNode(table)


def _place_beside(t1, nodes: list) -> None:
    """Give new nodes T1's parent in the subject hierarchy; what the user has put into a folder stays there."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(t1.GetScene())
    item = hierarchy.GetItemByDataNode(t1) if hierarchy is not None else 0
    if not item:
        return
    parent = hierarchy.GetItemParent(item)
    for node in nodes:
        own = hierarchy.GetItemByDataNode(node)
        if not own:
            hierarchy.CreateItem(parent, node)
        elif hierarchy.GetItemParent(own) in (0, hierarchy.GetSceneItemID()):
            hierarchy.SetItemParent(own, parent)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
