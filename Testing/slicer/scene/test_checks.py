import json
from pathlib import Path

import mrml
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import slicer
import vtk
from InfantBrainSegSlicer.logic import SegmentParameters
from InfantBrainSegSlicer.scene.checks import check_outputs
from InfantBrainSegSlicer.scene.options import Scans

import InfantBrainSegLib
from InfantBrainSegLib.core.check import CheckCode
from InfantBrainSegLib.core.contract import MANIFEST, STAGES, weights_file
from InfantBrainSegLib.core.errors import InputError

BUNDLED = Path(InfantBrainSegLib.__file__).parent / "weights"


def add(class_name, name="Odd"):
    return slicer.mrmlScene.AddNewNodeByClass(class_name, name)


def tiny(name="Odd", class_name="vtkMRMLScalarVolumeNode"):
    return mrml.volume_node(phantoms.draw(phantoms.grid((10.0, 10.0, 10.0)), phantoms.T1_LEVELS), name, class_name)


def test_a_good_pair_has_no_reason_against_it(logic, scans):
    assert logic.whyNot(*scans) == ""


def test_a_scan_is_asked_for_only_where_both_are_missing(logic, scans):
    assert logic.whyNot(None, None).startswith("No scan is chosen")
    assert logic.whyNot(None, scans[1]) == ""
    assert logic.whyNot(scans[0], None) == ""


def test_an_age_or_a_choice_that_can_not_be_meant_is_named(logic, scans):
    assert logic.whyNot(*scans, SegmentParameters(ageMonths=float("nan"))).startswith("The age is no number")
    assert logic.whyNot(*scans, SegmentParameters(align="on")) == "align is 'on'; wanted auto or off: choose one of them."
    assert "wanted auto, on or off" in logic.whyNot(*scans, SegmentParameters(biasCorrection="yes"))


def test_one_volume_as_both_is_named(logic, scans):
    assert logic.whyNot(scans[0], scans[0]).startswith("'T1' is chosen as T1 and as T2")


@pytest.mark.parametrize(
    ("class_name", "told"),
    [
        ("vtkMRMLVectorVolumeNode", "a color or vector volume"),
        ("vtkMRMLDiffusionWeightedVolumeNode", "a diffusion-weighted volume"),
        ("vtkMRMLDiffusionTensorVolumeNode", "a diffusion tensor volume"),
        ("vtkMRMLStreamingVolumeNode", "a video stream"),
        ("vtkMRMLSequenceNode", "a sequence of volumes"),
        ("vtkMRMLLabelMapVolumeNode", "a label map"),
        ("vtkMRMLModelNode", "a Model"),
    ],
)
def test_a_node_that_is_no_grayscale_volume_is_named_with_what_it_is(logic, scans, class_name, told):
    odd = add(class_name)
    assert logic.whyNot(odd, scans[1]).startswith(f"T1 'Odd' is {told}; wanted")
    assert logic.whyNot(scans[0], odd).startswith(f"T2 'Odd' is {told}; wanted")


def test_what_is_no_node_is_refused_with_the_remedy(logic, scans):
    with pytest.raises(InputError, match=r"T1 is 'T1'; wanted a node of the scene: give one, for example slicer.util.getNode"):
        logic.process("T1", "T2")
    with pytest.raises(InputError, match="The brain mask is 3; wanted a node"):
        logic.process(*scans, parameters=SegmentParameters(maskNode=3))
    with pytest.raises(InputError, match="The output table is 'volumes'; wanted a node"):
        logic.process(*scans, tableNode="volumes")


def test_a_volume_that_a_sequence_browser_shows_is_accepted(logic, scans):
    sequence, browser = add("vtkMRMLSequenceNode"), add("vtkMRMLSequenceBrowserNode")
    sequence.SetDataNodeAtValue(scans[0], "0")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(scans[0], sequence, False)
    assert browser.GetProxyNode(sequence) is scans[0]
    assert logic.whyNot(*scans) == ""
    (note,) = logic.lookQuickly(*scans).notes
    assert note.startswith("T1 'T1' shows one frame of the sequence 'Odd': that frame alone is segmented.")


def test_a_volume_without_image_data_is_named(logic, scans):
    assert logic.whyNot(add("vtkMRMLScalarVolumeNode", "Hollow"), scans[1]).startswith("T1 'Hollow' has no image data")


def test_several_values_in_a_voxel_are_named(logic, scans):
    node = add("vtkMRMLScalarVolumeNode", "Colors")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    assert logic.whyNot(scans[0], node).startswith("T2 'Colors' has 3 values in each voxel")


def test_a_single_slice_is_named(logic, scans):
    node = add("vtkMRMLScalarVolumeNode", "Slice")
    slicer.util.updateVolumeFromArray(node, np.zeros((1, 8, 9), np.float32))
    assert logic.whyNot(node, scans[1]).startswith("T1 'Slice' is 9×8×1 voxels, a single slice")


@pytest.mark.parametrize("spacing", [(np.nan, 1, 1), (np.inf, 1, 1)])
def test_a_spacing_that_is_no_number_is_named(logic, scans, spacing):
    node = tiny()
    node.SetSpacing(*spacing)
    assert logic.whyNot(node, scans[1]).startswith("T1 'Odd' has no usable geometry")


def test_two_axes_that_are_one_are_named(logic, scans):
    node = tiny()
    node.SetIJKToRASDirections(1, 0, 0, 1, 0, 0, 0, 0, 1)
    assert logic.whyNot(node, scans[1]).startswith("T1 'Odd' has no usable geometry")


@pytest.mark.parametrize("role", ["T1", "T2", "mask"])
def test_a_warp_on_any_input_is_refused_with_the_remedy(logic, scans, role):
    mask = tiny("Mask", "vtkMRMLLabelMapVolumeNode")
    {"T1": scans[0], "T2": scans[1], "mask": mask}[role].SetAndObserveTransformNodeID(mrml.bent_transform().GetID())
    assert "non-linear transform 'Warp'" in logic.whyNot(*scans, SegmentParameters(maskNode=mask))


def test_masks_that_can_not_serve_are_named(logic, scans):
    def why(node):
        return logic.whyNot(*scans, SegmentParameters(maskNode=node))

    assert why(add("vtkMRMLSegmentationNode", "Empty")).startswith("The brain mask 'Empty' has no segments")
    assert why(add("vtkMRMLLabelMapVolumeNode", "Hollow")).startswith("The brain mask 'Hollow' has no image data")
    blank = mrml.volume_node(phantoms.grid((10.0, 10.0, 10.0)), "Blank", "vtkMRMLLabelMapVolumeNode")
    assert why(blank).startswith("The brain mask 'Blank' is empty")
    assert why(add("vtkMRMLModelNode", "Skin")).startswith("The brain mask 'Skin' is a Model; wanted a segmentation or a label map")
    assert why(tiny("Good", "vtkMRMLLabelMapVolumeNode")) == ""


def test_a_scan_that_left_the_scene_is_named(logic, scene, scans):
    scene.RemoveNode(scans[0])
    assert logic.whyNot(*scans).startswith("T1 'T1' is not in the scene")


def weights_folder(tmp_path, size=None):
    names = [weights_file(stage) for stage in STAGES]
    for name in names:
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / MANIFEST).write_text(json.dumps({name: {"bytes": size or 5, "sha256": "x"} for name in names}))
    return tmp_path


def test_weights_of_ours_are_accepted_as_a_folder_or_as_one_of_its_files(logic, scans):
    for path in (BUNDLED, BUNDLED / "fcn1.pt", ""):
        assert logic.whyNot(*scans, SegmentParameters(weightsPath=str(path))) == ""


def test_weights_that_are_not_ours_are_reported_before_the_run(logic, scans, tmp_path):
    def why(path, **more):
        return logic.whyNot(*scans, SegmentParameters(weightsPath=str(path), **more))

    assert "do not exist" in why(tmp_path / "nothing")
    assert "lacks manifest.json and fcn1.pt and fcn2.pt" in why(tmp_path)
    other = tmp_path / "model.pth"
    other.write_text("")
    assert why(other).startswith("model.pth is no weights file of ours")
    folder = weights_folder(tmp_path)
    assert why(folder) == ""
    (folder / "fcn1.pt").write_bytes(b"1")
    assert "is damaged" in why(folder)
    (folder / "fcn1.pt").write_bytes(b"12345")
    (folder / "fcn2.pt").unlink()
    assert "lacks fcn2.pt" in why(folder)
    assert why(folder, useContext=False) == ""
    (folder / "manifest.json").write_text("[]")
    assert "does not list fcn1.pt" in why(folder, useContext=False)


def test_outputs_that_can_not_serve_are_named(scene, scans):
    labelmap = tiny("Mask", "vtkMRMLLabelMapVolumeNode")
    with pytest.raises(InputError, match="'Mask' is input and output at once"):
        check_outputs(Scans(*scans, labelmap), None, labelmap, None)
    with pytest.raises(InputError, match="'T1' is a Volume; wanted a segmentation"):
        check_outputs(Scans(*scans), scans[0], None, None)
    loose = slicer.vtkMRMLTableNode()
    loose.SetName("Loose")
    with pytest.raises(InputError, match="'Loose' is not in the scene"):
        check_outputs(Scans(*scans), None, None, loose)


def test_surfaces_in_the_output_segmentation_are_refused(scene, scans):
    labelmap = tiny("Labels", "vtkMRMLLabelMapVolumeNode")
    node = add("vtkMRMLSegmentationNode", "Surfaces")
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labelmap, node)
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    with pytest.raises(InputError, match="'Surfaces' holds closed surface segments"):
        check_outputs(Scans(*scans), node, None, None)


def test_segments_of_the_users_under_another_transform_are_not_moved(scene, scans):
    node = add("vtkMRMLSegmentationNode", "Lesions")
    node.GetSegmentation().AddEmptySegment("lesion", "lesion")
    check_outputs(Scans(*scans), node, None, None)
    node.SetAndObserveTransformNodeID(mrml.linear_transform(np.eye(4)).GetID())
    with pytest.raises(InputError, match="'Lesions' holds other segments under another transform than the scan's"):
        check_outputs(Scans(*scans), node, None, None)


def noisy_pair(levels=(phantoms.T1_LEVELS, phantoms.T2_LEVELS), spacing_mm=(2.0, 2.0, 2.0)):
    grid = phantoms.grid(spacing_mm)
    return [mrml.volume_node(phantoms.noisy(phantoms.draw(grid, chosen)), name) for chosen, name in zip(levels, ("A", "B"), strict=True)]


def codes(checks):
    return [check.code for check in checks]


def test_warnings_find_the_same_scan_twice_and_nothing_in_a_good_pair(logic):
    assert logic.lookQuickly(*noisy_pair()).warnings == ()
    assert codes(logic.lookQuickly(*noisy_pair((phantoms.T1_LEVELS, phantoms.T1_LEVELS))).failed) == [CheckCode.SAME_IMAGE]


def test_coarse_voxels_are_warned_of_before_the_run(logic):
    (check,) = logic.lookQuickly(*noisy_pair(spacing_mm=(1.0, 1.0, 2.5))).failed
    assert (check.code, check.found) == (CheckCode.SPACING, "T1 1×1×2.5 mm, T2 1×1×2.5 mm")


def test_scans_that_lie_apart_are_an_error_that_names_both(logic):
    t1, t2 = noisy_pair()
    t2.SetAndObserveTransformNodeID(mrml.linear_transform(np.array([[1, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])).GetID())
    with pytest.raises(InputError, match=r"overlap.*T1 is 'A', T2 is 'B'.*Center volume.*Transforms"):
        logic.lookQuickly(t1, t2, SegmentParameters(align="off"))


def test_a_transform_that_scales_t1_is_warned_of_and_a_rigid_one_is_not(logic):
    t1, t2 = noisy_pair()
    transform = mrml.linear_transform(np.diag([1.1, 1.0, 1.0, 1.0]))
    for node in (t1, t2):
        node.SetAndObserveTransformNodeID(transform.GetID())
    assert [text for text in logic.lookQuickly(t1, t2).warnings if "scales volumes by 1.1" in text]
    turned = np.eye(4)
    turned[:3, :3] = phantoms.rotation(10, 2)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turned))
    assert logic.lookQuickly(t1, t2).warnings == ()


def test_checking_changes_no_node(logic, scene, scans):
    before = mrml.node_count(scene), [node.GetMTime() for node in scans]
    logic.whyNot(*scans)
    logic.lookQuickly(*scans)
    assert (mrml.node_count(scene), [node.GetMTime() for node in scans]) == before


def test_the_quick_look_gives_the_checks_with_what_was_found_and_wanted(logic):
    found = logic.lookQuickly(*noisy_pair(spacing_mm=(1.0, 1.0, 2.5))).checks
    assert [(check.code, check.status) for check in found] == [
        (CheckCode.FIELD_OF_VIEW, "pass"),
        (CheckCode.SPACING, "warn"),
        (CheckCode.SLICE_GAP, "pass"),
    ]
    assert (found[1].wanted, bool(found[1].remedy)) == ("up to 2 mm and 3 times the finest axis", True)


def test_one_scan_alone_is_warned_of_and_not_refused(logic):
    t1, t2 = noisy_pair()
    for given, found in (((t1, None), "only T1"), ((None, t2), "only T2")):
        (check,) = logic.lookQuickly(*given).failed
        assert (check.code, check.found) == (CheckCode.SINGLE_SCAN, found)


def whole_head(name, seed):
    """A volume with signal and noise everywhere, as a scanner gives it."""
    values = np.random.default_rng(seed).normal(200 + 100 * seed, 30, (60, 60, 60)).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((3.0, 3.0, 3.0))
    return mrml.volume_node(image, name)


def test_whole_heads_are_warned_of_only_where_the_cerebrum_is_not_taken_out(logic):
    pair = whole_head("A", 1), whole_head("B", 2)
    taken = logic.lookQuickly(*pair)
    assert taken.whole_head
    assert CheckCode.FIELD_OF_VIEW not in codes(taken.checks)
    assert CheckCode.SKULL not in codes(taken.failed)
    left = logic.lookQuickly(*pair, SegmentParameters(extract="off"))
    assert not left.whole_head
    assert CheckCode.SKULL in codes(left.failed)


def test_scans_that_lie_apart_are_a_warning_where_the_run_will_align_them(logic):
    t1, t2 = noisy_pair()
    t2.SetAndObserveTransformNodeID(mrml.linear_transform(np.array([[1, 0, 0, 90], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])).GetID())
    (warning,) = logic.lookQuickly(t1, t2, SegmentParameters(align="auto")).warnings
    assert "the run will first try to align" in warning
    assert "T1 is 'A', T2 is 'B'" in warning
    assert "Center volume" in warning
