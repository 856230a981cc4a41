"""All text that a user may read, in one file to read through or to translate.

    python -m Testing.extract_messages     writes docs/messages.pot anew

It takes what stands in `_()`, help texts, the strings of the panel's .ui file, and each other text of three words or more that is no
docstring. What a message fills in stands in braces.
"""

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
CATALOGUE = ROOT / "docs" / "messages.pot"
FOLDERS = ("InfantBrainSegLib", "InfantBrainSeg")
_HEAD = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
_SENTENCE = re.compile(r"[A-Za-z][\w'-]*[,;:]? [\w'(){}.-]+[,;:]? [\w'(){}.-]+")
_NAME = re.compile(r"[a-z]+[A-Z0-9]\w*|flip|.*[\w-]+: [^;]+;.*")  # of a parameter, a node's class, or a style sheet
_PATTERN = re.compile(r"\(\?|\\[dwsW]|\[\^|^<[a-z!]|-{6}")  # a regular expression or markup


def template(node: ast.expr) -> str:
    """Give a string, or an f-string with its expressions in braces; empty for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}" for part in node.values)
    return ""


def texts_of(source: str) -> set[str]:
    """Give the messages of a Python file."""
    tree = ast.parse(source)
    silent, inner, sure = set(), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            silent.add(node.value)
        if isinstance(node, ast.JoinedStr):
            inner.update(part for part in node.values if isinstance(part, ast.Constant))
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id == "_":
                sure.update(node.args)
            sure.update(keyword.value for keyword in node.keywords if keyword.arg == "help")
    found = set()
    for node in ast.walk(tree):
        text = template(node) if isinstance(node, ast.Constant | ast.JoinedStr) and node not in silent | inner else ""
        if text and (node in sure or (_SENTENCE.search(text) and not _PATTERN.search(text))):
            found.add(text)
    return found


def catalogue() -> str:
    """Lay all messages out as a gettext template, by file."""
    entries: dict[str, list[str]] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix == ".py":
                texts = texts_of(path.read_text(encoding="utf-8"))
            elif path.suffix == ".ui":
                strings = [string.text or "" for string in ElementTree.parse(path).iter("string")]
                texts = {text for text in strings if re.search("[a-z]", text) and not _NAME.fullmatch(text)}
            else:
                continue
            for text in sorted(texts):
                entries.setdefault(text, []).append(path.relative_to(ROOT).as_posix())
    blocks = [f'#: {" ".join(places)}\nmsgid {_quoted(text)}\nmsgstr ""\n' for text, places in entries.items()]
    return "\n".join([_HEAD, *blocks])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f'"{escaped}"'


if __name__ == "__main__":
    CATALOGUE.write_text(catalogue(), encoding="utf-8")
