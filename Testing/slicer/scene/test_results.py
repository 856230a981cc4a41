import json
from dataclasses import replace

import mrml
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import slicer
import vtk
from InfantBrainSegSlicer.run.handover import Given
from InfantBrainSegSlicer.scene import results
from InfantBrainSegSlicer.scene.options import Scans
from InfantBrainSegSlicer.scene.results import INPUT_ROLES, Outcome, ResultNodes, Wanted, import_outcome, provenance_text, read_outcome
from InfantBrainSegSlicer.scene.statistics import changes_of

from InfantBrainSegLib.core.errors import InfantBrainSegError
from InfantBrainSegLib.core.labels import CSF, GM, TISSUES, WM
from InfantBrainSegLib.imaging.files import write_image

DRAWN = (CSF, GM, WM)  # by the phantom
GRID = ((2.5, 2.0, 3.0), phantoms.OBLIQUE)
REPORT = {
    "inputs": {"t1": "/data/Smith^Anna/T1.nii.gz"},
    "weights": {"fcn1": {"sha256": "ab" * 32, "training": {"folder": "/data"}}},
    "versions": {"torch": "2.13"},
    "device": {"used": "cpu"},
    "options": {"flip": True, "weights": "/data/w", "use_context": True},
    "volumes": [
        {"tissue": "CSF", "mean_confidence": 0.8},
        {"tissue": "GM", "mean_confidence": None},
        {"tissue": "WM", "mean_confidence": 0.7},
    ],
    "warnings": [],
    "seconds": {"total": 3.5},
}


@pytest.fixture
def t1(scene):
    return mrml.volume_node(phantoms.draw(phantoms.grid(*GRID), phantoms.T1_LEVELS))


@pytest.fixture
def outcome():
    labels = sitk.GetArrayFromImage(phantoms.draw(phantoms.grid(*GRID)))
    return Outcome(labels, REPORT, {})


def tags(segment):
    entry = slicer.vtkSlicerTerminologyEntry()
    text = vtk.reference("")
    assert segment.GetTag(segment.GetTerminologyEntryTagName(), text)
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    assert logic.DeserializeTerminologyEntry(str(text), entry)
    return entry


def test_each_segment_is_the_phantoms_tissue_voxel_by_voxel_on_t1s_grid(t1, outcome):
    nodes = import_outcome(outcome, ResultNodes(Scans(t1)))
    wanted = phantoms.labels_at(mrml.world_points_mm(t1))
    for tissue in DRAWN:
        found = slicer.util.arrayFromSegmentBinaryLabelmap(nodes.segmentation, tissue.short_name, t1)
        assert np.array_equal(found > 0, wanted == tissue.value)


def test_segments_have_our_names_colors_and_terminology(t1, outcome):
    segmentation = import_outcome(outcome, ResultNodes(Scans(t1))).segmentation.GetSegmentation()
    segments = [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]
    assert [segment.GetName() for segment in segments] == ["Cerebrospinal fluid", "Gray matter", "White matter"]
    for segment, tissue in zip(segments, DRAWN, strict=True):
        assert np.allclose(np.multiply(segment.GetColor(), 255), tissue.color)
        entry = tags(segment)
        assert entry.GetTerminologyContextName() == "Segmentation category and type - DICOM master list"
        category, kind = entry.GetCategoryObject(), entry.GetTypeObject()
        assert (category.GetCodingSchemeDesignator(), category.GetCodeValue()) == ("SCT", "123037004")
        assert category.GetCodeMeaning() == "Anatomical Structure"
        assert (kind.GetCodingSchemeDesignator(), kind.GetCodeValue(), kind.GetCodeMeaning()) == (
            "SCT",
            tissue.snomed_code,
            tissue.snomed_meaning,
        )


def test_the_reference_geometry_is_t1s(t1, outcome):
    segmentation = import_outcome(outcome, ResultNodes(Scans(t1))).segmentation
    labelmap = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Out")
    logic = slicer.modules.segmentations.logic()
    logic.ExportAllSegmentsToLabelmapNode(segmentation, labelmap, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY)
    assert labelmap.GetImageData().GetDimensions() == t1.GetImageData().GetDimensions()
    assert np.allclose(mrml.world_points_mm(labelmap), mrml.world_points_mm(t1), atol=1e-6)
    assert np.array_equal(slicer.util.arrayFromVolume(labelmap), outcome.labels)


def test_all_nodes_follow_t1s_transform_and_stand_beside_it_in_the_subject_hierarchy(scene, t1, outcome):
    hierarchy = mrml.hierarchy_node()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(t1), patient)
    transform = mrml.linear_transform(np.diag([1.0, -1.0, -1.0, 1.0]))
    t1.SetAndObserveTransformNodeID(transform.GetID())
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    found = import_outcome(
        Outcome(outcome.labels, REPORT, {"CSF": outcome.labels.astype(np.float32)}), ResultNodes(Scans(t1), labelmap=labelmap)
    )
    for node in (found.segmentation, found.labelmap, *found.probabilities):
        assert node.GetParentTransformNode() is transform
    for node in (found.segmentation, found.table, found.labelmap, found.provenance, *found.probabilities):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == patient


def test_what_the_user_put_into_a_folder_stays_there(t1, outcome):
    hierarchy = mrml.hierarchy_node()
    nodes = import_outcome(outcome, ResultNodes(Scans(t1)))
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Kept")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(nodes.segmentation), folder)
    import_outcome(outcome, nodes)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.segmentation)) == folder


def test_the_labelmap_has_t1s_geometry_our_numbers_and_a_color_table_that_names_the_tissues(scene, t1, outcome):
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    import_outcome(outcome, ResultNodes(Scans(t1), labelmap=labelmap))
    assert np.array_equal(slicer.util.arrayFromVolume(labelmap), outcome.labels)
    assert np.array_equal(mrml.world_points_mm(labelmap), mrml.world_points_mm(t1))
    colors = labelmap.GetDisplayNode().GetColorNode()
    for tissue in TISSUES:
        assert colors.GetColorName(tissue.value) == tissue.name
        rgba = [0.0] * 4
        colors.GetColor(tissue.value, rgba)
        assert np.allclose(np.multiply(rgba[:3], 255), tissue.color)
    import_outcome(outcome, ResultNodes(Scans(t1), labelmap=labelmap))
    assert labelmap.GetDisplayNode().GetColorNode() is colors


def test_a_second_import_into_the_same_nodes_adds_none_and_replaces_their_content(scene, t1, outcome):
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    probabilities = {tissue.short_name: (outcome.labels == tissue.value).astype(np.float32) for tissue in TISSUES}
    first = import_outcome(Outcome(outcome.labels, REPORT, probabilities), ResultNodes(Scans(t1), labelmap=labelmap))
    before = mrml.node_count(scene)
    swapped = np.array([0, 3, 1, 2], np.uint8)[outcome.labels]
    again = import_outcome(Outcome(swapped, REPORT, probabilities), ResultNodes(Scans(t1), first.segmentation, labelmap=labelmap))
    assert mrml.node_count(scene) == before
    assert (again.table, again.provenance, again.probabilities) == (first.table, first.provenance, first.probabilities)
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(first.segmentation, "WM", t1) > 0, outcome.labels == 1)
    assert np.array_equal(slicer.util.arrayFromVolume(labelmap), swapped)
    assert first.segmentation.GetSegmentation().GetNumberOfSegments() == 3
    assert first.table.GetNumberOfRows() == 3


def test_a_segment_of_the_users_own_stays_in_the_segmentation(t1, outcome):
    nodes = import_outcome(outcome, ResultNodes(Scans(t1)))
    nodes.segmentation.GetSegmentation().AddEmptySegment("lesion", "Lesion")
    lesion = (outcome.labels == 2) & (np.arange(outcome.labels.shape[0]) < 9)[:, None, None]
    slicer.util.updateSegmentBinaryLabelmapFromArray(lesion.astype(np.uint8), nodes.segmentation, "lesion", t1)
    import_outcome(outcome, nodes)
    assert sorted(nodes.segmentation.GetSegmentation().GetSegmentIDs()) == ["CSF", "GM", "WM", "lesion"]
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(nodes.segmentation, "lesion", t1) > 0, lesion)


def test_a_3d_view_that_was_on_is_drawn_anew(t1, outcome):
    nodes = import_outcome(outcome, ResultNodes(Scans(t1)))
    nodes.segmentation.CreateClosedSurfaceRepresentation()
    import_outcome(outcome, nodes)
    surface = vtk.vtkPolyData()
    assert nodes.segmentation.GetClosedSurfaceRepresentation("WM", surface)
    assert surface.GetNumberOfPoints() > 100


def test_the_fluid_is_translucent_in_3d_and_what_the_user_chose_stays(t1, outcome):
    nodes = import_outcome(outcome, ResultNodes(Scans(t1)))
    display = nodes.segmentation.GetDisplayNode()
    assert [display.GetSegmentOpacity3D(tissue.short_name) for tissue in DRAWN] == [0.2, 1, 1]
    display.SetSegmentOpacity3D("CSF", 0.7)
    display.SetSegmentOpacity3D("GM", 0.4)
    import_outcome(outcome, nodes)
    assert [display.GetSegmentOpacity3D(tissue.short_name) for tissue in DRAWN] == [0.7, 0.4, 1]


def test_provenance_holds_the_weights_checksum_and_no_path_or_name(t1, outcome):
    t1.SetName("Smith^Anna")
    told = json.loads(import_outcome(outcome, ResultNodes(Scans(t1))).provenance.GetText())
    assert told["weights_sha256"] == {"fcn1": "ab" * 32}
    assert told["options"] == {"flip": True, "use_context": True}
    assert told["seconds"] == {"total": 3.5}
    assert told["device"] == {"used": "cpu"}
    assert told["module_version"]
    assert "/data" not in provenance_text(REPORT)
    assert "Smith" not in json.dumps(told)


@pytest.mark.parametrize("broken", ["place_beside", "fill_automatic", "provenance_text"])
def test_an_import_that_fails_leaves_the_scene_and_the_chosen_nodes_as_they_were(scene, t1, outcome, monkeypatch, broken):
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    t2 = mrml.volume_node(phantoms.draw(phantoms.grid(*GRID), phantoms.T2_LEVELS), "T2")
    first = replace(outcome, mask=(outcome.labels > 0).astype(np.uint8), t2_to_t1=np.diag([1.0, -1.0, -1.0, 1.0]))
    nodes = import_outcome(first, ResultNodes(Scans(t1, t2), labelmap=labelmap))
    ids = [scene.GetNthNode(index).GetID() for index in range(mrml.node_count(scene))]
    volumes, text = slicer.util.arrayFromTableColumn(nodes.table, "Volume mm3").copy(), nodes.provenance.GetText()

    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(results, broken, fail)
    labels = np.array([0, 3, 1, 2], np.uint8)[outcome.labels]
    swapped = Outcome(labels, REPORT, {"CSF": labels.astype(np.float32)}, (labels == 1).astype(np.uint8), np.eye(4))
    with pytest.raises(RuntimeError, match="broken"):
        import_outcome(swapped, nodes)
    with pytest.raises(RuntimeError, match="broken"):
        import_outcome(swapped, ResultNodes(Scans(t1, t2)))
    assert [scene.GetNthNode(index).GetID() for index in range(mrml.node_count(scene))] == ids
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(nodes.segmentation, "WM", t1) > 0, outcome.labels == 3)
    assert np.array_equal(slicer.util.arrayFromVolume(labelmap), outcome.labels)
    assert np.array_equal(slicer.util.arrayFromVolume(nodes.mask), outcome.labels > 0)
    assert np.array_equal(slicer.util.arrayFromTransformMatrix(nodes.transform), first.t2_to_t1)
    assert np.array_equal(slicer.util.arrayFromTableColumn(nodes.table, "Volume mm3"), volumes)
    assert nodes.provenance.GetText() == text


def test_t1_with_other_voxels_than_were_segmented_is_refused(t1, outcome):
    with pytest.raises(InfantBrainSegError, match="'T1' was changed during the run"):
        import_outcome(Outcome(outcome.labels[:-1], REPORT, {}), ResultNodes(Scans(t1)))


def output_folder(tmp_path, labels, report=None):
    write_image(labels, tmp_path / "segmentation.nii.gz")
    (tmp_path / "report.json").write_text(json.dumps(REPORT) if report is None else report)
    return tmp_path


def test_files_on_t1s_grid_are_read(tmp_path):
    grid = phantoms.grid(*GRID)
    found = read_outcome(output_folder(tmp_path, phantoms.draw(grid)), Given(grid), Wanted())
    assert np.array_equal(found.labels, sitk.GetArrayFromImage(phantoms.draw(grid)))
    assert found.report == REPORT


def test_files_on_another_grid_or_without_a_report_are_refused(tmp_path):
    grid = phantoms.grid(*GRID)
    moved = phantoms.draw(phantoms.grid(*GRID, shift_mm=(3.0, 0.0, 0.0)))
    with pytest.raises(InfantBrainSegError, match="another grid"):
        read_outcome(output_folder(tmp_path, moved), Given(grid), Wanted())
    with pytest.raises(InfantBrainSegError, match="no readable report"):
        read_outcome(output_folder(tmp_path, phantoms.draw(grid), "{"), Given(grid), Wanted())


def test_the_result_survives_an_mrb_with_its_table_provenance_and_references(scene, t1, outcome, tmp_path):
    t1.SetAndObserveTransformNodeID(mrml.linear_transform(np.diag([1.0, -1.0, -1.0, 1.0])).GetID())
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    nodes = import_outcome(outcome, ResultNodes(Scans(t1), labelmap=labelmap))
    text, volume = nodes.provenance.GetText(), nodes.table.GetTable().GetValue(2, 2).ToDouble()
    wanted = mrml.world_points_mm(t1)[outcome.labels == 3].mean(0)
    path = tmp_path / "saved.mrb"
    assert scene.WriteToMRB(str(path))
    cache = tmp_path / "second cache"
    cache.mkdir()
    loaded = mrml.new_scene(cache)
    assert loaded.ReadFromMRB(str(path), True)
    segmentation = loaded.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    t1 = segmentation.GetNodeReference(INPUT_ROLES["T1"])
    assert t1.GetName() == "T1"
    assert segmentation.GetParentTransformNode() is t1.GetParentTransformNode() is not None
    white = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "WM", t1) > 0
    assert np.array_equal(white, outcome.labels == 3)
    assert np.allclose(mrml.world_points_mm(t1)[white].mean(0), wanted, atol=1e-3)
    assert segmentation.GetNodeReference(results.PROVENANCE_ROLE).GetText() == text
    table = segmentation.GetNodeReference(results.TABLE_ROLE)
    assert float(table.GetTable().GetValueByName(2, "Volume mm3").ToString()) == pytest.approx(volume, rel=1e-5)
    assert loaded.GetFirstNodeByClass("vtkMRMLLabelMapVolumeNode").GetDisplayNode().GetColorNode().GetColorName(3) == "White matter"
    assert changes_of(segmentation) == {}  # other files and extents are no edit


def test_a_seg_nrrd_keeps_voxels_names_colors_terminology_and_automatic_volumes(scene, t1, outcome, tmp_path):
    nodes = import_outcome(outcome, ResultNodes(Scans(t1)))
    path = tmp_path / "saved.seg.nrrd"
    storage = nodes.segmentation.CreateDefaultStorageNode()
    storage.SetFileName(str(path))
    assert storage.WriteData(nodes.segmentation)
    loaded = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Loaded")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(loaded)
    for tissue in DRAWN:
        segment = loaded.GetSegmentation().GetSegment(tissue.short_name)
        assert segment.GetName() == tissue.name
        assert np.allclose(np.multiply(segment.GetColor(), 255), tissue.color, atol=0.1)
        assert tags(segment).GetTypeObject().GetCodeValue() == tissue.snomed_code
        found = slicer.util.arrayFromSegmentBinaryLabelmap(loaded, tissue.short_name, t1)
        assert np.array_equal(found > 0, outcome.labels == tissue.value)
        text = vtk.reference("")
        assert changes_of(loaded) == {}
        assert segment.GetTag(results.AUTOMATIC_MM3_TAG, text)
        assert float(str(text)) == pytest.approx(np.count_nonzero(outcome.labels == tissue.value) * 15.0)
