"""What an export as DICOM SEG reads of a result: it happens in an extension of Slicer, which is not here."""

import mrml
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from InfantBrainSegLib import __version__
from InfantBrainSegLib.core.labels import GM, TISSUES

UIDS = "1.2.3.1 1.2.3.2 1.2.3.3"


@pytest.fixture
def study(scene, scans):
    """The study that both scans were loaded from."""
    hierarchy = mrml.hierarchy_node()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    for scan in scans:
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(scan), study)
        scan.SetAttribute("DICOM.instanceUIDs", UIDS)
    return study


def segments_of(node):
    segmentation = node.GetSegmentation()
    return {name: segmentation.GetSegment(name) for name in segmentation.GetSegmentIDs()}


def tag(segment, name):
    text = vtk.reference("")
    assert segment.GetTag(name, text), name
    return str(text)


def exported_labelmap(node, name):
    """One segment by itself, as an exporter takes it."""
    names, merged = vtk.vtkStringArray(), slicer.vtkOrientedImageData()
    names.InsertNextValue(name)
    assert node.GenerateMergedLabelmapForAllSegments(merged, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY, None, names)
    return merged


def erase_gray(node, t1):
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, "GM", t1)
    array[: array.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, "GM", t1)


def test_the_reference_volume_is_the_scan_whose_files_are_in_the_database(logic, scans, study):
    node = logic.process(*scans).segmentationNode
    reference = node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
    assert reference is scans[0]
    assert reference.GetAttribute("DICOM.instanceUIDs") == UIDS


def test_with_t2_alone_the_reference_volume_is_t2(logic, scans, study):
    node = logic.process(None, scans[1]).segmentationNode
    assert node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()) is scans[1]


def test_the_result_lies_in_the_study_of_the_scan(logic, scans, study):
    run = logic.process(*scans)
    hierarchy = mrml.hierarchy_node()
    for node in (run.segmentationNode, run.tableNode):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_each_segment_has_codes_an_algorithm_and_a_label(logic, scans, study):
    node = logic.process(*scans).segmentationNode
    terminologies = slicer.vtkSlicerTerminologiesModuleLogic()
    assert [*segments_of(node)] == [tissue.short_name for tissue in TISSUES]
    for tissue, segment in zip(TISSUES, segments_of(node).values(), strict=True):
        entry = slicer.vtkSlicerTerminologyEntry()
        assert terminologies.DeserializeTerminologyEntry(tag(segment, segment.GetTerminologyEntryTagName()), entry)
        for code in (entry.GetCategoryObject(), entry.GetTypeObject()):
            assert all((code.GetCodeValue(), code.GetCodingSchemeDesignator(), code.GetCodeMeaning()))
        assert segment.GetName() == tissue.name
        assert tag(segment, "DICOM.SegmentAlgorithmType") == "AUTOMATIC"
        assert tag(segment, "DICOM.SegmentAlgorithmName") == f"InfantBrainSeg {__version__}"


def test_an_edited_segment_is_no_longer_called_automatic_once_it_is_measured(logic, scans, study):
    node = logic.process(*scans).segmentationNode
    erase_gray(node, scans[0])
    logic.recomputeStatistics(node)
    types = [tag(segment, "DICOM.SegmentAlgorithmType") for segment in segments_of(node).values()]
    assert types == ["SEMIAUTOMATIC" if tissue is GM else "AUTOMATIC" for tissue in TISSUES]
    node = logic.process(*scans, outputSegmentation=node).segmentationNode
    assert {tag(segment, "DICOM.SegmentAlgorithmType") for segment in segments_of(node).values()} == {"AUTOMATIC"}


@pytest.mark.parametrize("moved", [False, True])
def test_each_segment_alone_lies_on_the_grid_of_the_files_and_together_they_overlap_nowhere(logic, scans, study, moved):
    if moved:  # the files do not know of a transform in the scene
        scans[0].SetAndObserveTransformNodeID(mrml.linear_transform(np.diag([-1.0, -1.0, 1.0, 1.0])).GetID())
    node = logic.process(*scans).segmentationNode
    size = scans[0].GetImageData().GetDimensions()
    wanted, found = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    scans[0].GetIJKToRASMatrix(wanted)
    total = np.zeros(size[::-1], int)
    for tissue in TISSUES:
        labelmap = exported_labelmap(node, tissue.short_name)
        labelmap.GetImageToWorldMatrix(found)
        assert labelmap.GetDimensions() == size
        assert [found.GetElement(row, column) for row in range(3) for column in range(4)] == pytest.approx(
            [wanted.GetElement(row, column) for row in range(3) for column in range(4)]
        )
        values = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(size[::-1])
        total += values > 0
    levels = sitk.GetArrayFromImage(phantoms.draw(phantoms.grid((2.5, 2.0, 3.0)), phantoms.T1_LEVELS))
    assert np.array_equal(total, np.digitize(levels, [20]))
