import head_phantom
import numpy as np
import phantoms
import pytest

from InfantBrainSegLib.align import move_grid
from InfantBrainSegLib.pose import find_pose
from InfantBrainSegLib.resample import on_grid_of


def parts_image(turn=None, without=()):
    grid = phantoms.grid((2.0, 2.0, 2.0), span_mm=140.0)
    parts = head_phantom.parts_on(grid, turn)
    parts[(parts == head_phantom.SCALP) | np.isin(parts, without)] = 0
    return on_grid_of(grid, parts.astype(np.uint8))


def test_an_upright_head_is_left_as_it_lies():
    pose = find_pose(parts_image())
    assert pose.turn is None
    assert pose.degrees < 10
    assert pose.plausible


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [-40, 35, 90, 170])
def test_a_turned_head_is_set_upright_again(axis, degrees):
    turn = phantoms.rotation(degrees, axis)
    parts = parts_image(turn)
    pose = find_pose(parts)
    assert abs(pose.degrees - abs(degrees)) < 12  # the phantom itself looks down by some degrees
    upright = find_pose(move_grid(parts, pose.turn))
    assert upright.turn is None
    assert upright.degrees < 1


def test_a_head_turned_by_ninety_degrees_lies_as_none_does():
    assert not find_pose(parts_image(phantoms.rotation(90, 2))).plausible


def test_without_a_cerebellum_left_and_right_alone_tell_the_pose():
    pose = find_pose(parts_image(phantoms.rotation(30, 2), without=(3,)))
    assert pose.degrees == pytest.approx(30, abs=2)
    assert find_pose(parts_image(phantoms.rotation(180, 2), without=(3,))).turn is None  # halves may be taken for each other


def test_half_a_brain_does_not_tell_the_pose():
    pose = find_pose(parts_image(without=(2,)))
    assert pose.turn is None
    assert pose.degrees is None
    assert "can not be told" in pose.words
    assert not pose.plausible
