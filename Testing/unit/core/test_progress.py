import io
import json

from InfantBrainSegLib.core.progress import JsonLines, TerminalBar, part_of


def test_lines_are_printed_for_new_steps_and_whole_percents_alone():
    stream = io.StringIO()
    progress = JsonLines(stream)
    for step, fraction in (("read", 0.0), ("read", 0.001), ("read", 0.01), ("prepare", 0.01), ("prepare", 1.2)):
        progress(step, fraction)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["step"], line["progress"]) for line in lines] == [("read", 0.0), ("read", 0.01), ("prepare", 0.01), ("prepare", 1.0)]


def test_the_bar_is_one_line_that_fits_80_columns_and_is_ended_once():
    stream = io.StringIO()
    bar = TerminalBar(stream)
    bar("stage 1", 0.5)
    bar("stage 1", 0.5)
    bar.close()
    bar.close()
    assert stream.getvalue().count("\r") == 1
    assert stream.getvalue().count("\n") == 1
    assert "#" * 15 + "." * 15 in stream.getvalue()
    assert len(stream.getvalue().strip("\r\n")) < 80


def test_a_part_is_mapped_into_the_whole():
    told = []
    inside = part_of(lambda step, fraction: told.append((step, fraction)), 0.2, 0.6)
    inside("a", 0.0)
    inside("a", 0.5)
    inside("a", 1.0)
    assert told == [("a", 0.2), ("a", 0.4), ("a", 0.6)]
