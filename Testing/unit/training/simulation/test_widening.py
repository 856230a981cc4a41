"""Ventricles become wider by as much as was asked for, and what lies round them is pushed aside and not replaced."""

import numpy as np
import pytest
import torch

from InfantBrainSegLib.core.labels import CSF, GM, WM
from InfantBrainSegLib.training.simulation.labelmaps import AIR, CORTEX, VENTRICLE, WHITE, LabelMap
from InfantBrainSegLib.training.simulation.synthesis import Simulator, SimulatorConfig
from InfantBrainSegLib.training.simulation.widening import flow_back, widened_counts, widening_field

SIZE, RADIUS = 104, 8.0
MIDDLE = (SIZE - 1) / 2


def ball_map(ventricle=RADIUS) -> LabelMap:
    """A brain of 44 voxels in radius: cortex, white matter with a shell of gray matter in it, and a round ventricle in the middle."""
    x, y, z = np.indices((SIZE,) * 3) - MIDDLE
    radius = np.sqrt(x**2 + y**2 + z**2)
    classes = np.full(radius.shape, AIR, np.uint8)
    classes[radius < 44] = CORTEX
    classes[radius < 40] = WHITE
    classes[(radius >= 12) & (radius < 15)] = CORTEX
    classes[radius < ventricle] = VENTRICLE
    outside = np.clip((radius - 44) * 10, 0, 255).astype(np.uint8)
    zeros = np.zeros_like(classes)
    return LabelMap("adult_ball", classes, outside, zeros, zeros)


def ray(direction=1, samples=500):
    """Positions from the middle outward along x: (3, samples, 1, 1)."""
    positions = torch.full((3, samples, 1, 1), MIDDLE)
    positions[0, :, 0, 0] += direction * torch.linspace(0, 50, samples)
    return positions


def classes_along(label_map, source):
    index = tuple(axis.round().long().clamp(0, SIZE - 1).numpy().ravel() for axis in source)
    return label_map.classes[index]


def wall_mm(label_map, source):
    return np.count_nonzero(classes_along(label_map, source) == VENTRICLE) / 10


@pytest.mark.parametrize("wider", [2.0, 4.0, 8.0, 12.0])
def test_the_wall_moves_by_what_was_asked_for(wider):
    label_map = ball_map()
    field = torch.as_tensor(widening_field(label_map)).float()
    moved = wall_mm(label_map, flow_back(ray(), field, wider)) - wall_mm(label_map, ray())
    assert moved == pytest.approx(wider, rel=0.2)


def test_tissue_is_pushed_aside_in_its_order_and_the_surface_stays():
    label_map = ball_map()
    source = flow_back(ray(), torch.as_tensor(widening_field(label_map)).float(), 8.0)
    assert (torch.diff(source[0, :, 0, 0]) > 0).all()  # nothing is folded
    before, after = classes_along(label_map, ray()), classes_along(label_map, source)
    changes = [classes[np.flatnonzero(np.diff(classes.astype(int), prepend=-1))].tolist() for classes in (before, after)]
    assert changes[0] == changes[1] == [VENTRICLE, WHITE, CORTEX, WHITE, CORTEX, AIR]
    assert np.count_nonzero(after == AIR) == pytest.approx(np.count_nonzero(before == AIR), abs=3)


@pytest.mark.parametrize(("side", "moves"), [(1.0, (False, True)), (-1.0, (True, False)), (0.0, (True, True))])
def test_one_side_may_stay(side, moves):
    label_map = ball_map()
    field = torch.as_tensor(widening_field(label_map)).float()
    for direction, expected in zip((-1, 1), moves, strict=True):
        moved = wall_mm(label_map, flow_back(ray(direction), field, 8.0, side)) - wall_mm(label_map, ray(direction))
        assert (moved > 5) == expected
        assert expected or moved < 3.5


def test_volumes_are_told_of_a_whole_map_by_a_few_of_its_voxels():
    label_map = ball_map()
    field = torch.as_tensor(widening_field(label_map)).float()
    counts = widened_counts(label_map, field, 6.0, 0.0)
    assert counts[VENTRICLE] / label_map.counts[VENTRICLE] == pytest.approx(((RADIUS + 6) / RADIUS) ** 3, rel=0.25)
    assert counts[CORTEX] + counts[WHITE] < label_map.counts[CORTEX] + label_map.counts[WHITE]
    np.testing.assert_array_equal(widened_counts(label_map, field, 0.0, 0.0), label_map.counts)


def test_a_map_without_ventricles_stays_as_it_is():
    assert not widening_field(ball_map(ventricle=0)).any()


def test_subjects_get_more_fluid_and_keep_their_tissue(label_map):
    drawn = []
    for wide in (0.0, 6.0):
        ranges = {"wide_share": 1.0, "wide_mm": (wide, wide), "one_sided_share": 0.0, "close_share": 0.0}
        config = SimulatorConfig(adult_scale=(1.0, 1.0), warp_mm=0.0, **ranges)
        labels = Simulator([label_map], config).subject(label_map, np.random.default_rng(1), "isointense").labels.numpy()
        drawn.append([np.count_nonzero(labels == tissue.value) for tissue in (CSF, GM, WM)])
    (csf, gm, wm), (csf_wide, gm_wide, wm_wide) = drawn
    assert csf_wide > csf + 200
    assert 0.7 * (gm + wm) < gm_wide + wm_wide < gm + wm
