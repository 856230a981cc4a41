"""The choices of the panel are those of the library, and reach it as they were made."""

from dataclasses import fields

import pytest
from InfantBrainSegSlicer.scene.options import PANEL_NAMES, SegmentParameters

from InfantBrainSegLib.cli.main import build_parser
from InfantBrainSegLib.core.option import PANEL, from_arguments, options_in
from InfantBrainSegLib.pipeline.options import SegmentOptions

OTHERS = {"device": "cpu", "weightsPath": "/weights", "ageMonths": -1.5}


def another(field):
    """A value that is not the default."""
    if field.name in OTHERS:
        return OTHERS[field.name]
    if isinstance(field.default, bool):
        return not field.default
    return "off" if isinstance(field.default, str) else field.default + 1


@pytest.mark.parametrize("name", options_in(SegmentOptions, PANEL))
def test_each_choice_of_the_panel_arrives_as_the_childs_option(name):
    field = next(field for field in fields(SegmentParameters) if field.name == PANEL_NAMES[name])
    chosen = SegmentParameters(**{field.name: another(field)})
    chosen.check()
    arrived = from_arguments(SegmentOptions, build_parser().parse_args(["segment", *chosen.arguments("segment")]))
    assert arrived == chosen.options()
    assert getattr(arrived, name) != getattr(SegmentOptions(), name)


def test_what_is_not_chosen_is_left_to_the_library():
    assert SegmentParameters().options() == SegmentOptions()
    assert SegmentParameters(device="").arguments("segment") == ["--progress", "lines"]
