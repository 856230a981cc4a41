"""Runs commands in a process of their own and reads what they leave."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def terminate_at(step, argv):
    """Start a command, send it SIGTERM when it tells of a step, and give its exit code and standard error."""
    with subprocess.Popen(
        [sys.executable, "-m", "InfantBrainSegLib", *argv],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        for line in process.stdout:
            if json.loads(line)["step"] == step:
                break
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    return process.returncode, err


def files_below(folder):
    """Give the paths of all files, relative to the folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def cohort(output_dir):
    """Give a batch's table by scan."""
    with (output_dir / "cohort.csv").open(encoding="utf-8", newline="") as stream:
        return {row["scan"]: row for row in csv.DictReader(stream)}
