"""Where the networks were unsure, as a volume over the scan: 1 less the probability of the likeliest tissue."""

from __future__ import annotations

import slicer

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.core.labels import TISSUES

from .nodes import array_of, ijk_to_ras, image_data_from_array, to_matrix
from .results import PROBABILITY_ROLE, inputs_of
from .scene_edit import add_node, place_beside

DOUBT_ROLE = "InfantBrainSeg.Doubt"
COLORS = "InfantBrainSeg doubt"
FROM, TO = 0.2, 0.7  # yellow and red; below the first the scan alone is seen, above the second all is red (four classes leave 0.75)
OPACITY = 0.6  # the scan stays readable beneath
_HIDDEN = "InfantBrainSeg.HiddenForDoubt"  # attribute of a segmentation whose tissues would cover the doubt
_BEFORE = "InfantBrainSeg.Foreground"  # attribute of a view: the opacity that was, the doubt's ID, and that of what it stands in place of


def can_show_doubt(segmentation_node) -> bool:
    """Whether the last run kept a probability volume of each tissue, of which the doubt is made."""
    return segmentation_node is not None and all(node is not None and node.GetImageData() for node in _probabilities(segmentation_node))


def doubt_volume(segmentation_node):
    """Make the volume of doubt, or fill it again: 0 to 1, and 0 outside the brain.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode

    Returns
    -------
    vtkMRMLScalarVolumeNode

    Raises
    ------
    InputError
        If the run kept no probabilities.
    """
    import numpy as np

    if not can_show_doubt(segmentation_node):
        raise InputError(
            f"'{segmentation_node.GetName()}' has no probability volumes; wanted them for the doubt: "
            "tick Probability volumes under Outputs, and segment again."
        )
    probabilities = _probabilities(segmentation_node)
    arrays = [array_of(node.GetImageData()) for node in probabilities]
    inside = np.sum(arrays, axis=0) > 0.5  # elsewhere background is the likeliest
    doubt = np.where(inside, 1 - np.max(arrays, axis=0), 0).clip(0, 1).astype(np.float32)
    node = segmentation_node.GetNodeReference(DOUBT_ROLE)
    if node is None:
        node = add_node(segmentation_node.GetScene(), "vtkMRMLScalarVolumeNode", f"{segmentation_node.GetName()} doubt")
        segmentation_node.SetNodeReferenceID(DOUBT_ROLE, node.GetID())
        scan = inputs_of(segmentation_node).main
        if scan is not None:
            place_beside(scan, [node])
    node.SetIJKToRASMatrix(to_matrix(ijk_to_ras(probabilities[0])))
    node.SetAndObserveImageData(image_data_from_array(doubt))
    node.SetAndObserveTransformNodeID(probabilities[0].GetTransformNodeID())
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(_color_table(node.GetScene()).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(FROM, TO)
    display.AutoThresholdOff()
    display.SetThreshold(FROM, 1.0)
    display.ApplyThresholdOn()
    return node


def show_doubt(segmentation_node) -> None:
    """Lay the doubt over the scan in every slice view, without the tissues; what was shown comes back with `hide_doubt`.

    Raises
    ------
    InputError
        As `doubt_volume`.
    """
    hide_doubt(segmentation_node.GetScene())
    volume = doubt_volume(segmentation_node)
    for view in _views(segmentation_node.GetScene()):
        view.SetAttribute(_BEFORE, f"{view.GetForegroundOpacity()} {volume.GetID()} {view.GetForegroundVolumeID() or ''}")
        view.SetForegroundVolumeID(volume.GetID())
        view.SetForegroundOpacity(OPACITY)
    display = segmentation_node.GetDisplayNode()
    if display is not None and display.GetVisibility2D():
        display.SetVisibility2D(False)
        segmentation_node.SetAttribute(_HIDDEN, "true")


def hide_doubt(scene, keep=None) -> None:
    """Take the doubt off again where `show_doubt` laid it over the scan; the volume stays in the scene.

    Parameters
    ----------
    scene : vtkMRMLScene
    keep : vtkMRMLSegmentationNode, optional
        Whose doubt stays.
    """
    kept = keep.GetNodeReferenceID(DOUBT_ROLE) if keep is not None else None
    doubts = {node.GetNodeReferenceID(DOUBT_ROLE) for node in _all(scene, "vtkMRMLSegmentationNode")} - {None}
    for view in _views(scene):
        opacity, shown, before = (view.GetAttribute(_BEFORE) or "0  ").split(" ")
        if not shown and view.GetForegroundVolumeID() in doubts:  # it was put there by hand, or came with an imported scene
            shown = view.GetForegroundVolumeID()
        if not shown or shown == kept:
            continue
        view.RemoveAttribute(_BEFORE)
        if view.GetForegroundVolumeID() == shown:  # else the user has chosen something else since
            view.SetForegroundVolumeID(before if scene.GetNodeByID(before) is not None else None)
            view.SetForegroundOpacity(float(opacity))
    for node in _all(scene, "vtkMRMLSegmentationNode"):
        if node is not keep and node.GetAttribute(_HIDDEN) is not None:
            node.RemoveAttribute(_HIDDEN)
            if node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility2D(True)


def doubt_is_shown(segmentation_node) -> bool:
    """Whether a slice view shows the doubt."""
    doubt = segmentation_node.GetNodeReferenceID(DOUBT_ROLE)
    return any(doubt and view.GetForegroundVolumeID() == doubt for view in _views(segmentation_node.GetScene()))


def _views(scene) -> list:
    return _all(scene, "vtkMRMLSliceCompositeNode")


def _all(scene, kind: str) -> list:
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


def _probabilities(segmentation_node) -> list:
    return [segmentation_node.GetNodeReference(PROBABILITY_ROLE + tissue.short_name) for tissue in TISSUES]


def _color_table(scene):
    """Give the scene's table of colors from yellow to red, made once."""
    found = scene.GetFirstNode(COLORS, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    table.SetName(COLORS)
    table.SetNumberOfColors(256)
    for index in range(256):
        share = index / 255
        table.SetColor(index, f"{FROM + share * (TO - FROM):.0%}", 1.0, 0.9 * (1 - share), 0.0, 1.0)
    table.SetHideFromEditors(False)
    return scene.AddNode(table)
