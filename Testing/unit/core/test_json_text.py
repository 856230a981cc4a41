import json
import math

from InfantBrainSegLib.core.json_text import to_json


def test_numbers_that_are_not_finite_become_null_wherever_they_stand():
    text = to_json({"a": math.nan, "b": [1.5, (math.inf, {"c": -math.inf})], "d": "NaN", "e": True})
    assert json.loads(text, parse_constant=lambda word: word) == {"a": None, "b": [1.5, [None, {"c": None}]], "d": "NaN", "e": True}


def test_the_text_is_indented_and_ends_with_a_line():
    assert to_json({"a": [1]}) == '{\n  "a": [\n    1\n  ]\n}\n'
