"""Trainings in processes of their own, to be stopped and killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(argv, folder):
    """Run the command line in a folder, with its output in files; gives the process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "InfantBrainSegLib", *argv]
    with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=err, start_new_session=True)


def wait_for(told, process, seconds=120):
    """Wait until something is true of a process that still runs."""
    end = time.monotonic() + seconds
    while not told():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def stop(process, number=signal.SIGTERM):
    """Send a signal to a process and all that work for it, as a terminal does; give the exit code."""
    os.killpg(process.pid, number)
    return process.wait(120)
