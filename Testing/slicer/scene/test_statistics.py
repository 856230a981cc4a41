import math

import mrml
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import slicer
from InfantBrainSegSlicer.scene.options import Scans
from InfantBrainSegSlicer.scene.results import Outcome, ResultNodes, import_outcome
from InfantBrainSegSlicer.scene.statistics import measure_segments, recompute

from InfantBrainSegLib.core.errors import InputError

REPORT = {"volumes": [{"tissue": "CSF", "mean_confidence": 0.8}, {"tissue": "GM", "mean_confidence": None}, {"tissue": "WM"}]}


@pytest.fixture
def nodes(scene):
    """A fresh result of the phantom: voxels of 2.5 x 2 x 3 = 15 mm3."""
    grid = phantoms.grid((2.5, 2.0, 3.0), phantoms.OBLIQUE)
    t1 = mrml.volume_node(phantoms.draw(grid, phantoms.T1_LEVELS))
    return import_outcome(Outcome(sitk.GetArrayFromImage(phantoms.draw(grid)), REPORT, {}), ResultNodes(Scans(t1)))


def counts():
    labels = sitk.GetArrayFromImage(phantoms.draw(phantoms.grid((2.5, 2.0, 3.0), phantoms.OBLIQUE)))
    return [int(np.count_nonzero(labels == value)) for value in (1, 2, 3)]


def column(table, name):
    array = table.GetTable().GetColumnByName(name)
    return [array.GetValue(row) for row in range(array.GetNumberOfValues())]


def test_the_table_counts_the_phantoms_voxels_and_their_volume(nodes):
    assert column(nodes.table, "Segment") == ["Cerebrospinal fluid", "Gray matter", "White matter"]
    assert column(nodes.table, "Voxel count") == counts()
    assert column(nodes.table, "Volume mm3") == pytest.approx([15.0 * count for count in counts()])
    assert column(nodes.table, "Volume cm3") == pytest.approx([0.015 * count for count in counts()])
    confidence = column(nodes.table, "Mean confidence")
    assert confidence[0] == 0.8
    assert all(math.isnan(value) for value in confidence[1:])


def test_the_table_has_segment_statistics_names_types_units_and_codes(nodes):
    table = nodes.table
    names = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    assert names[:4] == ["Segment", "Voxel count", "Volume mm3", "Volume cm3"]
    kinds = [table.GetTable().GetColumn(index).GetClassName() for index in range(4)]
    assert kinds == ["vtkStringArray", "vtkLongArray", "vtkDoubleArray", "vtkDoubleArray"]
    assert table.GetUseColumnTitleAsColumnHeader()
    for name in ("mm3", "cm3"):
        assert table.GetColumnUnitLabel(f"Volume {name}") == name
        entry = slicer.vtkCodedEntry()
        entry.SetFromString(table.GetColumnProperty(f"Volume {name}", "DICOM.QuantityCode"))
        assert (entry.GetCodingSchemeDesignator(), entry.GetCodeValue(), entry.GetCodeMeaning()) == ("SCT", "118565006", "Volume")
        entry.SetFromString(table.GetColumnProperty(f"Volume {name}", "DICOM.UnitsCode"))
        assert (entry.GetCodingSchemeDesignator(), entry.GetCodeValue()) == ("UCUM", name)
    headers = [(table.GetColumnTitle(name), table.GetColumnUnitLabel(name)) for name in names]
    assert headers[:4] == [("Segment", ""), ("Voxel count", ""), ("Volume", "mm3"), ("Volume", "cm3")]
    assert len(set(headers)) == len(headers)


def test_after_an_edit_the_table_shows_automatic_against_edited_volume(nodes):
    t1, segmentation = nodes.scans.t1, nodes.segmentation
    csf, gray, white = counts()
    edited = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "WM", t1)
    edited[: edited.shape[0] // 2] = 0
    left = np.count_nonzero(edited)
    assert 0 < left < white
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, segmentation, "WM", t1)
    table = recompute(segmentation)
    assert table is nodes.table
    assert column(table, "Voxel count") == [csf, gray, left]
    assert column(table, "Automatic volume cm3") == pytest.approx([0.015 * count for count in (csf, gray, white)])
    assert column(table, "Difference cm3") == pytest.approx([0, 0, 0.015 * (left - white)], abs=1e-9)
    assert column(table, "Difference percent") == pytest.approx([0, 0, 100 * (left - white) / white], abs=1e-9)


def test_recomputing_twice_gives_the_same_and_a_new_run_forgets_the_edit(nodes):
    t1, segmentation = nodes.scans.t1, nodes.segmentation
    cut = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "GM", t1) * 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(cut, segmentation, "GM", t1)
    first = column(recompute(segmentation), "Difference cm3")
    assert column(recompute(segmentation), "Difference cm3") == first
    assert first[1] == pytest.approx(-0.015 * counts()[1])
    labels = sitk.GetArrayFromImage(phantoms.draw(phantoms.grid((2.5, 2.0, 3.0), phantoms.OBLIQUE)))
    import_outcome(Outcome(labels, REPORT, {}), nodes)
    assert column(recompute(segmentation), "Difference cm3") == [0, 0, 0]


def test_a_segment_that_was_added_by_hand_has_no_automatic_volume(nodes):
    segmentation = nodes.segmentation
    segmentation.GetSegmentation().AddEmptySegment("lesion", "Lesion")
    table = recompute(segmentation)
    assert column(table, "Segment")[-1] == "Lesion"
    assert math.isnan(column(table, "Automatic volume cm3")[-1])
    assert math.isnan(column(table, "Difference percent")[-1])


def test_a_renamed_segment_keeps_its_automatic_volume(nodes):
    nodes.segmentation.GetSegmentation().GetSegment("GM").SetName("Cortex")
    table = recompute(nodes.segmentation)
    assert column(table, "Segment")[1] == "Cortex"
    assert column(table, "Automatic volume cm3")[1] == pytest.approx(0.015 * counts()[1])


def test_another_table_may_be_given_and_a_removed_one_is_made_again(scene, nodes):
    other = scene.AddNewNodeByClass("vtkMRMLTableNode", "Other")
    assert recompute(nodes.segmentation, other) is other
    scene.RemoveNode(other)
    made = recompute(nodes.segmentation)
    assert made.GetScene() is scene
    assert made.GetNumberOfRows() == 3


def test_the_table_of_another_segmentation_is_left_alone(nodes):
    again = import_outcome(
        Outcome(sitk.GetArrayFromImage(phantoms.draw(phantoms.grid((2.5, 2.0, 3.0), phantoms.OBLIQUE))), REPORT, {}),
        ResultNodes(nodes.scans, table=nodes.table),
    )
    assert again.table is not nodes.table
    assert recompute(again.segmentation, nodes.table) is again.table
    assert nodes.table.GetTable().GetColumnByName("Mean confidence") is not None


def test_a_transform_does_not_change_volumes_as_in_segment_statistics(nodes):
    nodes.segmentation.SetAndObserveTransformNodeID(mrml.linear_transform(np.diag([2.0, 2.0, 2.0, 1.0])).GetID())
    assert [volume.voxels for volume in measure_segments(nodes.segmentation)] == counts()
    assert [volume.volume_mm3 for volume in measure_segments(nodes.segmentation)] == pytest.approx([15.0 * count for count in counts()])


def test_surfaces_are_measured_from_voxels_made_aside(nodes):
    node = nodes.segmentation
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.RemoveBinaryLabelmapRepresentation()
    found = [volume.volume_mm3 for volume in measure_segments(node)]
    assert found == pytest.approx([15.0 * count for count in counts()], rel=0.1)
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_nothing_to_measure_is_reported(scene):
    with pytest.raises(InputError, match="No segmentation is chosen"):
        recompute(None)
    with pytest.raises(InputError, match="'Blank' has no segments"):
        recompute(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Blank"))
