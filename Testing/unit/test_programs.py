"""Programs that a few tests run: a test without them is skipped or fails, and CI installs them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import programs
import pytest

CI = Path(__file__).parents[2] / ".ci"
linux = pytest.mark.skipif(sys.platform != "linux", reason="apt-get is there alone")
ALL = ("chromium", "slurmctld", "slurmd", "sbatch", "munged")


def test_a_test_without_its_program_is_skipped_and_fails_where_ci_installed_it(monkeypatch):
    monkeypatch.delenv(programs.REQUIRED, raising=False)
    assert programs.needed("install Python", "no-such-program", sys.executable) == sys.executable
    with pytest.raises(pytest.skip.Exception, match="There is no no-such-program here: apt-get install it"):
        programs.needed("apt-get install it", "no-such-program")
    monkeypatch.setenv(programs.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="There is no no-such-program here: apt-get install it"):
        programs.needed("apt-get install it", "no-such-program")
    assert f"export {programs.REQUIRED}=1" in (CI / "run").read_text(encoding="utf-8")


@pytest.fixture
def run_with(tmp_path):
    """Run the script on a system that has just these programs, each some lines of shell; by default as root."""
    programs_there, scripts = tmp_path / "bin", tmp_path / "ci"
    programs_there.mkdir()
    for name in ("env", "bash", "dirname", "grep", "timeout"):
        (programs_there / name).symlink_to(shutil.which(name))
    shutil.copytree(CI, scripts)
    script = scripts / "test_programs"
    script.write_text(script.read_text(encoding="utf-8").replace(":/sbin:/usr/sbin", ""), encoding="utf-8")  # has what this machine has

    def run(**lines):
        for name, line in {"id": "echo 0", **lines}.items():
            path = programs_there / name.replace("_", "-")
            path.write_text(f"#!{shutil.which('bash')}\n{line}\n", encoding="utf-8")
            path.chmod(0o755)
        environment = {**os.environ, "PATH": str(programs_there)}
        return subprocess.run([script], env=environment, capture_output=True, text=True, check=False, timeout=60)

    return run


@linux
def test_only_programs_that_are_missing_are_installed_and_nothing_where_all_are_there(run_with, tmp_path):
    asked = tmp_path / "asked"
    done = run_with(apt_get=f'echo "$@" >> {asked}', munged="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [line.split()[-2:] for line in asked.read_text().splitlines() if " install " in line] == [["chromium", "slurm-wlm"]]
    asked.unlink()
    assert run_with(apt_get=f'echo "$@" >> {asked}', **dict.fromkeys(ALL, "")).returncode == 0
    assert not asked.exists()


@linux
@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            {"apt_get": "echo Err: http://mirror\necho 'E: Unable to locate package chromium'\nexit 100"},
            "(Unable to locate package chromium)",
        ),
        ({"apt_get": "kill $$"}, "(it was stopped after some minutes)"),
        ({"apt_get": "", "id": "echo 1000"}, "only root can install them: sudo apt-get install chromium slurm-wlm munge"),
        ({}, "there is no apt-get here"),
    ],
    ids=["mirror", "stopped", "no root", "no apt"],
)
def test_where_the_programs_cannot_be_installed_one_line_says_why(run_with, lines, told):
    done = run_with(**lines)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert "The tests of the pages and of Slurm need chromium slurm-wlm munge" in done.stderr
