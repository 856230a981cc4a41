import tempfile

import mrml
import phantoms
import pytest
from stand_in import command as stand_in


@pytest.fixture
def scene(tmp_path):
    """A fresh real scene, also as `slicer.mrmlScene`."""
    cache = tmp_path / "cache"
    cache.mkdir()
    scene = mrml.new_scene(cache)
    yield scene
    scene.Clear(True)


@pytest.fixture
def logic(scene, tmp_path, monkeypatch):
    """The module's logic with the stand-in child, and temporary files where the test can look at them."""
    from InfantBrainSegSlicer.logic import SceneLogic

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    logic = SceneLogic()
    logic.command = stand_in("good")
    return logic


@pytest.fixture
def scans(scene):
    """T1 and T2 of the lopsided brain on one coarse grid, in the scene."""
    grid = phantoms.grid((2.5, 2.0, 3.0))
    return tuple(
        mrml.volume_node(phantoms.draw(grid, levels), name) for name, levels in (("T1", phantoms.T1_LEVELS), ("T2", phantoms.T2_LEVELS))
    )
