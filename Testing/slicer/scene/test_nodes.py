import mrml
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import slicer
from InfantBrainSegSlicer.scene.nodes import image_from_mask, image_from_volume, write_exactly

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.files import index_to_physical, read_image

MOVED = np.array([[0.0, -1.0, 0.0, 12.0], [1.0, 0.0, 0.0, -7.0], [0.0, 0.0, 1.0, 30.0], [0.0, 0.0, 0.0, 1.0]])
SCALED = np.diag([1.2, 0.9, 1.1, 1.0])
SHEARING = np.array([[1.0, 0.3, 0.0, 0.0], [0.0, 1.0, 0.1, 5.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
GRIDS = {
    "oblique and anisotropic": ((2.2, 1.7, 2.6), phantoms.OBLIQUE),
    "permuted": ((2.6, 1.7, 2.2), phantoms.PERMUTED),
    "left-handed": ((1.7, 2.2, 2.6), phantoms.RAS @ np.diag([1.0, 1.0, -1.0])),
    "sheared": ((2.2, 1.7, 2.6), phantoms.OBLIQUE @ phantoms.SHEARED),
}


def physical_points(image):
    return phantoms.points_mm(image)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("moves", [[], [MOVED], [SCALED, MOVED], [SHEARING]], ids=["free", "moved", "nested", "sheared"])
def test_an_image_lies_where_the_volume_lies_in_the_world_and_its_file_does_too(scene, tmp_path, grid, moves):
    node = mrml.volume_node(phantoms.draw(phantoms.grid(*grid)))
    child = node
    for matrix in moves:
        transform = mrml.linear_transform(matrix)
        child.SetAndObserveTransformNodeID(transform.GetID())
        child = transform
    image = image_from_volume(node)
    assert np.abs(physical_points(image) - mrml.world_points_mm(node)).max() < 1e-9
    assert np.array_equal(sitk.GetArrayFromImage(image), slicer.util.arrayFromVolume(node))
    write_exactly(image, tmp_path / "scan.nrrd")
    read = read_image(tmp_path / "scan.nrrd")
    assert np.abs(index_to_physical(read) - index_to_physical(image)).max() < 1e-9
    assert np.array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(image))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_number_type_of_a_scanner_survives_the_file(scene, tmp_path, kind):
    image = sitk.Cast(phantoms.draw(phantoms.grid((5.0, 5.0, 5.0)), phantoms.T2_LEVELS), sitk.sitkFloat64)
    node = mrml.volume_node(sitk.GetImageFromArray((sitk.GetArrayFromImage(image) / 2).astype(kind)))
    write_exactly(image_from_volume(node), tmp_path / "scan.nrrd")
    assert np.array_equal(sitk.GetArrayFromImage(read_image(tmp_path / "scan.nrrd")), slicer.util.arrayFromVolume(node))


def test_making_an_image_leaves_the_node_under_its_transform(scene):
    node = mrml.volume_node(phantoms.draw(phantoms.grid((5.0, 5.0, 5.0))))
    node.SetAndObserveTransformNodeID(mrml.linear_transform(MOVED).GetID())
    before = mrml.node_count(scene), node.GetMTime()
    image_from_volume(node)
    assert (mrml.node_count(scene), node.GetMTime()) == before


def test_a_warp_is_refused_with_both_names_and_the_remedy(scene):
    node = mrml.volume_node(phantoms.draw(phantoms.grid((5.0, 5.0, 5.0))), "Scan 7")
    node.SetAndObserveTransformNodeID(mrml.bent_transform("Bend").GetID())
    with pytest.raises(InputError, match=r"'Scan 7' is under the non-linear transform 'Bend'.*Harden transform"):
        image_from_volume(node)


def test_a_labelmap_mask_keeps_its_place_under_a_transform(scene):
    node = mrml.volume_node(phantoms.draw(phantoms.grid((5.0, 4.0, 6.0), phantoms.OBLIQUE)), "Mask", "vtkMRMLLabelMapVolumeNode")
    node.SetAndObserveTransformNodeID(mrml.linear_transform(MOVED).GetID())
    image = image_from_mask(node, node)
    assert np.array_equal(sitk.GetArrayFromImage(image), slicer.util.arrayFromVolume(node) > 0)
    assert np.abs(physical_points(image) - mrml.world_points_mm(node)).max() < 1e-9


def brain_segmentation():
    """The phantom's three tissues as segments, which Slicer crops to their extent."""
    labels = mrml.volume_node(phantoms.draw(phantoms.grid((3.0, 2.5, 2.0), phantoms.OBLIQUE)), "Labels", "vtkMRMLLabelMapVolumeNode")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Brain")
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
    return labels, node


def points_in(image):
    return physical_points(image)[sitk.GetArrayFromImage(image) > 0]


def sorted_rows(points):
    return points[np.lexsort(points.round(4).T)]


def test_a_segmentation_mask_is_the_union_of_its_segments_in_its_place(scene):
    labels, node = brain_segmentation()
    for transformed in (labels, node):
        transformed.SetAndObserveTransformNodeID(mrml.linear_transform(MOVED).GetID())
    found = points_in(image_from_mask(node, labels))
    wanted = mrml.world_points_mm(labels)[slicer.util.arrayFromVolume(labels) > 0]
    assert found.shape == wanted.shape
    assert np.abs(sorted_rows(found) - sorted_rows(wanted)).max() < 1e-3


def test_a_mask_of_surfaces_is_turned_into_voxels_without_changing_the_segmentation(scene):
    labels, node = brain_segmentation()
    segmentation = node.GetSegmentation()
    node.CreateClosedSurfaceRepresentation()
    segmentation.SetSourceRepresentationName("Closed surface")
    node.RemoveBinaryLabelmapRepresentation()
    middle = points_in(image_from_mask(node, labels)).mean(0)
    wanted = mrml.world_points_mm(labels)[slicer.util.arrayFromVolume(labels) > 0].mean(0)
    assert np.abs(middle - wanted).max() < 1
    assert not segmentation.ContainsRepresentation("Binary labelmap")


def test_an_empty_mask_is_named(scene):
    grid = phantoms.grid((5.0, 5.0, 5.0))
    labels = mrml.volume_node(phantoms.draw(grid))
    with pytest.raises(InputError, match="brain mask 'Nothing' is empty"):
        image_from_mask(mrml.volume_node(grid, "Nothing", "vtkMRMLLabelMapVolumeNode"), labels)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "None yet")
    with pytest.raises(InputError, match="brain mask 'None yet' has no voxels"):
        image_from_mask(node, labels)
    node.GetSegmentation().AddEmptySegment("brain")
    with pytest.raises(InputError, match=r"brain mask 'None yet' (has no voxels|is empty)"):
        image_from_mask(node, labels)


def test_a_disk_that_fills_up_while_writing_is_an_error(scene, tmp_path):
    resource = pytest.importorskip("resource", reason="Windows has no file size limit to stand for a full disk")
    image = phantoms.draw(phantoms.grid((2.0, 2.0, 2.0)), phantoms.T1_LEVELS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="disk"):
            write_exactly(image, tmp_path / "scan.nrrd")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
