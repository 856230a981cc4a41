from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.extraction.locate import choose_half_turn
from InfantBrainSegLib.extraction.pose import FRONT_BACK, LEFT_RIGHT, VERTICAL

NONE = 0.0
SEEN = 0.1  # share of the cerebrum in which a cerebellum is seen


def attempt(score, below=NONE):
    parts = np.zeros((1, 1, 2000), np.uint8)
    parts[..., :500], parts[..., 500:1000], parts[..., 1000 : 1000 + int(1000 * below)] = 1, 2, 3
    return SimpleNamespace(score=score, parts=sitk.GetImageFromArray(parts))


def chosen(header, vertical, left_right, front_back, with_t1=True):
    given = [one if isinstance(one, tuple) else (one,) for one in (header, vertical, left_right, front_back)]
    header, *turned = (attempt(*one) for one in given)
    return choose_half_turn(header, dict(zip((VERTICAL, LEFT_RIGHT, FRONT_BACK), turned, strict=True)), with_t1)


@pytest.mark.parametrize(
    ("scores", "axis", "told"),
    [
        ((0.95, 0.94, 0.92, 0.93), None, True),  # the header is right
        ((0.949, 0.950, 0.93, 0.94), None, False),  # perhaps it is not
        ((0.94, 0.96, 0.92, 0.93), VERTICAL, True),
        ((0.94, 0.95, 0.92, 0.93), None, False),  # too little for front and back
        ((0.92, 0.93, 0.95, 0.94), LEFT_RIGHT, True),
        ((0.92, 0.93, 0.94, 0.95), FRONT_BACK, True),
        ((0.92, 0.93, 0.949, 0.95), FRONT_BACK, False),  # upside down for sure; front or back is not
        ((-0.25, 0.80, 0.90, 0.85), None, False),  # as no head lies
    ],
)
def test_a_cerebrum_lies_the_way_the_network_is_surest_of_by_far(scores, axis, told):
    assert chosen(*scores) == (axis, told)


@pytest.mark.parametrize(
    ("ways", "axis"),
    [
        (((0.895, SEEN), 0.883, 0.895, 0.879), None),  # seen where the header says
        ((0.908, 0.90, (0.909, SEEN), 0.90), LEFT_RIGHT),
        ((0.909, 0.90, (0.908, SEEN), 0.90), LEFT_RIGHT),  # as sure as of the header's, but for rounding
        ((0.90, (0.82, SEEN), 0.86, (0.83, 0.2)), None),  # seen where the network is unsure: there is none
        (((0.85, SEEN), 0.86, 0.83, 0.92), FRONT_BACK),
    ],
)
def test_a_cerebellum_that_is_seen_tells_which_way_a_brain_lies(ways, axis):
    assert chosen(*ways) == (axis, True)


def test_t2_alone_without_a_cerebellum_does_not_tell_up_from_down():
    assert chosen(0.88, 0.87, 0.90, 0.86, with_t1=False) == (None, False)
    assert chosen(0.92, 0.91, 0.90, 0.89, with_t1=False) == (None, False)
    assert chosen(0.90, 0.92, 0.90, 0.89, with_t1=False) == (VERTICAL, False)


def test_a_cerebellum_that_t2_alone_shows_where_the_header_says_is_believed():
    assert chosen((0.87, SEEN), 0.87, 0.91, 0.89, with_t1=False) == (None, True)
