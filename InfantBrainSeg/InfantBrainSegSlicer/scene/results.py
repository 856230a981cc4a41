"""From the child's files to nodes of the scene: all of them or none.

Files are read and checked first; only then is the scene touched, and whatever fails there is undone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from InfantBrainSegLib import __version__
from InfantBrainSegLib.core.contract import MASK, REPORT, SEGMENTATION, TRANSFORM, probability_file
from InfantBrainSegLib.core.errors import InfantBrainSegError
from InfantBrainSegLib.core.labels import TISSUES, Tissue

from .nodes import BINARY_LABELMAP, Given, array_of, ijk_to_ras, image_data_from_array, read_linear_transform, to_matrix
from .options import Scans
from .places import with_own_places
from .provenance import PROVENANCE_ROLE, provenance_text
from .scene_edit import add_node, place_beside, undone_on_failure
from .statistics import (
    ALGORITHM_NAME_TAG,
    ALGORITHM_TYPE_TAG,
    AUTOMATIC_MM3_TAG,
    AUTOMATIC_SHAPE_TAG,
    AUTOMATIC_TYPE,
    CONFIDENCE_TAG,
    TABLE_ROLE,
    TISSUES_ATTRIBUTE,
    fill_automatic,
    measure_segments,
    own_table,
)

if TYPE_CHECKING:
    import numpy as np
    import SimpleITK as sitk

INPUT_ROLES = {"T1": "InfantBrainSeg.T1", "T2": "InfantBrainSeg.T2", "The brain mask": "InfantBrainSeg.GivenMask"}
PROBABILITY_ROLE = "InfantBrainSeg.Probability"  # then the tissue's short name
MASK_ROLE = "InfantBrainSeg.Mask"
TRANSFORM_ROLE = "InfantBrainSeg.Transform"
CLOSED_SURFACE = "Closed surface"
FIRST_OPACITY_3D = {"CSF": 0.2}  # it lies round the rest, which would not be seen in 3D
_MADE_VOXELS = "InfantBrainSeg.MadeVoxels"  # attribute: a mask as it was made, so that an edited one is never replaced


@dataclass(frozen=True)
class Outcome:
    """What the child wrote, read and checked.

    Attributes
    ----------
    labels : (K, J, I) uint8 array on the scan's grid
    report : dict
    probabilities : dict of (K, J, I) float32 arrays by a tissue's short name; empty unless asked for
    mask : (K, J, I) uint8 array, or None where it was not asked for or not written
    t2_to_t1 : (4, 4) array or None
        Where T2 was moved: from a point in T2's own space, before its parent transforms, to its place in T1's own.
    """

    labels: np.ndarray
    report: dict[str, Any]
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)
    mask: np.ndarray | None = None
    t2_to_t1: np.ndarray | None = None


@dataclass(frozen=True)
class ResultNodes:
    """Where results go, and after the import where they are.

    Attributes
    ----------
    scans : Scans
    segmentation, table : nodes, or None for new ones
    labelmap : vtkMRMLLabelMapVolumeNode, or None for none
    provenance : vtkMRMLTextNode or None
    probabilities : tuple of vtkMRMLScalarVolumeNode
    mask : vtkMRMLLabelMapVolumeNode or None
    transform : vtkMRMLLinearTransformNode or None
    """

    scans: Scans
    segmentation: Any = None
    table: Any = None
    labelmap: Any = None
    provenance: Any = None
    probabilities: tuple = ()
    mask: Any = None
    transform: Any = None


@dataclass(frozen=True)
class Wanted:
    """What is read of the child's files beside labels and report.

    Attributes
    ----------
    probabilities, mask : bool
    """

    probabilities: bool = False
    mask: bool = False


def terminology(tissue: Tissue) -> str:
    """Give a segment's terminology entry in Slicer's serialised form."""
    return (
        "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure"
        f"~SCT^{tissue.snomed_code}^{tissue.snomed_meaning}~^^~Anatomic codes - DICOM master list~^^~^^"
    )


def read_outcome(folder: Path, given: Given, wanted: Wanted) -> Outcome:
    """Read the child's files and check that they fit the scan.

    Raises
    ------
    InfantBrainSegError
        If a file is missing, or lies on another grid.
    """
    import numpy as np

    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InfantBrainSegError(
            f"The segmentation process left no readable report ({error}): look into the log, and try again."
        ) from error
    names = {"": SEGMENTATION}
    if wanted.probabilities:
        names |= {tissue.short_name: probability_file(tissue.short_name) for tissue in TISSUES}
    arrays = {key: _read_on_grid(folder / name, given.grid) for key, name in names.items()}
    has_mask, moved = wanted.mask and (folder / MASK).is_file(), (folder / TRANSFORM).is_file()
    return Outcome(
        arrays.pop("").astype(np.uint8),
        with_own_places(report, given.main_to_world),
        arrays,
        (_read_on_grid(folder / MASK, given.grid) > 0).astype(np.uint8) if has_mask else None,
        _between_own_spaces(read_linear_transform(folder / TRANSFORM), given) if moved else None,
    )


def _between_own_spaces(t1_to_t2: np.ndarray, given: Given) -> np.ndarray:
    """From the world's T1-to-T2 as ITK resamples by it to what T2 goes under, in place of its own parent, to lie on T1."""
    import numpy as np

    return np.linalg.inv(given.main_to_world) @ np.linalg.inv(t1_to_t2) @ given.t2_to_world


def _read_on_grid(path: Path, grid: sitk.Image) -> np.ndarray:
    import SimpleITK as sitk

    from InfantBrainSegLib.imaging.files import read_image, same_grid

    image = read_image(path)
    if not same_grid(grid, image):
        raise InfantBrainSegError(f"The segmentation process wrote {path.name} on another grid than T1's: keep the log and report this.")
    return sitk.GetArrayFromImage(image)


def import_outcome(outcome: Outcome, targets: ResultNodes) -> ResultNodes:
    """Put a checked outcome into the scene: into the given nodes, or into new ones beside the scan.

    Raises
    ------
    InfantBrainSegError
        If the scan's voxels are no longer those that were segmented.
    """
    scan = targets.scans.main
    if scan.GetImageData() is None or array_of(scan.GetImageData()).shape != outcome.labels.shape:
        role = "T2" if targets.scans.t1 is None else "T1"
        raise InfantBrainSegError(
            f"{role} '{scan.GetName()}' was changed during the run and no longer fits its result: press Segment again."
        )
    scene = scan.GetScene()
    with undone_on_failure(scene) as keep:
        nodes = _find_or_add(outcome, targets)
        volumes = dict(zip(outcome.probabilities, nodes.probabilities, strict=True))
        made = [nodes.segmentation, nodes.table, nodes.provenance, nodes.labelmap, nodes.mask, nodes.transform, *nodes.probabilities]
        made = [node for node in made if node is not None]
        for node in made:
            keep(node)
        _fill_segmentation(nodes.segmentation, outcome.labels, scan, tissues_in(outcome.report))
        _fill_table(nodes, outcome.report)
        nodes.provenance.SetText(provenance_text(outcome.report))
        for name, node in volumes.items():
            _fill_volume(node, outcome.probabilities[name], scan)
            nodes.segmentation.SetNodeReferenceID(PROBABILITY_ROLE + name, node.GetID())
        for tissue in TISSUES if not volumes else ():  # those of an earlier run are not of this result
            nodes.segmentation.SetNodeReferenceID(PROBABILITY_ROLE + tissue.short_name, None)
        if nodes.labelmap is not None:
            _fill_volume(nodes.labelmap, outcome.labels, scan)
            nodes.labelmap.GetDisplayNode().SetAndObserveColorNodeID(_color_table(scene).GetID())
        if nodes.mask is not None:
            _fill_volume(nodes.mask, outcome.mask, scan)
            nodes.mask.SetAttribute(_MADE_VOXELS, _fingerprint(nodes.mask))
        if nodes.transform is not None:
            nodes.transform.SetMatrixTransformToParent(to_matrix(outcome.t2_to_t1))
            nodes.transform.SetAndObserveTransformNodeID(scan.GetTransformNodeID())  # it follows T1
        _refer_to(nodes)
        place_beside(scan, made)
    return nodes


def inputs_of(segmentation) -> Scans:
    """Give the nodes that a segmentation was made of, as far as they are still in the scene.

    Parameters
    ----------
    segmentation : vtkMRMLSegmentationNode
    """
    return Scans(*(segmentation.GetNodeReference(role) for role in INPUT_ROLES.values()))


def _find_or_add(outcome: Outcome, targets: ResultNodes) -> ResultNodes:
    """Give each result its node: the chosen one, that of the segmentation's earlier run, or a new one."""
    scans, name = targets.scans, targets.scans.main.GetName()
    scene = scans.main.GetScene()
    segmentation = targets.segmentation or add_node(scene, "vtkMRMLSegmentationNode", f"{name} segmentation")
    referenced = segmentation.GetNodeReference
    mask = transform = None
    if outcome.mask is not None:
        mask = referenced(MASK_ROLE)
        if mask is None or mask is scans.mask or mask.GetAttribute(_MADE_VOXELS) != _fingerprint(mask):
            mask = add_node(scene, "vtkMRMLLabelMapVolumeNode", f"{name} cerebrum mask")
    if outcome.t2_to_t1 is not None:
        transform = referenced(TRANSFORM_ROLE)
        if transform is None or transform is scans.t2.GetParentTransformNode():
            transform = add_node(scene, "vtkMRMLLinearTransformNode", f"{scans.t2.GetName()} to T1")
    return replace(
        targets,
        segmentation=segmentation,
        table=own_table(segmentation, targets.table) or add_node(scene, "vtkMRMLTableNode", f"{name} volumes"),
        provenance=referenced(PROVENANCE_ROLE) or add_node(scene, "vtkMRMLTextNode", f"{name} provenance"),
        probabilities=tuple(
            referenced(PROBABILITY_ROLE + tissue) or add_node(scene, "vtkMRMLScalarVolumeNode", f"{name} probability {tissue}")
            for tissue in outcome.probabilities
        ),
        mask=mask,
        transform=transform,
    )


def _refer_to(nodes: ResultNodes) -> None:
    """Let the segmentation know the scans it was made of and what was made with it."""
    inputs = nodes.scans.named()
    for name, role in INPUT_ROLES.items():
        nodes.segmentation.SetNodeReferenceID(role, inputs[name].GetID() if name in inputs else None)
    made = {TABLE_ROLE: nodes.table, PROVENANCE_ROLE: nodes.provenance, MASK_ROLE: nodes.mask, TRANSFORM_ROLE: nodes.transform}
    for role, node in made.items():
        if node is not None:
            nodes.segmentation.SetNodeReferenceID(role, node.GetID())


def _fill_table(nodes: ResultNodes, report: dict[str, Any]) -> None:
    """Write the volumes, and on each segment its automatic one and its shape."""
    confidence = {row["tissue"]: row.get("mean_confidence") for row in report.get("volumes", [])}
    ours = [volume for volume in measure_segments(nodes.segmentation) if volume.segment_id in {tissue.short_name for tissue in TISSUES}]
    ours = [replace(volume, mean_confidence=_number(confidence.get(volume.segment_id))) for volume in ours]
    fill_automatic(nodes.table, ours)
    for volume in ours:
        segment = nodes.segmentation.GetSegmentation().GetSegment(volume.segment_id)
        segment.SetTag(AUTOMATIC_MM3_TAG, repr(volume.volume_mm3))
        segment.SetTag(AUTOMATIC_SHAPE_TAG, volume.shape)
        segment.SetTag(CONFIDENCE_TAG, repr(volume.mean_confidence))


def tissues_in(report: dict[str, Any]) -> tuple[Tissue, ...]:
    """Give the tissues that a report has volumes of: those that its networks tell apart."""
    known = {row["tissue"] for row in report["volumes"]}
    return tuple(tissue for tissue in TISSUES if tissue.short_name in known)


def _fingerprint(node) -> str:
    import numpy as np

    data = node.GetImageData()
    return "" if data is None else hashlib.sha256(np.ascontiguousarray(array_of(data)).tobytes()).hexdigest()


def _fill_segmentation(node, labels: np.ndarray, scan, tissues: Sequence[Tissue]) -> None:
    """Replace our segments by these; what else is in the segmentation stays."""
    segmentation = node.GetSegmentation()
    had_surface = segmentation.ContainsRepresentation(CLOSED_SURFACE)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    opacities = {
        tissue.short_name: node.GetDisplayNode().GetSegmentOpacity3D(tissue.short_name)
        if tissue.short_name in segmentation.GetSegmentIDs()
        else FIRST_OPACITY_3D.get(tissue.short_name, 1.0)
        for tissue in tissues
    }
    for name in {tissue.short_name for tissue in TISSUES}.intersection(segmentation.GetSegmentIDs()):
        segmentation.RemoveSegment(name)
    if segmentation.GetNumberOfSegments() == 0:
        segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    shared = image_data_from_array(labels, slicer.vtkOrientedImageData())  # one labelmap for all
    shared.SetImageToWorldMatrix(to_matrix(ijk_to_ras(scan)))
    for tissue in tissues:
        segment = slicer.vtkSegment()
        segment.SetName(tissue.name)
        segment.SetColor(*(value / 255 for value in tissue.color))
        segment.SetLabelValue(tissue.value)
        segment.SetTag(segment.GetTerminologyEntryTagName(), terminology(tissue))
        segment.SetTag(ALGORITHM_TYPE_TAG, AUTOMATIC_TYPE)
        segment.SetTag(ALGORITHM_NAME_TAG, f"InfantBrainSeg {__version__}")
        segment.AddRepresentation(BINARY_LABELMAP, shared)
        if not segmentation.AddSegment(segment, tissue.short_name):
            raise InfantBrainSegError(f"'{node.GetName()}' did not take the segment {tissue.name}: choose a new segmentation.")
    node.SetAttribute(TISSUES_ATTRIBUTE, " ".join(tissue.short_name for tissue in tissues))
    node.SetAndObserveTransformNodeID(scan.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(scan)  # after the transform: it is the scan's grid as seen from this node
    for name, opacity in opacities.items():
        node.GetDisplayNode().SetSegmentOpacity3D(name, opacity)
    if had_surface:
        node.CreateClosedSurfaceRepresentation()


def _fill_volume(node, array: np.ndarray, scan) -> None:
    node.SetIJKToRASMatrix(to_matrix(ijk_to_ras(scan)))
    node.SetAndObserveImageData(image_data_from_array(array))
    node.SetAndObserveTransformNodeID(scan.GetTransformNodeID())
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


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
