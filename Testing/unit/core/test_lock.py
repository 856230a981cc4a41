import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from InfantBrainSegLib.core import lock as lock_module
from InfantBrainSegLib.core.errors import ErrorCode, InputError
from InfantBrainSegLib.core.lock import LOCK, STALE_S, owned, sole_owner

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no os.kill that only asks")
HOLD = """
import sys, time
from pathlib import Path
from InfantBrainSegLib.core.lock import owned
with owned(Path(sys.argv[1]), "The scan"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


@pytest.fixture
def holder(path):
    """A process that holds the lock."""
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def write_owner(path, **changes):
    owner = {"pid": 1, "host": "elsewhere", "since": "today", "token": "t"} | changes
    path.write_text(json.dumps(owner))
    return owner


def refused(path):
    with pytest.raises(InputError) as error, owned(path, "The output folder"):
        pytest.fail("it was free")
    assert error.value.code == ErrorCode.IN_USE
    return str(error.value)


def test_the_lock_is_there_in_the_block_and_gone_after_it(path):
    with owned(path, "It"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(path.parent.iterdir()) == []


def test_another_process_is_told_who_has_it(path, holder):
    told = refused(path)
    assert f"The output folder is in use by process {holder.pid} on this machine, since " in told
    assert list(path.parent.iterdir()) == [path]


def test_another_thread_of_this_process_is_refused_too(path):
    told = []
    with owned(path, "It"):
        thread = threading.Thread(target=lambda: told.append(refused(path)))
        thread.start()
        thread.join()
    assert f"process {os.getpid()}" in told[0]


@posix
def test_the_lock_of_a_killed_process_is_stale_at_once(path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert path.exists()
    with owned(path, "It"):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_process_of_another_container_with_our_number_does_not_hold_it(path):
    write_owner(path, pid=os.getpid(), host=socket.gethostname())
    if os.name != "nt":
        with owned(path, "It"):
            pass


def test_another_machines_lock_is_stale_when_nobody_touches_it_any_more(path):
    write_owner(path)
    assert "process 1 on the machine elsewhere, since today" in refused(path)
    long_ago = time.time() - STALE_S - 5
    os.utime(path, (long_ago, long_ago))
    with owned(path, "It"):
        pass


def test_the_owner_touches_the_lock(path, monkeypatch):
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.01)
    with owned(path, "It"):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1


def test_waiting_ends_when_the_other_one_is_done(path, monkeypatch):
    monkeypatch.setattr(lock_module, "POLL_S", 0.02)
    write_owner(path)
    threading.Timer(0.2, path.unlink).start()
    with owned(path, "It", wait_s=10):
        pass


def test_who_lost_the_lock_learns_it_and_leaves_the_others_alone(path):
    with owned(path, "It") as lock:
        other = write_owner(path)
        with pytest.raises(InputError, match="another one took its place"):
            lock.check()
    assert json.loads(path.read_text()) == other


def test_a_lock_made_while_a_stale_one_was_judged_stays(path):
    fresh = write_owner(path)
    lock_module._remove_stale(path, lock_module.Owner(2, "elsewhere", "before", "other"))
    assert json.loads(path.read_text()) == fresh
    assert list(path.parent.iterdir()) == [path]


@posix
def test_one_of_many_that_want_it_at_once_has_it(path, monkeypatch):
    inside, most = [], []

    def work():
        with owned(path, "It", wait_s=30):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.002)
            inside.pop()

    write_owner(path, pid=2**22 + 1, host=socket.gethostname())  # a stale one first
    monkeypatch.setattr(lock_module, "POLL_S", 0.005)
    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 12


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(InputError, match="The output folder cannot be written"), owned(tmp_path / "absent" / "lock", "The output folder"):
        pass


def test_a_file_is_owned_apart_from_its_folder(tmp_path):
    with sole_owner(tmp_path), sole_owner(tmp_path / "pack.npz"):
        assert {path.name for path in tmp_path.iterdir()} == {LOCK, f"{LOCK}-pack.npz"}
        with pytest.raises(InputError, match=r"The folder .* is in use"), sole_owner(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []
