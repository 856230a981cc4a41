"""The choices of the panel are those of the library, and reach it as they were made."""

from dataclasses import fields

import pytest
from InfantBrainSegSlicer.scene import options
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


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(options, "usable_cores", lambda: 2)


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


@pytest.mark.parametrize(("cores", "chosen", "threads"), [(1, 0, 0), (2, 0, 0), (3, 0, 2), (16, 0, 15), (16, 4, 4)])
def test_one_core_stays_free_for_slicer_unless_threads_were_chosen(monkeypatch, cores, chosen, threads):
    monkeypatch.setattr(options, "usable_cores", lambda: cores)
    words = ["segment", *SegmentParameters(threads=chosen).arguments("segment")]
    assert build_parser().parse_args(words).threads == threads
