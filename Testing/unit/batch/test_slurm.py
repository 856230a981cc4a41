"""A batch as a job array: the script, and a real Slurm of one node where its programs are installed."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from command_line import QUICK, ROOT, cohort, files_below, labels_below, quick, running_owner
from programs import lacking

from InfantBrainSegLib.batch.run import run_batch
from InfantBrainSegLib.batch.slurm import array_script
from InfantBrainSegLib.cli.main import build_parser, main

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(*words):
    return subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True, timeout=60).stdout


def wait_for(condition, what, seconds=300.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.3)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A Slurm of this machine alone; gives a folder for its scripts and logs."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing:
        lacking(f"No {', '.join(missing)} here: apt-get install slurm-wlm munge")
    folder = tmp_path / "slurm"
    folder.mkdir(mode=0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    host = socket.gethostname().split(".")[0]
    user = call("id", "-un").strip()
    filled = CONFIGURATION.format(host=host, user=user, folder=folder, controller=free_port(), node=free_port())
    (folder / "slurm.conf").write_text(filled)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    started = subprocess.run(
        ["munged", "--force", f"--socket={folder}/munge.sock", *munge], capture_output=True, text=True, check=False, timeout=60
    )
    if started.returncode:
        lacking(f"munged does not start here: {started.stderr.strip()[-200:]}")
    try:
        for program in ("slurmctld", "slurmd"):
            started = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
            if started.returncode:
                lacking(f"{program} does not start here: {started.stderr.strip()[-200:]}")
        wait_for(lambda: "idle" in subprocess.run(["sinfo", "-h"], capture_output=True, text=True, check=False).stdout, "The node", 60)
        yield folder
    finally:
        subprocess.run(["scancel", "--full", f"--user={user}"], check=False, capture_output=True, timeout=60)
        subprocess.run(["scontrol", "shutdown"], check=False, capture_output=True, timeout=60)
        os.kill(int((folder / "munge.pid").read_text()), signal.SIGTERM)


def state_of(job):
    return re.search(r"JobState=(\w+)", call("scontrol", "show", "job", job))[1]


def print_script(bids, out, weights_dir, capsys, *more):
    words = ["batch", "--input", bids, "--output-dir", out, "--weights", weights_dir, "--device", "cpu", "--extract", "off", *more]
    assert main([*map(str, words), "--print-slurm"]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Slurm runs on Linux")
def test_a_killed_array_task_is_queued_again_and_the_labels_are_those_of_one_process(
    bids, tmp_path, weights_dir, options, slurm, capsys, monkeypatch
):
    shutil.rmtree(bids / "sub-02/ses-2")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    out = tmp_path / "out"
    (slurm / "array.sh").write_text(print_script(bids, out, weights_dir, capsys, *QUICK))
    job = call("sbatch", "--parsable", f"--chdir={slurm}", slurm / "array.sh").strip()
    killed, scan = running_owner(out, 300)
    os.kill(killed, signal.SIGKILL)
    task = f"{job}_{['sub-01', 'sub-02_ses-1'].index(scan) + 1}"
    wait_for(lambda: state_of(task) == "FAILED", "The killed task's end")
    call("scontrol", "requeue", task)
    # Slurm would wait two minutes; within the second of the kill the node still refuses the task.
    call("scontrol", "update", f"JobId={task}", "StartTime=now+5")
    wait_for(lambda: [state_of(f"{job}_{part}") for part in (1, 2)] == ["COMPLETED"] * 2, "The end of both tasks")
    assert main(["bids-app", str(bids), str(out), "group"]) == 0
    run_batch(bids, tmp_path / "alone", quick(options))
    assert [row["status"] for row in cohort(out).values()] == ["ok", "ok"]
    assert files_below(out) == files_below(tmp_path / "alone")
    assert labels_below(out) == labels_below(tmp_path / "alone")


def test_the_script_has_a_task_a_scan_and_its_commands_are_understood(bids, tmp_path, weights_dir, capsys):
    script = print_script(bids, tmp_path / "out of here", weights_dir, capsys, "--save-probabilities", "--device", "cuda")
    assert not (tmp_path / "out of here").exists()
    assert {"#SBATCH --array=1-3", "#SBATCH --gres=gpu:1", "#SBATCH --requeue"} <= set(script.splitlines())
    last = shlex.split(script.splitlines()[-1].replace("$SLURM_ARRAY_TASK_ID", "2"))
    assert last[:4] == ["exec", sys.executable, "-m", "InfantBrainSegLib"]
    arguments = build_parser().parse_args(last[4:])
    assert (arguments.part, arguments.save_probabilities, arguments.output_dir) == ((2, 3), True, str(tmp_path / "out of here"))
    (table,) = [line for line in script.splitlines() if "--wrap" in line]
    wrapped = shlex.split(shlex.split(table.split("--wrap ")[1])[0])
    assert build_parser().parse_args(wrapped[3:]).level == "group"
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_very_many_scans_share_the_tasks_that_slurm_allows():
    script = array_script(10_000, ["do"], ["tell"], False)
    assert "#SBATCH --array=1-1000\n" in script
    assert "#SBATCH --time=02:45:00\n" in script  # ten scans of 15 minutes, and 15 to start


def test_there_is_no_script_where_no_scan_can_be_segmented(tmp_path, capsys):
    (tmp_path / "bids/sub-01/anat").mkdir(parents=True)
    assert main(["batch", "--input", str(tmp_path / "bids"), "--output-dir", str(tmp_path / "out"), "--print-slurm"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_a_part_of_a_batch_leaves_the_table_alone(bids, tmp_path, weights_dir, capsys):
    for part in ("0/2", "3/2", "1", "a/b", "-1/2"):
        with pytest.raises(SystemExit):
            build_parser().parse_args(["batch", "--input", "a", "--output-dir", "b", f"--part={part}"])
    words = ["batch", "--input", bids, "--output-dir", tmp_path / "out", "--part", "1/2", "--dask", "tcp://a:1"]
    assert main(list(map(str, words))) == 2
    assert "Both --part and --dask were given" in capsys.readouterr().err
