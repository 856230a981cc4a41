import mrml
import numpy as np
import phantoms
import pytest
import render_views
import SimpleITK as sitk
import slicer

from InfantBrainSegLib.core.labels import CSF, GM, WM

SIZE = 160


@pytest.fixture
def views(scene):
    """Axial, 3D, coronal and sagittal views of the lopsided brain, on a black scan."""
    grid = phantoms.grid((1.5, 1.5, 1.5), phantoms.OBLIQUE)
    dark = mrml.volume_node(phantoms.draw(grid, np.zeros(4, np.float32)))
    labels = mrml.volume_node(phantoms.draw(grid), "labels", "vtkMRMLLabelMapVolumeNode")
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, segmentation)
    for index, tissue in enumerate((CSF, GM, WM)):
        segment = segmentation.GetSegmentation().GetNthSegment(index)
        segment.SetName(tissue.name)
        segment.SetColor(*np.eye(3)[index])  # CSF red, GM green, WM blue
    picture = render_views.draw(dark, segmentation, (SIZE, SIZE)).astype(int)
    return picture[:SIZE, :SIZE], picture[:SIZE, -SIZE:], picture[-SIZE:, :SIZE], picture[-SIZE:, -SIZE:]


def middle(image, channel):
    """Row and column of the middle of what is drawn in one color."""
    other = np.delete(image, channel, axis=2).max(2)
    return np.argwhere(image[..., channel] > other + 60).mean(0)


def test_each_view_shows_the_lopsided_brain_the_right_way_round(views):
    axial, surfaces, coronal, sagittal = views
    white, gray = middle(axial, 2), middle(axial, 1)
    assert (white < gray - 3).all()  # anterior is up, the patient's right is left
    white, gray = middle(coronal, 2), middle(coronal, 1)
    assert (white < gray - 3).all()  # superior is up
    white, gray = middle(sagittal, 2), middle(sagittal, 1)
    assert (white < gray - 3).all()  # anterior is left
    assert np.count_nonzero(surfaces[..., 2] > surfaces[..., 0] + 20) > 0.02 * SIZE**2  # white matter shines through the gray


def test_the_picture_is_written_as_it_is_up_to_two_bits(tmp_path):
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    render_views.write_png(picture, tmp_path / "picture.png")
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "picture.png")))
    assert np.abs(found.astype(int) - picture).max() <= 3
