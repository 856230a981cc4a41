import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from scipy import ndimage

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.resample import on_grid_of
from InfantBrainSegLib.preparation.bias import correct, correct_pair, wants_correction
from InfantBrainSegLib.preparation.normalisation import pair_scans


@pytest.fixture(scope="module")
def shaded():
    """Labels, and a T1 with a smooth field of a factor of three from end to end."""
    grid = phantoms.grid((1.5, 1.5, 1.5))
    clean = phantoms.noisy(phantoms.draw(grid, phantoms.T1_LEVELS), deviation=1.0)
    x, y, z = np.moveaxis(phantoms.points_mm(grid), -1, 0)
    field = np.exp(x / 80 + 0.3 * np.cos(y / 40) - z / 120).astype(np.float32)
    labels = sitk.GetArrayFromImage(phantoms.draw(grid))
    scan = sitk.GetImageFromArray(sitk.GetArrayFromImage(clean) * field)
    scan.CopyInformation(clean)
    return labels, clean, scan


def mask_of(labels, scan):
    mask = sitk.GetImageFromArray((labels > 0).astype(np.uint8))
    mask.CopyInformation(scan)
    return mask


def variation(scan, labels, tissue):
    values = sitk.GetArrayFromImage(scan)[labels == tissue]
    return values.std() / values.mean()


def contrast(scan, labels):
    values = sitk.GetArrayFromImage(scan)
    return values[labels == phantoms.WM].mean() / values[labels == phantoms.GM].mean()


def test_a_smooth_field_is_flattened_and_the_contrast_of_the_tissues_stays(shaded):
    labels, clean, scan = shaded
    flat = correct(scan, mask_of(labels, scan), "T1")
    for tissue in (phantoms.GM, phantoms.WM):
        assert variation(flat, labels, tissue) < 0.5 * variation(scan, labels, tissue)
    assert contrast(flat, labels) == pytest.approx(contrast(clean, labels), rel=0.1)
    assert flat.GetOrigin() == scan.GetOrigin()


def test_values_below_0_are_refused_with_the_remedy(shaded):
    labels, _, scan = shaded
    with pytest.raises(InputError, match="--bias-correction off"):
        correct(scan - 100, mask_of(labels, scan), "T1")


def test_auto_corrects_raw_scans_with_a_mask_alone(shaded):
    labels, _, stripped = shaded
    mask = mask_of(labels, stripped)
    raw = sitk.AdditiveGaussianNoise(stripped, 2.0, 20.0, 1)
    assert wants_correction("auto", raw, raw, mask)
    assert not wants_correction("auto", raw, raw, None)
    assert not wants_correction("auto", stripped, stripped, mask)
    assert wants_correction("on", stripped, stripped, None)
    assert not wants_correction("off", raw, raw, mask)


def test_auto_knows_a_whole_head_whose_air_was_set_to_0(shaded):
    labels, _, stripped = shaded
    mask = mask_of(labels, stripped)
    values = sitk.GetArrayFromImage(stripped)
    near = ndimage.binary_dilation(labels > 0, iterations=12) & (labels == 0)
    assert near.sum() > (labels > 0).sum()
    values[near] = 50
    head = on_grid_of(stripped, values)
    assert wants_correction("auto", head, head, mask)
    assert not wants_correction("auto", head, stripped, mask)


def test_a_pair_with_one_scan_stays_a_pair_with_one_scan(shaded):
    _, _, scan = shaded
    pair = correct_pair(pair_scans(scan, None))
    assert pair.t1 is not None
    assert pair.t2 is None
