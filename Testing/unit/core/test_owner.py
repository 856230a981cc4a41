import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.core.owner import LOCK, sole_owner

ROOT = Path(__file__).parents[3]
HOLD = """
import pathlib, sys, time
from InfantBrainSegLib.core.owner import sole_owner
with sole_owner(pathlib.Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that works in the folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "in\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_works_there(holder, tmp_path):
    with (
        pytest.raises(InputError, match=rf"in use by process {holder.pid} on .* since 20.*wait until that one has ended"),
        sole_owner(tmp_path),
    ):
        pass
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == holder.pid


@pytest.mark.skipif(os.name == "nt", reason="no kill -9 there")
def test_the_lock_of_a_killed_process_locks_nobody_out(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK).exists()
    with sole_owner(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_owned_apart_from_its_folder(tmp_path):
    with sole_owner(tmp_path), sole_owner(tmp_path / "pack.npz"):
        assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has another call")
def test_where_a_file_system_has_no_locks_the_record_decides(tmp_path, monkeypatch):
    def unsupported(*given):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.lockf", unsupported)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    told = {"host": socket.gethostname(), "since": time.strftime("%Y")}
    (tmp_path / LOCK).write_text(json.dumps({"pid": ended.pid, **told}))
    with sole_owner(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    (tmp_path / LOCK).write_text(json.dumps({"pid": os.getppid(), **told}))
    with pytest.raises(InputError, match=f"process {os.getppid()} on"), sole_owner(tmp_path):
        pass
