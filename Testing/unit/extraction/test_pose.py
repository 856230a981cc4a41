import head_phantom
import numpy as np
import phantoms
import pytest

from InfantBrainSegLib.extraction.pose import FRONT_BACK, LEFT_RIGHT, VERTICAL, find_pose
from InfantBrainSegLib.imaging.resample import on_grid_of
from InfantBrainSegLib.preparation.registration import move_grid


def parts_image(turn=None, without=()):
    grid = phantoms.grid((2.0, 2.0, 2.0), span_mm=140.0)
    parts = head_phantom.parts_on(grid, turn)
    parts[(parts == head_phantom.SCALP) | np.isin(parts, without)] = 0
    return on_grid_of(grid, parts.astype(np.uint8))


def test_an_upright_head_is_left_as_it_lies():
    pose = find_pose(parts_image())
    assert pose.rotation is None
    assert pose.degrees < 10
    assert pose.plausible


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [-40, 35, 90, 170])
def test_a_turned_head_is_set_upright_again(axis, degrees):
    turn = phantoms.rotation(degrees, axis)
    parts = parts_image(turn)
    pose = find_pose(parts)
    assert abs(pose.degrees - abs(degrees)) < 12  # the phantom itself looks down by some degrees
    upright = find_pose(move_grid(parts, pose.rotation))
    assert upright.rotation is None
    assert upright.degrees < 1


def test_a_head_turned_by_ninety_degrees_lies_as_none_does():
    assert not find_pose(parts_image(phantoms.rotation(90, 2))).plausible


def test_without_a_cerebellum_left_and_right_alone_tell_the_pose():
    pose = find_pose(parts_image(phantoms.rotation(30, 2), without=(3,)))
    assert pose.degrees == pytest.approx(30, abs=2)
    assert find_pose(parts_image(phantoms.rotation(180, 2), without=(3,))).rotation is None  # halves may be taken for each other


def test_a_brain_without_cerebellum_found_back_to_front_is_turned_about_the_vertical():
    tilted = parts_image(phantoms.rotation(12, 1), without=(3,))
    pose = find_pose(tilted, half_turn=VERTICAL)
    assert pose.front_is_back
    assert not pose.plausible
    assert "half a turn, or mirrored" in pose.message
    upright = move_grid(tilted, pose.rotation)
    again = find_pose(upright)  # its halves are taken for each other: what is left is the tilt
    assert (again.rotation, again.degrees) == (None, pytest.approx(0, abs=1))
    center = np.array(pose.rotation.GetCenter())
    np.testing.assert_allclose(np.array(pose.rotation.TransformPoint(np.add(center, [0, 30, 0]).tolist())) - center, [0, -30, 0], atol=1)


@pytest.mark.parametrize("axis", [LEFT_RIGHT, FRONT_BACK])
def test_a_brain_without_cerebellum_found_upside_down_is_turned_about_that_axis(axis):
    tilted = parts_image(phantoms.rotation(12, 2), without=(3,))
    pose = find_pose(tilted, half_turn=axis)
    assert (pose.upside_down, pose.front_is_back) == (True, False)
    assert "upside down against its header; it was set upright" in pose.message
    again = find_pose(move_grid(tilted, pose.rotation))
    assert (again.rotation, again.degrees) == (None, pytest.approx(0, abs=1))
    center = np.array(pose.rotation.GetCenter())
    moved = np.array(pose.rotation.TransformPoint(np.add(center, [0, 0, 30]).tolist())) - center
    np.testing.assert_allclose(moved, [0, 0, -30], atol=1)


@pytest.mark.parametrize(("axis", "upside_down"), [(LEFT_RIGHT, True), (FRONT_BACK, True), (VERTICAL, False)])
def test_a_stripped_brain_with_its_cerebellum_is_turned_as_that_says(axis, upside_down):
    parts = parts_image(phantoms.rotation(180, axis))
    pose = find_pose(parts, half_turn=axis)
    assert (pose.upside_down, pose.front_is_back) == (upside_down, not upside_down)
    assert find_pose(move_grid(parts, pose.rotation)).degrees < 1


def test_a_brain_that_does_not_tell_how_it_lies_says_so():
    pose = find_pose(parts_image(), told=False)
    assert (pose.rotation, pose.told) == (None, False)
    assert pose.message.endswith("Which way is up and which is front could not be confirmed.")


def test_with_a_cerebellum_nobody_says_that_front_is_back():
    assert not find_pose(parts_image(), half_turn=VERTICAL).front_is_back


def test_half_a_brain_does_not_tell_the_pose():
    pose = find_pose(parts_image(without=(2,)))
    assert pose.rotation is None
    assert pose.degrees is None
    assert "cannot be determined" in pose.message
    assert not pose.plausible
