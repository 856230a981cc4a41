"""Folders with scans: where they lie, whose they are, and that none stays."""

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import slicer
import stand_in
from InfantBrainSegSlicer.run import temporary, timer
from InfantBrainSegSlicer.run.temporary import RunFolder, sweep_abandoned
from run_helpers import poll_until, temporary_folders


def gone_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def made_by(process_id, name="abc"):
    folder = temporary.temporary_root() / f"InfantBrainSeg-run-{temporary._HOST}-{process_id}-{name}"
    folder.mkdir()
    (folder / "t1.nrrd").write_bytes(b"a scan")
    return folder


def test_folders_lie_where_slicer_has_its_temporary_files_and_say_whose_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(slicer, "app", SimpleNamespace(temporaryPath=str(tmp_path)), raising=False)
    folder = RunFolder()
    assert folder.path.parent == tmp_path
    assert f"-{os.getpid()}-" in folder.path.name
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_dropped_leaves_no_scan_behind(logic, scans):
    logic.command = stand_in.command("hang")
    run = logic.process(*scans, wait=False)
    poll_until(run, "stage 1")
    assert len(temporary_folders()) == 1
    process = run._child._process
    _forget_timers()
    del run
    gc.collect()
    assert process.wait(5) < 0
    assert temporary_folders() == []


def _forget_timers():
    """Let go of what Qt's loop would drive, where an earlier test has started Qt in this process."""
    for driven in list(timer._driven):
        driven._timer.disconnect("timeout()", driven._tick)
    timer._driven.clear()


def test_what_a_slicer_that_is_gone_left_is_swept_and_nothing_else(logic):
    abandoned = made_by(gone_process())
    kept = [made_by(os.getpid()), Path(tempfile.mkdtemp(prefix="InfantBrainSeg-")), made_by(f"{gone_process()}-of-someone")]
    elsewhere = temporary.temporary_root() / f"InfantBrainSeg-run-00000000-{gone_process()}-abc"
    elsewhere.mkdir()
    sweep_abandoned()
    assert not abandoned.exists()
    assert all(path.is_dir() for path in [*kept, elsewhere])


def test_a_temporary_folder_that_is_gone_does_not_stop_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    sweep_abandoned()
