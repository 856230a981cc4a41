from pathlib import Path

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from phantoms import T1_LEVELS, T2_LEVELS

from InfantBrainSegLib.core.check import PASS, STOP, WARN, CheckCode
from InfantBrainSegLib.imaging.files import read_image
from InfantBrainSegLib.preparation import foreground as quality
from InfantBrainSegLib.preparation.normalisation import pair_scans

IMAGES = Path(__file__).parents[4] / "shared" / "data" / "images"
REAL_PAIRS = [(f"infant/month{m}_T1w.nii.gz", f"infant/month{m}_T2w.nii.gz") for m in ("00", "09")]
REAL_PAIRS += [(f"neonate/{n:02d}/T1w_brain.nii.gz", f"neonate/{n:02d}/T2w_brain.nii.gz") for n in range(1, 11)]


def scans():
    grid = phantoms.grid((1.5, 1.5, 1.5))
    return phantoms.noisy(phantoms.draw(grid, T1_LEVELS)), phantoms.noisy(phantoms.draw(grid, T2_LEVELS), seed=2)


def failed(t1, t2, mask=None):
    """Code and status of the checks of a pair that do not pass."""
    return [(check.code, check.status) for check in pair_scans(t1, t2, mask).checks if not check.passes]


SWAPPED = [(CheckCode.CONTRASTS, STOP)]
SAME = [(CheckCode.SAME_IMAGE, STOP)]


def test_a_good_pair_has_no_warning():
    assert pair_scans(*scans()).warnings == ()


def test_swapped_scans_are_warned_of():
    t1, t2 = scans()
    assert failed(t2, t1) == SWAPPED


def test_a_newborn_s_inverse_gray_and_white_is_no_swap():
    grid = phantoms.grid((1.5, 1.5, 1.5))
    t1 = phantoms.noisy(phantoms.draw(grid, np.array([0, 40, 130, 100], np.float32)))
    t2 = phantoms.noisy(phantoms.draw(grid, np.array([0, 400, 120, 160], np.float32)), seed=2)
    assert pair_scans(t1, t2).warnings == ()
    assert failed(t2, t1) == SWAPPED


def test_the_same_scan_twice_is_warned_of_and_not_called_swapped():
    t1, t2 = scans()
    for twice in (t1, t2):
        assert failed(twice, twice) == SAME


def test_a_scan_and_its_negative_are_warned_of():
    t1, _ = scans()
    values = sitk.GetArrayFromImage(t1)
    negative = sitk.GetImageFromArray(np.where(values > 0, 300 - values, 0).astype(np.float32))
    negative.CopyInformation(t1)
    assert failed(t1, negative) == SAME


SAME_CONTRAST = [(CheckCode.SAME_CONTRAST, STOP)]


def second_run(image):
    """The same contrast again, with another gain and other noise."""
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    noise = np.random.default_rng(7).normal(0, 0.06 * values.std(), values.shape)
    again = sitk.GetImageFromArray(np.where(values > 0, np.maximum(1.2 * values + noise, 1), 0).astype(np.float32))
    again.CopyInformation(image)
    return again


def inverted(image):
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    other = sitk.GetImageFromArray(np.where(values > 0, values.max() - values + 10, 0).astype(np.float32))
    other.CopyInformation(image)
    return other


def test_two_runs_of_one_contrast_are_no_pair():
    for scan in scans():
        assert failed(scan, second_run(scan)) == SAME_CONTRAST
        assert failed(second_run(scan), scan) == SAME_CONTRAST


def test_a_few_very_bright_voxels_do_not_make_a_pair_the_same_image():
    pair = list(scans())
    places = np.argwhere(sitk.GetArrayViewFromImage(pair[0]) > 0)[::4001]
    for index, scan in enumerate(pair):
        values = sitk.GetArrayFromImage(scan).astype(np.float32)
        values[tuple(places.T)] = 1e6
        pair[index] = sitk.GetImageFromArray(values)
        pair[index].CopyInformation(scan)
    assert failed(*pair) == []


def finer(image, factor=3):
    """Resampled linearly: a brain fades out over a voxel of before."""
    grid = sitk.Image([factor * (n - 1) + 1 for n in image.GetSize()], image.GetPixelID())
    grid.SetSpacing([mm / factor for mm in image.GetSpacing()])
    grid.SetOrigin(image.GetOrigin())
    grid.SetDirection(image.GetDirection())
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear)


def test_a_pair_that_fades_out_at_the_brain_s_edge_is_a_pair_and_one_contrast_twice_is_none():
    t1, t2 = scans()
    fine = [finer(scan) for scan in (t1, t2)]
    values = [sitk.GetArrayFromImage(scan) for scan in fine]
    brain = values[0] > 0
    assert np.corrcoef(values[0][brain], values[1][brain])[0, 1] > 0
    assert failed(*fine) == []
    assert failed(fine[1], finer(second_run(t2))) in (SAME, SAME_CONTRAST)


def test_an_inverted_t1_or_t2_is_no_pair():
    t1, t2 = scans()
    assert failed(inverted(t1), t2) == SAME_CONTRAST
    assert failed(t1, inverted(t2)) == SWAPPED  # fluid is then dark on the T2


@pytest.mark.slow
@pytest.mark.parametrize(("t1_name", "t2_name"), REAL_PAIRS)
def test_a_real_pair_is_told_from_two_runs_of_one_contrast(t1_name, t2_name):
    if not (IMAGES / t1_name).exists():
        pytest.skip("../shared/data/images, with real pairs that may not be redistributed, is not here")
    t1, t2 = read_image(IMAGES / t1_name), read_image(IMAGES / t2_name)
    for first, second in ((t1, second_run(t1)), (second_run(t2), t2), (inverted(t1), t2)):
        assert failed(first, second)[0][1] == STOP


@pytest.mark.slow
@pytest.mark.parametrize(("t1_name", "t2_name"), REAL_PAIRS)
def test_a_real_pair_has_no_has_no_warning_and_its_swap_has_one(t1_name, t2_name):
    if not (IMAGES / t1_name).exists():
        pytest.skip("../shared/data/images, with real pairs that may not be redistributed, is not here")
    t1, t2 = read_image(IMAGES / t1_name), read_image(IMAGES / t2_name)
    assert pair_scans(t1, t2).warnings == ()
    assert failed(t2, t1) == SWAPPED


def with_head(image, seed):
    """Put noise in the air and tissue round the brain."""
    values = sitk.GetArrayFromImage(image)
    rng = np.random.default_rng(seed)
    air = values == 0
    values[air] = np.abs(rng.normal(0, 4, air.sum())) + 0.1
    head = air & (np.linalg.norm(phantoms.points_mm(image), axis=-1) < 46)
    values[head] = 80
    changed = sitk.GetImageFromArray(values)
    changed.CopyInformation(image)
    return changed


def test_a_skull_without_a_mask_is_warned_of():
    t1, t2 = scans()
    assert (CheckCode.SKULL, STOP) in failed(with_head(t1, 1), with_head(t2, 2))


def test_a_skull_with_a_mask_is_fine():
    t1, t2 = scans()
    assert pair_scans(with_head(t1, 1), with_head(t2, 2), t1 > 0).warnings == ()


def test_more_than_any_brain_s_volume_is_a_skull():
    assert [quality.check_skull(stripped=True, brain_ml=ml).status for ml in (1200, 2500)] == [PASS, STOP]


def test_poor_overlap_is_warned_of():
    t1, t2 = scans()
    x, y, z = t2.GetOrigin()
    t2.SetOrigin((x + 12, y, z))
    assert (CheckCode.OVERLAP, WARN) in failed(t1, t2)


def test_a_mask_larger_than_t2_is_warned_of():
    t1, t2 = scans()
    values = sitk.GetArrayFromImage(t2)
    values[: values.shape[0] // 3] = 0
    half = sitk.GetImageFromArray(values)
    half.CopyInformation(t2)
    assert (CheckCode.MASK_COVER, WARN) in failed(t1, half, t1 > 0)


def test_background_is_the_exact_value_on_the_outer_faces():
    image = np.full((6, 6, 6), 2.0)
    image[2:4, 2:4, 2:4] = 9
    assert quality.background_value(image) == 2.0
    assert quality.background_value(np.random.default_rng(0).normal(size=(6, 6, 6))) is None


def test_foreground_of_a_z_scored_image_keeps_its_negative_half():
    image = np.array([0.0, 0, -1, 1, -2, 2])
    np.testing.assert_array_equal(quality.foreground(image, 0.0), [False, False, True, True, True, True])


def test_foreground_leaves_out_the_ringing_of_a_resampled_background():
    image = np.array([0.0, -0.001] + [5.0] * 20)
    np.testing.assert_array_equal(quality.foreground(image, 0.0), [False, False] + [True] * 20)


def test_solid_brain_fills_holes_keeps_two_halves_and_drops_crumbs():
    mask = np.zeros((20, 9, 9), bool)
    mask[1:8] = mask[10:17] = True
    mask[4, 4, 4] = False
    mask[19, 0, 0] = True
    solid = quality.solid_brain(mask)
    assert solid[4, 4, 4]
    assert not solid[19].any()
    assert solid.sum() == 14 * 81


def test_overlap_is_dice_and_cover_the_share_of_the_mask():
    first, second = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    first[:2] = second[1:4] = True
    assert quality.brain_overlap(first, second) == pytest.approx(2 * 16 / (32 + 48))
    assert quality.mask_cover(first, second) == 0.5
