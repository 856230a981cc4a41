"""`wait=False` in the application: the run goes on by itself."""

import time

import pytest
import stand_in
from host import pythonqt, start
from InfantBrainSegSlicer.run import timer
from run_helpers import temporary_folders

from InfantBrainSegLib.core.labels import TISSUES


@pytest.fixture
def application(scene):
    yield start()
    pythonqt.problems.clear()


def wait_for(application, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        application.processEvents()
        time.sleep(0.005)


def test_a_run_that_nobody_polls_or_keeps_ends_by_itself_and_says_so(application, logic, scans):
    ended, told = [], []
    logic.process(*scans, wait=False, progress=lambda step, _: told.append(step), completed=ended.append)
    wait_for(application, lambda: ended)
    (run,) = ended
    assert run.state == "finished"
    assert run.segmentationNode.GetSegmentation().GetNumberOfSegments() == len(TISSUES)
    assert told[-1] == "done"
    assert temporary_folders() == []
    wait_for(application, lambda: not timer._driven)


@pytest.mark.parametrize(("mode", "state"), [("refuse", "failed"), ("hang", "cancelled")])
def test_completed_is_called_once_however_the_run_ended(application, logic, scans, mode, state):
    logic.command = stand_in.command(mode)
    ended = []
    run = logic.process(*scans, wait=False, completed=ended.append)
    if mode == "hang":
        wait_for(application, lambda: run.step == "stage 1")
        run.cancel()
    wait_for(application, lambda: not timer._driven)
    assert ended == [run]
    assert (run.state, run.poll()) == (state, False)


def test_a_progress_callback_that_fails_ends_the_run_and_is_reported_once(application, logic, scans):
    ended = []
    run = logic.process(*scans, wait=False, progress=lambda *_: 1 // 0, completed=ended.append)
    wait_for(application, lambda: ended)
    assert run.state == "cancelled"
    assert len([problem for problem in pythonqt.problems if "ZeroDivisionError" in problem]) == 1
    assert temporary_folders() == []


def test_completed_is_called_after_a_call_that_waits_too(logic, scans):
    ended = []
    run = logic.process(*scans, completed=ended.append)
    assert ended == [run]
