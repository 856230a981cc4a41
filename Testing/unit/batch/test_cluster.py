"""A batch on Dask workers: real processes that are killed, stopped, or cannot do the work."""

import contextlib
import errno
import gc
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from command_line import QUICK, ROOT, cohort, files_below, labels_below, quick, running_owner
from programs import needed_package

from InfantBrainSegLib.batch import cluster as cluster_module
from InfantBrainSegLib.batch.job import Cluster, Job
from InfantBrainSegLib.batch.run import run_batch
from InfantBrainSegLib.cli.main import build_parser, main
from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.networks.weights import Networks

slow = pytest.mark.slow
STAND_IN = """
import stand_ins
from InfantBrainSegLib.batch import cluster
from InfantBrainSegLib.networks.weights import Networks
stand_in = stand_ins.StandIn()
stand_in.networks = Networks({weights!r})
cluster._segmenters[({weights!r}, "cpu")] = stand_in
"""
FULL_DISK = """
from InfantBrainSegLib.outputs import bids
def full(image, path):
    import errno
    raise OSError(errno.ENOSPC, "No space left on device", str(path))
bids.write_image = full
"""
OTHER_VERSION = "from InfantBrainSegLib.batch import cluster\ncluster.__version__ = '0.0'"
NO_WEIGHTS = """
from InfantBrainSegLib.batch import cluster
def missing(*_):
    from InfantBrainSegLib.core.errors import InputError
    raise InputError("The weights file is missing: install it.")
cluster._segmenters.clear()
cluster.Segmenter = missing
"""


@pytest.fixture
def local_cluster(request):
    """A scheduler here and worker processes: two, or as many as the test asks for."""
    distributed = needed_package("distributed", "infantbrainseg[cluster]")
    count = getattr(request, "param", 2)
    with distributed.LocalCluster(
        n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as started:
        yield started


@pytest.fixture
def on_it(local_cluster, options):
    """Options that send the scans there."""
    return replace(quick(options), cluster=Cluster(local_cluster.scheduler_address))


@pytest.fixture
def stand_ins_there(local_cluster, weights_dir):
    """Stand-ins in place of the networks of all workers; gives what runs more code in one of them."""
    from distributed import Client

    with Client(local_cluster, set_as_default=False) as client:
        client.run(exec, STAND_IN.format(weights=str(weights_dir)))
        first, *_ = client.scheduler_info()["workers"]
        yield lambda code: (client.run(exec, code, workers=[first]), first)[1]


def start(bids, out, weights_dir, address):
    """Start the command in a process of its own."""
    words = ["batch", "--input", bids, "--output-dir", out, "--weights", weights_dir, "--device", "cpu", "--extract", "off", *QUICK]
    argv = [sys.executable, "-m", "InfantBrainSegLib", *map(str, words), "--dask", address]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_when_a_worker_is_killed_its_scan_is_done_elsewhere_and_the_labels_are_those_of_one_machine(
    bids, tmp_path, options, local_cluster, weights_dir
):
    out = tmp_path / "out"
    with start(bids, out, weights_dir, local_cluster.scheduler_address) as process:
        killed, _ = running_owner(out)
        os.kill(killed, signal.SIGKILL)
        told, err = process.communicate(timeout=300)
    assert err == ""
    assert process.returncode == 0
    assert "All 3 scans are segmented" in told
    run_batch(bids, tmp_path / "alone", quick(options))
    assert [row["status"] for row in cohort(out).values()] == ["ok"] * 3
    assert files_below(out) == files_below(tmp_path / "alone")
    assert labels_below(out) == labels_below(tmp_path / "alone")
    assert list(out.rglob(".infantbrainseg*")) == []


@slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_after_the_client_was_stopped_the_same_command_goes_on(bids, tmp_path, on_it, local_cluster, weights_dir, number):
    out = tmp_path / "out"
    with start(bids, out, weights_dir, local_cluster.scheduler_address) as process:
        running_owner(out)
        process.send_signal(getattr(signal, number))
        _, err = process.communicate(timeout=60)
    assert number == "SIGKILL" or "the same command continues with the rest" in err
    assert "pending" in {row["status"] for row in cohort(out).values()}
    rows = run_batch(bids, out, on_it)
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert list(out.rglob(".infantbrainseg*")) == []


@slow
@pytest.mark.parametrize(
    ("code", "why"),
    [
        (OTHER_VERSION, "it has InfantBrainSeg 0.0; wanted"),
        (NO_WEIGHTS, "The weights file is missing: install it"),
        (FULL_DISK, "No space left on device"),
    ],
    ids=["version", "weights", "disk"],
)
def test_a_worker_that_can_do_no_scan_is_told_of_once_and_the_others_do_all(bids, tmp_path, on_it, stand_ins_there, caplog, code, why):
    for number in range(3, 8):
        shutil.copytree(bids / "sub-01", bids / f"sub-0{number}")
        for path in (bids / f"sub-0{number}/anat").iterdir():
            path.rename(path.with_name(path.name.replace("sub-01", f"sub-0{number}")))
    address = stand_ins_there(code)
    rows = run_batch(bids, tmp_path / "out", on_it)
    assert [row["status"] for row in rows] == ["ok"] * 8
    (line,) = [record.getMessage() for record in caplog.records if "does no scan" in record.getMessage()]
    assert line.startswith(f"Warning: the Dask worker {address} does no scan: ")
    assert why in line
    assert str(tmp_path) not in line


@slow
@pytest.mark.parametrize("local_cluster", [1], indirect=True)
def test_where_no_worker_is_left_each_scan_says_why_and_a_bad_scan_is_no_fault_of_the_worker(bids, tmp_path, on_it, stand_ins_there):
    (bids / "sub-01/anat/sub-01_T1w.nii.gz").write_bytes(b"not an image")
    assert [row["status"] for row in run_batch(bids, tmp_path / "out", on_it)] == ["failed", "ok", "ok"]
    stand_ins_there(FULL_DISK)
    rows = run_batch(bids, tmp_path / "other", on_it)
    assert [row["status"] for row in rows] == ["failed"] * 3
    assert [("No Dask worker can do it" in row["reason"], "No space left" in row["reason"]) for row in rows[1:]] == [(True, True)] * 2
    with pytest.raises(InputError, match="No Dask worker offers GPU=1; wanted one that does: start workers with --resources GPU=1"):
        run_batch(bids, tmp_path / "third", replace(on_it, cluster=replace(on_it.cluster, resources=(("GPU", 1.0),))))
    stand_ins_there(OTHER_VERSION)
    with pytest.raises(InputError, match="No Dask worker can do a scan"):
        run_batch(bids, tmp_path / "fourth", on_it)


@slow
@pytest.mark.parametrize("local_cluster", [0], indirect=True)
def test_a_scheduler_without_workers_is_told(bids, tmp_path, on_it, monkeypatch):
    monkeypatch.setattr(cluster_module, "WORKERS_S", 1)
    with pytest.raises(InputError, match="The Dask scheduler has no worker, even after 1 s"):
        run_batch(bids, tmp_path / "out", on_it)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "no-such://place:1"])
def test_an_unreachable_scheduler_is_one_line_and_nothing_is_written(bids, tmp_path, weights_dir, capfd, monkeypatch, address):
    needed_package("distributed", "infantbrainseg[cluster]")
    monkeypatch.setattr(cluster_module, "CONNECT_S", 0.5)
    words = ["batch", "--input", bids, "--output-dir", tmp_path / "out", "--weights", weights_dir, "--dask", address]
    assert main(list(map(str, words))) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"No Dask scheduler answers at {address}" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=["silent", "web server"])
def test_what_takes_a_connection_and_is_no_scheduler_is_told_soon(monkeypatch, capfd, answer):
    needed_package("distributed", "infantbrainseg[cluster]")
    monkeypatch.setattr(cluster_module, "CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"

        def serve():
            with contextlib.suppress(OSError), server.accept()[0] as taken:
                taken.sendall(answer)
                taken.recv(1)
                time.sleep(2)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(InputError, match=f"No Dask scheduler answers at {address}"), cluster_module._client(address):
            pass
    gc.collect()
    assert capfd.readouterr().err == ""


@slow
@pytest.mark.parametrize("local_cluster", [0], indirect=True)
def test_dask_itself_says_nothing_while_a_batch_runs_as_when_the_scheduler_goes(local_cluster):
    names = ("distributed", "distributed.client", "distributed.core", "distributed.comm.tcp")
    before = [logging.getLogger(name).getEffectiveLevel() for name in names]
    with cluster_module._client(local_cluster.scheduler_address):
        assert [name for name in names if logging.getLogger(name).isEnabledFor(logging.CRITICAL)] == []
    assert [logging.getLogger(name).getEffectiveLevel() for name in names] == before


@slow
@pytest.mark.parametrize("local_cluster", [1], indirect=True)
def test_the_address_of_a_worker_is_not_taken_for_the_schedulers(local_cluster):
    (worker,) = local_cluster.scheduler.workers
    with pytest.raises(InputError, match=r"No Dask scheduler answers at tcp.* \((Worker|Nanny)\)"), cluster_module._client(worker):
        pass


def test_a_scheduler_file_that_is_not_there_or_not_whole_is_told(bids, tmp_path, options):
    needed_package("distributed", "infantbrainseg[cluster]")
    with pytest.raises(InputError, match=r"The scheduler file none\.json does not exist"):
        run_batch(bids, tmp_path / "out", replace(options, cluster=Cluster("none.json")))
    (tmp_path / "half.json").write_text('{"type": "Sche')
    with pytest.raises(InputError, match=r"half\.json tells no address of a scheduler; wanted the one that `dask scheduler"):
        run_batch(bids, tmp_path / "out", replace(options, cluster=Cluster(str(tmp_path / "half.json"))))


def test_without_dask_the_message_says_how_to_get_it(bids, tmp_path, options, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"Dask is not installed here; .* pip install 'infantbrainseg\[cluster\]'"):
        run_batch(bids, tmp_path / "out", replace(options, cluster=Cluster("tcp://127.0.0.1:9")))


@pytest.fixture
def job(bids, tmp_path, options):
    return Job.of(bids, tmp_path / "out", options, Networks(options.segment.weights_dir))


def test_workers_compute_as_the_command_does(bids, tmp_path, options, monkeypatch):
    """Threads that wait sleep, and freed memory is kept."""
    distributed = needed_package("distributed", "infantbrainseg[cluster]")
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL) as started,
        distributed.Client(started, set_as_default=False) as client,
    ):
        told = replace(quick(options), cluster=Cluster(started.scheduler_address))
        assert {row["status"] for row in run_batch(bids, tmp_path / "out", told)} == {"ok"}
        assert [*client.run(os.getenv, "OMP_WAIT_POLICY").values()] == ["PASSIVE"]
    kept = []
    monkeypatch.setattr(cluster_module, "keep_freed_memory", lambda: kept.append(True))
    monkeypatch.setattr(cluster_module, "_segmenters", {})
    for _ in range(2):
        cluster_module._segmenter(Job(bids, tmp_path, told, {}))
    assert kept == [True]


def test_a_process_that_can_do_the_work_has_nothing_to_say(job):
    assert cluster_module.why_unfit(job) == ""


def test_a_process_says_why_it_can_do_no_scan(job, monkeypatch, tmp_path):
    def read_only(folder):
        raise InputError(f"The output folder {folder} cannot be written (Read-only file system): choose one you may write to.")

    weights = {**job.settings, "weights": {"fcn1": "other"}}
    assert "wanted 9.9: install the same version" in cluster_module.why_unfit(replace(job, settings={**job.settings, "version": "9.9"}))
    assert "the input is not there" in cluster_module.why_unfit(replace(job, source=tmp_path / "none"))
    assert "its weights are others" in cluster_module.why_unfit(replace(job, settings=weights))
    monkeypatch.setattr(cluster_module, "check_writable_folder", read_only)
    assert "Read-only file system" in cluster_module.why_unfit(job)


def test_a_full_disk_is_the_machines_fault_and_a_missing_file_the_scans():
    full = InputError("No room.")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert cluster_module._is_of_the_machine(full)
    assert not cluster_module._is_of_the_machine(FileNotFoundError(errno.ENOENT, "No such file"))
    assert not cluster_module._is_of_the_machine(InputError("Not an image."))


def test_versions_that_differ_are_named_and_of_python_two_numbers_count():
    ours = {"python": "3.11.7.final.0", "dask": "2026.8.0", "distributed": "2026.8.0"}
    assert cluster_module._difference(ours, {**ours, "python": "3.11.9.final.0"}) == ""
    assert cluster_module._difference(ours, {**ours, "python": "3.12.1.final.0", "dask": None}) == (
        "python 3.12 where the client has 3.11, dask None where the client has 2026.8.0"
    )


@pytest.mark.parametrize("text", ["GPU", "GPU=", "=1", "GPU=none", "GPU=0", "GPU=inf"])
def test_resources_are_names_and_numbers(text, capsys):
    words = ["batch", "--input", "a", "--output-dir", "b", "--dask", "c", "--dask-resources"]
    assert build_parser().parse_args([*words, "GPU=1", "memory=2e9"]).dask_resources == [("GPU", 1.0), ("memory", 2e9)]
    with pytest.raises(SystemExit):
        build_parser().parse_args([*words, text])
    assert f"'{text}' given; wanted a name and a number above 0" in capsys.readouterr().err
