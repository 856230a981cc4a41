import subprocess
import sys
from pathlib import Path

import pytest

from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.core import versions
from InfantBrainSegLib.core.errors import InfantBrainSegError


def installed(monkeypatch, torch, numpy):
    def version(package):
        found = {"torch": torch, "numpy": numpy}[package]
        if found is None:
            raise versions.metadata.PackageNotFoundError(package)
        return found

    monkeypatch.setattr(versions.metadata, "version", version)


@pytest.mark.parametrize("torch", ["2.2.2", "2.2.2+cu121", "2.2.0a0+git1"])
@pytest.mark.parametrize("numpy", ["2.0.0", "2.4.6", "2.5.0rc1"])
def test_a_torch_built_for_numpy_1_is_refused_beside_numpy_2_in_one_line_with_the_remedy(torch, numpy, monkeypatch, capsys, tmp_path):
    installed(monkeypatch, torch, numpy)
    with pytest.raises(InfantBrainSegError, match=r"built for numpy 1 .* wanted numpy 1 or torch 2.3 or newer: .*pip install"):
        versions.check_torch_and_numpy()
    assert main(["segment", "--t1", str(tmp_path / "T1.nii"), "--output-dir", str(tmp_path / "out")]) == 2
    assert main(["devices"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.count("Error: torch 2.2")) == ("", 2, 2)


@pytest.mark.parametrize(
    ("torch", "numpy"), [("2.2.2", "1.26.4"), ("2.3.0", "2.0.0"), ("2.13.0+cpu", "2.4.6"), ("3.0", "3.0"), (None, "2.0"), ("2.2.2", None)]
)
def test_all_others_are_let_pass(torch, numpy, monkeypatch):
    installed(monkeypatch, torch, numpy)
    versions.check_torch_and_numpy()


def test_a_python_that_is_too_old_gets_one_line(tmp_path):
    code = f"import sys, runpy; sys.version_info = (3, 9, 0); sys.path.insert(0, {str(Path.cwd())!r})\n"
    code += "runpy.run_module('InfantBrainSegLib', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: this is Python 3.9; wanted Python 3.10 or newer: run it with another one.\n"
