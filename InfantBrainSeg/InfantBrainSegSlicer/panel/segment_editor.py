"""Slicer's Segment Editor, opened on a result so that its tissues stay a partition of the brain."""

import slicer

from InfantBrainSegLib.core.errors import InfantBrainSegError

from .messages import NO_SEGMENT_EDITOR


def open_segment_editor(segmentation_node, scan) -> None:
    """Open Segment Editor on a segmentation.

    Strokes take a voxel from one tissue and give it to another: all segments are overwritten, and only what lies in one of them can be
    edited. The user can change both there.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
    scan : vtkMRMLScalarVolumeNode or None
        The image that thresholds and other effects go by.

    Raises
    ------
    InfantBrainSegError
        If this Slicer has no Segment Editor, or no main window.
    """
    try:
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    except (RuntimeError, AttributeError) as error:
        raise InfantBrainSegError(NO_SEGMENT_EDITOR) from error
    editor.setSegmentationNode(segmentation_node)
    if scan is not None:
        editor.setSourceVolumeNode(scan)
    keep_partition(editor.mrmlSegmentEditorNode())


def keep_partition(editor_node) -> None:
    """Set the masking of a vtkMRMLSegmentEditorNode: inside all segments, each of which may be overwritten."""
    editor_node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments)
    editor_node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
