"""Runs commands in a process of their own and reads what they leave."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUICK = ["--rounds", "1", "--align", "off"]  # a third of the time


def quick(options):
    """Give the options of a batch that `QUICK` makes on the command line."""
    return replace(options, segment=replace(options.segment, rounds=1, align="off"))


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


def labels_below(folder):
    """Give the bytes of all labels, by file name."""
    return {path.name: path.read_bytes() for path in folder.rglob("*_dseg.nii.gz")}


def running_owner(out, seconds=120.0):
    """Wait until a scan is being segmented; give its worker's number and its name."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for lock in out.glob(".infantbrainseg-lock-sub-??*"):
            try:
                return json.loads(lock.read_text())["pid"], lock.name.removeprefix(".infantbrainseg-lock-")
            except (OSError, ValueError):
                continue
        time.sleep(0.02)
    raise AssertionError("No scan was begun.")
