"""The real panel in real Qt on the real scene: what it offers, refuses, warns of and keeps."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import mrml
import numpy as np
import pytest
import slicer
import vtk
from InfantBrainSegSlicer.run.temporary import RunFolder
from panel_driver import EMPTY, opened_panel
from stand_in import ROOT


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    with opened_panel(tmp_path / "temporary", monkeypatch) as panel:
        yield panel


def test_segment_says_what_is_missing(panel, scans):
    assert (panel.ui.segmentButton.enabled, panel.ui.segmentButton.toolTip, panel.ui.statusLabel.text) == (False, EMPTY, EMPTY)
    panel.ready(scans)
    assert panel.ui.segmentButton.enabled


def test_one_volume_can_not_be_both_scans(panel, scans):
    panel.choose((scans[0], scans[0]))
    assert not panel.ui.segmentButton.enabled
    assert "'T1' is chosen as T1 and as T2" in panel.ui.statusLabel.text


def test_a_volume_without_voxels_is_named(panel, scans, scene):
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    panel.ui.t2Selector.choose("nothing")
    panel.ui.t1Selector.choose("T1")
    assert "T2 'nothing' has no image data" in panel.ui.statusLabel.text


def test_label_maps_and_color_volumes_are_not_offered_as_scans(panel, scene):
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colors")
    assert not {"labels", "colors"} & set(panel.ui.t1Selector.choices() + panel.ui.t2Selector.choices())
    assert "labels" in panel.ui.maskSelector.choices()


def test_weights_that_are_not_ours_disable_segment_until_the_field_is_cleared(panel, scans, tmp_path):
    panel.ready(scans)
    (tmp_path / "other.pt").write_bytes(b"x")
    panel.ui.weightsLineEdit.text = str(tmp_path / "other.pt")
    assert not panel.ui.segmentButton.enabled
    assert "other.pt is no weights file of ours" in panel.ui.statusLabel.text
    panel.ui.weightsLineEdit.clear()
    assert panel.ui.segmentButton.enabled


def test_swapped_scans_are_warned_of_before_the_run(panel, scans):
    panel.choose(scans[::-1])
    panel.wait_for(lambda: panel.ui.warningsLabel.visible)
    assert "swapped" in panel.ui.warningsLabel.text
    assert panel.ui.statusLabel.text == "Ready, with warnings: look at them, then click Segment."
    assert "Contrasts" in panel.ui.checksText.toPlainText()
    assert panel.ui.checksCollapsibleButton.text == "Checks: 2 of 4 to look at"
    assert panel.ui.segmentButton.enabled
    panel.ui.swapButton.click()
    panel.wait_for(lambda: panel.ui.statusLabel.text.startswith("Ready"))
    assert [panel.ui.t1Selector.currentNode(), panel.ui.t2Selector.currentNode()] == list(scans)
    assert not panel.ui.swapButton.visible
    assert "swapped" not in panel.ui.warningsLabel.text
    assert "thin cortex is lost" in panel.ui.warningsLabel.text  # the phantom's voxels are 3 mm thick


def test_scans_that_can_not_go_together_are_refused_after_the_check(panel, scans):
    matrix = slicer.util.vtkMatrixFromArray(np.array([[1, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    scans[1].SetIJKToRASMatrix(matrix)
    panel.ui.alignCheckBox.click()  # off: their headers count
    panel.choose(scans)
    panel.wait_for(lambda: not panel.ui.segmentButton.enabled)
    assert "T2" in panel.ui.statusLabel.text


def test_scans_that_were_brought_together_meanwhile_are_looked_at_again(panel, scans):
    far = mrml.linear_transform(np.array([[1, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    scans[1].SetAndObserveTransformNodeID(far.GetID())
    panel.ui.alignCheckBox.click()
    panel.choose(scans)
    panel.wait_for(lambda: not panel.ui.segmentButton.enabled)
    panel.widget.exit()
    far.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4)))
    panel.widget.enter()
    panel.wait_for(lambda: panel.ui.statusLabel.text.startswith("Ready"))


def test_a_table_with_an_empty_cell_does_not_stop_the_panel(panel, scene):
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Imported")
    for name, text in (("Segment", "Gray matter"), ("Volume cm3", "")):
        column = vtk.vtkStringArray()
        column.SetName(name)
        column.InsertNextValue(text)
        table.AddColumn(column)
    panel.ui.tableSelector.choose("Imported")
    assert panel.table()["ml"] == ["-"]
    assert panel.ui.statusLabel.text


def test_without_torch_the_panel_says_so_and_where_to_get_it(panel, scans, monkeypatch):
    monkeypatch.setattr(panel.logic, "torchInstalled", lambda: False)
    panel.choose(scans)
    assert panel.ui.torchFrame.visible
    assert not panel.ui.segmentButton.enabled
    assert "PyTorch" in panel.ui.segmentButton.toolTip
    panel.ui.torchButton.click()
    assert "Extensions Manager" in panel.ui.statusLabel.text


def test_torch_is_installed_through_its_extension_when_asked_and_not_before(panel, scans, monkeypatch):
    asked = []
    utils = SimpleNamespace(
        torchInstalled=lambda: bool(asked),
        installTorch=lambda torchVersionRequirement: asked.append((torchVersionRequirement, slicer.app.overrideCursor() is not None)),
    )
    questions = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: questions.append(text) or len(questions) > 1)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=lambda: utils))
    monkeypatch.setattr(panel.logic, "torchInstalled", utils.torchInstalled)
    panel.choose(scans)
    assert asked == []
    panel.ui.torchButton.click()
    assert asked == []  # the question was not answered with yes
    panel.ui.torchButton.click()
    assert asked == [(">=2.2", True)]
    assert slicer.app.overrideCursor() is None
    assert "GB" in questions[0]
    assert "minutes" in questions[0]
    assert not panel.ui.torchFrame.visible
    panel.wait_for(lambda: panel.ui.segmentButton.enabled)


def test_an_installation_of_torch_that_fails_is_told_and_logged(panel, scans, monkeypatch, caplog):
    def fail(torchVersionRequirement):
        raise RuntimeError("No space left on device")

    utils = SimpleNamespace(torchInstalled=lambda: False, installTorch=fail)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=lambda: utils))
    monkeypatch.setattr(panel.logic, "torchInstalled", lambda: False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda _: True)
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda _: None)
    panel.ui.torchButton.click()
    assert "No space left on device" in panel.ui.statusLabel.text
    assert "troubleshooting" in panel.ui.statusLabel.text
    assert "No space left on device" in (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert caplog.records[-1].exc_info is not None


def test_devices_are_looked_for_when_advanced_opens_and_the_choice_is_kept(panel, monkeypatch):
    found = [("auto", "Automatic"), ("cpu", "CPU"), ("cuda:0", "GPU 0: some GPU")]
    monkeypatch.setattr(panel.logic, "devices", lambda: found)
    combo = panel.ui.deviceComboBox
    assert combo.count == 2
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.wait_for(lambda: combo.count == 3)
    combo.setCurrentIndex(2)
    combo.activated.emit(2)
    assert panel.logic.getParameterNode().device == "cuda:0"


def test_the_sample_is_loaded_and_picked_with_one_click(panel):
    panel.ui.sampleButton.click()
    names = [selector.currentNode().GetName() for selector in (panel.ui.t1Selector, panel.ui.t2Selector)]
    assert names == ["InfantSampleT1", "InfantSampleT2"]


def test_the_sample_is_offered_in_the_sample_data_module(panel):
    from SampleData import SampleDataLogic

    (source,) = [details for (_, name), details in SampleDataLogic.sources.items() if name == "InfantBrainSeg"]
    assert Path(source["thumbnailFileName"]).is_file()
    assert [node.GetClassName() for node in source["customDownloader"](source)] == ["vtkMRMLScalarVolumeNode"] * 2


def test_the_help_says_research_use_and_names_the_paper(panel):
    assert "Research use only" in panel.module.helpText
    assert "ISBI 2018" in panel.module.acknowledgementText
    assert panel.ui.researchLabel.text == "Research use only. Not a medical device."


def test_at_slicers_start_what_a_crashed_one_left_is_swept(panel):
    mine = RunFolder()
    abandoned = mine.path.with_name(mine.path.name.replace(f"-{os.getpid()}-", "-999999999-"))
    abandoned.mkdir()
    slicer.app.startupCompleted.emit()
    assert (abandoned.exists(), mine.path.exists()) == (False, True)
