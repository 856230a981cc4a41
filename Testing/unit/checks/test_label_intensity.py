import numpy as np
import pytest
from scipy import ndimage

from InfantBrainSegLib.checks.label_intensity import find_mislabelled
from InfantBrainSegLib.checks.measures import hole_mm3
from InfantBrainSegLib.core.labels import CSF, GM, WM

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


def widened(truth):
    """The ventricle 5 mm wider, into WM."""
    x, y, z = np.indices(truth.shape)
    return np.where(((x - 33) ** 2 + (y - 30) ** 2 + (z - 31) ** 2 < 110) & (truth == 3), 1, truth).astype(np.uint8)


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


def test_tissue_that_is_called_fluid_is_found():
    labels = widened(brain())
    assert {(odd.own, odd.other) for odd in find_mislabelled(scans(brain()), labels)} == {(CSF, WM), (CSF, GM)}


def test_gray_matter_is_not_compared_with_white():
    swapped = np.array([0, 1, 3, 2], np.uint8)[brain()]
    assert find_mislabelled(scans(brain()), swapped) == ()


def test_tissues_that_look_alike_on_a_scan_are_not_compared():
    images = scans(widened(brain()))
    images[1] = 0.1 * np.random.default_rng(3).normal(size=images[1].shape)
    assert find_mislabelled(images, brain()) == ()


def test_a_tissue_that_is_absent_is_no_error():
    assert find_mislabelled(scans(brain()), np.where(brain() == 1, 2, brain()).astype(np.uint8)) == ()


def test_the_largest_hole_counts_and_lone_voxels_do_not():
    empty = np.zeros((30, 30, 30), bool)
    empty[::3, ::3, ::3] = True
    assert hole_mm3(empty, 2.0) == 0
    empty[5:15, 5:15, 5:15] = True
    assert hole_mm3(empty, 2.0) == pytest.approx(2000, rel=0.1)
    assert hole_mm3(np.zeros((9, 9, 9), bool), 1.0) == 0
