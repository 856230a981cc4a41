import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from phantoms import LPS, OBLIQUE, PERMUTED, RAS, SHEARED, T1_LEVELS, T2_LEVELS

from InfantBrainSegLib.core.errors import ErrorCode, InputError
from InfantBrainSegLib.preparation.normalisation import normalise, pair_scans, prepare

COINCIDENT = {"RAS": RAS, "LPS": LPS, "permuted": PERMUTED}
OTHER = {
    "oblique": ((1.0, 1.0, 1.0), OBLIQUE),
    "anisotropic": ((1.0, 0.8, 2.0), LPS),
    "oblique, flipped and anisotropic": ((0.9, 1.3, 1.6), OBLIQUE @ RAS),
    "fine and permuted": ((0.8, 0.8, 0.8), PERMUTED),
    "sheared": ((1.0, 1.1, 1.2), SHEARED),
}


def make_pair(grid):
    return pair_scans(phantoms.draw(grid, T1_LEVELS), phantoms.draw(grid, T2_LEVELS))


def truth_in_prepared(prepared):
    """Draw the phantom in prepared space: x to the right, y to anterior, z to superior, 1 mm."""
    x, y, z = np.meshgrid(*[np.arange(n) for n in prepared.mask.shape], indexing="ij")
    labels = phantoms.labels_at(np.stack([x, y, z], -1) + np.asarray(prepared.space.origin_mm))
    labels[labels == 0] = phantoms.GM  # the phantom's rim is gray all over
    return labels * prepared.mask


def one_hot(labels):
    return np.stack([labels == value for value in range(4)]).astype(np.float16)


def array(image):
    return sitk.GetArrayFromImage(image)


def assert_same_geometry(image, t1):
    assert image.GetSize() == t1.GetSize()
    assert image.GetSpacing() == t1.GetSpacing()
    assert image.GetOrigin() == t1.GetOrigin()
    assert image.GetDirection() == t1.GetDirection()


@pytest.mark.parametrize("name", COINCIDENT)
def test_restore_undoes_prepare_exactly_where_the_voxels_coincide(name):
    t1 = phantoms.grid(direction=COINCIDENT[name])
    prepared = prepare(make_pair(t1))
    labels = truth_in_prepared(prepared)
    restored = prepared.space.labels_to_scan(labels, one_hot(labels), prepared.mask)
    assert_same_geometry(restored, t1)
    assert restored.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(array(restored), array(phantoms.draw(t1)))


@pytest.mark.parametrize("name", COINCIDENT)
def test_labels_transfer_untouched_where_the_voxels_coincide(name):
    t1 = phantoms.grid(direction=COINCIDENT[name])
    prepared = prepare(make_pair(t1))
    speckle = np.random.default_rng(3).integers(1, 4, prepared.mask.shape).astype(np.uint8) * prepared.mask
    restored = prepared.space.labels_to_scan(speckle, np.full((4, *speckle.shape), 0.25, np.float16), prepared.mask)
    counts = np.bincount(array(restored).ravel(), minlength=4)[1:]
    np.testing.assert_array_equal(counts, np.bincount(speckle.ravel(), minlength=4)[1:])


@pytest.mark.parametrize("name", OTHER)
def test_restore_undoes_prepare_on_another_grid(name):
    spacing_mm, direction = OTHER[name]
    t1 = phantoms.grid(spacing_mm, direction)
    prepared = prepare(make_pair(t1))
    labels = truth_in_prepared(prepared)
    restored = prepared.space.labels_to_scan(labels, one_hot(labels), prepared.mask)
    assert_same_geometry(restored, t1)
    expected, found = array(phantoms.draw(t1)), array(restored)
    brain = expected > 0
    assert not (found[~brain]).any()
    assert (found[brain] > 0).all()
    assert (found == expected)[brain].mean() > 0.97
    for axis in range(3):
        flipped = np.flip(found, axis)
        assert (flipped == expected)[brain & (flipped > 0)].mean() < 0.9  # the test would see a flip


@pytest.mark.parametrize("name", OTHER)
def test_prepared_space_is_1_mm_ras_whatever_the_grid(name):
    spacing_mm, direction = OTHER[name]
    prepared = prepare(make_pair(phantoms.grid(spacing_mm, direction)))
    truth = truth_in_prepared(prepared)
    inside = prepared.mask
    assert abs(inside.sum() / 1000 - 4 / 3 * np.pi * 34 * 42 * 30 / 1000) < 6  # ml
    t1 = prepared.images[0]
    levels = [np.median(t1[(truth == value) & inside]) for value in (1, 2, 3)]
    nearest = np.abs(t1[..., None] - np.array(levels)).argmin(-1) + 1
    assert (nearest == truth)[inside].mean() > 0.95


def test_five_voxels_of_margin_lie_round_the_brain():
    mask = prepare(make_pair(phantoms.grid())).mask
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        assert hit[0] == 5
        assert mask.shape[axis] - 1 - hit[-1] == 5


def test_t2_on_another_grid_is_resampled_physically():
    t1_grid = phantoms.grid((1.0, 1.0, 1.0), LPS)
    t2_grid = phantoms.grid((0.9, 1.1, 1.5), OBLIQUE, span_mm=110, shift_mm=(4, 3, -2))
    pair = pair_scans(phantoms.draw(t1_grid, T1_LEVELS), phantoms.draw(t2_grid, T2_LEVELS))
    assert_same_geometry(pair.t2, pair.t1)
    expected = T2_LEVELS[array(phantoms.draw(t1_grid))]
    inside = array(pair.mask) > 0
    error = np.abs(array(pair.t2) - expected)[inside]
    assert np.median(error) < 0.01
    assert (error < 20).mean() > 0.93
    assert pair.warnings == ()


def test_resampling_does_not_darken_the_rim():
    prepared = prepare(make_pair(phantoms.grid((0.9, 1.2, 1.4), OBLIQUE)))
    t1, truth = prepared.images[0], truth_in_prepared(prepared)
    gray = np.median(t1[truth == phantoms.GM])
    rim = prepared.mask & ~np.roll(prepared.mask, 1, 0) & (truth == phantoms.GM)
    assert rim.sum() > 500
    np.testing.assert_allclose(t1[rim], gray, atol=0.01)


def test_a_splinter_of_the_mask_too_thin_for_1_mm_takes_the_nearest_tissue():
    t1 = phantoms.grid((0.6, 0.6, 0.6), span_mm=90)
    mask = phantoms.draw(t1) > 0
    middle = t1.GetSize()[2] // 2
    rows = range(middle - 4, middle + 6, 2)  # 1.2 mm apart: some miss the 1 mm grid
    edge = int(np.flatnonzero(array(mask)[middle, middle])[-1])
    scans = phantoms.draw(t1, T1_LEVELS), phantoms.draw(t1, T2_LEVELS)
    for image in (mask, *scans):
        for row in rows:
            image[edge + 1 : edge + 9, row, middle] = 1
    prepared = prepare(pair_scans(*scans, mask))
    labels = truth_in_prepared(prepared)
    restored = array(prepared.space.labels_to_scan(labels, one_hot(labels), prepared.mask))
    sure = array(prepared.space.map_to_scan(prepared.mask.astype(np.float32), prepared.mask))
    for row in rows:
        assert restored[middle, row, edge + 1 : edge + 10].tolist() == [phantoms.GM] * 8 + [0]
        assert sure[middle, row, edge + 1 : edge + 10] == pytest.approx([1] * 8 + [0])


def test_a_label_that_clean_up_changed_wins_over_the_probabilities():
    t1 = phantoms.grid((0.8, 0.8, 0.8), OBLIQUE)
    prepared = prepare(make_pair(t1))
    labels = truth_in_prepared(prepared)
    everything_gray = np.zeros((4, *labels.shape), np.float16)
    everything_gray[phantoms.GM] = 1
    restored = array(prepared.space.labels_to_scan(labels, everything_gray, prepared.mask))
    expected = array(phantoms.draw(t1))
    assert (restored == expected)[expected > 0].mean() > 0.97


def test_probabilities_break_the_tie_between_two_voxels():
    t1 = phantoms.grid((0.5, 1.0, 1.0), RAS)
    prepared = prepare(make_pair(t1))
    labels = np.where(prepared.mask, 2, 0).astype(np.uint8)
    half = labels.shape[0] // 2
    labels[half:][prepared.mask[half:]] = 3
    sure_white = np.zeros((4, *labels.shape), np.float16)
    sure_white[2][labels == 2], sure_white[3][labels == 2] = 0.55, 0.45
    sure_white[3][labels == 3] = 1.0
    restored = prepared.space.labels_to_scan(labels, sure_white, prepared.mask)
    x_mm = prepared.space.origin_mm[0] + half - 0.5  # halfway between the two planes: 0.275 GM against 0.725 WM
    index = t1.TransformPhysicalPointToContinuousIndex((-x_mm, 0.0, 0.0))
    assert restored[round(index[0]), round(index[1]), round(index[2])] == 3


def test_a_probability_map_comes_back_as_the_same_field():
    t1 = phantoms.grid((0.9, 1.2, 1.4), OBLIQUE @ RAS)
    prepared = prepare(make_pair(t1))
    x, y, z = np.meshgrid(*[np.arange(n) for n in prepared.mask.shape], indexing="ij")
    position = np.stack([x, y, z], -1) + np.asarray(prepared.space.origin_mm)
    slopes = np.array([0.003, -0.002, 0.004])
    restored = prepared.space.map_to_scan((0.5 + position @ slopes).astype(np.float32), prepared.mask)
    assert_same_geometry(restored, t1)
    inside = array(phantoms.draw(t1)) > 0
    expected = 0.5 + phantoms.points_mm(t1) @ slopes
    error = np.abs(array(restored) - expected)
    assert np.median(error[inside]) < 1e-5
    assert error[inside].max() < 0.01
    assert not array(restored)[~inside].any()


def test_normalise_clips_and_scores_by_the_brain_alone():
    image = np.array([0.0, 1, 2, 3, 4, 1000])
    mask = np.array([False, True, True, True, True, False])
    scored = normalise(image, mask)
    low, high = 1.015, 3.985  # numpy's linear percentiles of 1, 2, 3, 4 at 0.5 and 99.5 %
    spread = np.sqrt(((high - 2.5) ** 2 * 2 + 0.5**2 * 2) / 4)
    np.testing.assert_allclose(scored, np.array([0, low - 2.5, -0.5, 0.5, high - 2.5, 0]) / spread, rtol=1e-6)
    assert scored.dtype == np.float32


def test_a_constant_brain_is_normalised_to_zero_and_not_to_nan():
    assert not normalise(np.full((2, 2), 7.0), np.ones((2, 2), bool)).any()


def test_a_mask_on_another_grid_is_resampled():
    t1_grid, mask_grid = phantoms.grid(), phantoms.grid((1.3, 0.8, 1.5), OBLIQUE)
    pair = pair_scans(phantoms.draw(t1_grid, T1_LEVELS + 50), phantoms.draw(t1_grid, T2_LEVELS + 50), phantoms.draw(mask_grid) > 0)
    expected, found = array(phantoms.draw(t1_grid)) > 0, array(pair.mask) > 0
    assert 2 * (expected & found).sum() / (expected.sum() + found.sum()) > 0.98
    assert pair.mask.GetPixelID() == sitk.sitkUInt8


def test_a_mask_decides_which_voxels_are_brain_even_where_an_image_is_zero_inside():
    grid = phantoms.grid()
    t2 = phantoms.draw(grid, T2_LEVELS)
    t2[50, 50, 50] = 0
    mask = phantoms.draw(grid) > 0
    np.testing.assert_array_equal(array(pair_scans(phantoms.draw(grid, T1_LEVELS), t2, mask).mask), array(mask))


def test_without_a_mask_the_brain_is_solid_and_strays_are_left_out():
    grid = phantoms.grid()
    t1 = phantoms.draw(grid, T1_LEVELS)
    t1[50, 50, 50] = 0
    t1[2, 2, 2] = 90
    pair = pair_scans(t1, phantoms.draw(grid, T2_LEVELS))
    np.testing.assert_array_equal(array(pair.mask), array(phantoms.draw(grid)) > 0)


def test_a_small_constant_background_is_background():
    grid = phantoms.grid()
    pair = pair_scans(phantoms.draw(grid, T1_LEVELS + 3), phantoms.draw(grid, T2_LEVELS + 0.25))
    np.testing.assert_array_equal(array(pair.mask), array(phantoms.draw(grid)) > 0)


def refused(t1, t2, mask=None):
    with pytest.raises(InputError) as caught:
        pair_scans(t1, t2, mask)
    assert "\n" not in str(caught.value)
    return caught.value


def test_scans_that_lie_apart_are_refused():
    apart = phantoms.draw(phantoms.grid(), T2_LEVELS)
    apart.SetOrigin((500, 500, 500))
    assert refused(phantoms.draw(phantoms.grid(), T1_LEVELS), apart).code == ErrorCode.SCANS_APART


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_image_is_refused_by_name(value):
    good = phantoms.draw(phantoms.grid(), T1_LEVELS)
    for pair, name in (((good, good * 0 + value), "T2"), ((good * 0 + value, good), "T1")):
        error = refused(*pair)
        assert (error.code, str(error).split()[0]) == (ErrorCode.CONSTANT_IMAGE, name)


def test_a_mask_given_as_a_scan_is_refused():
    grid = phantoms.grid()
    assert refused(phantoms.draw(grid) > 0, phantoms.draw(grid, T2_LEVELS)).code == ErrorCode.CONSTANT_IMAGE


def test_an_empty_mask_is_refused():
    grid = phantoms.grid()
    t1, t2 = phantoms.draw(grid, T1_LEVELS), phantoms.draw(grid, T2_LEVELS)
    assert refused(t1, t2, grid).code == ErrorCode.EMPTY_MASK
    elsewhere = phantoms.draw(grid)
    elsewhere.SetOrigin((500, 500, 500))
    assert refused(t1, t2, elsewhere).code == ErrorCode.MASK_ELSEWHERE


def test_less_than_100_ml_of_brain_is_refused():
    grid = phantoms.grid((0.7, 0.7, 0.7), span_mm=95)
    t1, t2 = phantoms.draw(grid, T1_LEVELS), phantoms.draw(grid, T2_LEVELS)
    for image in (t1, t2):
        image.SetSpacing((0.5, 0.5, 0.5))  # 179 ml shrink to 65 ml
    error = refused(t1, t2)
    assert (error.code, "65" in str(error)) == (ErrorCode.SMALL_BRAIN, True)


def test_nan_in_an_image_handed_over_in_memory_is_refused():
    grid = phantoms.grid()
    t1 = phantoms.draw(grid, T1_LEVELS)
    t1[50, 50, 50] = float("nan")
    assert str(refused(t1, phantoms.draw(grid, T2_LEVELS))).startswith("T1 has 1 NaN")
