"""Errors tell programs what went wrong by a code, and people by a sentence."""

import pytest

from InfantBrainSegLib.core import errors
from InfantBrainSegLib.core.errors import AlignmentError, ErrorCode, InfantBrainSegError, InputError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, InfantBrainSegError)]


def test_every_kind_has_a_code_of_its_own():
    assert len({kind.code for kind in KINDS}) == len(KINDS)


def test_an_error_may_say_more_closely_what_went_wrong():
    error = InputError("The mask is empty.", ErrorCode.EMPTY_MASK)
    assert (error.code, str(error)) == (ErrorCode.EMPTY_MASK, "The mask is empty.")
    assert InputError("The mask is empty.").code == ErrorCode.INPUT


@pytest.mark.parametrize("part", ["found", "wanted", "remedy"])
def test_an_alignment_error_keeps_its_parts(part):
    error = AlignmentError("a", "b", "c")
    assert error.code == ErrorCode.ALIGNMENT
    assert getattr(error, part) == {"found": "a", "wanted": "b", "remedy": "c"}[part]
