import os
import sys
import time
from pathlib import Path

import pytest
from InfantBrainSegSlicer.run import child as child_module
from InfantBrainSegSlicer.run.child import Child, ChildError, child_environment, describe_end, new_log_file, python_command
from stand_in import ROOT

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
grandchild = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
grandchild.stdout.readline()
print(grandchild.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path):
    started = []

    def start(code, environment=None):
        started.append(Child([sys.executable, "-c", code], tmp_path / "log.txt", environment))
        return started[-1]

    yield start
    for child in started:
        child.stop()


def ended(child):
    while child.exit_code is None:
        time.sleep(0.01)
    return child.finish()


def lives(pid):
    """Tell whether a process runs; one that ended and is only not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_lines(child, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if lines := child.new_lines():
            return lines
        time.sleep(0.01)
    raise AssertionError("the child said nothing")


def test_lines_arrive_while_the_child_runs_and_asking_never_waits(start):
    child = start("import time; print('first', flush=True); time.sleep(600)")
    assert wait_for_lines(child) == ["first"]
    before = time.monotonic()
    assert child.new_lines() == []
    assert time.monotonic() - before < 0.05
    assert child.exit_code is None


def test_every_line_of_a_child_that_ended_is_there_and_the_log_holds_both_pipes(start):
    child = start("import sys\nfor n in range(5000): print(n)\nprint('odd', file=sys.stderr)")
    assert ended(child) == 0
    assert child.new_lines() == [str(n) for n in range(5000)]
    assert child.error_lines == ["odd"]
    log = child.log_path.read_text(encoding="utf-8")
    assert "4999\n" in log
    assert "odd\n" in log


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc; the same code runs on macOS, taskkill on Windows")
def test_stop_ends_a_child_that_ignores_the_request_and_its_grandchild_within_two_seconds(start):
    child = start(STUBBORN)
    grandchild = int(wait_for_lines(child)[0])
    assert lives(grandchild)
    before = time.monotonic()
    child.stop()
    assert time.monotonic() - before < 2
    deadline = time.monotonic() + 1
    while lives(grandchild) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not lives(grandchild)
    assert child.exit_code == -9


def test_stop_lets_a_child_tidy_up(start, tmp_path):
    mark = tmp_path / "tidy"
    code = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(mark)!r}).touch(), sys.exit(130)))\n"
        "print('up', flush=True)\ntime.sleep(600)"
    )
    child = start(code)
    wait_for_lines(child)
    child.stop()
    assert mark.exists()
    assert child.exit_code == 130


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_a_crashed_child_left_running_is_ended(start):
    child = start("import os, subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); os._exit(3)")
    assert ended(child) == 3
    left = int(child.new_lines()[0])
    deadline = time.monotonic() + 1
    while lives(left) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not lives(left)


def test_a_killed_child_is_described_with_the_signal_its_last_words_and_the_log(start):
    child = start("import os, sys; print('out of luck', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)")
    told = describe_end(child, ended(child))
    assert "SIGKILL" in told
    assert "memory" in told
    assert "out of luck" in told
    assert str(child.log_path) in told


def test_a_child_that_stopped_unexpectedly_is_described_with_its_exit_code(start):
    child = start("raise ValueError('unforeseen')")
    told = describe_end(child, ended(child))
    assert "exit code 1" in told
    assert "ValueError: unforeseen" in told
    assert "\n" not in told


def test_an_error_line_of_the_library_is_the_whole_message(start):
    child = start("import sys; print('Warning: x', file=sys.stderr); print('Error: T1 is empty.', file=sys.stderr); sys.exit(2)")
    assert describe_end(child, ended(child)) == "T1 is empty."


def test_a_missing_torch_is_reported_with_the_remedy(start):
    child = start("import sys; print(\"ModuleNotFoundError: No module named 'torch'\", file=sys.stderr); sys.exit(1)")
    assert "install the PyTorch extension" in describe_end(child, ended(child))


def test_a_command_that_does_not_exist_is_reported(tmp_path):
    with pytest.raises(ChildError, match="could not be started"):
        Child([str(tmp_path / "nothing")], tmp_path / "log.txt")


def test_without_any_python_the_message_names_pythonslicer(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")  # starting that would open a second Slicer
    with pytest.raises(ChildError, match="PythonSlicer"):
        python_command()


def test_pythonslicer_is_preferred(monkeypatch, tmp_path):
    program = tmp_path / ("PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer")
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert python_command() == [str(program)]


def test_the_childs_environment_finds_the_library_and_leaves_terminal_habits_behind(start, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONINSPECT", "1")  # would never end
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), "", str(ROOT)]))
    environment = child_environment(ROOT)
    assert environment["PYTHONPATH"] == os.pathsep.join([str(ROOT), str(tmp_path)])
    assert environment["PYTHONSAFEPATH"] == "1"  # nothing is imported from where the child runs
    child = start("import InfantBrainSegLib; print(InfantBrainSegLib.__file__)", environment)
    assert ended(child) == 0
    assert Path(child.new_lines()[0]).parents[1] == ROOT


def test_a_temporary_folder_that_can_not_be_written_is_reported_with_the_remedy(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ChildError, match=r"temporary folder .* cannot be written .*free some space"):
        new_log_file(blocked)


def test_a_log_that_can_not_grow_does_not_stop_the_run(start, monkeypatch):
    child = start("import time; time.sleep(0.3); print('still here')")
    child._log.close()  # as if its disk were gone
    assert ended(child) == 0
    assert child.new_lines() == ["still here"]


def test_a_child_that_is_forgotten_is_ended(tmp_path):
    code = "import sys; sys.path[:0] = sys.argv[1:3]\n" + (
        "from InfantBrainSegSlicer.run.child import Child\nfrom pathlib import Path\nimport time\n"
        "child = Child([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(600)'], Path(sys.argv[3]))\n"
        "lines = []\nwhile not lines: lines = child.new_lines(); time.sleep(0.01)\nprint(lines[0], flush=True)"
    )
    parent = Child(
        [sys.executable, "-c", code, str(ROOT / "InfantBrainSeg"), str(ROOT), str(tmp_path / "inner.txt")], tmp_path / "outer.txt"
    )
    assert ended(parent) == 0, parent.error_lines
    with pytest.raises(ProcessLookupError):
        os.killpg(int(parent.new_lines()[0]), 0)


def test_stopping_asks_windows_to_end_the_tree(monkeypatch, start):
    asked = []
    child = start("import time; time.sleep(600)")
    monkeypatch.setattr(child_module, "_WINDOWS", True)
    monkeypatch.setattr(child_module, "_NO_WINDOW", 0x08000000)
    monkeypatch.setattr(child_module.subprocess, "run", lambda command, **how: (asked.append((command, how)), child._process.kill()))
    child.stop()
    ((command, how),) = asked
    assert command == ["taskkill", "/T", "/F", "/PID", str(child._process.pid)]
    assert how["creationflags"] == 0x08000000


def test_of_the_logs_of_earlier_runs_the_newest_twenty_stay_and_other_files_are_left_alone(tmp_path):
    others = [tmp_path / "InfantBrainSeg-notes.log", tmp_path / "other-20200101-000000-abc.log"]
    for path in others:
        path.write_text("kept")
        os.utime(path, (0, 0))
    logs = [new_log_file(tmp_path) for _ in range(child_module.KEPT_LOGS + 5)]
    for age, path in enumerate(reversed(logs)):
        if path.exists():
            os.utime(path, (10_000 - age, 10_000 - age))
    newest = new_log_file(tmp_path)
    left = set(tmp_path.iterdir()) - set(others)
    assert len(left) == child_module.KEPT_LOGS
    assert newest in left
    assert logs[-1] in left
    assert all(path.read_text() == "kept" for path in others)
