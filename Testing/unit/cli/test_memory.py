"""Too little memory: told in one line with exit code 2, before torch is loaded and before a voxel is read."""

import os
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import ROOT, cohort

from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.core import memory
from InfantBrainSegLib.core.memory import Need, segment_need

SAMPLE = ROOT / "InfantBrainSeg" / "Resources" / "SampleData"
PAIR = ["--t1", str(SAMPLE / "T1.nii.gz"), "--t2", str(SAMPLE / "T2.nii.gz")]
GB = 1 << 30
linux = pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is heeded on Linux")


def under_limit(limit_bytes, argv, seconds=120):
    """Run a command as `ulimit -v` would let it."""
    import resource

    return subprocess.run(
        [sys.executable, "-m", "InfantBrainSegLib", *argv],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes)),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@linux
@pytest.mark.parametrize("limit_gb", [0.25, 0.5, 1, 1.5, 2, 2.5])
@pytest.mark.parametrize("command", ["segment", "batch"])
def test_a_run_under_a_tight_limit_is_refused_in_one_line(tmp_path, limit_gb, command):
    source = {"segment": PAIR, "batch": ["--input", str(tmp_path)]}[command]
    ended = under_limit(int(limit_gb * GB), [command, *source, "--output-dir", str(tmp_path / "out")])
    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1
    assert "this process may have (ulimit -v), and about" in ended.stderr
    assert ended.stdout == ""
    assert not (tmp_path / "out").exists()


@linux
@pytest.mark.parametrize("argv", [["devices"], ["segment", *PAIR, "--check-only"]])
def test_what_needs_less_is_refused_too_where_even_that_is_not_there(argv):
    ended = under_limit(GB // 2, argv)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


@pytest.mark.slow
@linux
def test_a_run_whose_limit_is_what_it_is_said_to_need_ends_well(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    limit = segment_need(2 * 130 * 160 * 114).address_bytes
    ended = under_limit(limit, ["segment", *PAIR, "--output-dir", str(tmp_path / "out")], seconds=1200)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "report.json").is_file()


@pytest.fixture
def small_machine(monkeypatch):
    """A machine with room for the libraries and a scan of ordinary size, and for no more."""
    room = memory.Room(segment_need(2 * 10**7).resident_bytes, "free", "close other programs")
    monkeypatch.setattr(memory, "resident_rooms", lambda root: iter([room]))
    monkeypatch.setattr(memory, "address_limit", lambda: None)


def large_scan(path):
    """A scan of 1000³ voxels whose file is long enough for them, though it takes no room on the disk."""
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 4), np.uint8)), str(path))
    with path.open("r+b") as file:
        file.seek(42)
        file.write(struct.pack("<3h", 1000, 1000, 1000))
        file.truncate(352 + 1000**3)
    return path


@pytest.mark.parametrize("extra", [["--check-only"], ["--output-dir", "out"]])
def test_scans_too_large_for_the_machine_are_refused_before_a_voxel_is_read(tmp_path, monkeypatch, capsys, small_machine, extra):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("InfantBrainSegLib.imaging.inputs.read_with_warnings", lambda *given: pytest.fail("voxels were read"))
    assert main(["segment", "--t1", str(large_scan(tmp_path / "T1.nii")), *extra]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "GB of memory are free, and about" in said
    assert not (tmp_path / "out" / "report.json").exists()


def test_a_batch_gives_it_as_the_reason_of_that_scan(tmp_path, capsys, small_machine):
    large_scan(tmp_path / "T1.nii")
    (tmp_path / "subjects.csv").write_text("subject,t1,t2\n01,T1.nii,\n", encoding="utf-8")
    out = tmp_path / "out"
    assert main(["batch", "--input", str(tmp_path / "subjects.csv"), "--output-dir", str(out), "--single-scan"]) == 3
    (row,) = cohort(out).values()
    assert row["status"] == "failed"
    assert "GB of memory are free, and about" in row["reason"]


@pytest.mark.parametrize("error", [RuntimeError("could not create a primitive"), MemoryError(), ImportError("failed to map segment")])
def test_memory_that_runs_out_later_ends_in_one_line(monkeypatch, capsys, error):
    def run(arguments):
        raise error

    arguments = SimpleNamespace(run=run, need=lambda arguments: Need(0, 0))
    monkeypatch.setattr("InfantBrainSegLib.cli.main.build_parser", lambda: SimpleNamespace(parse_args=lambda argv: arguments))
    assert main([]) == 2
    assert capsys.readouterr().err == "Error: Memory ran out: close other programs, or use a machine with more memory.\n"
