"""The pages tell the truth: commands are understood, links and files exist, lengths hold, figures are those that were stored."""

import ast
import importlib
import json
import re
import shlex
import statistics
from pathlib import Path

import pytest

from InfantBrainSegLib import __version__
from InfantBrainSegLib.cli.main import COMMANDS, build_parser, with_command
from Testing.benchmarks import __main__ as benchmarks

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
BENCHMARKS = ROOT / "Testing" / "benchmarks"
RESULTS = BENCHMARKS / "results"
LONGEST_IN_WORDS = {"README.md": 900, "MODEL_CARD.md": 1200}
PLACES = {"FOLDER", "OUT"}
TISSUES = ("CSF", "GM", "WM")
UNWANTED = {
    "can not": "cannot",
    "DOC": "Dice",
    "script not kept": "no figure without a command",
    "last row but": "name the version",
    "method.md": "not in the repository",
}


def blocks(page, language=""):
    """The code blocks of a page: those without a language hold commands."""
    return [block for name, block in re.findall(r"^```(\w*)\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE) if name == language]


def commands():
    for page in PAGES:
        for block in blocks(page):
            for line in block.replace("\\\n", " ").splitlines():
                if command := line.split("#")[0].strip():
                    yield page, command


def test_every_command_of_the_pages_is_understood():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    seen = set()
    for page, command in commands():
        words = shlex.split(command)
        if words[0] == "make":
            assert words[1] in targets, (page, command)
        elif words[:3] == ["python", "-m", "InfantBrainSegLib"] or words[0] == "infantbrainseg":
            arguments = build_parser().parse_args(with_command(words[3 if words[0] == "python" else 1 :]))
            seen.add(arguments.command)
        elif words[:3] == ["python", "-m", "Testing.benchmarks"]:
            modules = {**benchmarks.STUDIES, **benchmarks.OTHERS}
            files = ["__main__", modules[words[3]]] if words[3] in benchmarks.STUDIES else [modules[words[3]]]
            source = "".join((BENCHMARKS / f"{name}.py").read_text(encoding="utf-8") for name in files)
            assert [word for word in words[4:] if word.startswith("--") and f'"{word}"' not in source] == [], (page, command)
        else:
            assert words[:2] == ["pip", "install"], (page, command)
    assert seen == {command.__name__.rpartition(".")[2].replace("_", "-") for command in COMMANDS}


def test_every_file_that_a_command_of_the_repository_names_exists():
    named = {word for _, command in commands() for word in shlex.split(command) if word.startswith(("InfantBrainSeg", "Testing/"))}
    assert [word for word in named if "/" in word and not (ROOT / word).exists()] == []


def test_every_python_block_imports_what_exists():
    for page in PAGES:
        for block in blocks(page, "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("InfantBrainSegLib"):
                    module = importlib.import_module(node.module)
                    assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], page


def anchors(text):
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_leads_to_a_file_and_its_section():
    wrong, count = [], 0
    for page, text in PAGES.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in link:
                continue
            count += 1
            path, _, anchor = link.partition("#")
            target = (ROOT / page).parent / path if path else ROOT / page
            if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
                wrong.append((page, link))
    assert wrong == []
    assert count > 50


def test_every_file_named_in_code_type_exists():
    """A name with a folder, such as `checks/input_checks.py`, lies in the repository, in the library or in the Slicer module."""
    places = (ROOT, ROOT / "InfantBrainSegLib", ROOT / "InfantBrainSeg" / "InfantBrainSegSlicer", BENCHMARKS)
    wrong = []
    for page, text in PAGES.items():
        for name in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|md|json|txt|toml|ui))`", text):
            if name.split("/")[0] not in PLACES | {"out", "imaging"} and not any((place / name).exists() for place in places):
                wrong.append((page, name))
    assert wrong == []


def test_every_page_is_linked_from_the_first_one_and_every_picture_is_used():
    linked = set(re.findall(r"\]\(([^)]+)\)", PAGES["README.md"]))
    assert [page for page in PAGES if page.startswith("docs/") and page not in linked] == []
    everything = "".join(PAGES.values())
    pictures = [path.name for path in (ROOT / "Resources").iterdir()]
    assert [name for name in pictures if name not in everything] == []


@pytest.mark.parametrize("page", LONGEST_IN_WORDS)
def test_the_first_page_and_the_card_stay_short(page):
    assert len(PAGES[page].split()) <= LONGEST_IN_WORDS[page]


def test_no_page_has_a_word_that_the_style_forbids():
    found = [(page, word) for page, text in PAGES.items() for word in UNWANTED if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)]
    assert found == []


def test_the_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == __version__
    assert f"## [{__version__}]" in PAGES["CHANGELOG.md"]


def stored(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def cohort(name):
    accuracy = stored("accuracy")
    if name == "newborns":
        return accuracy["newborns"]
    return {subject: scores for subject, scores in accuracy["synthetic"].items() if subject.startswith(name)}


def values(subjects, tissue, key="dice", variant="with context"):
    return [scores[variant][tissue][key] for scores in subjects.values()]


def rows(page, start):
    """The cells of the rows of a page's table that begin so."""
    lines = [line for line in PAGES[page].splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("row", "name", "subjects"),
    [
        ("21 synthetic isointense brains", "adult", 21),
        ("8 synthetic isointense brains", "infant", 8),
        ("10 real newborns", "newborns", 10),
    ],
)
def test_the_first_pages_figures_are_the_stored_ones(row, name, subjects):
    found = cohort(name)
    assert len(found) == subjects
    [cells] = rows("README.md", row)
    wanted = [f"{statistics.mean(values(found, tissue)):.3f}" for tissue in TISSUES]
    if name == "newborns":
        wanted[0] = "not comparable"  # their labels hold CSF in the ventricles alone
    assert cells[1:] == wanted


def test_the_cards_tables_are_the_stored_figures():
    def cell(found, tissue, key, variant="with context"):
        numbers = values(found, tissue, key, variant)
        return f"{statistics.mean(numbers):.3f} ({statistics.stdev(numbers):.3f})"

    def ratio(found, tissue):
        return f"{statistics.mean(values(found, tissue, 'volume_ratio')):.2f}"

    keys = ("dice", "average_surface_distance_mm", "hausdorff95_mm")
    for place, name in enumerate(("adult", "infant")):
        for tissue in TISSUES:
            row = rows("MODEL_CARD.md", f"{tissue} |")[place]
            assert row == [tissue, *(cell(cohort(name), tissue, key) for key in keys), ratio(cohort(name), tissue)]
    newborns = cohort("newborns")
    for tissue in TISSUES[1:]:
        variants = ("with context", "T1 alone", "T2 alone")
        wanted = [tissue, *(cell(newborns, tissue, "dice", variant) for variant in variants), ratio(newborns, tissue)]
        assert rows("MODEL_CARD.md", f"{tissue} |")[2] == wanted
    worst = ", ".join(f"{tissue} {min(values(newborns, tissue)):.3f}" for tissue in TISSUES[1:])
    assert f"Worst newborn: {worst}." in PAGES["MODEL_CARD.md"]


def test_the_card_names_the_bundled_weights():
    manifest = json.loads((ROOT / "InfantBrainSegLib" / "weights" / "manifest.json").read_text(encoding="utf-8"))
    for file, facts in manifest.items():
        [row] = rows("MODEL_CARD.md", f"`{file}`")
        assert row[2] == f"{facts['bytes']:,}"
        assert facts["sha256"].startswith(row[3].strip("`"))


def test_the_tables_of_all_results_are_the_stored_figures():
    text = PAGES["docs/results.md"]
    for name in ("adult", "infant"):
        for tissue in TISSUES:
            numbers = values(cohort(name), tissue)
            assert f"| with context | {tissue} | {statistics.mean(numbers):.3f} ({statistics.stdev(numbers):.3f}) |" in text
