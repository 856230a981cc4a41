"""Docstrings say what annotations do not: shapes, axis order, units, errors, sources."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("InfantBrainSegLib", "InfantBrainSeg") for path in (ROOT / folder).rglob("*.py"))
PATHS = ("str | Path", "str | os.PathLike", "Path")


def sections(docstring):
    """The lines below each underlined title."""
    found, lines = {}, docstring.splitlines()
    title = None
    for index, line in enumerate(lines):
        if re.fullmatch(r"\s*-{3,}\s*", line):
            title = lines[index - 1].strip()
            found[title] = []
        elif title is not None and not re.fullmatch(r"\s*-{3,}\s*", [*lines, ""][index + 1]):
            found[title].append(line)
    return {title: [line for line in lines if line.strip()] for title, lines in found.items()}


def spoken(annotation):
    """How a docstring would put an annotation into words, as it is and in numpy's way."""
    text = ast.unparse(annotation).strip("'\"")
    words = re.sub(r"\b(tuple|list|Sequence|Iterable|Iterator)\[(.+?)(, \.\.\.)?\]", r"\1 of \2", text)
    words = re.sub(r"\b(dict|Mapping)\[.*\]", r"\1", words).replace(" | ", " or ")
    path = ["path", "path, optional"] if text.removesuffix(" | None") in PATHS else []
    bare = [word.removeprefix("Iterator of ") for word in (text, words)]
    return {word.lower() for name in (text, words, *bare) for word in (name, name.removesuffix(" or None") + ", optional")} | set(path)


def repeated(function):
    """The sections of a function's docstring that its annotations say already."""
    found = sections(ast.get_docstring(function) or "")
    result = []
    for title in ("Returns", "Yields"):
        lines = found.get(title, [])
        if function.returns is not None and len(lines) == 1 and lines[0].strip(" .").lower() in spoken(function.returns):
            result.append(title)
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    annotations = {argument.arg: argument.annotation for argument in arguments}
    lines = found.get("Parameters", [])
    said = [line.strip().partition(" : ") for line in lines]
    if lines and all(
        kind and all(annotations.get(name) is not None and kind.lower() in spoken(annotations[name]) for name in names.split(", "))
        for names, _, kind in said
    ):
        result.append("Parameters")
    return result


def test_no_section_of_a_docstring_only_repeats_the_annotations():
    wrong = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                wrong += [f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {title}" for title in repeated(node)]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Returns\n    -------\n    tuple of Check", ["Returns"]),
        ("Returns\n    -------\n    tuple of Check, the worst first", []),
        ("Parameters\n    ----------\n    a : path\n    b : float", ["Parameters"]),
        ("Parameters\n    ----------\n    a : path\n    b : float\n        In mm.", []),
    ],
)
def test_a_bare_section_is_found_and_one_that_says_more_is_not(text, wanted):
    [function] = ast.parse(f'def f(a: str | Path, b: float) -> tuple[Check, ...]:\n    """Do.\n\n    {text}\n    """\n').body
    assert repeated(function) == wanted
