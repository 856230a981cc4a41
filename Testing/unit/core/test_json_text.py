import json
import math

import pytest

from InfantBrainSegLib.core.json_text import read_json_object, to_json


def test_numbers_that_are_not_finite_become_null_wherever_they_stand():
    text = to_json({"a": math.nan, "b": [1.5, (math.inf, {"c": -math.inf})], "d": "NaN", "e": True})
    assert json.loads(text, parse_constant=lambda word: word) == {"a": None, "b": [1.5, [None, {"c": None}]], "d": "NaN", "e": True}


def test_the_text_is_indented_and_ends_with_a_line():
    assert to_json({"a": [1]}) == '{\n  "a": [\n    1\n  ]\n}\n'


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "\x00"])
def test_a_damaged_file_reads_as_empty(tmp_path, text):
    path = tmp_path / "a.json"
    assert read_json_object(path) == {}
    path.write_text(text)
    assert read_json_object(path) == {}
    path.write_text('{"a": 1}')
    assert read_json_object(path) == {"a": 1}
