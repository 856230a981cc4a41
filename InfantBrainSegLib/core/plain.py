"""Frozen dataclasses of plain values, as JSON gives them, with each value's type checked."""

import math
import types
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_LONGEST = 60  # characters of a value in a message
_WANTED = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "null"}


def from_plain(kind: type[T], given: Any, name: str) -> T:
    """Make a dataclass of plain values; fields that are absent keep their defaults.

    Parameters
    ----------
    kind : type
        A dataclass of text, numbers, truth values, tuples of these, and dataclasses of the like.
    given : object
        What JSON gave.
    name : str
        What messages call it.

    Returns
    -------
    kind

    Raises
    ------
    ValueError
        If it is no object, names a field that does not exist, or a value is of another type than its field.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if not isinstance(given, dict):
        raise ValueError(f"{name} is {_shown(given)}; wanted a JSON object with some of {', '.join(known)}.")
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        raise ValueError(f"{name} holds {', '.join(unknown[:5])}; wanted some of {', '.join(known)}: correct or remove what is unknown.")
    hints = get_type_hints(kind)
    return kind(**{key: _value(hints[key], value, key) for key, value in given.items()})


def _value(hint: Any, given: Any, name: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, given, name)
    if get_origin(hint) is tuple and isinstance(given, (list, tuple)) and all(_fits(get_args(hint)[0], one) for one in given):
        return tuple(given)
    if not _fits(hint, given):
        raise ValueError(f"{name} is {_shown(given)}; wanted {_wanted(hint)}.")
    return given


def _fits(hint: Any, given: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(one, given) for one in get_args(hint))
    if hint is float:
        return isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given)
    if hint is int:
        return isinstance(given, int) and not isinstance(given, bool)
    return get_origin(hint) is None and isinstance(given, hint)


def _wanted(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list, each {_wanted(get_args(hint)[0])}"
    if get_args(hint):
        return " or ".join(_wanted(one) for one in get_args(hint))
    return _WANTED[hint]


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
