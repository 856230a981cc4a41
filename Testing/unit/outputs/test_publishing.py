import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.outputs.publishing import StoppedAfterwards, deferred_signals, staged_folder, sweep

NAMES = ("labels", "volumes", "overview", "report")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals and no os.kill")


def publish(output_dir, content, names=NAMES, **more):
    with staged_folder(output_dir, NAMES, **more) as staging:
        for name in names:
            (staging.folder / name).write_text(content)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fail_at(monkeypatch, name, how_often=1):
    """Let one new file refuse to move."""
    move, left = os.replace, [how_often]

    def faulty(source, target):
        if source.parent.name == "new" and target.name == name and left[0]:
            left[0] -= 1
            raise PermissionError(1, "Operation not permitted")
        move(source, target)

    monkeypatch.setattr(os, "replace", faulty)


def leftover(folder, pid, **more):
    """What a killed run leaves."""
    hidden = folder / ".infantbrainseg-left"
    (hidden / "new").mkdir(parents=True)
    (hidden / "old").mkdir()
    owner = {"pid": pid, "host": socket.gethostname(), "since": "today", "token": "t", "output": "."}
    (hidden / "owner.json").write_text(json.dumps(owner | more))
    return hidden


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_new_files_replace_former_ones_and_other_files_stay(tmp_path):
    publish(tmp_path, "old")
    (tmp_path / "notes").write_text("mine")
    publish(tmp_path, "new", ("labels", "report"))
    assert contents(tmp_path) == {"labels": "new", "report": "new", "notes": "mine"}


@pytest.mark.parametrize("name", NAMES)
def test_if_one_file_can_not_move_the_former_ones_come_back_whole(tmp_path, monkeypatch, name):
    publish(tmp_path, "old")
    fail_at(monkeypatch, name)
    with pytest.raises(InputError, match=f"{name} cannot be replaced"):
        publish(tmp_path, "new")
    assert contents(tmp_path) == dict.fromkeys(NAMES, "old")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_a_folder_at_a_files_place_is_reported_before_any_work(tmp_path):
    publish(tmp_path, "old", ("labels", "report"))
    (tmp_path / "volumes").mkdir()
    with pytest.raises(InputError, match="volumes is a folder"), staged_folder(tmp_path, NAMES):
        pytest.fail("the work began")
    assert contents(tmp_path) == {"labels": "old", "report": "old"}


def test_a_former_file_that_can_not_be_replaced_is_reported_before_any_work(tmp_path, monkeypatch):
    publish(tmp_path, "old")
    move = os.replace

    def locked(source, target):
        if source == tmp_path / "overview":
            raise PermissionError(1, "Operation not permitted")
        move(source, target)

    monkeypatch.setattr(os, "replace", locked)
    with pytest.raises(InputError, match="overview cannot be replaced"), staged_folder(tmp_path, NAMES):
        pytest.fail("the work began")
    assert contents(tmp_path) == dict.fromkeys(NAMES, "old")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_files_move_waits_until_all_lie_there(tmp_path, monkeypatch, number):
    publish(tmp_path, "old")
    move = os.replace

    def disturbed(source, target):
        move(source, target)
        if target == tmp_path / "labels" and source.parent.name == "new":
            os.kill(os.getpid(), number)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", disturbed)
    before = signal.signal(number, stop)
    try:
        with pytest.raises(StoppedAfterwards, match="whole"):
            publish(tmp_path, "new")
    finally:
        signal.signal(number, before)
    assert contents(tmp_path) == dict.fromkeys(NAMES, "new")


@posix
def test_a_signal_that_waited_comes_even_when_the_block_fails():
    def fail():
        with deferred_signals():
            os.kill(os.getpid(), signal.SIGINT)
            raise InputError("x")

    with pytest.raises(KeyboardInterrupt):
        fail()


def test_an_input_at_the_place_of_a_result_is_refused_before_any_work(tmp_path):
    publish(tmp_path, "old")
    with pytest.raises(InputError, match="T1 lies in the output folder as labels"):
        publish(tmp_path, "new", inputs={"T1": tmp_path / "labels"})
    assert contents(tmp_path) == dict.fromkeys(NAMES, "old")


def test_a_kept_file_gets_another_name_and_only_when_the_run_ends_well(tmp_path):
    publish(tmp_path, "old")
    with pytest.raises(FileNotFoundError), staged_folder(tmp_path, NAMES) as staging:
        staging.keep("labels"), staging.keep("absent")
    assert contents(tmp_path) == dict.fromkeys(NAMES, "old")
    with staged_folder(tmp_path, NAMES) as staging:
        aside = staging.keep("labels")
        (staging.folder / "labels").write_text("new")
    assert contents(tmp_path) == {"labels": "new", aside: "old"}


def test_what_a_killed_run_left_is_swept_by_the_next(tmp_path, dead):
    leftover(tmp_path, dead)
    publish(tmp_path / "out", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_run_left_that_still_goes_on_or_runs_elsewhere_stays(tmp_path, dead):
    for pid, more in ((os.getpid(), {}), (dead, {"host": "another"})):
        hidden = leftover(tmp_path, pid, **more)
        sweep([tmp_path])
        assert hidden.exists()
        shutil.rmtree(hidden)


def test_a_hidden_folder_without_owner_is_swept_when_it_is_old(tmp_path):
    hidden = tmp_path / ".infantbrainseg-x"
    hidden.mkdir()
    sweep([tmp_path])
    assert hidden.exists()
    os.utime(hidden, (0, 0))
    sweep([tmp_path])
    assert not hidden.exists()


@pytest.mark.parametrize("moved", range(len(NAMES) + 1))
def test_a_run_killed_while_files_moved_is_rolled_back_by_the_next(tmp_path, dead, moved):
    hidden = leftover(tmp_path, dead)
    (hidden / "moves.json").write_text(json.dumps({"names": NAMES, "fresh": NAMES}))
    for index, name in enumerate(NAMES):
        (hidden / "old" / name).write_text("old")
        (tmp_path if index < moved else hidden / "new").joinpath(name).write_text("new")
    sweep([tmp_path])
    assert contents(tmp_path) == dict.fromkeys(NAMES, "old")
    assert not hidden.exists()


@pytest.mark.parametrize(("output", "name"), [("..", "x"), ("/", "x"), (".", "../x"), (".", None)])
def test_a_leftover_that_points_elsewhere_moves_nothing(tmp_path, dead, output, name):
    (tmp_path / "inside").mkdir()
    hidden = leftover(tmp_path / "inside", dead, output=output)
    (hidden / "moves.json").write_text(json.dumps({"names": [name], "fresh": [name]}))
    (tmp_path / "x").write_text("mine")
    sweep([tmp_path / "inside"])
    assert (tmp_path / "x").read_text() == "mine"
    assert hidden.exists()


KILLED = """
import os, sys
from InfantBrainSegLib.outputs.publishing import staged_folder
move, moves = os.replace, []
def mortal(source, target):
    move(source, target)
    moves.append(target)
    if len(moves) == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
os.replace = mortal
with staged_folder(sys.argv[1], ("labels", "report")) as staging:
    for name in ("labels", "report"):
        (staging.folder / name).write_text("new")
"""


@posix
@pytest.mark.parametrize("moves", [1, 5, 7])  # 4 to try the former files, 2 to move them out, 2 to move the new ones in
def test_after_a_kill_at_any_move_the_next_run_finds_the_former_files(tmp_path, moves):
    publish(tmp_path, "old", ("labels", "report"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(moves)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    sweep([tmp_path])
    assert contents(tmp_path) == {"labels": "old", "report": "old"}
