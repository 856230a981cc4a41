"""The gatekeeper's table, the verdict with its places, and the options for raw scans, in the panel."""

from pathlib import Path

import mrml
import numpy as np
import pytest
import slicer
from panel_driver import opened_panel
from run_helpers import middle_voxel_mm
from stand_in import command as stand_in


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    with opened_panel(tmp_path / "temporary", monkeypatch) as panel:
        yield panel


def told(panel):
    """The cells of the table of the checks, in the order in which they are read, without the titles."""
    return panel.ui.checksText.toPlainText().strip().splitlines()[4:]


def places(panel):
    layout = panel.ui.placesFrame.layout()
    return [button for index in range(layout.count()) if (button := layout.itemAt(index).widget()) is not None]


def test_the_quick_checks_are_in_the_table_as_soon_as_the_scans_are_chosen(panel, scans):
    assert panel.ui.checksCollapsibleButton.collapsed
    panel.ready(scans)
    assert panel.ui.statusLabel.text.startswith("Ready, with warnings")
    assert not panel.ui.swapButton.visible
    assert told(panel)[:4] == ["Spacing", "Warn", "T1 2.5×2×3 mm, T2 2.5×2×3 mm", "Up to 2 mm and 3 times the finest axis"]
    assert told(panel)[4].startswith("Thin cortex is lost in such voxels")
    assert (told(panel)[5:7], told(panel)[9:11]) == (["Field of view", "Pass"], ["Slice gap", "Pass"])
    assert "quick look" in panel.ui.checksLabel.text
    assert panel.ui.checksCollapsibleButton.text == "Checks: 1 of 3 to look at"


def test_the_button_runs_all_checks_and_shows_them_until_the_scans_change(panel, scans):
    assert not panel.ui.checkButton.enabled
    panel.ready(scans)
    before = mrml.node_count()
    panel.ui.checkButton.click()
    assert (panel.ui.statusLabel.text, panel.ui.segmentButton.text) == ("Setting up", "Cancel")
    panel.wait_for(lambda: panel.run is None)
    assert told(panel) == ["Spacing", "Warn", "2.5 mm", "2 mm", "Use a finer scan.", "Field of view", "Pass", "1 %", "Under 10 %"]
    assert panel.ui.checksLabel.text == "All checks of the chosen scans."
    assert "something to look at" in panel.ui.statusLabel.text
    assert not panel.ui.checksCollapsibleButton.collapsed
    assert mrml.node_count() == before
    panel.ready(scans[::-1])
    assert "quick look" in panel.ui.checksLabel.text


def test_a_check_can_be_cancelled_and_one_that_fails_is_reported(panel, scans):
    panel.ready(scans)
    panel.logic.command = stand_in("hang")
    panel.ui.checkButton.click()
    panel.ui.segmentButton.click()
    assert panel.ui.statusLabel.text.startswith("Cancelled")
    panel.logic.command = stand_in("refuse")
    panel.ui.checkButton.click()
    panel.wait_for(lambda: panel.run is None)
    assert panel.ui.statusLabel.text == "T1 'T1' has no brain; wanted one: choose another."


def test_the_verdict_says_what_to_do_and_why_with_remedies_and_no_reason_twice(panel, scans):
    assert not panel.ui.resultsCollapsibleButton.visible
    panel.ready(scans)
    panel.segment_to_the_end()
    text = panel.ui.verdictLabel.text
    assert "Look at these places before you use the result." in text
    assert "Spacing: 2.5 mm. Use a finer scan." in text
    assert "1 place is in doubt." in text
    assert "looks odd" in panel.ui.warningsLabel.text
    assert "use a finer scan" not in panel.ui.warningsLabel.text
    assert panel.ui.checksLabel.text == "All checks of the scans, made with the result. A mask was given."
    assert told(panel)[:4] == ["Spacing", "Warn", "2.5 mm", "2 mm"]


def test_a_click_on_a_place_brings_every_slice_view_there(panel, scans, scene):
    views = mrml.slice_views(scene)
    matrix = np.eye(4)
    matrix[:3, 3] = (20.0, -30.0, 40.0)
    for scan in scans:
        scan.SetAndObserveTransformNodeID(mrml.linear_transform(matrix).GetID())
    panel.ready(scans)
    panel.segment_to_the_end()
    (button,) = places(panel)
    superior_mm = middle_voxel_mm(scans[0])[2]
    assert button.text == f"Axial {'S' if superior_mm >= 0 else 'I'} {abs(superior_mm):.0f} mm, 52 % in doubt"
    button.click()
    for view in views:
        assert np.allclose(mrml.middle_of(view), middle_voxel_mm(scans[0]), atol=0.01)


def test_verdict_checks_and_places_come_back_with_a_saved_scene_and_go_with_another_choice(panel, scans, scene, tmp_path):
    panel.ready(scans)
    panel.segment_to_the_end()
    text = panel.ui.verdictLabel.text
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert not panel.ui.resultsCollapsibleButton.visible
    assert places(panel) == []
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert panel.ui.verdictLabel.text == text
    assert len(places(panel)) == 1
    assert panel.ui.checksLabel.text.startswith("All checks of the scans, made with the result.")
    panel.ui.segmentationSelector.choose("Create new segmentation")
    panel.ui.tableSelector.choose("Create new table")
    assert not panel.ui.resultsCollapsibleButton.visible


def test_one_scan_alone_can_be_segmented_and_the_panel_warns_of_it(panel, scans):
    panel.ready(scans)
    panel.ui.t1Selector.choose("Select a T1w scan")
    panel.wait_for(lambda: panel.ui.statusLabel.text.startswith("Ready"))
    assert "only T2" in panel.ui.warningsLabel.text
    assert panel.segment_to_the_end().state == "finished"
    assert panel.ui.segmentationSelector.currentNode().GetName() == "T2 segmentation"


def test_whole_heads_are_ready_as_they_are(panel, scene):
    rng = np.random.default_rng(1)
    for name in ("T1", "T2"):
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, rng.normal(200, 30, (50, 50, 50)).astype(np.float32))
        node.SetSpacing(3.0, 3.0, 3.0)
        panel.ui.t1Selector.choose(name) if name == "T1" else panel.ui.t2Selector.choose(name)
    panel.wait_for(lambda: "whole heads" in panel.ui.statusLabel.text)
    assert panel.ui.segmentButton.enabled
    assert "skull" not in panel.ui.warningsLabel.text
    panel.ui.extractCheckBox.click()
    panel.wait_for(lambda: panel.ui.statusLabel.text.startswith("Ready"))
    assert "skull" in panel.ui.warningsLabel.text


def test_the_options_for_raw_scans_reach_the_run_and_come_back_with_the_scene(panel, scans):
    panel.ready(scans)
    panel.ui.ageLineEdit.text = "4,5"
    panel.ui.extractCheckBox.click()
    panel.ui.alignCheckBox.click()
    panel.ui.maskCheckBox.click()
    combo = panel.ui.biasComboBox
    assert [combo.itemText(index) for index in range(combo.count)] == ["Automatic", "On", "Off"]
    combo.setCurrentIndex(2)
    combo.activated.emit(2)
    run = panel.segment_to_the_end("echo")
    words = Path(run.logPath).read_text(encoding="utf-8")
    for option in ('"--age-months", "4.5"', '"--extract", "off"', '"--align", "off"', '"--bias-correction", "off"'):
        assert option in words
    panel.frame.exit()
    panel.frame.enter()
    assert (panel.ui.ageLineEdit.text, combo.currentText, panel.ui.alignCheckBox.checked) == ("4,5", "Off", False)
    assert panel.segment_to_the_end().maskNode.GetName() == "T1 cerebrum mask"


def test_an_age_that_is_no_number_is_said_at_once(panel, scans):
    panel.ready(scans)
    panel.ui.ageLineEdit.text = "six"
    assert not panel.ui.segmentButton.enabled
    assert "The age is no number" in panel.ui.statusLabel.text
    panel.ui.ageLineEdit.text = "6"
    panel.wait_for(lambda: panel.ui.segmentButton.enabled)


def test_the_help_says_that_whole_heads_are_taken(panel):
    assert "whole heads straight from the scanner" in panel.module.helpText
