"""How a run ends before its time, and what it leaves: nothing."""

import sys
import tempfile
import time
from pathlib import Path

import mrml
import numpy as np
import phantoms
import pytest
import stand_in
from InfantBrainSegSlicer.logic import SegmentParameters
from InfantBrainSegSlicer.run import tasks
from InfantBrainSegSlicer.run.run import CANCELLED, FAILED, FINISHED
from run_helpers import ids, poll_to_end, poll_until, temporary_folders

from InfantBrainSegLib.core.errors import InfantBrainSegError

FAILURES = {
    "abort": ("SIGKILL", "terminate called"),
    "traceback": ("exit code 1", "something unforeseen"),
    "refuse": ("T1 'T1' has no brain",),
    "no torch": ("install the PyTorch extension",),
    "empty": ("no readable report",),
    "shifted": ("another grid than T1's",),
}


@pytest.mark.parametrize(("mode", "told"), FAILURES.items(), ids=FAILURES)
def test_a_child_that_fails_is_reported_in_one_line_and_leaves_the_scene_as_it_was(logic, scene, scans, mode, told):
    logic.command = stand_in.command(mode)
    before = ids(scene)
    run = poll_to_end(logic.process(*scans, wait=False))
    assert run.state == FAILED
    for text in told:
        assert text in run.message
    assert "\n" not in run.message
    assert ids(scene) == before
    assert temporary_folders() == []
    with pytest.raises(InfantBrainSegError, match=told[0].replace("(", r"\(")):
        logic.process(*scans)
    assert ids(scene) == before


def test_cancel_in_the_middle_ends_the_stubborn_tree_within_two_seconds_and_leaves_the_scene(logic, scene, scans):
    logic.command = stand_in.command("hang")
    before = ids(scene)
    run = logic.process(*scans, wait=False)
    poll_until(run, "stage 1")
    pids = [int(word) for word in Path(run.logPath).read_text(encoding="utf-8").split("pids ")[1].splitlines()[0].split()]
    started = time.monotonic()
    run.cancel()
    assert time.monotonic() - started < 2
    assert (run.state, run.message) == (CANCELLED, "Cancelled; the scene is as it was before.")
    assert not run.poll()
    assert ids(scene) == before
    assert temporary_folders() == []
    if sys.platform == "linux":
        deadline = time.monotonic() + 1
        while any(_lives(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert [pid for pid in pids if _lives(pid)] == []


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_run_says_in_one_line_how_it_goes(logic, scans):
    run = logic.process(*scans)
    assert repr(run) == f"<Run finished after {run.seconds:.0f} s; log {run.logPath}>"
    logic.command = stand_in.command("hang")
    run = logic.process(*scans, wait=False)
    poll_until(run, "stage 1")
    assert "running after" in repr(run)
    assert "'stage 1' 30%" in repr(run)
    run.cancel()
    assert "cancelled after" in repr(run)
    assert run.message in repr(run)


def test_cancelling_twice_or_after_the_end_changes_nothing(logic, scans):
    run = logic.process(*scans)
    run.cancel()
    assert run.state == FINISHED


def test_a_callback_may_cancel(logic, scene, scans):
    before = ids(scene)
    runs = []
    run = logic.process(*scans, progress=lambda step, fraction: fraction > 0.5 and runs[0].cancel(), wait=False)
    runs.append(run)
    assert poll_to_end(run).state == CANCELLED
    assert ids(scene) == before


def test_a_callback_that_fails_ends_the_child(logic, scene, scans):
    def fail(step, fraction):
        raise KeyError("broken panel")

    before = ids(scene)
    with pytest.raises(KeyError, match="broken panel"):
        logic.process(*scans, progress=fail)
    assert ids(scene) == before
    assert temporary_folders() == []


@pytest.mark.parametrize("which", ["T1", "T2", "segmentation", "table", "mask"])
def test_a_node_that_is_deleted_during_the_run_ends_it_with_a_message(logic, scene, scans, which):
    logic.command = stand_in.command("hang")
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Out")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Table")
    mask = mrml.volume_node(phantoms.draw(phantoms.grid((5.0, 5.0, 5.0))), "Mask", "vtkMRMLLabelMapVolumeNode")
    run = logic.process(*scans, segmentation, tableNode=table, parameters=SegmentParameters(maskNode=mask), wait=False)
    poll_until(run, "stage 1")
    node = {"T1": scans[0], "T2": scans[1], "segmentation": segmentation, "table": table, "mask": mask}[which]
    name = node.GetName()
    scene.RemoveNode(node)
    before = ids(scene)
    assert not run.poll()
    assert run.state == CANCELLED
    assert f"'{name}' left the scene during the run" in run.message
    assert ids(scene) == before
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 0


def test_a_scene_that_is_closed_during_the_run_ends_it(logic, scene, scans):
    logic.command = stand_in.command("hang")
    run = logic.process(*scans, wait=False)
    poll_until(run, "stage 1")
    scene.Clear(False)
    before = ids(scene)
    assert not run.poll()
    assert run.state == CANCELLED
    assert "'T1' left the scene" in run.message
    assert ids(scene) == before


def test_a_node_that_leaves_after_the_childs_end_and_before_the_import_is_noticed(logic, scene, scans):
    run = logic.process(*scans, wait=False)
    while run._child.exit_code is None:
        time.sleep(0.02)
    scene.RemoveNode(scans[0])
    assert not run.poll()
    assert run.state == CANCELLED
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None


def test_a_transform_that_changes_during_the_run_carries_the_result_along(logic, scene, scans):
    transform = mrml.linear_transform(np.diag([1.0, -1.0, -1.0, 1.0]))
    run = logic.process(*scans, wait=False)
    scans[0].SetAndObserveTransformNodeID(transform.GetID())
    poll_to_end(run)
    assert run.segmentationNode.GetParentTransformNode() is transform


def test_an_import_that_breaks_is_reported_with_its_traceback_in_the_log(logic, scene, scans, monkeypatch):
    def fail(*_):
        raise RuntimeError("no idea")

    monkeypatch.setattr(tasks, "import_outcome", fail)
    before = ids(scene)
    run = poll_to_end(logic.process(*scans, wait=False))
    assert run.state == FAILED
    assert "could not be put into the scene (no idea)" in run.message
    assert "RuntimeError: no idea" in Path(run.logPath).read_text(encoding="utf-8")
    assert ids(scene) == before


def test_a_temporary_folder_that_can_not_be_written_is_reported_before_the_run(logic, scene, scans, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(blocked))
    before = ids(scene)
    with pytest.raises(InfantBrainSegError, match=r"temporary folder .*cannot be written.*free some space"):
        logic.process(*scans, wait=False)
    assert ids(scene) == before


def test_a_disk_that_is_full_is_reported_and_leaves_nothing_behind(logic, scene, scans):
    resource = pytest.importorskip("resource", reason="Windows has no file size limit to stand for a full disk")
    before, limits = ids(scene), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(InfantBrainSegError, match=r"temporary folder .*cannot be written.*free some space"):
            logic.process(*scans, wait=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert ids(scene) == before
    assert temporary_folders() == []


def test_a_python_that_can_not_be_started_leaves_nothing_behind(logic, scene, scans, tmp_path):
    logic.command = [str(tmp_path / "PythonSlicer")]
    with pytest.raises(InfantBrainSegError, match="could not be started"):
        logic.process(*scans, wait=False)
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
