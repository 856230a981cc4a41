"""The panel during and after a run, with a stand-in child where the segmentation itself does not matter."""

import time

import mrml
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import slicer
from panel_driver import EMPTY, alive, opened_panel
from stand_in import ROOT

from InfantBrainSegLib.core.labels import TISSUES

SAMPLE = ROOT / "InfantBrainSeg" / "Resources" / "SampleData"

OTHER = {"Other T1": phantoms.T1_LEVELS, "Other T2": phantoms.T2_LEVELS}


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    with opened_panel(tmp_path / "temporary", monkeypatch) as panel:
        yield panel


def test_a_run_fills_the_outputs_and_the_table(panel, scans):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    assert run.state == "finished"
    assert "Finished in 0:0" in panel.ui.statusLabel.text
    assert panel.ui.segmentationSelector.currentNode() is run.segmentationNode
    assert panel.ui.tableSelector.currentNode() is run.tableNode
    table = panel.table()
    assert table["Tissue"] == [*(tissue.name for tissue in TISSUES), "GM/WM"]
    drawn = sitk.GetArrayFromImage(phantoms.draw(phantoms.grid((2.5, 2.0, 3.0))))
    volumes = [f"{np.count_nonzero(drawn == value) * 15 / 1000:.1f}" for value in (phantoms.CSF, phantoms.GM, phantoms.WM)]
    assert table["ml"][:3] == volumes
    counted = [np.count_nonzero(drawn == value) for value in (phantoms.GM, phantoms.WM)]
    assert table["ml"][-1] == f"{counted[0] / counted[1]:.2f}"
    assert table["Conf."] == [*["90%"] * len(TISSUES), ""]
    assert table["Share"][-1] == ""
    assert panel.ui.resultsTable.visible


def test_warnings_of_a_run_stay_beside_its_result(panel, scans):
    panel.ready(scans)
    panel.segment_to_the_end()
    assert "T2 'T2' looks odd." in panel.ui.warningsLabel.text.replace("&#x27;", "'")


def test_while_it_runs_the_panel_shows_the_step_and_how_far_it_is(panel, scans):
    panel.ready(scans)
    panel.segment_until_it_hangs()
    assert panel.ui.statusLabel.text == "Stage 1: first network"
    assert panel.ui.progressBar.value == round(0.3 * panel.ui.progressBar.maximum)
    assert panel.ui.progressBar.visible
    assert panel.ui.elapsedLabel.text.startswith("0:")
    assert (panel.ui.segmentButton.text, panel.ui.inputsCollapsibleButton.enabled) == ("Cancel", False)


def test_cancel_ends_every_process_within_two_seconds_and_leaves_the_scene(panel, scans):
    panel.ready(scans)
    before = mrml.node_count()
    run, pids = panel.segment_until_it_hangs()
    started = time.monotonic()
    panel.ui.segmentButton.click()
    assert time.monotonic() - started < 2
    assert not any(map(alive, pids))
    assert (run.state, mrml.node_count()) == ("cancelled", before)
    assert (panel.ui.segmentButton.text, panel.ui.segmentButton.enabled, panel.ui.progressBar.visible) == ("Segment", True, False)
    assert panel.ui.statusLabel.text.startswith("Cancelled")


def test_closing_the_scene_ends_the_run_and_empties_the_panel(panel, scans, scene):
    panel.ready(scans)
    run, pids = panel.segment_until_it_hangs()
    scene.Clear(0)
    assert run.state == "cancelled"
    assert not any(map(alive, pids))
    assert panel.ui.t1Selector.currentNode() is None
    assert panel.ui.segmentButton.toolTip == EMPTY


def test_a_closed_scene_leaves_no_names_of_its_nodes_behind(panel, scans, scene):
    panel.ready(scans)
    panel.segment_to_the_end()
    scene.Clear(0)
    assert "Finished" not in panel.ui.statusLabel.text
    assert not panel.ui.warningsLabel.text


def test_a_scan_deleted_during_the_run_ends_it_and_is_named(panel, scans, scene):
    panel.ready(scans)
    run, pids = panel.segment_until_it_hangs()
    scene.RemoveNode(scans[1])
    panel.wait_for(lambda: panel.run is None)
    assert run.state == "cancelled"
    assert not any(map(alive, pids))
    assert "T2 'T2' left the scene" in panel.ui.statusLabel.text


def test_a_child_that_crashes_is_reported_and_its_log_can_be_read(panel, scans):
    panel.ready(scans)
    before = mrml.node_count()
    run = panel.segment_to_the_end("abort")
    assert (run.state, mrml.node_count()) == ("failed", before)
    assert panel.ui.statusLabel.text == run.message
    panel.ui.logButton.click()
    assert "terminate called" in panel.widget._log._text.toPlainText()


def test_the_log_window_follows_the_run(panel, scans):
    panel.ready(scans)
    panel.segment_until_it_hangs()
    panel.ui.logButton.click()
    text = panel.widget._log._text
    assert " 30 %  stage 1" in text.toPlainText()
    panel.ui.segmentButton.click()
    panel.wait_for(lambda: "The run was cancelled" in text.toPlainText())
    panel.segment_to_the_end()
    panel.wait_for(lambda: "The run is finished on cpu" in text.toPlainText())
    assert "cancelled" not in text.toPlainText()


def test_what_the_library_refuses_shows_with_the_node_s_name(panel, scans):
    panel.ready(scans)
    panel.segment_to_the_end("refuse")
    assert panel.ui.statusLabel.text == "T1 'T1' has no brain; wanted one: choose another."


def test_a_second_run_replaces_the_first_in_place(panel, scans):
    panel.ready(scans)
    first = panel.segment_to_the_end()
    before = mrml.node_count()
    second = panel.segment_to_the_end()
    assert (second.segmentationNode, second.tableNode, mrml.node_count()) == (first.segmentationNode, first.tableNode, before)


def test_another_brain_gets_nodes_of_its_own(panel, scans):
    panel.ready(scans)
    first = panel.segment_to_the_end()
    held = panel.table()["ml"]
    others = tuple(mrml.volume_node(phantoms.draw(phantoms.grid((2.5, 2.5, 3.0)), levels), name) for name, levels in OTHER.items())
    panel.ready(others)
    second = panel.segment_to_the_end()
    assert second.segmentationNode is not first.segmentationNode
    assert second.tableNode is not first.tableNode
    assert second.segmentationNode.GetName() == "Other T1 segmentation"
    panel.ui.segmentationSelector.choose(first.segmentationNode.GetName())
    assert panel.table()["ml"] == held


def test_edits_made_during_a_run_are_kept_and_the_result_is_a_new_one(panel, scans):
    panel.ready(scans)
    first = panel.segment_to_the_end()
    run = panel.segment()
    _erase_half(first.segmentationNode, scans[0])
    gray = first.segmentationNode.GetSegmentation().GetSegmentIdBySegmentName("Gray matter")
    edited = slicer.util.arrayFromSegmentBinaryLabelmap(first.segmentationNode, gray, scans[0]).sum()
    panel.wait_for(lambda: panel.run is None)
    assert run.state == "finished"
    assert run.segmentationNode is not first.segmentationNode
    assert run.tableNode is not first.tableNode
    assert slicer.util.arrayFromSegmentBinaryLabelmap(first.segmentationNode, gray, scans[0]).sum() == edited
    assert any("edited during the run" in warning for warning in run.warnings)


def test_one_frame_of_a_sequence_is_segmented_only_after_a_question(panel, scans, scene, monkeypatch):
    panel.ready(scans)
    sequence, browser = (scene.AddNewNodeByClass(kind) for kind in ("vtkMRMLSequenceNode", "vtkMRMLSequenceBrowserNode"))
    sequence.SetDataNodeAtValue(scans[0], "0")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(scans[0], sequence, False)
    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text) or len(asked) > 1)
    panel.ui.segmentButton.click()
    assert panel.run is None
    assert "that frame alone is segmented" in asked[0]
    assert panel.segment_to_the_end().state == "finished"


def test_edited_segments_are_replaced_only_after_a_question(panel, scans, monkeypatch):
    panel.ready(scans)
    node = panel.segment_to_the_end().segmentationNode
    _erase_half(node, scans[0])
    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *_: asked.append(text))  # answers None, as Cancel does
    panel.ui.segmentButton.click()
    assert panel.run is None
    assert len(asked) == 1
    assert node.GetName() in asked[0]


def test_edits_are_measured_against_the_automatic_result_and_the_verdict_says_that_it_is_of_that(panel, scans, monkeypatch):
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_: True)
    panel.ready(scans)
    node = panel.segment_to_the_end().segmentationNode
    automatic = panel.table()["ml"]
    verdict, style = panel.ui.verdictLabel.text, panel.ui.verdictLabel.styleSheet
    assert "Recompute" not in panel.ui.resultsLabel.text
    _erase_half(node, scans[0])
    panel.widget.exit()
    panel.widget.enter()
    assert panel.ui.resultsLabel.text.endswith("ml in all. The segmentation has changed since: press Recompute statistics.")
    assert panel.ui.resultsCollapsibleButton.isAncestorOf(panel.ui.recomputeButton)
    said = panel.ui.verdictLabel.text
    assert said.startswith("<p><b>Edited since: the verdict is of the automatic result.</b> Gray matter -")
    assert said.endswith(verdict)
    assert "background: #ededed" in panel.ui.verdictLabel.styleSheet
    panel.ui.recomputeButton.click()
    assert panel.ui.verdictLabel.text == said
    assert panel.ui.resultsLabel.text.endswith("ml in all")
    table = panel.table()
    assert table["Auto"] == automatic
    assert float(table["Edited"][1]) < -1
    assert float(table["Edited"][2]) == 0
    assert table["Conf."] == [*["90%"] * len(TISSUES), ""]
    assert float(table["Edited"][-1]) < -0.1  # gray to white matter
    panel.ui.segmentButton.click()
    panel.wait_for(lambda: panel.run is None)
    assert (panel.ui.verdictLabel.text, panel.ui.verdictLabel.styleSheet) == (verdict, style)


def test_a_tissue_that_was_removed_turns_the_verdict_gray_too(panel, scans):
    panel.ready(scans)
    node = panel.segment_to_the_end().segmentationNode
    node.GetSegmentation().RemoveSegment("WM")
    panel.widget.enter()
    assert "</b> White matter removed." in panel.ui.verdictLabel.text


def _erase_half(node, t1):
    gray = node.GetSegmentation().GetSegmentIdBySegmentName("Gray matter")
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, gray, t1)
    array[: array.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, gray, t1)


def test_show_3d_makes_the_surfaces(panel, scans):
    assert not panel.ui.show3DButton.enabled
    panel.ready(scans)
    node = panel.segment_to_the_end().segmentationNode
    panel.ui.show3DButton.click()
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_probability_volumes_and_a_labelmap_are_made_on_demand(panel, scans):
    panel.ready(scans)
    panel.ui.probabilitiesCheckBox.click()
    panel.ui.labelmapSelector.addNode()
    run = panel.segment_to_the_end()
    assert [node.GetClassName() for node in run.probabilityNodes] == ["vtkMRMLScalarVolumeNode"] * len(TISSUES)
    assert slicer.util.arrayFromVolume(panel.ui.labelmapSelector.currentNode()).max() == phantoms.WM


def test_reload_ends_the_run_and_keeps_the_choices(panel, scans):
    panel.ready(scans)
    run, pids = panel.segment_until_it_hangs()
    old = panel.widget
    old.onReload()
    assert panel.widget is not old
    assert run.state == "cancelled"
    assert not any(map(alive, pids))
    assert panel.ui.t1Selector.currentNode() is scans[0]
    assert panel.segment_to_the_end().state == "finished"


def test_a_run_goes_on_while_another_module_is_open(panel, scans):
    panel.ready(scans)
    run = panel.segment()
    panel.frame.exit()
    panel.wait_for(lambda: panel.run is None)
    panel.frame.enter()
    assert run.state == "finished"
    assert panel.ui.segmentationSelector.currentNode() is run.segmentationNode


def test_the_choices_come_back_with_a_saved_scene(panel, scans, scene, tmp_path):
    panel.ready(scans)
    panel.ui.flipCheckBox.click()
    panel.ui.secondRoundCheckBox.click()
    panel.segment_to_the_end()
    volumes = panel.table()["ml"]
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert (panel.ui.flipCheckBox.checked, panel.ui.secondRoundCheckBox.checked) == (False, True)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert (panel.ui.t1Selector.currentNode().GetName(), panel.ui.t2Selector.currentNode().GetName()) == ("T1", "T2")
    assert (panel.ui.flipCheckBox.checked, panel.ui.secondRoundCheckBox.checked) == (True, False)
    assert panel.table()["ml"] == volumes


def test_without_the_second_network_its_second_round_is_no_choice(panel):
    assert panel.ui.secondRoundCheckBox.enabled
    panel.ui.contextCheckBox.click()
    assert not panel.ui.secondRoundCheckBox.enabled
    panel.ui.contextCheckBox.click()
    assert panel.ui.secondRoundCheckBox.enabled


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_a_piece_of_the_sample_is_segmented_with_the_bundled_weights(panel):
    t1, t2, reference = (_piece_of_the_sample(name) for name in ("T1", "T2", "label"))
    panel.choose((mrml.volume_node(t1, "piece T1"), mrml.volume_node(t2, "piece T2")))
    panel.wait_for(lambda: panel.ui.segmentButton.enabled and not panel.widget._checks.pending)
    panel.logic.command = None
    panel.ui.segmentButton.click()
    run = panel.run
    panel.wait_for(lambda: panel.run is None, 300)
    assert run.state == "finished", run.message
    for value, name in enumerate(panel.table()["Tissue"][:3], start=1):
        segment = run.segmentationNode.GetSegmentation().GetSegmentIdBySegmentName(name)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(run.segmentationNode, segment, panel.ui.t1Selector.currentNode()) > 0
        wanted = sitk.GetArrayViewFromImage(reference) == value
        assert 2 * np.count_nonzero(found & wanted) / (found.sum() + wanted.sum()) > 0.6, name


def _piece_of_the_sample(name):
    image = sitk.ReadImage(str(SAMPLE / f"{name}.nii.gz"))
    middle = [size // 2 for size in image.GetSize()]
    return image[tuple(slice(at - 32, at + 32) for at in middle)]
