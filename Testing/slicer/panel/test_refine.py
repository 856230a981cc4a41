"""Refine from my edits, and back."""

import itertools
import json

import mrml
import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from InfantBrainSegSlicer.scene.nodes import image_from_tissues
from InfantBrainSegSlicer.scene.options import SegmentParameters
from panel_driver import opened_panel
from run_helpers import echoed_words, ids, poll_to_end, temporary_folders
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
    panel.wait_for(lambda: panel.ui.refineButton.enabled)  # the panel has seen the edits
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
    paint(run.segmentationNode, scans[0])
    panel.logic.command = command("echo")
    refining = poll_to_end(panel.logic.refineFromEdits(run.segmentationNode, wait=False))
    words = echoed_words(refining)
    assert words[words.index("--edited-labels") + 1] == "edited.nrrd"
    assert words[words.index("--t1") + 1] == "t1.nrrd"


def test_a_segmentation_of_unknown_scans_is_refused(panel, scans, scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    with pytest.raises(InputError, match="The scans that 'by hand' was made of are not known"):
        panel.logic.refineFromEdits(node)


def swap(node, scan, count=50):
    """Give as many voxels of GM to WM as of WM to GM."""
    labels = labels_of(node, scan)
    gray, white = (np.flatnonzero(labels == value)[:count] for value in (2, 3))
    labels.flat[gray], labels.flat[white] = 3, 2
    for value, name in ((2, "GM"), (3, "WM")):
        slicer.util.updateSegmentBinaryLabelmapFromArray((labels == value).astype(np.uint8), node, name, scan)


def test_refine_waits_for_an_edit_and_says_so(panel, scans):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    assert panel.ui.refineButton.visible
    assert not panel.ui.refineButton.enabled
    assert "click Edit first" in panel.ui.refineButton.toolTip
    with pytest.raises(InputError, match="No tissue of 'T1 segmentation' was edited since the run"):
        panel.logic.refineFromEdits(run.segmentationNode)
    paint(run.segmentationNode, scans[0])
    refine_to_the_end(panel)
    panel.wait_for(lambda: not panel.ui.refineButton.enabled)  # what it made is the new result


def test_an_edit_that_leaves_every_volume_as_it_was_is_an_edit(panel, scans):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    swap(run.segmentationNode, scans[0])
    panel.wait_for(lambda: panel.ui.verdictLabel.text.startswith("<p><b>Edited since"))
    assert "Gray matter 0.0 ml, White matter 0.0 ml." in panel.ui.verdictLabel.text
    assert refine_to_the_end(panel).state == "finished"
    assert "100 voxels that you edited stay, 1 near them followed" in panel.ui.statusLabel.text


def test_a_result_is_refined_with_the_options_that_made_it(panel, scans, tmp_path):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    made = json.loads(run.provenanceNode.GetText())
    made["options"] |= {"rounds": 1, "flip": True, "align": "off", "age_months": 5.0}
    run.provenanceNode.SetText(json.dumps(made))
    paint(run.segmentationNode, scans[0])
    panel.logic.command = command("echo")
    now = SegmentParameters(secondRound=True, flip=False, ageMonths=6.0)
    words = echoed_words(poll_to_end(panel.logic.refineFromEdits(run.segmentationNode, parameters=now, wait=False)))
    told = dict(itertools.pairwise(words))
    assert "--flip" in words
    assert (told["--rounds"], told["--align"], told["--age-months"]) == ("1", "off", "6")


@pytest.mark.parametrize("which", [0, 1])
def test_scans_that_changed_since_the_run_are_not_refined_on(panel, scans, which):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    mine = paint(run.segmentationNode, scans[0])
    voxels = slicer.util.arrayFromVolume(scans[which])
    voxels[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(scans[which])
    panel.wait_for(lambda: panel.ui.refineButton.enabled and panel.ui.statusLabel.text.startswith("Ready"))
    panel.ui.refineButton.click()
    assert panel.run is None
    assert "were changed since it was made" in panel.ui.statusLabel.text
    assert np.array_equal(labels_of(run.segmentationNode, scans[0]), mine)
    assert temporary_folders() == []
    voxels[0, 0, 0] -= 1
    slicer.util.arrayFromVolumeModified(scans[which])
    move = mrml.linear_transform([[1, 0, 0, 9], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for node in (*scans, run.segmentationNode):
        node.SetAndObserveTransformNodeID(move.GetID())  # where they lie does not matter
    assert refine_to_the_end(panel).state == "finished"


def test_undo_pressed_twice_takes_back_once(panel, scans):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    mine = paint(run.segmentationNode, scans[0])
    refine_to_the_end(panel)
    for _ in range(2):
        panel.ui.undoButton.click()
    assert np.array_equal(labels_of(run.segmentationNode, scans[0]), mine)


def test_a_scene_that_was_saved_in_the_middle_of_the_edits_goes_on(panel, scans, scene, tmp_path):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    mine = paint(run.segmentationNode, scans[0])
    assert scene.WriteToMRB(str(tmp_path / "saved.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "saved.mrb"))
    node = panel.ui.segmentationSelector.currentNode()
    assert panel.ui.verdictLabel.text.startswith("<p><b>Edited since")
    refined = refine_to_the_end(panel)
    assert refined.state == "finished", refined.message
    panel.ui.undoButton.click()
    assert np.array_equal(labels_of(node, panel.ui.t1Selector.currentNode()), mine)
