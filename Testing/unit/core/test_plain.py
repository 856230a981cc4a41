from dataclasses import dataclass, field

import pytest

from InfantBrainSegLib.core.plain import from_plain


@dataclass(frozen=True)
class Inner:
    clip_mm: float | None = 10.0


@dataclass(frozen=True)
class Outer:
    name: str = ""
    count: int = 1
    rate: float = 0.5
    fast: bool = False
    shares: tuple[float, ...] = ()
    inner: Inner = field(default_factory=Inner)


def test_plain_values_become_the_dataclass_and_absent_ones_their_defaults():
    given = {"count": 2, "rate": 1, "shares": [0.5, 1], "inner": {"clip_mm": None}}
    assert from_plain(Outer, given, "it") == Outer(count=2, rate=1, shares=(0.5, 1), inner=Inner(None))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], r"it is \[\]; wanted a JSON object"),
        ({"colour": 1}, r"it holds colour; wanted some of name, count"),
        ({"name": 3}, "name is 3; wanted text"),
        ({"count": "two"}, "count is 'two'; wanted a whole number"),
        ({"count": 2.0}, "count is 2.0; wanted a whole number"),
        ({"count": True}, "count is True; wanted a whole number"),
        ({"rate": float("nan")}, "rate is nan; wanted a number"),
        ({"rate": None}, "rate is None; wanted a number"),
        ({"fast": 1}, "fast is 1; wanted true or false"),
        ({"shares": 1}, "shares is 1; wanted a list, each a number"),
        ({"shares": [1, "x"]}, r"shares is \[1, 'x'\]; wanted a list, each a number"),
        ({"inner": 7}, "inner is 7; wanted a JSON object"),
        ({"inner": {"clip_mm": []}}, r"clip_mm is \[\]; wanted a number or null"),
    ],
)
def test_a_value_of_another_type_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        from_plain(Outer, given, "it")


def test_a_long_value_is_shown_in_part():
    with pytest.raises(ValueError, match=r"\.\.\.; wanted a whole number") as error:
        from_plain(Outer, {"count": "9" * 10_000}, "it")
    assert len(str(error.value)) < 120
