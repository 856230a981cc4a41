import math
import time

import numpy as np
import pytest

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.evaluation import metrics

ALL_DISTANCES = ("average_surface_distance_mm", "hausdorff_mm", "hausdorff95_mm", "modified_hausdorff_mm")


def points(*places, shape=(12, 12, 12)):
    region = np.zeros(shape, bool)
    for place in places:
        region[place] = True
    return region


def test_dice_is_twice_the_overlap_over_the_sum():
    a, b = points((0, 0, 0), (0, 0, 1), (0, 0, 2)), points((0, 0, 2), (0, 0, 3))
    assert metrics.dice(a, b) == pytest.approx(2 * 1 / (3 + 2))


def test_distances_of_two_voxels_are_their_distance_in_mm():
    a, b = points((2, 3, 4)), points((5, 3, 8))
    for name in ALL_DISTANCES:
        assert getattr(metrics, name)(a, b, (1, 1, 1)) == pytest.approx(5)  # 3, 0, 4
        assert getattr(metrics, name)(a, b, (2, 1, 0.5)) == pytest.approx(math.hypot(6, 2))


def test_each_metric_of_one_voxel_against_two_is_the_answer_worked_out_by_hand():
    a, b = points((1, 1, 1)), points((1, 1, 2), (1, 1, 8))
    # to the reference: {1}; to the prediction: {1, 7}
    assert metrics.average_surface_distance_mm(a, b, (1, 1, 1)) == pytest.approx((1 + 4) / 2)
    assert metrics.hausdorff_mm(a, b, (1, 1, 1)) == pytest.approx(7)
    assert metrics.hausdorff95_mm(a, b, (1, 1, 1)) == pytest.approx(1 + 0.95 * 6)
    assert metrics.modified_hausdorff_mm(a, b, (1, 1, 1)) == pytest.approx(4)


def test_only_the_surface_counts():
    solid = np.zeros((9, 9, 9), bool)
    solid[2:7, 2:7, 2:7] = True
    hollow = solid.copy()
    hollow[4, 4, 4] = False
    # The hollow's 6 inner neighbours of (4,4,4) are surface too, each 1 voxel below the solid's surface voxels: 5³ - 3³ = 98 others at 0
    distances = metrics.surface_distances(hollow, solid, (1, 1, 1))
    assert sorted(distances.to_reference_mm) == [0] * 98 + [1] * 6
    assert sorted(distances.to_prediction_mm) == [0] * 98


def test_diagonal_neighbours_do_not_make_a_voxel_interior():
    cross = points((5, 5, 5), (4, 5, 5), (6, 5, 5), (5, 4, 5), (5, 6, 5), (5, 5, 4), (5, 5, 6))
    distances = metrics.surface_distances(cross, points((5, 5, 5)), (1, 1, 1))
    assert sorted(distances.to_reference_mm) == [1] * 6  # the centre alone is inside
    assert distances.to_prediction_mm.tolist() == [1]


def test_a_region_at_the_edge_of_the_array_has_a_surface_there():
    whole = np.ones((3, 3, 3), bool)
    assert len(metrics.surface_distances(whole, whole, (1, 1, 1)).to_reference_mm) == 26


def test_cropping_to_the_union_changes_nothing():
    rng = np.random.default_rng(0)
    a, b = rng.random((6, 5, 7)) > 0.6, rng.random((6, 5, 7)) > 0.6
    padding = ((9, 2), (4, 11), (3, 8))
    for name in ALL_DISTANCES:
        inner, outer = getattr(metrics, name)(a, b, (1, 2, 3)), getattr(metrics, name)(np.pad(a, padding), np.pad(b, padding), (1, 2, 3))
        assert inner == pytest.approx(outer)


def test_distances_equal_those_of_all_pairs():
    rng = np.random.default_rng(1)
    a, b = rng.random((5, 6, 4)) > 0.7, rng.random((5, 6, 4)) > 0.7
    spacing = np.array([0.8, 1.0, 1.7])

    def is_surface(region, place):
        padded = np.pad(region, 1)
        x, y, z = place + 1
        around = [
            padded[x - 1, y, z],
            padded[x + 1, y, z],
            padded[x, y - 1, z],
            padded[x, y + 1, z],
            padded[x, y, z - 1],
            padded[x, y, z + 1],
        ]
        return not all(around)

    surface_a, surface_b = (np.array([p for p in np.argwhere(region) if is_surface(region, p)]) * spacing for region in (a, b))
    pairs = np.linalg.norm(surface_a[:, None] - surface_b[None], axis=-1)
    found = metrics.surface_distances(a, b, spacing)
    np.testing.assert_allclose(np.sort(found.to_reference_mm), np.sort(pairs.min(1)))
    np.testing.assert_allclose(np.sort(found.to_prediction_mm), np.sort(pairs.min(0)))


def labelled(csf=0, gm=0, wm=0):
    labels = np.zeros((4, 4, 4), np.uint8)
    labels.flat[:csf], labels.flat[20 : 20 + gm], labels.flat[40 : 40 + wm] = 1, 2, 3
    return labels


def test_a_tissue_absent_from_one_side_has_dice_0_and_no_distances():
    found = metrics.evaluate_labels(labelled(csf=2, gm=3), labelled(csf=2, wm=3), (1, 1, 1))
    assert list(found)[:3] == ["CSF", "GM", "WM"]
    assert found["CSF"] == metrics.TissueMetrics(1, 0, 0, 0, 0, 1)
    assert found["GM"].note == "absent from the reference"
    assert found["WM"].note == "absent from the prediction"
    for short_name in ("GM", "WM"):
        assert found[short_name].dice == 0
        assert all(math.isnan(getattr(found[short_name], name)) for name in ALL_DISTANCES)


def test_a_tissue_absent_from_both_sides_has_dice_1_and_distances_0():
    found = metrics.evaluate_labels(labelled(csf=1), labelled(csf=1), (1, 1, 1))["GM"]
    assert found == metrics.TissueMetrics(1, 0, 0, 0, 0, 1, "absent from the prediction and the reference")


def test_the_volume_ratio_is_over_the_reference_and_unknown_without_one():
    found = metrics.evaluate_labels(labelled(csf=3, gm=2), labelled(csf=4, wm=5), (1, 1, 1))
    assert found["CSF"].volume_ratio == 0.75
    assert math.isnan(found["GM"].volume_ratio)
    assert found["WM"].volume_ratio == 0


def test_a_mask_restricts_both_sides():
    prediction, reference = labelled(csf=4), labelled(csf=2)
    mask = np.zeros(prediction.shape, bool)
    mask.flat[:3] = True
    assert metrics.evaluate_labels(prediction, reference, (1, 1, 1), mask)["CSF"].dice == pytest.approx(2 * 2 / (3 + 2))


def test_different_shapes_are_refused():
    with pytest.raises(InputError, match="prediction has shape"):
        metrics.evaluate_labels(np.zeros((2, 2, 2), np.uint8), np.zeros((3, 2, 2), np.uint8), (1, 1, 1))


def test_a_whole_brain_is_measured_in_seconds():
    x, y, z = np.ogrid[-75:75, -95:95, -75:75]
    radius = np.sqrt((x / 65) ** 2 + (y / 85) ** 2 + (z / 65) ** 2)
    ripple = 0.04 * np.sin(x / 4.0) * np.sin(y / 4.0) * np.sin(z / 4.0)
    reference = np.select([radius + ripple < 0.7, radius + ripple < 0.9, radius < 1], [3, 2, 1]).astype(np.uint8)
    start = time.perf_counter()
    found = metrics.evaluate_labels(np.roll(reference, 1, 0), reference, (1, 1, 1))
    assert time.perf_counter() - start < 30  # 2 s on two cores that also train
    assert all(0.9 < found[name].dice < 1 for name in ("CSF", "GM", "WM"))
