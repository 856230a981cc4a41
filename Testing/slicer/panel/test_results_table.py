"""The numbers in the panel: none is cut, and all of them leave it by clipboard and file."""

import csv
import getpass
import io

import pytest
import slicer
from panel_driver import opened_panel

from InfantBrainSegLib.core.labels import TISSUES

HOSTS_MARGINS = 18  # this host's frame has them once more than Slicer's


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    with opened_panel(tmp_path / "temporary", monkeypatch) as panel:
        yield panel


def erase_gray(node, t1):
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, "GM", t1)
    array[: array.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, "GM", t1)


def widest(table, words):
    """The width that the names need: whole, or of the widest word alone."""
    names = [table.item(row, 0).text() for row in range(table.rowCount)]
    parts = [part for name in names for part in (name.split() if words else [name])]
    return max(table.fontMetrics().horizontalAdvance(part) for part in parts)


@pytest.mark.parametrize("edited", [False, True])
def test_at_380_pixels_no_name_and_no_number_is_cut(panel, scans, edited):
    panel.frame.resize(380 + HOSTS_MARGINS, 900)
    panel.ready(scans)
    run = panel.segment_to_the_end()
    if edited:
        erase_gray(run.segmentationNode, scans[0])
        panel.ui.recomputeButton.click()
    slicer.app.processEvents()
    table = panel.ui.resultsTable
    assert panel.frame.width == 380 + HOSTS_MARGINS
    assert table.columnCount == (6 if edited else 4)
    assert sum(table.columnWidth(column) for column in range(table.columnCount)) <= table.viewport().width
    assert table.columnWidth(0) >= widest(table, words=edited) + 12 + 10  # the swatch and margins
    if edited:
        assert table.rowHeight(0) >= 2 * table.fontMetrics().height()
        for row in (1, 2, 3):  # no taller than their one line asks for
            assert table.rowHeight(row) < 2 * table.fontMetrics().height()
            assert table.columnWidth(0) >= table.fontMetrics().horizontalAdvance(table.item(row, 0).text()) + 12 + 10
    for column in range(1, table.columnCount):
        assert table.columnWidth(column) >= table.sizeHintForColumn(column)


def test_at_380_pixels_the_panel_is_no_wider_while_an_edit_is_not_measured_nor_by_a_long_name(panel, scans, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "Prof. Dr. Maximiliane Mustermann-Beispiel, Radiology")
    panel.frame.resize(380 + HOSTS_MARGINS, 900)
    panel.ready(scans)
    run = panel.segment_to_the_end()
    panel.ui.reviewedCheckBox.click()
    erase_gray(run.segmentationNode, scans[0])
    panel.wait_for(lambda: "press Recompute" in panel.ui.resultsLabel.text)
    panel.ui.checksCollapsibleButton.collapsed = False
    for missing in (False, True):
        monkeypatch.setattr(panel.logic, "torchInstalled", lambda missing=missing: not missing)
        panel.widget.enter()
        for _ in range(5):
            slicer.app.processEvents()
        assert panel.ui.torchFrame.visible == missing
        assert panel.frame.minimumSizeHint.width() <= 380 + HOSTS_MARGINS
        assert panel.frame.width == 380 + HOSTS_MARGINS


def test_copy_puts_the_numbers_into_the_clipboard(panel, scans):
    panel.ready(scans)
    scans[0].SetName("Smith^Anna")
    run = panel.segment_to_the_end()
    panel.ui.copyButton.click()
    text = slicer.app.clipboard().text()
    header, *rows = csv.reader(io.StringIO(text), delimiter="\t")
    assert header == ["tissue", "volume_ml", "share", "mean_confidence"]
    assert [row[0] for row in rows] == [*(tissue.name for tissue in TISSUES), "GM/WM"]
    assert float(rows[1][1]) == pytest.approx(run.tableNode.GetTable().GetColumnByName("Volume cm3").GetValue(1), abs=1e-3)
    assert float(rows[-1][1]) == pytest.approx(float(rows[1][1]) / float(rows[2][1]), abs=1e-3)
    assert sum(float(row[2]) for row in rows[:-1]) == pytest.approx(1, abs=2e-3)
    assert "Smith" not in text
    assert "Copied" in panel.ui.statusLabel.text


def test_csv_saves_automatic_against_edited_and_a_folder_that_can_not_be_written_is_told(panel, scans, tmp_path, monkeypatch):
    import qt

    panel.ready(scans)
    run = panel.segment_to_the_end()
    erase_gray(run.segmentationNode, scans[0])
    panel.ui.recomputeButton.click()
    chosen = [str(tmp_path / "volumes.csv")]
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", staticmethod(lambda *_: chosen[0]))
    panel.ui.csvButton.click()
    rows = list(csv.DictReader((tmp_path / "volumes.csv").open(encoding="utf-8", newline="")))
    gray = next(row for row in rows if row["tissue"] == "Gray matter")
    assert float(gray["volume_ml"]) - float(gray["automatic_ml"]) == pytest.approx(float(gray["change_ml"]), abs=2e-3)
    assert float(gray["change_ml"]) < -1
    chosen[0] = str(tmp_path / "nowhere" / "volumes.csv")
    panel.ui.csvButton.click()
    assert "cannot be written" in panel.ui.statusLabel.text


def test_there_is_nothing_to_copy_before_a_result(panel):
    assert not panel.ui.resultsCollapsibleButton.visible


def test_the_ratio_has_a_range_from_five_to_eight_months_alone_and_the_volumes_none(panel, scans):
    panel.ready(scans)
    panel.segment_to_the_end()
    assert panel.ui.normLabel.text == "No norm for the volumes."
    panel.ui.ageLineEdit.text = "6"
    run = panel.segment_to_the_end()
    ratio = float(panel.table()["ml"][-1])
    outside = "" if 1.39 <= ratio <= 1.68 else " (outside: look)"
    assert panel.ui.normLabel.text == f"GM/WM at this age: 1.39 to 1.68{outside}; no norm for the volumes."
    assert "29 six-month-olds" in panel.ui.normLabel.toolTip
    erase_gray(run.segmentationNode, scans[0])
    panel.ui.recomputeButton.click()
    assert ("outside: look" in panel.ui.normLabel.text) == (not 1.39 <= float(panel.table()["ml"][-1]) <= 1.68)
    assert float(panel.table()["ml"][-1]) < ratio


@pytest.mark.parametrize(("ratio", "told"), [(1.5, ""), (1.2, " (outside: look)"), (float("nan"), "")])
def test_a_ratio_outside_its_range_is_told(scene, ratio, told):
    from InfantBrainSegSlicer.panel.messages import norm_in_words

    assert norm_in_words(ratio, 6.0) == f"GM/WM at this age: 1.39 to 1.68{told}; no norm for the volumes"
    assert norm_in_words(ratio, 12.0) == norm_in_words(ratio, None) == "no norm for the volumes"


def test_numbers_that_leave_the_panel_are_of_the_segmentation_as_it_is(panel, scans, tmp_path, monkeypatch):
    import qt

    panel.ready(scans)
    run = panel.segment_to_the_end()
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", staticmethod(lambda *_: str(tmp_path / "volumes.csv")))
    for tissue, click in (("GM", panel.ui.copyButton.click), ("WM", panel.ui.csvButton.click)):
        array = slicer.util.arrayFromSegmentBinaryLabelmap(run.segmentationNode, tissue, scans[0])
        array[: array.shape[0] // 2] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, run.segmentationNode, tissue, scans[0])
        panel.wait_for(lambda: "press Recompute" in panel.ui.resultsLabel.text)
        click()
        assert "press Recompute" not in panel.ui.resultsLabel.text
        text = slicer.app.clipboard().text() if tissue == "GM" else (tmp_path / "volumes.csv").read_text(encoding="utf-8")
        row = next(line for line in text.splitlines() if line.startswith("Gray" if tissue == "GM" else "White"))
        assert float(row.replace(",", "\t").split("\t")[-1]) < -1  # the change


def test_renamed_tissues_keep_their_colors_and_the_ratio(panel, scans):
    panel.ready(scans)
    panel.ui.ageLineEdit.text = "6"
    run = panel.segment_to_the_end()
    ratio, norm = panel.table()["ml"][3], panel.ui.normLabel.text
    for segment_id, name in (("GM", "Substance grise é"), ("WM", "Gray matter")):
        run.segmentationNode.GetSegmentation().GetSegment(segment_id).SetName(name)
    panel.ui.recomputeButton.click()
    assert panel.table()["Tissue"] == ["Cerebrospinal fluid", "Substance grise é", "Gray matter", "GM/WM"]
    assert (panel.table()["ml"][3], panel.ui.normLabel.text) == (ratio, norm)
    assert all(not panel.ui.resultsTable.item(row, 0).icon().isNull() for row in range(3))


def test_the_table_of_a_result_is_not_shown_where_that_is_not_chosen_or_empty(panel, scans):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    panel.ui.segmentationSelector.setCurrentNode(None)
    assert panel.ui.tableSelector.currentNode() is run.tableNode
    assert not panel.ui.resultsCollapsibleButton.visible
    panel.ui.segmentationSelector.setCurrentNode(run.segmentationNode)
    assert panel.ui.resultsTable.visible
    run.segmentationNode.GetSegmentation().RemoveAllSegments()
    panel.wait_for(lambda: not panel.ui.resultsTable.visible)


@pytest.mark.parametrize(
    ("value", "form", "shown"), [(-0.002, "+.2f", "0.00"), (0.04, "+.1f", "0.0"), (-0.06, "+.1f", "-0.1"), (0.05, ".1%", "5.0%")]
)
def test_what_rounds_to_nothing_has_no_sign(scene, value, form, shown):
    from InfantBrainSegSlicer.panel.messages import number

    assert number(value, form) == shown
