import os
import subprocess
import sys

import pytest

from InfantBrainSegLib.core.cores import usable_cores, wait_passively

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def clean_environment(monkeypatch):
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_threads_wait_passively_unless_the_user_says_how(clean_environment):
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert 0 < int(os.environ["GOMP_SPINCOUNT"]) <= 10_000  # GNU's OpenMP spins 300,000 times by default
    for name in WAITING:
        for other in WAITING:
            clean_environment.delenv(other, raising=False)
        clean_environment.setenv(name, "7")
        wait_passively()
        assert {other: os.environ[other] for other in WAITING if other in os.environ} == {name: "7"}


def test_a_command_waits_passively_before_torch_is_loaded(clean_environment):
    program = """
import os, sys
from InfantBrainSegLib.cli import main as cli
seen = []
cli.build_parser = lambda: seen.append(("torch" in sys.modules, os.environ.get("OMP_WAIT_POLICY"))) or sys.exit(0)
try:
    cli.main([])
finally:
    print(seen)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[(False, 'PASSIVE')]"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not tell which cores a process may use")
def test_hardware_threads_of_one_core_count_once_and_a_containers_share_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    for number in range(8):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{number % 4},{number % 4 + 4}\n")
    quota = tmp_path / "cpu.max"
    assert usable_cores(tmp_path, quota) == 4
    for content, cores in (("max 100000", 4), ("150000 100000", 2), ("50000 100000", 1), ("damaged", 4)):
        quota.write_text(content)
        assert usable_cores(tmp_path, quota) == cores
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 5})
    assert usable_cores(tmp_path, tmp_path / "none") == 1
    assert usable_cores(tmp_path / "none", tmp_path / "none") == 2
