"""The real panel, clicked in real Qt on the real scene; a stand-in child where the segmentation itself does not matter."""

import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import host
import mrml
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import slicer
from conftest import ROOT, stand_in
from host import pythonqt

SAMPLE = ROOT / "InfantBrainSeg" / "Resources" / "SampleData"
EMPTY = "No T1 volume is chosen: choose the T1-weighted scan."


class Panel:
    """The module's panel as a user meets it."""

    def __init__(self):
        self.module = host.load_module(ROOT / "InfantBrainSeg" / "InfantBrainSeg.py")
        self.frame = self.module.widgetRepresentation()
        self.frame.resize(420, 900)
        self.frame.show()
        self.frame.enter()
        self.logic.command = stand_in("good")

    @property
    def widget(self):
        return self.frame.self()

    @property
    def logic(self):
        return self.widget.logic

    @property
    def ui(self):
        return self.widget.ui

    @property
    def run(self):
        return self.widget._monitor.run

    def choose(self, scans):
        self.ui.t1Selector.choose(scans[0].GetName())
        self.ui.t2Selector.choose(scans[1].GetName())

    def ready(self, scans):
        self.choose(scans)
        self.wait_for(lambda: self.ui.statusLabel.text == "Ready: click Segment.")

    def segment(self, mode="good"):
        self.logic.command = stand_in(mode)
        self.ui.segmentButton.click()
        return self.run

    def segment_to_the_end(self, mode="good", seconds=20):
        run = self.segment(mode)
        self.wait_for(lambda: self.run is None, seconds)
        return run

    def segment_until_it_hangs(self):
        run = self.segment("hang")
        self.wait_for(lambda: self.ui.progressBar.value > 0)
        line = next(line for line in Path(run.logPath).read_text().splitlines() if line.startswith("pids"))
        return run, [int(pid) for pid in line.split()[1:]]

    def wait_for(self, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"Not within {seconds} s; the panel says: {self.ui.statusLabel.text}"
            slicer.app.processEvents()
            time.sleep(0.005)

    def table(self):
        table = self.ui.resultsTable
        titles = [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]
        return {title: [table.item(row, column).text() for row in range(table.rowCount)] for column, title in enumerate(titles)}


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    host.start()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    panel = Panel()
    yield panel
    panel.widget.cleanup()
    panel.frame.delete()
    slicer.app.processEvents()
    found, pythonqt.problems[:] = list(pythonqt.problems), []
    assert not found


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_segment_says_what_is_missing(panel, scans):
    assert (panel.ui.segmentButton.enabled, panel.ui.segmentButton.toolTip, panel.ui.statusLabel.text) == (False, EMPTY, EMPTY)
    panel.ui.t1Selector.choose("T1")
    assert "No T2 volume is chosen" in panel.ui.segmentButton.toolTip
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
    assert panel.ui.segmentButton.enabled
    panel.ready(scans)
    assert not panel.ui.warningsLabel.visible


def test_scans_that_can_not_go_together_are_refused_after_the_check(panel, scans):
    matrix = slicer.util.vtkMatrixFromArray(np.array([[1, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    scans[1].SetIJKToRASMatrix(matrix)
    panel.choose(scans)
    panel.wait_for(lambda: not panel.ui.segmentButton.enabled)
    assert "T2" in panel.ui.statusLabel.text


def test_a_run_fills_the_outputs_and_the_table(panel, scans):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    assert run.state == "finished"
    assert "Finished in 0:0" in panel.ui.statusLabel.text
    assert panel.ui.segmentationSelector.currentNode() is run.segmentationNode
    assert panel.ui.tableSelector.currentNode() is run.tableNode
    table = panel.table()
    assert table["Tissue"] == ["Cerebrospinal fluid", "Gray matter", "White matter"]
    drawn = sitk.GetArrayFromImage(phantoms.draw(phantoms.grid((2.5, 2.0, 3.0))))
    volumes = [f"{np.count_nonzero(drawn == value) * 15 / 1000:.1f}" for value in (phantoms.CSF, phantoms.GM, phantoms.WM)]
    assert table["Volume (ml)"] == volumes
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


def test_a_scan_deleted_during_the_run_ends_it_and_is_named(panel, scans, scene):
    panel.ready(scans)
    run, pids = panel.segment_until_it_hangs()
    scene.RemoveNode(scans[1])
    panel.wait_for(lambda: panel.run is None)
    assert run.state == "cancelled"
    assert not any(map(alive, pids))
    assert "T2 'T2' left the scene" in panel.ui.statusLabel.text


def test_a_child_that_crashes_is_told_and_its_log_can_be_read(panel, scans):
    panel.ready(scans)
    before = mrml.node_count()
    run = panel.segment_to_the_end("abort")
    assert (run.state, mrml.node_count()) == ("failed", before)
    assert panel.ui.statusLabel.text == run.message
    panel.ui.logButton.click()
    assert "terminate called" in panel.widget._log._text.toPlainText()


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


def test_edits_are_measured_against_the_automatic_result(panel, scans):
    panel.ready(scans)
    node = panel.segment_to_the_end().segmentationNode
    automatic = panel.table()["Volume (ml)"]
    _erase_half(node, scans[0])
    panel.ui.recomputeButton.click()
    table = panel.table()
    assert table["Automatic (ml)"] == automatic
    assert float(table["Change (ml)"][1]) < -1
    assert float(table["Change (ml)"][2]) == 0


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
    assert [node.GetClassName() for node in run.probabilityNodes] == ["vtkMRMLScalarVolumeNode"] * 3
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
    utils = SimpleNamespace(torchInstalled=lambda: bool(asked), installTorch=lambda askConfirmation: asked.append(askConfirmation))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=lambda: utils))
    monkeypatch.setattr(panel.logic, "torchInstalled", utils.torchInstalled)
    panel.choose(scans)
    assert asked == []
    panel.ui.torchButton.click()
    assert asked == [True]
    assert not panel.ui.torchFrame.visible
    panel.wait_for(lambda: panel.ui.segmentButton.enabled)


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


def test_the_choices_come_back_with_a_saved_scene(panel, scans, scene, tmp_path):
    panel.ready(scans)
    panel.ui.flipCheckBox.click()
    panel.segment_to_the_end()
    volumes = panel.table()["Volume (ml)"]
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert not panel.ui.flipCheckBox.checked
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert (panel.ui.t1Selector.currentNode().GetName(), panel.ui.t2Selector.currentNode().GetName()) == ("T1", "T2")
    assert panel.ui.flipCheckBox.checked
    assert panel.table()["Volume (ml)"] == volumes


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


@pytest.mark.slow
def test_a_piece_of_the_sample_is_segmented_with_the_bundled_weights(panel):
    t1, t2, reference = (_piece_of_the_sample(name) for name in ("T1", "T2", "label"))
    panel.choose((mrml.volume_node(t1, "piece T1"), mrml.volume_node(t2, "piece T2")))
    panel.wait_for(lambda: panel.ui.segmentButton.enabled and not panel.widget._checks.pending)
    panel.logic.command = None
    panel.ui.segmentButton.click()
    run = panel.run
    panel.wait_for(lambda: panel.run is None, 300)
    assert run.state == "finished", run.message
    for value, name in enumerate(panel.table()["Tissue"], start=1):
        segment = run.segmentationNode.GetSegmentation().GetSegmentIdBySegmentName(name)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(run.segmentationNode, segment, panel.ui.t1Selector.currentNode()) > 0
        wanted = sitk.GetArrayViewFromImage(reference) == value
        assert 2 * np.count_nonzero(found & wanted) / (found.sum() + wanted.sum()) > 0.6, name


def _piece_of_the_sample(name):
    image = sitk.ReadImage(str(SAMPLE / f"{name}.nii.gz"))
    middle = [size // 2 for size in image.GetSize()]
    return image[tuple(slice(at - 32, at + 32) for at in middle)]
