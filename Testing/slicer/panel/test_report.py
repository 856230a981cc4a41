"""The result as one page: from the panel's button, with its edits and its review, and without names."""

import re
from pathlib import Path

import mrml
import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import stand_in
from InfantBrainSegSlicer.scene import report, review
from panel_driver import opened_panel

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.outputs import overview
from InfantBrainSegLib.outputs.html_report import KNOWN_BIAS


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    with opened_panel(tmp_path / "temporary", monkeypatch) as panel:
        yield panel


@pytest.fixture
def save_as(monkeypatch):
    """Answer the question for a file; give what the browser is asked to show."""
    import qt

    shown = []

    def answer(path):
        monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", staticmethod(lambda *_: str(path)))
        return shown

    monkeypatch.setattr(qt.QDesktopServices, "openUrl", staticmethod(lambda url: shown.append(Path(url.toLocalFile()))))
    return answer


def erase_gray(node, t1):
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, "GM", t1)
    array[: array.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, "GM", t1)


def page_text(path):
    return path.read_text(encoding="utf-8")


def test_the_button_saves_a_page_with_verdict_checks_versions_and_bias_and_shows_it(panel, scans, save_as, tmp_path):
    path = tmp_path / "report.html"
    shown = save_as(path)
    panel.ready(scans)
    panel.ui.ageLineEdit.text = "6"
    panel.segment_to_the_end()
    panel.ui.reportButton.click()
    assert shown == [path]
    assert str(path) in panel.ui.statusLabel.text
    text = page_text(path)
    for part in ("Look before use", "1 place is in doubt", "Spacing", "torch none", "age 6 months", report.NOT_REVIEWED, KNOWN_BIAS[:60]):
        assert part in text
    assert re.search(r"data:image/png;base64,[A-Za-z0-9+/]{1000}", text)
    assert "Edited" not in text


def test_the_page_has_edits_beside_the_automatic_volumes_and_who_looked(panel, scans, save_as, tmp_path, monkeypatch):
    monkeypatch.setattr(review.getpass, "getuser", lambda: "reader1")
    save_as(tmp_path / "report.html")
    panel.ready(scans)
    node = panel.segment_to_the_end().segmentationNode
    gray_ml = float(panel.table()["ml"][1])
    panel.ui.reviewedCheckBox.click()
    erase_gray(node, scans[0])
    panel.ui.reportButton.click()
    text = page_text(tmp_path / "report.html")
    panel.ui.recomputeButton.click()
    for part in ("Edited since: the verdict is of the automatic result.", f">{gray_ml:.1f}<", f">{panel.table()['ml'][1]}<"):
        assert part in text
    assert re.search(r"Reviewed by reader1, [-0-9 :]+ UTC\. Edited since\.", text)


def test_the_page_names_no_node_and_no_path(panel, scans, save_as, tmp_path):
    save_as(tmp_path / "report.html")
    scans[0].SetName("Doe^Jane")
    panel.ready(scans)
    panel.segment_to_the_end()
    panel.ui.reportButton.click()
    text = page_text(tmp_path / "report.html")
    assert "Jane" not in text
    assert str(tmp_path) not in text


def test_a_page_that_cannot_be_written_is_told_and_not_shown(panel, scans, save_as, tmp_path):
    shown = save_as(tmp_path / "nowhere" / "report.html")
    panel.ready(scans)
    panel.segment_to_the_end()
    panel.ui.reportButton.click()
    assert "cannot be written" in panel.ui.statusLabel.text
    assert shown == []


def test_without_a_provenance_there_is_no_button(panel, scans, scene):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    assert panel.ui.reportButton.visible
    scene.RemoveNode(run.provenanceNode)
    panel.widget.enter()
    assert not panel.ui.reportButton.visible


def test_the_report_of_a_result_whose_scans_left_has_no_picture(logic, scene, scans, tmp_path):
    node = logic.process(*scans).segmentationNode
    for scan in scans:
        scene.RemoveNode(scan)
    logic.writeReport(node, tmp_path / "report.html")
    assert "There is no picture." in page_text(tmp_path / "report.html")


def test_the_picture_shows_t2_where_the_run_found_it_and_the_tissues_under_their_transform(logic, scene, scans, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(overview, "draw_overview", lambda *given: drawn.append(given) or np.zeros((100, 10, 3), np.uint8))
    logic.command = stand_in.command("moved")
    turn = np.eye(4)
    turn[:3] = [[0, -1, 0, 7], [1, 0, 0, -3], [0, 0, 1, 11]]
    scans[0].SetAndObserveTransformNodeID(mrml.linear_transform(turn).GetID())
    run = logic.process(*scans)
    logic.writeReport(run.segmentationNode, tmp_path / "report.html")
    t1, t2, labels, _ = drawn[0]
    assert labels.GetOrigin() == pytest.approx(t1.GetOrigin())
    values = sitk.GetArrayFromImage(labels)
    wanted = np.digitize(sitk.GetArrayFromImage(t1), [20, 70, 115])
    assert (values == wanted).all()
    assert not np.allclose(t2.GetOrigin(), report.image_from_volume(scans[1]).GetOrigin())


def test_without_a_run_there_is_nothing_to_report(logic, scene, tmp_path):
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tumour")
    with pytest.raises(InputError, match="no provenance of a run"):
        logic.writeReport(other, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
