"""Refine from my edits, and back."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from InfantBrainSegSlicer.scene.nodes import image_from_tissues
from panel_driver import opened_panel
from run_helpers import echoed_words, ids, poll_to_end
from stand_in import command

from InfantBrainSegLib.core.errors import InputError


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    with opened_panel(tmp_path / "temporary", monkeypatch) as panel:
        yield panel


def labels_of(node, scan):
    return sitk.GetArrayFromImage(image_from_tissues(node, scan))


def paint(node, scan):
    """Give a block of GM to WM, as Segment Editor would; return the labels after that."""
    labels = labels_of(node, scan)
    block = np.zeros(labels.shape, bool)
    middle = tuple(size // 2 for size in labels.shape)
    block[middle[0], : middle[1], :] = True
    labels[block & (labels == 2)] = 3
    for value, name in ((2, "GM"), (3, "WM")):
        slicer.util.updateSegmentBinaryLabelmapFromArray((labels == value).astype(np.uint8), node, name, scan)
    return labels


def refine_to_the_end(panel, seconds=20):
    panel.ui.refineButton.click()
    run = panel.run
    panel.wait_for(lambda: panel.run is None, seconds)
    return run


def test_the_child_gets_the_edited_labels_and_the_segmentation_gets_what_followed(panel, scans):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    assert panel.ui.refineButton.visible
    assert not panel.ui.undoButton.visible
    mine = paint(run.segmentationNode, scans[0])
    refined = refine_to_the_end(panel)
    assert refined.state == "finished", refined.message
    assert refined.segmentationNode is run.segmentationNode
    after = labels_of(run.segmentationNode, scans[0])
    changed = np.argwhere(after != mine)
    assert len(changed) == 1
    assert (mine[tuple(changed[0])], after[tuple(changed[0])]) == (2, 3)
    automatic = np.digitize(slicer.util.arrayFromVolume(scans[0]), [20, 70, 115])
    told = json.loads(refined.provenanceNode.GetText())
    assert told["edits"]["fixed_voxels"] == (mine != automatic).sum() > 0
    assert panel.ui.statusLabel.text.startswith("Finished")


def test_undo_gives_the_edits_the_table_and_the_provenance_back_in_one_step(panel, scans, scene):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    mine = paint(run.segmentationNode, scans[0])
    panel.widget.enter()
    panel.ui.recomputeButton.click()
    before = (panel.table(), run.provenanceNode.GetText(), ids(scene))
    refine_to_the_end(panel)
    assert panel.ui.undoButton.visible
    assert panel.table() != before[0]
    panel.ui.undoButton.click()
    assert np.array_equal(labels_of(run.segmentationNode, scans[0]), mine)
    assert (panel.table(), run.provenanceNode.GetText(), ids(scene)) == before
    assert not panel.ui.undoButton.visible
    assert panel.ui.statusLabel.text == f"{run.segmentationNode.GetName()} is as it was before the refinement."
    assert refine_to_the_end(panel).state == "finished"  # and on again


def test_undo_asks_before_it_takes_later_edits_along(panel, scans, monkeypatch):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    mine = paint(run.segmentationNode, scans[0])
    refine_to_the_end(panel)
    later = labels_of(run.segmentationNode, scans[0]) * 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(later, run.segmentationNode, "CSF", scans[0])
    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text) or len(asked) > 1)
    panel.ui.undoButton.click()
    assert not (labels_of(run.segmentationNode, scans[0]) == 1).any()
    panel.ui.undoButton.click()
    assert np.array_equal(labels_of(run.segmentationNode, scans[0]), mine)


@pytest.mark.parametrize("undone", [False, True])
def test_segment_asks_before_it_replaces_a_refined_result(undone, panel, scans, monkeypatch):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    paint(run.segmentationNode, scans[0])
    refine_to_the_end(panel)
    if undone:
        panel.ui.undoButton.click()
    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text))
    panel.ui.segmentButton.click()
    assert len(asked) == 1
    assert panel.run is None


def test_a_failed_refinement_leaves_the_edits_and_says_why(panel, scans):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    mine = paint(run.segmentationNode, scans[0])
    panel.logic.command = command("refuse")
    refine_to_the_end(panel)
    assert "has no brain" in panel.ui.statusLabel.text
    assert np.array_equal(labels_of(run.segmentationNode, scans[0]), mine)
    assert not panel.ui.undoButton.visible


def test_the_child_is_told_the_edited_file_in_its_own_folder(panel, scans):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    panel.logic.command = command("echo")
    refining = poll_to_end(panel.logic.refineFromEdits(run.segmentationNode, wait=False))
    words = echoed_words(refining)
    assert words[words.index("--edited-labels") + 1] == "edited.nrrd"
    assert words[words.index("--t1") + 1] == "t1.nrrd"


def test_a_segmentation_of_unknown_scans_is_refused(panel, scans, scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    with pytest.raises(InputError, match="The scans that 'by hand' was made of are not known"):
        panel.logic.refineFromEdits(node)
