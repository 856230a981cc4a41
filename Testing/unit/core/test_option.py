import argparse
from dataclasses import dataclass, field

import pytest

from InfantBrainSegLib.core.option import BATCH, PANEL, SEGMENT, add_options, from_arguments, option, options_in, recorded, to_arguments
from InfantBrainSegLib.pipeline.options import SegmentOptions


@dataclass(frozen=True)
class More(SegmentOptions):
    """The options of a segmentation, and three more."""

    smooth_mm: float = option(0.5, "--smooth", "how far", kind=float, minimum=0, unit="mm", metavar="MM")
    loud: bool = option(False, "--loud", "say more", shows=(SEGMENT,), recorded=False)
    inner: list = field(default_factory=list)


def parse(words, place=SEGMENT):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, More, place)
    return from_arguments(More, parser.parse_args(words))


def test_a_field_more_is_on_the_command_line_with_its_default_and_help():
    parser = argparse.ArgumentParser()
    add_options(parser, More, SEGMENT)
    assert "--smooth MM" in parser.format_help()
    assert parse([]) == More()
    assert parse(["--smooth", "2", "--loud", "--no-context"]) == More(smooth_mm=2.0, loud=True, use_context=False)


def test_a_field_more_is_on_the_childs_command_line_where_it_shows():
    chosen = More(smooth_mm=1.25, loud=True, rounds=1, age_months=-0.5)
    assert to_arguments(More(), SEGMENT) == []
    assert to_arguments(chosen, SEGMENT) == ["--age-months=-0.5", "--rounds", "1", "--smooth", "1.25", "--loud"]
    assert parse(to_arguments(chosen, SEGMENT)) == chosen
    assert to_arguments(chosen, BATCH) == ["--rounds", "1", "--smooth", "1.25"]


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "far"])
def test_a_number_out_of_its_range_is_refused_with_what_is_wanted(text):
    with pytest.raises(argparse.ArgumentError, match="wanted a number of mm, 0 or more"):
        parse([f"--smooth={text}"])


def test_options_that_are_made_in_code_are_held_to_the_same_ranges():
    with pytest.raises(ValueError, match="smooth_mm is -1; wanted a number of mm, 0 or more"):
        More(smooth_mm=-1)
    with pytest.raises(ValueError, match="align is on; wanted auto or off"):
        More(align="on")


def test_what_is_not_recorded_and_what_is_no_option_are_told_apart():
    assert {"smooth_mm", "inner", "rounds"} < set(recorded(More()))
    assert not {"loud", "device", "weights_dir"} & set(recorded(More()))
    assert "inner" not in options_in(More)
    assert "loud" not in options_in(More, PANEL)
