"""What a run leaves in its own log and in Slicer's."""

import logging
import re
from pathlib import Path

import pytest
import stand_in
from InfantBrainSegSlicer.run import tasks
from run_helpers import poll_to_end

from InfantBrainSegLib import __version__


def test_the_log_has_times_versions_and_device_and_each_step_once(logic, scans):
    lines = Path(logic.process(*scans).logPath).read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in lines)
    texts = [line[10:] for line in lines]
    assert texts[0].startswith(f"InfantBrainSeg {__version__}, ")
    assert "Python 3" in texts[0]
    assert texts[0].endswith("device: auto")
    assert "  0 %  read" in texts
    assert texts.count(" 80 %  stage 2") == 1
    assert re.fullmatch(r"The run is finished on cpu after \d+ s", texts[-1])


def test_slicers_log_tells_start_steps_and_end_and_no_name_of_a_node(logic, scans, caplog):
    scans[0].SetName("Smith^Anna")
    with caplog.at_level(logging.INFO, "InfantBrainSeg"):
        logic.process(*scans)
    told = [record.getMessage() for record in caplog.records]
    assert told[0].startswith(f"InfantBrainSeg {__version__}")
    assert [text for text in told if text.startswith("Step: ")] == ["Step: read", "Step: prepare", "Step: stage 2", "Step: done"]
    assert told[-1].startswith("The run is finished")
    assert not any("Smith" in text for text in told)


@pytest.mark.parametrize("fault", ["child", "import"])
def test_slicers_log_has_the_traceback_of_what_failed(logic, scans, monkeypatch, caplog, fault):
    def fail(*_):
        raise ValueError("something unforeseen")

    logic.command = stand_in.command("traceback" if fault == "child" else "good")
    if fault == "import":
        monkeypatch.setattr(tasks, "import_outcome", fail)
    assert poll_to_end(logic.process(*scans, wait=False)).state == "failed"
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    text = record.getMessage() + (str(record.exc_info[1]) if record.exc_info else "")
    assert "something unforeseen" in text
    assert record.exc_info or "Traceback" in text
