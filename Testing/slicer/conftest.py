import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "InfantBrainSeg"), str(ROOT), str(ROOT / "Testing" / "unit"), str(Path(__file__).parent)]

import mrml  # noqa: E402


@pytest.fixture
def scene(tmp_path):
    """A fresh real scene, also as `slicer.mrmlScene`."""
    cache = tmp_path / "cache"
    cache.mkdir()
    scene = mrml.new_scene(cache)
    yield scene
    scene.Clear(True)
