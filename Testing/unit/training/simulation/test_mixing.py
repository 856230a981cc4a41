"""New individuals have the tissue of the one map here and of the other there, where registration brings both together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from InfantBrainSegLib.core.errors import TrainingError
from InfantBrainSegLib.training.simulation import mixing
from InfantBrainSegLib.training.simulation.labelmaps import AIR, CORTEX, FIELD_MAX, VENTRICLE, WHITE, LabelMap, with_fields
from InfantBrainSegLib.training.simulation.mixing import mix, mixed_maps, register

SIZE = 72


def egg(name, axes=(24.0, 28.0, 22.0), middle=(36.0, 36.0, 36.0), cortex=4.0, ventricle=True):
    """An egg of white matter under cortex, in voxels; something below it is no cerebrum."""
    offsets = [(index - at) / axis for index, at, axis in zip(np.indices((SIZE,) * 3), middle, axes, strict=True)]
    radius = np.sqrt(sum(offset**2 for offset in offsets))
    classes = np.full(radius.shape, AIR, np.uint8)
    classes[radius < 1] = CORTEX
    classes[radius < 1 - cortex / np.mean(axes)] = WHITE
    if ventricle:
        classes[radius < 0.2] = VENTRICLE
    below = (radius > 1) & (offsets[2] < -0.7)
    return with_fields(name, classes, below)


def overlap(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture
def ends(monkeypatch):
    """Make every individual have the shape of the first map, or of the second."""
    return lambda share: monkeypatch.setattr(mixing, "_SHAPE_SHARES", (share, share))


def only(monkeypatch, which):
    """Let no seam be: everything is of the first map (-1), or of the second (1)."""
    monkeypatch.setattr(mixing, "smooth_noise", lambda shape, scale, generator: torch.full(shape, 10.0 * which))


def test_an_individual_wholly_of_the_first_map_and_its_shape_is_the_first(monkeypatch, ends):
    first, second = egg("adult_1"), egg("adult_2", (20.0, 30.0, 24.0), (34.0, 37.0, 36.0), 6.0)
    only(monkeypatch, -1)
    ends(0.0)
    mixed = mix(register(first, second), "adult_1+adult_2", np.random.default_rng(1))
    assert np.array_equal(mixed.classes, first.classes)
    assert np.array_equal(mixed.outside == FIELD_MAX, (first.outside == FIELD_MAX) & (first.classes < VENTRICLE))


def test_the_second_map_is_laid_onto_the_first_one_and_the_other_way_round(monkeypatch, ends):
    first, second = egg("adult_1"), egg("adult_2", (20.0, 30.0, 24.0), (30.0, 38.0, 36.0), 6.0)
    registered = register(first, second)
    only(monkeypatch, 1)
    ends(0.0)
    laid = mix(registered, "adult_12", np.random.default_rng(1)).classes
    assert all(overlap(laid == value, first.classes == value) > 0.93 for value in (CORTEX, WHITE))
    only(monkeypatch, -1)
    ends(1.0)
    laid = mix(registered, "adult_12", np.random.default_rng(1)).classes
    middles = [ndimage.center_of_mass(classes > AIR) for classes in (first.classes, laid)]
    assert np.allclose(*middles, atol=1.0)  # the shape alone is the second's
    moved = np.roll(second.classes, np.round(np.subtract(middles[1], ndimage.center_of_mass(second.classes > AIR))).astype(int), (0, 1, 2))
    assert all(overlap(laid == value, moved == value) > 0.88 for value in (CORTEX, WHITE))


def test_parts_of_both_maps_are_joined_and_a_seed_draws_the_same_again(monkeypatch, ends):
    first, second = egg("adult_1"), egg("adult_2", ventricle=False)
    ends(0.5)
    registered = register(first, second)
    left = torch.where(torch.arange(SIZE) < SIZE / 2, -10.0, 10.0).view(1, SIZE, 1, 1)
    monkeypatch.setattr(mixing, "smooth_noise", lambda shape, scale, generator: left.expand(shape))
    mixed = mix(registered, "adult_12", np.random.default_rng(1))
    ventricle = np.argwhere(mixed.classes == VENTRICLE)[:, 0]
    assert len(ventricle)
    assert (ventricle < SIZE / 2).all()
    assert overlap(mixed.classes == CORTEX, first.classes == CORTEX) > 0.95
    monkeypatch.undo()
    again = [mix(registered, "adult_12", np.random.default_rng(seed)).classes for seed in (5, 5, 6)]
    assert np.array_equal(again[0], again[1])
    assert not np.array_equal(again[0], again[2])


def test_mixed_maps_are_of_one_kind_and_kept_until_the_maps_change(tmp_path, monkeypatch):
    maps = [egg("adult_1"), egg("adult_2", (20.0, 30.0, 24.0)), replace(egg("infant_1"), name="infant_1")]
    pack = tmp_path / "mixed.npz"
    found = mixed_maps(maps, 3, pack)
    assert len({label_map.name for label_map in found}) == 3
    assert {label_map.kind for label_map in found} == {"adult"}
    assert all(isinstance(label_map, LabelMap) and (label_map.classes == WHITE).any() for label_map in found)
    monkeypatch.setattr(mixing, "register", lambda *given: pytest.fail("mixed again"))
    assert [label_map.name for label_map in mixed_maps(maps, 3, pack)] == [label_map.name for label_map in found]
    monkeypatch.undo()
    before = pack.read_bytes()
    assert len(mixed_maps(maps, 2, pack)) == 2
    assert pack.read_bytes() != before
    named = [label_map.name.split(" ")[0] for label_map in mixed_maps([*maps, egg("infant_2", cortex=6.0)], 4, pack)]
    assert [name.split("_")[0] for name in named] == ["adult", "adult", "infant", "infant"]
    assert len(set(named)) == 4
    with pytest.raises(TrainingError, match="no two label maps of one kind"):
        mixed_maps(maps[1:], 1, pack)
