"""What users read stands in one file, and it is the file of today's code."""

import re

import pytest

from Testing.extract_messages import CATALOGUE, catalogue, texts_of


def test_the_catalogue_of_messages_is_up_to_date():
    assert CATALOGUE.read_text(encoding="utf-8") == catalogue(), "run python -m Testing.extract_messages and read what changed"


def test_no_message_has_a_word_that_the_style_forbids():
    messages = re.findall(r'^msgid "(.*)"$', CATALOGUE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(messages) > 300
    unwanted = [text for text in messages if re.search(r"\b(can not|DOC|words?|told|climb|painted)\b", text)]
    assert unwanted == ["Table 1. DOC, ASD and MHD with context information, {count}"]  # as in the paper


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ('"""Not this docstring of mine."""\nx = "nor this"\n', set()),
        ('raise E(f"{a.b:g} voxels are empty; " "check the file.")', {"{a.b} voxels are empty; check the file."}),
        ('_("Pass")\np.add_argument("--x", help="how many")', {"Pass", "how many"}),
    ],
)
def test_messages_are_found_by_what_they_are(source, wanted):
    assert texts_of(source) == wanted
