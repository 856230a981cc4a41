import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.inputs import Input, read_input
from InfantBrainSegLib.imaging.masks import to_mask

BALL = np.linalg.norm(np.indices((40, 44, 48)) - np.array([20, 22, 24])[:, None, None, None], axis=0) < 14
SOFT = np.clip(ndimage.gaussian_filter(BALL.astype(np.float32), 3), 0, 1)


def read(values):
    image, warnings = to_mask(sitk.GetImageFromArray(values), "The brain mask")
    found = sitk.GetArrayFromImage(image)
    assert found.dtype == np.uint8
    again, none = to_mask(image, "The brain mask")
    assert none == []
    assert (sitk.GetArrayFromImage(again) == found).all()
    return found > 0, warnings


@pytest.mark.parametrize("level", [1, 255, 1000, 0.3])
def test_two_levels_are_a_plain_mask(level):
    inside, warnings = read(np.where(BALL, level, 0).astype(np.float32))
    assert (inside == BALL).all()
    assert warnings == []


@pytest.mark.parametrize(("scale", "kind"), [(1, np.float32), (255, np.uint8), (100, np.uint8), (255, np.float32)])
def test_a_map_counts_from_half_with_a_warning(scale, kind):
    values = (SOFT * scale).astype(kind)
    inside, (warning,) = read(values)
    assert (inside == (values >= scale / 2)).all()
    assert "The brain mask is no plain mask but a map" in warning


def test_a_resampled_map_with_ringing_and_one_with_dust_count_from_half():
    ringing = (SOFT - 0.02 * np.sin(np.indices(SOFT.shape).sum(0))).astype(np.float32)
    inside, (warning,) = read(ringing)
    assert (inside == (ringing >= 0.5)).all()
    assert "a map" in warning
    inside, (warning,) = read(np.where(BALL, 0.98, 1e-6).astype(np.float32))
    assert (inside == BALL).all()


def test_labels_count_above_0_with_a_warning():
    labels = np.where(BALL, 1 + np.indices(BALL.shape)[0] % 3, 0).astype(np.int16)
    inside, (warning,) = read(labels)
    assert (inside == BALL).all()
    assert "The brain mask has several values" in warning


def test_many_labels_are_no_map():
    labels = np.where(BALL, 1 + np.indices(BALL.shape)[0] * 6, 0).astype(np.int16)  # up to 241, some 30 of them
    assert (read(labels)[0] == BALL).all()


@pytest.mark.parametrize(("scale", "kind"), [(1000, np.int16), (4095, np.uint16), (65535, np.uint16), (12.5, np.float32)])
def test_a_map_of_another_scale_counts_from_half_of_its_highest_value(scale, kind):
    soft = np.clip(ndimage.gaussian_filter(BALL.astype(np.float32), 1), 0, 1)
    inside, (warning,) = read((soft * scale).astype(kind))
    assert np.count_nonzero(inside != (soft >= 0.5)) < 0.01 * np.count_nonzero(BALL)
    assert "The brain mask is no plain mask but a map" in warning


def test_hundreds_of_labels_are_no_map():
    hemispheres = np.where(np.indices(BALL.shape)[2] < 24, 1000, 2000)
    labels = np.where(BALL, hemispheres + np.indices(BALL.shape)[0] + 40 * (np.indices(BALL.shape)[1] > 20), 0).astype(np.int16)
    assert len(np.unique(labels)) > 64
    assert (read(labels)[0] == BALL).all()


def test_a_distance_counts_above_0_with_a_warning_and_is_refused_where_that_is_the_outside():
    inward = ndimage.distance_transform_edt(BALL) - ndimage.distance_transform_edt(~BALL)
    inside, (warning,) = read(inward.astype(np.float32))
    assert (inside == BALL).all()
    assert "The brain mask has negative voxels" in warning
    with pytest.raises(InputError, match="The brain mask is negative in the middle"):
        read((-inward).astype(np.float32))


def test_an_inverted_mask_is_refused_and_named_and_a_full_one_is_not():
    with pytest.raises(InputError, match=r"The brain mask covers the image's edge .* inverted"):
        read((~BALL).astype(np.uint8))
    assert read(np.ones(BALL.shape, np.uint8))[0].all()


def test_a_map_that_is_nowhere_sure_is_refused():
    with pytest.raises(InputError, match=r"nowhere reaches 0\.5"):
        read(SOFT * 0.4)


def test_a_mask_is_read_as_0_and_1_with_its_warning(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(SOFT), str(tmp_path / "mask.nii.gz"))
    image, record = read_input(Input("mask", tmp_path / "mask.nii.gz"))
    assert (sitk.GetArrayFromImage(image) == (SOFT >= 0.5)).all()
    assert "The brain mask is no plain mask" in record.warnings[0]
