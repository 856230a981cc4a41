"""A choice says itself how a person gives it: argparse, the panel and the child's command line are derived from an options dataclass."""

import argparse
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

SEGMENT, BATCH, PANEL = "segment", "batch", "panel"
_KEY = "option"


@dataclass(frozen=True)
class Option:
    """What a field of an options dataclass is to a person.

    Attributes
    ----------
    flag : str
        On the command line. Of a field that is true or false it gives the other value than the default.
    help : str
    shows : tuple of str
        Where it may be chosen: "segment", "batch", "panel".
    kind : type
        str, int, float or bool.
    choices : tuple
        Empty: any value.
    minimum : float or None
        None: any number that is finite.
    unit, metavar : str
    panel : str
        Its name in the panel where that is not the field's in camel case.
    switch : tuple of two values or None
        The panel shows a check box: the values when it is on and off.
    recorded : bool
        Part of what made a result: the report names it, and a batch segments again what was made with another value.
    """

    flag: str
    help: str
    shows: tuple[str, ...] = (SEGMENT, BATCH, PANEL)
    kind: type = str
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    unit: str = ""
    metavar: str | None = None
    panel: str = ""
    switch: tuple[Any, Any] | None = None
    recorded: bool = True

    @property
    def wanted(self) -> str:
        """Say which values it takes."""
        if self.choices:
            *first, last = map(str, self.choices)
            return f"{', '.join(first)} or {last}"
        number = "a whole number" if self.kind is int else "a number"
        return number + (f" of {self.unit}" if self.unit else "") + ("" if self.minimum is None else f", {self.minimum:g} or more")

    def allows(self, value: Any) -> bool:
        """Whether it takes a value; one that is not given is always taken."""
        if value is None:
            return True
        if self.choices:
            return value in self.choices
        if self.kind in (int, float):
            return math.isfinite(value) and (self.minimum is None or value >= self.minimum)
        return True

    def read(self, text: str) -> Any:
        """Take a word of the command line.

        Raises
        ------
        argparse.ArgumentTypeError
        """
        try:
            value = self.kind(text)
        except ValueError:
            value = None
        if value is None or not (self.choices or self.allows(value)):
            raise argparse.ArgumentTypeError(f"'{text}' given; wanted {self.wanted}")
        return value


def option(default: Any, flag: str, help: str, **facts: Any) -> Any:
    """Make a dataclass field that is an `Option`.

    Parameters
    ----------
    default, flag, help : as in `Option`
    facts : more of its attributes
    """
    if isinstance(default, bool):
        facts["kind"] = bool
    return field(default=default, metadata={_KEY: Option(flag, help, **facts)})


def options_in(options: Any, place: str = "") -> dict[str, Option]:
    """Give the options of a dataclass or its instance by field: all, or those that may be chosen in one place."""
    found = {item.name: item.metadata[_KEY] for item in fields(options) if _KEY in item.metadata}
    return {name: fact for name, fact in found.items() if not place or place in fact.shows}


def defaults(options: Any) -> Mapping[str, Any]:
    """Give the default of each option of a dataclass."""
    return {item.name: item.default for item in fields(options) if _KEY in item.metadata}


def add_options(parser: argparse.ArgumentParser, options: type, place: str, only: tuple[str, ...] = ()) -> None:
    """Add to a parser the options that show in one place, or of these only some fields."""
    for name, fact in options_in(options, place).items():
        if only and name not in only:
            continue
        default = defaults(options)[name]
        if fact.kind is bool:
            parser.add_argument(fact.flag, action="store_const", const=not default, default=default, dest=name, help=fact.help)
        else:
            choices = fact.choices or None
            parser.add_argument(
                fact.flag, type=fact.read, choices=choices, default=default, dest=name, metavar=fact.metavar, help=fact.help
            )


def from_arguments(options: type, arguments: argparse.Namespace) -> Any:
    """Make an options dataclass of what was parsed; an option that the command does not have keeps its default."""
    return options(**{name: getattr(arguments, name) for name in options_in(options) if hasattr(arguments, name)})


def to_arguments(options: Any, place: str) -> list[str]:
    """Give the words of the command line that `from_arguments` reads as these options; defaults need none."""
    given: list[str] = []
    for name, fact in options_in(options, place).items():
        value = getattr(options, name)
        if value == defaults(options)[name]:
            continue
        text = "" if fact.kind is bool else f"{value:g}" if isinstance(value, float) else str(value)
        if fact.kind is bool:
            given.append(fact.flag)
        elif text.startswith("-"):  # not to be taken for an option
            given.append(f"{fact.flag}={text}")
        else:
            given += [fact.flag, text]
    return given


def recorded(options: Any) -> dict[str, Any]:
    """Give what made a result: every field but the options that are not recorded."""
    facts = options_in(options)
    return {name: value for name, value in asdict(options).items() if name not in facts or facts[name].recorded}
