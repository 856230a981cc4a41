import numpy as np
import phantoms
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.preparation.displacement import measure_displacement
from InfantBrainSegLib.preparation.registration import ALIGNED_INFORMATION, ALIGNED_MM, align, move_grid

OBLIQUE_GRID = phantoms.grid((1.2, 0.9, 1.5), phantoms.OBLIQUE)


@pytest.fixture(scope="module")
def pair():
    """T1 and T2 on different grids, and where T1 is brain."""
    t1 = phantoms.draw(phantoms.grid(), phantoms.T1_LEVELS)
    return t1, phantoms.draw(OBLIQUE_GRID, phantoms.T2_LEVELS), phantoms.draw(phantoms.grid()) > 0


def moved(t2, *shift_mm, turn_degrees=0.0, middle=(0.0, 0.0, 0.0)):
    motion = sitk.Euler3DTransform(middle, 0.0, 0.0, float(np.deg2rad(turn_degrees)), shift_mm or (0.0, 0.0, 0.0))
    return move_grid(t2, motion)


def test_an_aligned_pair_is_told_without_a_search(pair, monkeypatch):
    t1, t2, head = pair
    found = measure_displacement(t1, t2, head)
    assert found.mean_mm < ALIGNED_MM
    assert found.information > ALIGNED_INFORMATION
    monkeypatch.setattr("InfantBrainSegLib.preparation.registration.optimize", None)  # would fail
    alignment = align(t1, t2)
    assert alignment.t2 is t2
    assert alignment.report["mean_displacement_mm"] == pytest.approx(found.mean_mm, abs=0.2)


@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0), (0.0, 0.6, -0.8), (-0.48, 0.6, 0.64)])
def test_a_pair_that_lies_apart_is_sought(pair, direction):
    t1, t2, head = pair
    for away_mm in (1.2, 2.0, 5.0, 30.0):
        found = measure_displacement(t1, moved(t2, *(away_mm * part for part in direction)), head)
        assert found.mean_mm >= ALIGNED_MM


def test_a_turn_is_seen_as_far_as_it_moves_the_head(pair):
    t1, t2, head = pair
    middle = [float(value) for value in np.mean([t1.TransformIndexToPhysicalPoint(index) for index in ((0, 0, 0), t1.GetSize())], 0)]
    assert measure_displacement(t1, moved(t2, turn_degrees=6.0, middle=middle), head).mean_mm >= ALIGNED_MM


def test_without_a_head_nothing_is_known(pair):
    t1, t2, _ = pair
    found = measure_displacement(t1, t2, sitk.Image(t1.GetSize(), sitk.sitkUInt8))
    assert (found.mean_mm, found.information) == (np.inf, 0.0)
