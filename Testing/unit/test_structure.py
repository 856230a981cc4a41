"""The house stays as it is: light imports, complete packaging, a README whose commands exist, one place for label numbers."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from InfantBrainSegLib.cli.main import build_parser
from InfantBrainSegLib.core.labels import TISSUES

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "InfantBrainSegLib"
MODULE = ROOT / "InfantBrainSeg"
PANEL = sorted(path.relative_to(MODULE) for path in MODULE.rglob("*.py"))
MODULES = sorted(path.relative_to(LIBRARY) for path in LIBRARY.rglob("*.py"))


def imported_by(code):
    """Which of the heavy packages a fresh interpreter holds after running some code."""
    script = f"{code}\nimport sys\nprint(*[name for name in ('torch', 'vtk', 'vtkmodules', 'slicer', 'qt') if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()


def test_importing_the_library_and_building_the_command_line_pull_in_nothing_heavy():
    assert imported_by("import InfantBrainSegLib.__main__, InfantBrainSegLib.cli.main as m; m.build_parser()") == []


def test_importing_the_whole_way_pulls_in_neither_vtk_nor_slicer():
    assert imported_by("import InfantBrainSegLib.pipeline.segmenter") == ["torch"]


def syntax_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path):
    """Modules that a file imports, relative ones with their dots."""
    nodes = list(ast.walk(syntax_of(path)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {"." * node.level + (node.module or "") for node in nodes if isinstance(node, ast.ImportFrom)}


def test_no_module_imports_slicer_or_qt_and_inference_never_imports_training():
    assert MODULES
    for module in MODULES:
        names = imports_of(LIBRARY / module)
        assert not {name.split(".")[0] for name in names} & {"slicer", "qt", "ctk"}, module
        if module.parts[0] not in ("training", "cli"):
            assert not [name for name in names if "training" in name], module


def test_no_file_of_the_slicer_module_imports_torch():
    assert PANEL
    assert [str(file) for file in PANEL if "torch" in {name.split(".")[0] for name in imports_of(MODULE / file)}] == []


def test_slicer_finds_one_module_in_the_folder_that_it_scans():
    assert [path.name for path in MODULE.glob("*.py")] == ["InfantBrainSeg.py"]


@pytest.mark.parametrize("folder", [LIBRARY, MODULE], ids=lambda folder: folder.name)
def test_the_cmake_lists_name_exactly_the_files_on_disk(folder):
    text = (folder / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = [word for block in re.findall(r"set\(\w+\s([^)]*)\)", text) for word in block.split()]
    on_disk = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != "CMakeLists.txt"]
    kept = [path.as_posix() for path in on_disk if not any(part == "__pycache__" or part.startswith(".") for part in path.parts)]
    assert sorted(listed) == sorted(kept)


def test_the_top_cmake_file_adds_both_modules():
    added = re.findall(r"add_subdirectory\((\w+)\)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert added == [MODULE.name, LIBRARY.name]


def readme_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = [block for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if not language]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_every_command_of_the_readme_is_understood():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    ours = 0
    for command in readme_commands():
        words = shlex.split(command)
        if words[0] == "make":
            assert words[1] in targets, command
        elif words[:3] == ["python", "-m", "InfantBrainSegLib"] or words[0] == "infantbrainseg":
            build_parser().parse_args(words[3 if words[0] == "python" else 1 :])
            ours += 1
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file(), command
        else:
            assert words[:2] == ["pip", "install"], command
    assert ours >= 4


def test_every_file_that_the_readme_names_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_no_text_of_the_project_names_a_path_of_one_machine():
    texts = [
        *LIBRARY.rglob("*.py"),
        *LIBRARY.rglob("*.json"),
        *MODULE.rglob("*.py"),
        *MODULE.rglob("*.ui"),
        ROOT / "README.md",
        ROOT / "Makefile",
        ROOT / "CMakeLists.txt",
    ]
    assert [path.name for path in texts if re.search(r"/(work|home|root|Users)/", path.read_text(encoding="utf-8"))] == []


def test_iseg_label_numbers_appear_in_labels_alone():
    numbers = {tissue.iseg_value for tissue in TISSUES if tissue.iseg_value > 100}
    assert numbers
    for module in MODULES:
        compared = [node for node in ast.walk(syntax_of(LIBRARY / module)) if isinstance(node, ast.Compare)]
        constants = {value.value for node in compared for value in ast.walk(node) if isinstance(value, ast.Constant)}
        assert module.name == "labels.py" or not constants & numbers, module
