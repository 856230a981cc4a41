"""Two results of one child, compared by their volumes."""

import json
import math

import mrml
import pytest
import slicer
from InfantBrainSegSlicer.scene.follow_up import ALL_TISSUES, comparison_of
from InfantBrainSegSlicer.scene.provenance import PROVENANCE_ROLE

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.core.labels import TISSUES


@pytest.fixture
def results(logic, scans):
    """An earlier result with half of the gray matter, and a later one, without ages."""
    earlier, later = (logic.process(*scans).segmentationNode for _ in range(2))
    array = slicer.util.arrayFromSegmentBinaryLabelmap(earlier, "GM", scans[0])
    array[: array.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, earlier, "GM", scans[0])
    return earlier, later


def of_age(node, months):
    provenance = node.GetNodeReference(PROVENANCE_ROLE)
    provenance.SetText(json.dumps({**json.loads(provenance.GetText()), "options": {"age_months": months}}))


def columns(node):
    table = node.GetTable()
    rows = range(table.GetNumberOfRows())
    return {table.GetColumnName(i): [table.GetValue(row, i).ToDouble() for row in rows] for i in range(1, table.GetNumberOfColumns())}


def test_the_difference_is_told_and_by_the_month_where_both_ages_are_known(logic, results):
    of_age(results[0], 5.0)
    of_age(results[1], 7.0)
    table = logic.compareResults(*results).table
    found = columns(table)
    assert found["Difference cm3"][0] == found["Difference cm3"][2] == 0
    grown = found["Later cm3"][1] - found["Earlier cm3"][1]
    assert grown > 1
    assert found["Difference cm3"][1] == pytest.approx(grown)
    assert found["Per month cm3"][1] == pytest.approx(grown / 2)
    assert table.GetCellText(len(TISSUES), 0) == ALL_TISSUES
    assert found["Earlier cm3"][-1] == pytest.approx(sum(found["Earlier cm3"][:-1]))
    assert comparison_of(*results) is table
    assert comparison_of(results[1], results[0]) is None


def test_the_chart_has_a_line_for_each_tissue_in_its_color_by_age(logic, scene, results):
    of_age(results[0], 5.0)
    of_age(results[1], 7.0)
    chart = logic.compareResults(*results).chart
    assert chart.GetNumberOfPlotSeriesNodes() == len(TISSUES)
    assert chart.GetName() == f"{results[1].GetName()} follow-up plot"
    series = chart.GetNthPlotSeriesNode(1)
    assert series.GetColor() == pytest.approx([value / 255 for value in TISSUES[1].color])
    points = series.GetTableNode().GetTable()
    assert [points.GetColumnByName(series.GetXColumnName()).GetValue(row) for row in (0, 1)] == [5.0, 7.0]
    assert points.GetColumnByName(series.GetYColumnName()).GetValue(0) < points.GetColumnByName(series.GetYColumnName()).GetValue(1)
    before = mrml.node_count(scene)
    assert logic.compareResults(*results).chart is chart
    assert (mrml.node_count(scene), chart.GetNumberOfPlotSeriesNodes()) == (before, len(TISSUES))


@pytest.mark.parametrize("ages", [(None, None), (6.0, None), (6.0, 6.0)])
def test_without_two_ages_there_are_no_months_and_no_chart(logic, results, ages):
    for node, age in zip(results, ages, strict=True):
        of_age(node, age)
    comparison = logic.compareResults(*results)
    assert comparison.chart is None
    assert all(math.isnan(value) for value in columns(comparison.table)["Per month cm3"])
    assert columns(comparison.table)["Difference cm3"][1] > 1


def test_what_cannot_be_compared_is_told_and_leaves_the_scene(logic, scene, results):
    before = mrml.node_count(scene)
    with pytest.raises(InputError, match="two results"):
        logic.compareResults(results[1], results[1])
    of_age(results[0], 7.0)
    of_age(results[1], 5.0)
    with pytest.raises(InputError, match=r"is of 7 months .* exchange them"):
        logic.compareResults(*results)
    assert mrml.node_count(scene) == before
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tumour")
    other.GetSegmentation().AddEmptySegment("tumour")
    with pytest.raises(InputError, match="'tumour' holds no tissue"):
        logic.compareResults(other, results[1])
