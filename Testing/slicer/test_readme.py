import re

import pytest
import slicer
from InfantBrainSegSlicer.logic import SceneLogic
from panel_driver import opened_panel
from stand_in import ROOT
from stand_in import command as stand_in


def console_snippet():
    text = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    return next(code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "InfantBrainSegLogic" in code)


@pytest.mark.usefixtures("scene")
def test_the_usage_pages_snippet_for_the_python_console_runs(tmp_path, monkeypatch, capsys):
    with opened_panel(tmp_path / "temporary", monkeypatch):
        monkeypatch.setattr(SceneLogic, "command", stand_in("good"))
        exec(compile(console_snippet(), "usage.md", "exec"), {})
    told = capsys.readouterr().out
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert [line.split(" ml")[0] for line in told.splitlines() if line.endswith(" ml") and line.startswith("White matter")]
