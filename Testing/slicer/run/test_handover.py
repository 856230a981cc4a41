"""What reaches the child: names that hold in its own folder, whatever letters the folder's path has."""

import tempfile
from pathlib import Path

import pytest
import stand_in
from InfantBrainSegSlicer.logic import SegmentParameters
from run_helpers import echoed_words, poll_to_end, temporary_folders


@pytest.mark.parametrize("check_only", [False, True])
def test_no_absolute_path_reaches_the_child(logic, scans, check_only):
    logic.command = stand_in.command("echo")
    start = logic.checkImages if check_only else logic.process
    words = echoed_words(poll_to_end(start(*scans, parameters=SegmentParameters(saveProbabilities=True), wait=False)))
    assert {"t1.nrrd", "t2.nrrd", "checks.json" if check_only else "output"} <= set(words)
    assert [word for word in words if Path(word).is_absolute() or tempfile.gettempdir() in word] == []


def test_a_temporary_folder_with_letters_beyond_ascii_is_fine(logic, scans, tmp_path, monkeypatch):
    folder = tmp_path / "J\u00fcrgen \u674e"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    run = logic.process(*scans)
    assert run.state == "finished"
    assert Path(run.logPath).parent == folder
    assert logic.checkImages(*scans).state == "finished"
    assert temporary_folders() == []
