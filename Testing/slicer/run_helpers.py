"""Helpers that watch a run in progress and what it leaves behind."""

import json
import tempfile
import time
from pathlib import Path

import mrml
import slicer


def poll_to_end(run, seconds=30):
    deadline = time.monotonic() + seconds
    while run.poll():
        assert time.monotonic() < deadline, "the run does not end"
        time.sleep(0.02)
    return run


def poll_until(run, step, seconds=30):
    deadline = time.monotonic() + seconds
    while run.step != step:
        assert run.poll(), run.message
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ids(scene):
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]


def echoed_words(run):
    """The arguments that the stand-in printed into the log."""
    lines = (line.split("  ", 1)[1] for line in Path(run.logPath).read_text(encoding="utf-8").splitlines())
    return next(json.loads(line) for line in lines if line.startswith("["))


def temporary_folders():
    return [path for path in Path(tempfile.gettempdir()).iterdir() if path.is_dir()]


def middle_voxel_mm(scan):
    """Where the voxel that the stand-in has doubts about lies in the world."""
    k, j, i = (size // 2 for size in slicer.util.arrayFromVolume(scan).shape)
    return mrml.world_points_mm(scan)[k, j, i]
