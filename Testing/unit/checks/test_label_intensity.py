import numpy as np
import pytest
from scipy import ndimage

from InfantBrainSegLib.checks.label_intensity import find_mislabelled, fluid_in_tissue
from InfantBrainSegLib.checks.measures import hole_mm3
from InfantBrainSegLib.core.labels import CSF, WM

LEVELS_T1 = np.array([0, -2.0, 0.4, 0.5])  # background, CSF, GM, WM in units of the brain's SD
LEVELS_T2 = np.array([0, 2.0, -0.3, -0.4])


def brain():
    """True labels of a lopsided ball: CSF round GM round WM, and a ventricle off the middle."""
    x, y, z = np.indices((64, 72, 60))
    radius = np.sqrt((x - 30) ** 2 + ((y - 37) / 1.1) ** 2 + (z - 29) ** 2)
    labels = np.select([radius < 17, radius < 22, radius < 26], [3, 2, 1], 0).astype(np.uint8)
    labels[(x - 33) ** 2 + (y - 30) ** 2 + (z - 31) ** 2 < 30] = 1
    return labels


def scans(truth, seed=1):
    """T1 and T2 with mixed borders and noise."""
    rng = np.random.default_rng(seed)
    images = [ndimage.gaussian_filter(levels[truth], 0.7) + rng.normal(0, 0.2, truth.shape) for levels in (LEVELS_T1, LEVELS_T2)]
    return np.stack(images).astype(np.float32) * (truth > 0)


def widened(truth, radius_mm=10.5):
    """The ventricle wider, 5 mm where nothing else is said, into WM."""
    x, y, z = np.indices(truth.shape)
    return np.where(((x - 33) ** 2 + (y - 30) ** 2 + (z - 31) ** 2 < radius_mm**2) & (truth == 3), 1, truth).astype(np.uint8)


def test_labels_that_fit_the_scans_hold_nothing_odd():
    assert find_mislabelled(scans(brain()), brain()) == ()
    assert find_mislabelled(scans(widened(brain())), widened(brain())) == ()


@pytest.mark.parametrize("given", [(0, 1), (0,), (1,)])
def test_fluid_that_is_called_white_matter_is_found(given):
    truth = widened(brain())
    (odd,) = find_mislabelled(scans(truth)[list(given)], brain())
    assert (odd.own, odd.other) == (WM, CSF)
    wrong = (truth == 1) & (brain() == 3)
    assert odd.volume_ml == pytest.approx(wrong.sum() / 1000, rel=0.25)
    assert odd.share == pytest.approx(1000 * odd.volume_ml / (brain() == 3).sum())
    assert wrong[tuple(int(index) for index in odd.middle)]


@pytest.mark.parametrize("given", [(0, 1), (0,), (1,)])
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_fluid_that_is_most_of_what_is_called_white_matter_is_found(given, noise):
    truth = widened(brain(), 18)
    wrong = (truth == 1) & (brain() == 3)
    assert wrong.sum() > 0.5 * (brain() == 3).sum()  # the median of the label is that of fluid
    images = scans(truth)[list(given)]
    images[:, truth == 1] += np.random.default_rng(5).normal(0, noise, images[:, truth == 1].shape)  # as where water moves
    (odd,) = find_mislabelled(images, brain())
    assert (odd.own, odd.other) == (WM, CSF)
    assert odd.volume_ml == pytest.approx(wrong.sum() / 1000, rel=0.25)


def test_bright_white_matter_of_a_newborn_is_no_fluid():
    newborn = np.array([[0, -1.8, 0.5, -0.3], [0, 1.7, -0.6, 0.8]])  # half the way from GM to CSF on T2, a third on T1
    truth, rng = brain(), np.random.default_rng(2)
    images = np.stack([ndimage.gaussian_filter(levels[truth], 0.7) + rng.normal(0, 0.3, truth.shape) for levels in newborn])
    assert find_mislabelled(images.astype(np.float32), truth) == ()


@pytest.mark.parametrize("called", [2, 3])
@pytest.mark.parametrize("radius_mm", [10.5, 18])
def test_the_voxels_of_fluid_that_is_called_tissue_are_found(called, radius_mm):
    truth = widened(brain(), radius_mm)
    wrong = (truth == 1) & (brain() == 3)
    labels = np.where(wrong, called, truth).astype(np.uint8)
    fluid = fluid_in_tissue(scans(truth), labels)
    assert not fluid[~wrong].any()
    assert fluid[wrong].mean() > 0.7  # but for the mixed border, which the networks label anew


def test_no_voxel_of_labels_that_fit_or_of_a_single_scan_is_fluid():
    truth = widened(brain())
    assert not fluid_in_tissue(scans(truth), truth).any()
    lone = scans(truth) * np.float32([1, 0])[:, None, None, None]
    assert find_mislabelled(lone, brain())
    assert not fluid_in_tissue(lone, brain()).any()


def test_small_pieces_of_fluid_stay_as_they_are():
    truth = widened(brain(), 6.5)
    assert 50 < np.count_nonzero(truth != brain()) < 500
    assert not fluid_in_tissue(scans(truth), brain()).any()


def test_tissue_that_is_called_fluid_is_found():
    (odd,) = find_mislabelled(scans(brain()), widened(brain()))
    assert (odd.own, odd.other) == (CSF, WM)


def test_gray_matter_is_not_compared_with_white():
    swapped = np.array([0, 1, 3, 2], np.uint8)[brain()]
    assert find_mislabelled(scans(brain()), swapped) == ()


def test_a_scan_on_which_fluid_looks_like_tissue_has_no_say():
    images = scans(widened(brain()))
    images[1] = 0.1 * np.random.default_rng(3).normal(size=images[1].shape)
    assert [odd.own for odd in find_mislabelled(images, brain())] == [WM]
    assert find_mislabelled(images[1:], brain()) == ()


def test_a_tissue_that_is_absent_is_no_error():
    assert find_mislabelled(scans(brain()), np.where(brain() == 1, 2, brain()).astype(np.uint8)) == ()


def test_the_largest_hole_counts_and_lone_voxels_do_not():
    empty = np.zeros((30, 30, 30), bool)
    empty[::3, ::3, ::3] = True
    assert hole_mm3(empty, 2.0) == 0
    empty[5:15, 5:15, 5:15] = True
    assert hole_mm3(empty, 2.0) == pytest.approx(2000, rel=0.1)
    assert hole_mm3(np.zeros((9, 9, 9), bool), 1.0) == 0
