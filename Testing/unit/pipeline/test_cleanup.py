import time
from dataclasses import replace

import numpy as np
import pytest

from InfantBrainSegLib.core.labels import CSF, GM, WM
from InfantBrainSegLib.pipeline.cleanup import CleanupConfig, clean

OFF = CleanupConfig(island_mm3=(0, 0, 0), hole_mm3=(0, 0, 0), rind_mm3=0, stray_mm3=0)
MM = (1, 1, 1)


@pytest.fixture
def brain():
    """12³ of background with 8³ of gray matter in the middle; that is the mask."""
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[2:10, 2:10, 2:10] = GM.value
    return labels


def probabilities_of(labels, **preferred):
    """Each class has 0.1, the preferred ones more, the label's own the most."""
    likely = np.full((4, *labels.shape), 0.1, np.float32)
    for name, value in preferred.items():
        likely[{"background": 0, "csf": 1, "gm": 2, "wm": 3}[name]] = value
    np.put_along_axis(likely, labels[None].astype(int), 0.9, 0)
    return likely


def run(labels, config, mask=None, spacing_mm=MM, **preferred):
    return clean(labels, probabilities_of(labels, **preferred), labels > 0 if mask is None else mask, spacing_mm, config)


def test_an_island_under_the_limit_goes_to_the_tissue_round_it(brain):
    labels = brain.copy()
    labels[5, 5, 5:7] = WM.value
    labels[9, 9, 9] = WM.value
    labels[2:4, 2:10, 2:10] = WM.value  # the body of WM
    cleaned = run(labels, replace(OFF, island_mm3=(0, 0, 3)))
    assert (cleaned.labels[5, 5, 5:7] == GM.value).all()
    assert cleaned.labels[9, 9, 9] == GM.value
    assert (cleaned.labels[2:4, 2:10, 2:10] == WM.value).all()
    assert cleaned.islands_removed == {"CSF": 0, "GM": 0, "WM": 2}
    assert cleaned.voxels_changed == 3


def test_an_island_at_the_limit_stays(brain):
    labels = brain.copy()
    labels[5, 5, 5:7] = WM.value
    labels[2, 2:10, 2:10] = WM.value
    assert run(labels, replace(OFF, island_mm3=(0, 0, 2))).voxels_changed == 0


def test_the_limits_are_in_mm3_and_not_in_voxels(brain):
    labels = brain.copy()
    labels[5, 5, 5:7] = WM.value  # 2 voxels
    labels[2, 2:10, 2:10] = WM.value
    config = replace(OFF, island_mm3=(0, 0, 5))
    assert run(labels, config, spacing_mm=(1, 1, 2)).voxels_changed == 2  # 4 mm³
    assert run(labels, config, spacing_mm=(1, 2, 2)).voxels_changed == 0  # 8 mm³


def test_the_only_piece_of_a_tissue_is_no_island(brain):
    labels = brain.copy()
    labels[5, 5, 5] = WM.value
    assert run(labels, replace(OFF, island_mm3=(100, 100, 100))).voxels_changed == 0


def test_a_piece_joined_by_a_corner_is_no_island(brain):
    labels = brain.copy()
    labels[2:5, 2:5, 2:5] = WM.value
    labels[5, 5, 5] = WM.value
    assert run(labels, replace(OFF, island_mm3=(0, 0, 20))).voxels_changed == 0


def test_an_island_between_two_tissues_goes_to_the_more_probable(brain):
    labels = brain.copy()
    labels[6:10] = np.where(labels[6:10] > 0, CSF.value, 0)
    labels[5, 5, 5] = labels[2, 2, 2] = WM.value
    labels[2, 5:9, 5:9] = WM.value
    config = replace(OFF, island_mm3=(0, 0, 10))
    assert run(labels, config, csf=0.3).labels[5, 5, 5] == CSF.value
    assert run(labels, config, gm=0.3).labels[5, 5, 5] == GM.value


def test_an_island_goes_to_no_tissue_that_it_does_not_touch_and_never_to_background(brain):
    labels = brain.copy()
    labels[9, 9, 9] = labels[5, 5, 5] = WM.value  # the first one lies at the outer rim, with background on three faces
    labels[2, 2:10, 2:10] = WM.value
    cleaned = run(labels, replace(OFF, island_mm3=(0, 0, 10)), background=0.8, csf=0.5)
    assert cleaned.labels[9, 9, 9] == cleaned.labels[5, 5, 5] == GM.value


def test_a_hole_of_several_tissues_is_filled(brain):
    labels = brain.copy()
    labels[5, 5, 5], labels[5, 5, 6] = CSF.value, WM.value
    cleaned = run(labels, replace(OFF, hole_mm3=(0, 3, 0)))
    np.testing.assert_array_equal(cleaned.labels, brain)
    assert cleaned.holes_filled == {"CSF": 0, "GM": 1, "WM": 0}
    assert run(labels, replace(OFF, hole_mm3=(0, 2, 0))).voxels_changed == 0


def test_a_pit_at_the_rim_of_the_brain_is_no_hole(brain):
    labels = brain.copy()
    labels[9, 5, 5] = CSF.value
    assert run(labels, replace(OFF, hole_mm3=(50, 50, 50))).voxels_changed == 0


def test_background_closed_in_by_tissue_becomes_the_most_probable_tissue(brain):
    labels = brain.copy()
    labels[5:7, 5, 5] = 0
    cleaned = run(labels, OFF, mask=brain > 0, csf=0.4)
    assert (cleaned.labels[5:7, 5, 5] == CSF.value).all()
    assert cleaned.brain_holes_filled == 1


def test_background_that_reaches_the_outside_stays(brain):
    labels = brain.copy()
    labels[5, 5, 5:10] = 0
    assert run(labels, OFF, mask=brain > 0).voxels_changed == 0


def test_a_stray_piece_apart_from_the_brain_becomes_background(brain):
    labels = brain.copy()
    labels[11, 11, 11] = CSF.value  # touches nothing
    mask = np.ones(labels.shape, bool)
    cleaned = run(labels, replace(OFF, stray_mm3=2), mask=mask)
    np.testing.assert_array_equal(cleaned.labels, brain)
    assert cleaned.strays_removed == 1
    assert run(labels, replace(OFF, stray_mm3=1), mask=mask).labels[11, 11, 11] == CSF.value


@pytest.fixture
def wall():
    """CSF below x = 4, WM above, between them a sheet of GM one voxel thick; where y is under 6 GM is 6 voxels thick."""
    labels = np.full((10, 30, 10), WM.value, np.uint8)
    labels[:4] = CSF.value
    labels[4] = GM.value
    labels[2:8, :6] = GM.value
    return labels


def test_a_thin_rind_of_gm_far_from_thick_gm_goes_to_the_more_probable_of_csf_and_wm(wall):
    likely = probabilities_of(wall, csf=0.3)
    likely[WM.value, 4, :, 5:] = 0.4
    cleaned = clean(wall, likely, wall > 0, MM, replace(OFF, rind_mm3=300))
    assert (cleaned.labels[4, :12] == GM.value).all()  # y = 6 is the tip of the last ball, 7 to 11 are in reach
    assert (cleaned.labels[4, 12:, :5] == CSF.value).all()
    assert (cleaned.labels[4, 12:, 5:] == WM.value).all()
    assert cleaned.rinds_removed == 1
    assert cleaned.voxels_changed == 18 * 10


def test_a_large_rind_may_be_a_thin_cortex_and_stays(wall):
    assert run(wall, replace(OFF, rind_mm3=180)).voxels_changed == 0
    assert run(wall, replace(OFF, rind_mm3=181)).voxels_changed == 18 * 10


def test_the_reach_of_gm_is_in_mm(wall):
    cleaned = run(wall, replace(OFF, rind_mm3=300), spacing_mm=(0.5, 0.5, 0.5), csf=0.3)
    assert (cleaned.labels[4, :17] == GM.value).all()
    assert (cleaned.labels[4, 17:] == CSF.value).all()


def test_gm_that_is_thick_enough_is_no_rind(wall):
    thick = wall.copy()
    thick[4:7] = GM.value
    assert run(thick, replace(OFF, rind_mm3=300)).rinds_removed == 0
    thin = np.where(wall == GM.value, WM.value, wall)
    thin[4] = GM.value  # nowhere thick: no scale to measure by
    assert run(thin, replace(OFF, rind_mm3=300)).voxels_changed == 0


def test_labels_outside_the_mask_become_background(brain):
    mask = brain > 0
    mask[9] = False
    for enabled in (True, False):
        cleaned = run(brain, replace(OFF, enabled=enabled), mask=mask)
        np.testing.assert_array_equal(cleaned.labels > 0, mask)


def test_a_disabled_clean_up_changes_nothing_inside_the_mask(brain):
    labels = brain.copy()
    labels[5, 5, 5] = WM.value
    labels[2, 2:10, 2:10] = WM.value
    np.testing.assert_array_equal(run(labels, CleanupConfig(enabled=False)).labels, labels)


def test_an_empty_labelmap_stays_empty():
    labels = np.zeros((3, 3, 3), np.uint8)
    assert not run(labels, CleanupConfig()).labels.any()


def test_the_input_is_left_as_it_is(brain):
    labels = brain.copy()
    labels[5, 5, 5] = 0
    before = labels.copy()
    run(labels, CleanupConfig(), mask=brain > 0)
    np.testing.assert_array_equal(labels, before)


def test_no_voxel_inside_a_noisy_brain_is_left_without_tissue_and_no_island_is_left(brain):
    rng = np.random.default_rng(0)
    labels = rng.choice(4, (24, 24, 24), p=[0.05, 0.15, 0.4, 0.4]).astype(np.uint8)
    labels[:12][labels[:12] == WM.value] = GM.value
    labels[12:][labels[12:] == GM.value] = WM.value
    labels[[0, -1]] = labels[:, [0, -1]] = labels[:, :, [0, -1]] = GM.value
    config = CleanupConfig(island_mm3=(50, 50, 50), hole_mm3=(0, 0, 0), rind_mm3=0)
    cleaned = run(labels, config, mask=np.ones(labels.shape, bool))
    assert (cleaned.labels > 0).all()
    again = run(cleaned.labels, config)
    assert again.islands_removed == {"CSF": 0, "GM": 0, "WM": 0}
    assert again.voxels_changed == 0


def test_a_whole_brain_is_cleaned_in_seconds():
    x, y, z = np.ogrid[-75:75, -95:95, -75:75]
    radius = np.sqrt((x / 65) ** 2 + (y / 85) ** 2 + (z / 65) ** 2)
    labels = np.select([radius < 0.7, radius < 0.9, radius < 1], [3, 2, 1]).astype(np.uint8)
    rng = np.random.default_rng(0)
    noisy = np.where((labels > 0) & (rng.random(labels.shape) < 0.002), rng.integers(1, 4, labels.shape), labels).astype(np.uint8)
    start = time.perf_counter()
    cleaned = run(noisy, CleanupConfig(), mask=labels > 0)
    assert time.perf_counter() - start < 20  # 2 s on two cores that also train
    assert np.mean(cleaned.labels != labels) < 0.1 * np.mean(noisy != labels)
