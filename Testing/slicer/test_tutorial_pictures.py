"""The tutorial's pictures: one a step, small, and made by a script that still goes through the panel as the tutorial says."""

import re
from pathlib import Path

import host.pythonqt
import pytest
import tutorial_pictures
from panel_driver import same_modules
from stand_in import command as stand_in

ROOT = Path(__file__).parents[2]
STEPS = re.findall(r"^### \d\. (\w+)$", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8").partition("## Part 2")[0], re.MULTILINE)
NAMES = [f"tutorial_{step.lower()}.jpg" for step in STEPS]


def test_every_step_in_slicer_has_a_small_picture():
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    assert len(STEPS) >= 5
    assert re.findall(r"\(\.\./Resources/(tutorial_\w+\.jpg)\)", text) == NAMES
    assert sorted(path.name for path in (ROOT / "Resources").glob("tutorial_*")) == sorted(NAMES)
    for name in NAMES:
        assert (ROOT / "Resources" / name).stat().st_size <= tutorial_pictures.MAX_BYTES


@pytest.mark.slow
def test_the_script_makes_them_all_and_nothing_goes_wrong_in_the_panel(tmp_path):
    host.start()
    import qt

    with same_modules():
        made = tutorial_pictures.make(tmp_path, stand_in("good"))
    assert host.pythonqt.problems == []
    assert [path.name for path in made] == (NAMES if tutorial_pictures.BROWSER else NAMES[:-1])
    for path in made:
        picture = qt.QImage(str(path))
        assert picture.width() >= 700
        assert len({picture.pixel(x, y) for x in range(0, picture.width(), 20) for y in range(0, picture.height(), 20)}) > 30
