import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import SHEARED

from InfantBrainSegLib.imaging.resample import (
    bounding_box,
    crop,
    fill_from_nearest,
    paste,
    resample_inside,
    resample_linearly,
    voxel_mm3,
    widen,
)


def line(values, spacing_mm=1.0):
    """Give an image that varies along i alone."""
    image = sitk.GetImageFromArray(np.broadcast_to(np.asarray(values, np.float32), (4, 4, len(values))).copy())
    image.SetSpacing((spacing_mm, 1.0, 1.0))
    return image


def test_a_voxel_s_volume_counts_its_shear():
    image = sitk.Image((2, 2, 2), sitk.sitkUInt8)
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetDirection(SHEARED.ravel().tolist())
    assert voxel_mm3(image) == pytest.approx(6 * np.sqrt(0.96))


def test_a_crop_stays_in_place_and_a_paste_undoes_it():
    values = np.arange(60).reshape(3, 4, 5)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2.0, 1.0, 3.0))
    box = (slice(1, 3), slice(2, 4), slice(1, 4))
    cut = crop(image, box)
    assert cut.GetOrigin() == (2.0, 2.0, 3.0)
    expected = np.zeros_like(values)
    expected[box] = values[box]
    pasted = paste(sitk.GetArrayFromImage(cut), box, image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(pasted), expected)


def test_a_box_widens_as_far_as_the_image_goes():
    image = sitk.Image((5, 6, 7), sitk.sitkUInt8)  # (K, J, I) = (7, 6, 5)
    assert widen((slice(3, 4), slice(1, 5), slice(0, 5)), 2, image) == (slice(1, 6), slice(0, 6), slice(0, 5))


def test_linear_resampling_is_0_outside():
    target = line([0] * 5)
    target.SetOrigin((0.25, 0, 0))
    moved = resample_linearly(line([0, 4, 8, 12]), target)
    np.testing.assert_allclose(moved[1, 1], [1, 5, 9, 12, 0])  # the last voxel reaches half a voxel beyond its center


def test_only_voxels_of_the_mask_count():
    target = line([0] * 4)
    target.SetOrigin((0.25, 0, 0))
    (values,), weight = resample_inside([line([900, 10, 20, 900])], line([0, 1, 1, 0]), target)
    np.testing.assert_allclose(weight[1, 1], [0.25, 1, 0.75, 0])
    np.testing.assert_allclose(values[1, 1], [10, 12.5, 20, 0])


def test_fine_voxels_are_averaged_into_coarse_ones():
    stripes = [0.0, 10.0] * 20
    target = line([0] * 8)
    target.SetOrigin((5.0, 0, 0))
    (fine,), _ = resample_inside([line(stripes, 0.5)], line([1] * 40, 0.5), target)
    assert np.ptp(resample_linearly(line(stripes, 0.5), target)[1, 1]) == 0  # every sample hits a stripe of one kind ...
    assert resample_linearly(line(stripes, 0.5), target)[1, 1, 0] == 0
    # variance 4 / 12 - 1 / 6 = 1 / 6 voxel², so 1 / 12 of each neighbor: 10 / 6
    assert fine[1, 1, 3] == pytest.approx(10 / 6, rel=1e-5)


def test_missing_voxels_take_the_nearest_known_value():
    values = np.zeros((1, 1, 6), np.uint8)
    values[0, 0, 1], values[0, 0, 4] = 3, 2
    known = values > 0
    wanted = np.ones_like(known)
    wanted[0, 0, 5] = False
    fill_from_nearest(values, known, wanted)
    np.testing.assert_array_equal(values[0, 0], [3, 3, 3, 2, 2, 0])


def test_the_bounding_box_of_nothing_is_none():
    assert bounding_box(np.zeros((2, 2, 2), bool)) is None
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = mask[2, 2, 5] = True
    assert bounding_box(mask) == (slice(1, 3), slice(2, 3), slice(3, 6))
