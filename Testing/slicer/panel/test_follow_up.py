"""Follow-up in the panel: an earlier result is chosen, its differences stand in a table, and the plot is shown."""

import json
from types import SimpleNamespace

import mrml
import pytest
import slicer
from panel_driver import opened_panel

from InfantBrainSegLib.core.labels import TISSUES


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    with opened_panel(tmp_path / "temporary", monkeypatch) as panel:
        yield panel


@pytest.fixture
def charts(monkeypatch):
    """What Slicer's plots are asked to show."""
    shown = []
    plots = SimpleNamespace(logic=lambda: SimpleNamespace(ShowChartInLayout=shown.append))
    monkeypatch.setattr(slicer.modules, "plots", plots, raising=False)
    return shown


@pytest.fixture
def results(panel, scans):
    """An earlier result with half of the gray matter, of 5 months, and the chosen one of 7."""
    panel.ready(scans)
    panel.ui.ageLineEdit.text = "5"
    earlier = panel.segment_to_the_end().segmentationNode
    erase_gray(earlier, scans[0])
    panel.ui.segmentationSelector.setCurrentNode(None)
    panel.ui.ageLineEdit.text = "7"
    return earlier, panel.segment_to_the_end().segmentationNode


def erase_gray(node, t1):
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, "GM", t1)
    array[: array.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, "GM", t1)


def shown_table(panel):
    table = panel.ui.followUpTable
    return {
        table.item(row, 0).text(): [table.item(row, column).text() for column in range(1, table.columnCount)]
        for row in range(table.rowCount)
    }


def test_an_earlier_result_gives_differences_by_the_month_and_the_plot(panel, results, charts):
    assert not panel.ui.compareButton.enabled
    panel.ui.earlierSelector.choose(results[1].GetName())
    assert not panel.ui.compareButton.enabled
    panel.ui.earlierSelector.choose(results[0].GetName())
    assert not panel.ui.followUpTable.visible
    panel.ui.compareButton.click()
    rows = shown_table(panel)
    assert [*rows] == [*(tissue.name for tissue in TISSUES), "All tissues"]
    earlier, now, change, monthly = map(float, rows["Gray matter"])
    assert change == pytest.approx(now - earlier, abs=0.11)
    assert monthly == pytest.approx(change / 2, abs=0.11)
    assert [chart.GetClassName() for chart in charts] == ["vtkMRMLPlotChartNode"]
    assert "nothing was registered" in panel.ui.statusLabel.text


def test_without_ages_the_panel_says_why_there_is_no_plot(panel, results, charts):
    text = results[0].GetNodeReference("InfantBrainSeg.Provenance")
    text.SetText(json.dumps({**json.loads(text.GetText()), "options": {}}))
    panel.ui.earlierSelector.choose(results[0].GetName())
    panel.ui.compareButton.click()
    assert shown_table(panel)["Gray matter"][3] == "-"
    assert charts == []
    assert "no plot" in panel.ui.statusLabel.text


def test_a_comparison_follows_an_edit_that_is_measured(panel, results, charts, scans):
    panel.ui.earlierSelector.choose(results[0].GetName())
    panel.ui.compareButton.click()
    erase_gray(results[1], scans[0])
    panel.ui.recomputeButton.click()
    assert shown_table(panel)["Gray matter"][2] == "0.0"


def test_results_in_the_wrong_order_are_told(panel, results, charts):
    panel.ui.segmentationSelector.choose(results[0].GetName())
    panel.ui.earlierSelector.choose(results[1].GetName())
    panel.ui.compareButton.click()
    assert "exchange them" in panel.ui.statusLabel.text
    assert not panel.ui.followUpTable.visible


def test_a_new_run_that_no_longer_fits_drops_the_comparison(panel, results, charts):
    panel.ui.earlierSelector.choose(results[0].GetName())
    panel.ui.compareButton.click()
    panel.ui.ageLineEdit.text = "4"
    panel.segment_to_the_end()
    assert panel.ui.earlierSelector.currentNode() is None
    assert not panel.ui.followUpTable.visible


def test_at_380_pixels_no_name_and_no_number_of_the_comparison_is_cut(panel, results, charts):
    panel.ui.earlierSelector.choose(results[0].GetName())
    panel.ui.compareButton.click()
    slicer.app.processEvents()
    panel.frame.resize(398, 900)  # the host's frame has its margins once more than Slicer's
    slicer.app.processEvents()
    table = panel.ui.followUpTable
    assert panel.frame.width == 398
    words = [word for row in range(table.rowCount) for word in table.item(row, 0).text().split()]
    assert table.columnWidth(0) >= max(table.fontMetrics().horizontalAdvance(word) for word in words) + 12 + 10  # the swatch and margins
    assert table.rowHeight(0) >= 2 * table.fontMetrics().height()
    for column in range(1, table.columnCount):
        assert table.columnWidth(column) >= table.sizeHintForColumn(column)


def test_ages_that_are_the_same_are_told_otherwise_than_one_that_is_missing(panel, results, charts):
    panel.ui.earlierSelector.choose(results[0].GetName())
    for options, told in (({}, "An age is not known"), ({"age_months": 7.0}, "Both are of one age")):
        text = results[0].GetNodeReference("InfantBrainSeg.Provenance")
        text.SetText(json.dumps({**json.loads(text.GetText()), "options": options}))
        panel.ui.compareButton.click()
        assert told in panel.ui.statusLabel.text
    assert charts == []


def test_results_under_two_patients_are_compared_with_a_warning(panel, results, charts, scene):
    hierarchy = mrml.hierarchy_node()
    panel.ui.earlierSelector.choose(results[0].GetName())
    for identity, told in (("A1", False), ("B2", True)):
        for node, patient_id in zip(results, ("A1", identity), strict=True):
            patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient_id)
            hierarchy.SetItemAttribute(patient, "DICOM.PatientID", patient_id)
            hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), patient)
        panel.ui.compareButton.click()
        assert panel.ui.statusLabel.text.startswith("The Data module has them under two patients") == told
        assert "nothing was registered" in panel.ui.statusLabel.text
