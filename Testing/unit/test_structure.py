"""The house stays as it is: light imports, complete packaging, one place for label numbers."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from InfantBrainSegLib.core.labels import TISSUES

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "InfantBrainSegLib"
MODULE = ROOT / "InfantBrainSeg"
PANEL = sorted(path.relative_to(MODULE) for path in MODULE.rglob("*.py"))
MODULES = sorted(path.relative_to(LIBRARY) for path in LIBRARY.rglob("*.py"))


HEAVY = ("torch", "vtk", "vtkmodules", "slicer", "qt")


def imported_by(code, packages=HEAVY):
    """Which of the packages a fresh interpreter holds after running some code."""
    script = f"{code}\nimport sys\nprint(*[name for name in {packages} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("argv", [["--help"], ["segment", "--rounds", "9"], ["dance"]])
def test_help_and_wrong_options_import_nothing_heavy(argv):
    code = "import contextlib, os, sys, InfantBrainSegLib.cli.main as m\nout, sys.stdout = sys.stdout, open(os.devnull, 'w')\n"
    code += f"with contextlib.suppress(SystemExit):\n    m.main({argv})\nsys.stdout = out"
    assert imported_by(code, (*HEAVY, "numpy", "scipy", "SimpleITK")) == []


def test_importing_the_options_and_the_contract_pulls_in_nothing_heavy():
    code = "import InfantBrainSegLib.pipeline.options, InfantBrainSegLib.core.contract"
    assert imported_by(code, (*HEAVY, "numpy", "scipy", "SimpleITK")) == []


def test_importing_the_whole_way_pulls_in_neither_vtk_nor_slicer():
    assert imported_by("import InfantBrainSegLib.outputs.result_files") == ["torch"]


def test_no_module_of_the_library_imports_slicer_or_qt():
    assert [module for module in MODULES if {name.split(".")[0] for name in imports_of(LIBRARY / module)} & {"slicer", "qt", "ctk"}] == []


ROOMS = ("scene", "run", "panel")  # each may call those before it
FROM_THE_LIBRARY = (
    "pipeline.options",
    "checks",
    "core",
    "evaluation",
    "imaging",
    "outputs.html_report",
    "outputs.overview",
    "pipeline.volumes",
    "preparation",
)  # as the docstring of InfantBrainSegSlicer says


def test_the_slicer_module_keeps_its_rooms_and_imports_of_the_library_only_what_its_docs_name():
    wrong = []
    for file in PANEL:
        for node in ast.walk(ast.parse((MODULE / file).read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            names = (node.module or "").split(".")
            room = file.parts[1] if len(file.parts) == 3 else None
            if node.level == 2 and room and (names[0] not in ROOMS or ROOMS.index(names[0]) > ROOMS.index(room)):
                wrong.append(f"{file}: {node.module}")
            if names[0] == "InfantBrainSegLib" and len(names) > 1 and not {names[1], ".".join(names[1:])} & set(FROM_THE_LIBRARY):
                wrong.append(f"{file}: {node.module}")
    assert wrong == []


def imports_of(path):
    """Every module that a file imports, relative ones with their dots."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {"." * node.level + (node.module or "") for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_no_file_of_the_slicer_module_imports_torch():
    assert [file for file in PANEL if "torch" in {name.split(".")[0] for name in imports_of(MODULE / file)}] == []


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


def test_no_text_of_the_project_names_a_path_of_one_machine():
    texts = [
        *LIBRARY.rglob("*.py"),
        *LIBRARY.rglob("*.json"),
        *MODULE.rglob("*.py"),
        *MODULE.rglob("*.ui"),
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        ROOT / "Makefile",
        ROOT / "CMakeLists.txt",
    ]
    assert [path.name for path in texts if re.search(r"/(work|home|root|Users)/", path.read_text(encoding="utf-8"))] == []


def test_iseg_label_numbers_appear_in_labels_alone():
    iseg = {tissue.iseg_value for tissue in TISSUES if tissue.iseg_value > 100}
    for module in MODULES:
        compared = [node for node in ast.walk(ast.parse((LIBRARY / module).read_text(encoding="utf-8"))) if isinstance(node, ast.Compare)]
        constants = {value.value for node in compared for value in ast.walk(node) if isinstance(value, ast.Constant)}
        assert module.name == "labels.py" or not constants & iseg, module


REGISTER = """
import sys, types
from unittest.mock import MagicMock
class Base: pass
for name in ("slicer", "slicer.i18n", "slicer.util", "slicer.parameterNodeWrapper", "slicer.ScriptedLoadableModule", "qt", "vtk"):
    sys.modules[name] = MagicMock(name=name)
for name in ("", "Logic", "Test", "Widget"):
    setattr(sys.modules["slicer.ScriptedLoadableModule"], "ScriptedLoadableModule" + name, type(name, (), {}))
sys.modules["slicer.util"].VTKObservationMixin = type("Mixin", (), {})
sys.path[:0] = ["InfantBrainSeg"]
"""


def test_registering_the_module_in_slicer_imports_nothing_heavy():
    heavy = ("numpy", "SimpleITK", "scipy", "torch", "vtk.util", "vtk.util.numpy_support", "PyTorchUtils")
    assert imported_by(f"{REGISTER}\nimport InfantBrainSeg", heavy) == []


def test_an_old_python_gets_one_clear_line():
    code = f"{REGISTER}\nsys.version_info = (3, 9, 10)\nimport InfantBrainSeg"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "needs Python 3.10 or newer: install 3D Slicer 5.12 or newer." in ended.stderr.splitlines()[-1]
    ast.parse((MODULE / "InfantBrainSeg.py").read_text(encoding="utf-8"), feature_version=(3, 9))
