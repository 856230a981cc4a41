"""The review loop: from place to place, outlines, who looked, and to Segment Editor and back."""

import json
from types import SimpleNamespace

import mrml
import numpy as np
import pytest
import slicer
import stand_in
from InfantBrainSegSlicer.scene import review
from panel_driver import opened_panel


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    with opened_panel(tmp_path / "temporary", monkeypatch) as panel:
        yield panel


def with_places(run, count):
    """Give a result more places, a millimeter apart."""
    told = json.loads(run.provenanceNode.GetText())
    (place,) = told["verdict"]["places"]
    r, a, s = place["scan_ras_mm"]
    told["verdict"]["places"] = [{**place, "scan_ras_mm": [r + index, a, s]} for index in range(count)]
    run.provenanceNode.SetText(json.dumps(told))


def erase_gray(node, t1):
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, "GM", t1)
    array[: array.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, "GM", t1)


def key(panel, name):
    import qt

    (found,) = (shortcut for shortcut in panel.ui.resultsCollapsibleButton.findChildren(qt.QShortcut) if shortcut.key.toString() == name)
    return found


def test_next_and_previous_go_round_the_places_in_all_views_by_button_and_key(panel, scans, scene):
    views = mrml.slice_views(scene)
    panel.ready(scans)
    run = panel.segment_to_the_end()
    with_places(run, 3)
    panel.widget.enter()
    assert panel.ui.placeLabel.text == "3 in doubt"
    seen = []
    for step in (panel.ui.nextButton.click, key(panel, "Alt+Down").activated.emit, panel.ui.nextButton.click, panel.ui.nextButton.click):
        step()
        middles = [mrml.middle_of(view)[0] for view in views]
        assert np.ptp(middles) < 1e-6
        seen.append((panel.ui.placeLabel.text, round(middles[0], 3)))
    assert [text for text, _ in seen] == ["Place 1 of 3", "Place 2 of 3", "Place 3 of 3", "Place 1 of 3"]
    assert np.allclose(np.diff([r for _, r in seen]), [1, 1, -2])
    key(panel, "Alt+Up").activated.emit()
    assert panel.ui.placeLabel.text == "Place 3 of 3"


def test_without_places_there_is_nothing_to_step_through(panel, scans):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    with_places(run, 0)
    panel.widget.enter()
    assert not panel.ui.nextButton.visible
    assert panel.ui.outlineCheckBox.visible
    key(panel, "Alt+Down").activated.emit()


def test_outlines_alone_show_the_scan_below(panel, scans):
    panel.ready(scans)
    display = panel.segment_to_the_end().segmentationNode.GetDisplayNode()
    panel.ui.outlineCheckBox.click()
    assert (display.GetVisibility2DFill(), display.GetVisibility2DOutline()) == (0, 1)
    panel.widget.enter()
    assert panel.ui.outlineCheckBox.checked
    panel.ui.outlineCheckBox.click()
    assert display.GetVisibility2DFill() == 1


def test_reviewed_is_kept_with_who_and_when_and_comes_back_with_the_scene(panel, scans, scene, tmp_path, monkeypatch):
    monkeypatch.setattr(review.getpass, "getuser", lambda: "reader1")
    panel.ready(scans)
    run = panel.segment_to_the_end()
    assert (panel.ui.reviewedCheckBox.checked, panel.ui.reviewedLabel.text) == (False, "")
    panel.ui.reviewedCheckBox.click()
    kept = json.loads(run.provenanceNode.GetText())["review"]
    assert kept["by"] == "reader1"
    assert kept["utc"].endswith("+00:00")
    assert panel.ui.reviewedLabel.text == f"by reader1, {kept['utc'][:16].replace('T', ' ')} UTC"
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert panel.ui.reviewedCheckBox.checked
    t1, node = panel.ui.t1Selector.currentNode(), panel.ui.segmentationSelector.currentNode()
    erase_gray(node, t1)
    panel.widget.enter()
    assert panel.ui.reviewedLabel.text.endswith("Edited since.")
    panel.ui.recomputeButton.click()
    assert panel.ui.reviewedLabel.text.endswith("Edited since.")
    panel.ui.reviewedCheckBox.click()
    panel.ui.reviewedCheckBox.click()
    assert panel.ui.reviewedLabel.text.endswith("UTC")


def test_a_new_run_is_not_reviewed(panel, scans):
    panel.ready(scans)
    panel.segment_to_the_end()
    panel.ui.reviewedCheckBox.click()
    assert panel.ui.reviewedCheckBox.checked
    panel.segment_to_the_end()
    assert not panel.ui.reviewedCheckBox.checked


def test_slicers_own_user_name_comes_first(monkeypatch):
    person = SimpleNamespace(GetName=lambda: "Dr. Lee")
    logic = SimpleNamespace(GetUserInformation=lambda: person)
    monkeypatch.setattr(slicer, "app", SimpleNamespace(applicationLogic=lambda: logic), raising=False)
    assert review.reviewer() == "Dr. Lee"


@pytest.fixture
def editor(scene, monkeypatch):
    """What of Segment Editor the panel calls, on a real parameter node."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    widget = SimpleNamespace(
        mrmlSegmentEditorNode=lambda: node,
        setSegmentationNode=lambda given: node.SetAndObserveSegmentationNode(given),
        setSourceVolumeNode=lambda given: node.SetAndObserveSourceVolumeNode(given),
    )
    module = SimpleNamespace(widgetRepresentation=lambda: SimpleNamespace(self=lambda: SimpleNamespace(editor=widget)))
    monkeypatch.setattr(slicer.modules, "segmenteditor", module, raising=False)
    return node


def test_edit_opens_segment_editor_so_that_tissues_stay_a_partition_and_coming_back_measures_again(panel, scans, editor, monkeypatch):
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: panel.frame.exit())
    panel.ready(scans)
    run = panel.segment_to_the_end()
    panel.ui.editButton.click()
    assert editor.GetSegmentationNode() is run.segmentationNode
    assert editor.GetSourceVolumeNode() is scans[0]
    assert editor.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments
    assert editor.GetOverwriteMode() == slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments
    erase_gray(run.segmentationNode, scans[0])
    panel.frame.enter()
    assert float(panel.table()["Edited"][1]) < -1
    assert "Recompute" not in panel.ui.resultsLabel.text


def test_coming_back_without_an_edit_changes_nothing(panel, scans, editor, monkeypatch):
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: panel.frame.exit())
    panel.ready(scans)
    panel.segment_to_the_end()
    before = panel.table()
    panel.ui.editButton.click()
    panel.frame.enter()
    assert panel.table() == before


def test_a_slicer_without_segment_editor_is_told(panel, scans, monkeypatch):
    def fail(name):
        raise RuntimeError("no main window")

    monkeypatch.setattr(slicer.util, "selectModule", fail)
    panel.ready(scans)
    panel.segment_to_the_end()
    panel.ui.editButton.click()
    assert "no Segment Editor" in panel.ui.statusLabel.text


def test_an_edited_provenance_without_a_verdict_can_be_reviewed_and_a_broken_one_not(logic, scans):
    logic.command = stand_in.command("good")
    node = logic.process(*scans).segmentationNode
    text = node.GetNodeReference("InfantBrainSeg.Provenance")
    text.SetText("{}")
    assert review.can_be_reviewed(node)
    text.SetText("{not JSON")
    assert not review.can_be_reviewed(node)
    assert review.read_review(node) is None


def test_a_review_knows_an_edit_that_leaves_every_volume_as_it_was(panel, scans, tmp_path):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    panel.ui.reviewedCheckBox.click()
    arrays = {name: slicer.util.arrayFromSegmentBinaryLabelmap(run.segmentationNode, name, scans[0]) > 0 for name in ("GM", "WM")}
    gray, white = (np.flatnonzero(arrays[name])[0] for name in ("GM", "WM"))
    for name, array in arrays.items():
        array.flat[gray], array.flat[white] = name == "WM", name == "GM"
        slicer.util.updateSegmentBinaryLabelmapFromArray(array.astype(np.uint8), run.segmentationNode, name, scans[0])
    panel.wait_for(lambda: panel.ui.reviewedLabel.text.endswith("Edited since."))
    panel.logic.writeReport(run.segmentationNode, tmp_path / "report.html")
    assert "UTC. Edited since." in (tmp_path / "report.html").read_text(encoding="utf-8")
    panel.ui.reviewedCheckBox.click()
    panel.ui.reviewedCheckBox.click()
    assert panel.ui.reviewedLabel.text.endswith("UTC")
