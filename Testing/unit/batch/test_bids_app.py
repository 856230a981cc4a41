"""Participants one by one, and the table of all from what is there; two runs on one output."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import QUICK, ROOT, cohort, files_below, labels_below
from programs import needed
from stand_ins import StandIn, of_arrays

from InfantBrainSegLib.batch import run as batch_module
from InfantBrainSegLib.batch.run import run_batch, run_selected, write_group
from InfantBrainSegLib.batch.subjects import Selection
from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.core.errors import ErrorCode, InputError
from InfantBrainSegLib.networks import predictor as runner_module

SESSIONS = ["sub-02_ses-1", "sub-02_ses-2"]


def only(options, *participants, **more):
    return replace(options, select=Selection(participants, **more))


def test_one_participant_is_segmented_and_the_table_left_to_group(bids, tmp_path, options, stand_in):
    out = tmp_path / "out"
    rows = run_selected(bids, out, only(options, "02"), segmenter=stand_in)
    assert [(row["scan"], row["status"]) for row in rows] == [(name, "ok") for name in SESSIONS]
    assert not (out / "cohort.csv").exists()
    write_group(bids, out, options)
    assert {name: row["status"] for name, row in cohort(out).items()} == {"sub-01": "pending", **dict.fromkeys(SESSIONS, "ok")}


def test_a_participant_at_a_time_gives_the_files_and_the_table_of_a_batch(bids, tmp_path, options):
    for label in ("sub-01", "02"):
        run_selected(bids, tmp_path / "app", only(options, label), segmenter=StandIn())
    write_group(bids, tmp_path / "app", options)
    run_batch(bids, tmp_path / "batch", options, segmenter=StandIn())
    assert files_below(tmp_path / "app") == files_below(tmp_path / "batch")
    assert labels_below(tmp_path / "app") == labels_below(tmp_path / "batch")
    app, batch = ([{**row, "seconds": ""} for row in cohort(tmp_path / name).values()] for name in ("app", "batch"))
    assert app == batch


@pytest.mark.parametrize("listed", [False, True], ids=["BIDS", "CSV"])
def test_paths_may_be_given_as_seen_from_here(bids, tmp_path, options, monkeypatch, listed):
    source = Path("bids")
    if listed:
        source = Path("list.csv")
        (tmp_path / source).write_text("subject,t1,t2\n01,bids/sub-01/anat/sub-01_T1w.nii.gz,bids/sub-01/anat/sub-01_T2w.nii.gz\n")
    monkeypatch.chdir(tmp_path)
    run_selected(source, "app", only(options, "01"), segmenter=StandIn())
    assert {row["status"] for row in run_batch(source, "here", options, segmenter=StandIn())} == {"ok"}
    run_batch(tmp_path / source, tmp_path / "there", options, segmenter=StandIn())
    here, there = ([{**row, "seconds": ""} for row in cohort(tmp_path / name).values()] for name in ("here", "there"))
    assert here == there
    sources = [(tmp_path / name / "sub-01/anat/sub-01_space-T1w_dseg.json").read_text() for name in ("app", "here", "there")]
    assert sources[0] == sources[1] == sources[2]


def test_a_session_can_be_chosen_and_parts_share_all_scans_among_them(bids, tmp_path, options):
    rows = run_selected(bids, tmp_path / "out", only(options, sessions=("ses-2",)), segmenter=StandIn())
    assert [row["scan"] for row in rows] == ["sub-02_ses-2"]
    shares = [
        [row["scan"] for row in run_selected(bids, tmp_path / "out", only(options, part=part, parts=2), segmenter=StandIn())]
        for part in (1, 2)
    ]
    assert shares == [["sub-01", "sub-02_ses-2"], ["sub-02_ses-1"]]


def test_a_label_that_is_not_there_is_told_and_the_others_go_on(bids, tmp_path, options, stand_in):
    rows = run_selected(bids, tmp_path / "out", only(options, "07", "01"), segmenter=stand_in)
    assert [(row["scan"], row["status"]) for row in rows] == [("sub-01", "ok"), ("sub-07", "failed")]
    assert rows[1]["reason"] == "No participant sub-07 is in the input; found sub-01, sub-02: correct the label."
    with pytest.raises(InputError, match="No participant sub-07 is in the input"):
        run_selected(bids, tmp_path / "out", only(options, "07"), segmenter=stand_in)


def test_group_tells_why_a_scan_failed_until_it_has_a_result(bids, tmp_path, options, stand_in):
    out, scan = tmp_path / "out", bids / "sub-01/anat/sub-01_T1w.nii.gz"
    whole = scan.read_bytes()
    scan.write_bytes(b"not an image")
    run_selected(bids, out, only(options, "01"), segmenter=stand_in)
    assert "cannot be read as an image" in {row["scan"]: row for row in write_group(bids, out, options)}["sub-01"]["reason"]
    scan.write_bytes(whole)
    run_selected(bids, out, only(options, "01"), segmenter=stand_in)
    assert {row["scan"]: row for row in write_group(bids, out, options)}["sub-01"]["status"] == "ok"


def test_after_a_batch_too_group_tells_why_a_scan_failed_until_a_batch_finds_its_result(bids, tmp_path, options, stand_in):
    out, scan = tmp_path / "out", bids / "sub-01/anat/sub-01_T1w.nii.gz"
    run_batch(bids, out, options, segmenter=stand_in)
    whole = scan.read_bytes()
    scan.write_bytes(b"not an image")
    told = run_batch(bids, out, options, segmenter=stand_in)[0]
    assert "cannot be read as an image" in told["reason"]
    assert write_group(bids, out, options)[0]["reason"] == told["reason"]
    scan.write_bytes(whole)
    assert [row["status"] for row in run_batch(bids, out, options, segmenter=stand_in)] == ["ok"] * 3
    assert [row["status"] for row in write_group(bids, out, options)] == ["ok"] * 3
    assert list(out.rglob(".infantbrainseg*")) == []


def test_a_report_of_an_older_version_is_no_result_for_group(bids, tmp_path, options, stand_in):
    out = tmp_path / "out"
    run_batch(bids, out, options, segmenter=stand_in)
    path = out / "sub-01/anat/sub-01_space-T1w_report.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "schema_version": 1}))
    row = {row["scan"]: row for row in write_group(bids, out, options)}["sub-01"]
    assert (row["status"], "segment the scan again" in row["reason"]) == ("failed", True)


def all_gray(network, inputs, mask, config, device, progress=None):
    probabilities = np.full((4, *mask.shape), 0.1, np.float32)
    probabilities[2] = 0.7
    return probabilities


def test_the_command_works_as_bids_apps_do(bids, tmp_path, weights_dir, capsys, monkeypatch):
    monkeypatch.setattr(runner_module, "predict", of_arrays(all_gray))
    out = str(tmp_path / "out")
    more = ["--weights", str(weights_dir), "--device", "cpu", "--extract", "off", "--rounds", "1"]
    assert main([str(bids), out, "participant", "--participant_label", "01", "09", *more]) == 3
    warning, error = capsys.readouterr().err.splitlines()
    assert warning == "Warning: sub-09: No participant sub-09 is in the input; found sub-01, sub-02: correct the label."
    assert error.startswith("Error: 1 of 2 scans have no result")
    assert main([str(bids), out, "group"]) == 3
    warning, error = capsys.readouterr().err.splitlines()
    assert warning == "Warning: sub-02_ses-1, sub-02_ses-2: not segmented yet; give `participant` or `batch` first."
    assert "2 of 3 scans have no result" in error
    shutil.rmtree(bids / "sub-02")
    assert main(["bids-app", str(bids), out, "group"]) == 0
    assert "All 1 scans have results." in capsys.readouterr().out
    assert main([str(bids / "none"), out, "group"]) == 2


def test_two_batches_on_one_output_take_turns_and_the_second_is_told_who_has_it(bids, tmp_path, options):
    refused = []

    class WithRival(StandIn):
        def __call__(self, *given):
            with pytest.raises(InputError) as error:
                run_batch(bids, tmp_path / "out", options, segmenter=StandIn())
            refused.append(error.value)
            return super().__call__(*given)

    rows = run_batch(bids, tmp_path / "out", options, segmenter=WithRival())
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert {error.code for error in refused} == {ErrorCode.IN_USE}
    assert f"is in use by process {os.getpid()} on this machine" in str(refused[0])


def test_a_scan_that_another_run_has_is_left_to_it_and_one_that_it_finished_is_taken_over(bids, tmp_path, options, monkeypatch):
    monkeypatch.setattr(batch_module, "WAIT_S", 0.0)
    inner, rows = StandIn(), []

    class WithRival(StandIn):
        def __call__(self, *given):
            if not rows:
                rows.extend(run_selected(bids, tmp_path / "out", options, segmenter=inner))
            return super().__call__(*given)

    mine = run_batch(bids, tmp_path / "out", options, segmenter=WithRival())
    assert [row["status"] for row in rows] == ["failed", "ok", "ok"]
    assert "The scan sub-01 is in use by process" in rows[0]["reason"]
    assert [row["status"] for row in mine] == ["ok"] * 3
    assert len(inner.calls) == 2


def test_what_a_killed_run_of_another_machine_left_of_a_scan_goes_and_a_neighbours_stays(bids, tmp_path, options, stand_in):
    out = tmp_path / "out"
    run_batch(bids, out, options, segmenter=stand_in)
    (out / "sub-01/anat/sub-01_space-T1w_report.json").unlink()
    hidden = {}
    for name, last in (("mine", "sub-01_space-T1w_report.json"), ("other", "sub-01_run-2_space-T1w_report.json")):
        hidden[name] = out / f"sub-01/.infantbrainseg-{name}"
        (hidden[name] / "new").mkdir(parents=True)
        (hidden[name] / "owner.json").write_text(json.dumps({"pid": 1, "host": "elsewhere", "output": "anat", "last": last}))
    run_batch(bids, out, options, segmenter=stand_in)
    assert {name: path.exists() for name, path in hidden.items()} == {"mine": False, "other": True}


@pytest.mark.slow
def test_the_bids_validator_finds_no_error_in_the_output(bids, tmp_path, weights_dir):
    beside = str(Path(sys.executable).with_name("bids-validator-deno"))
    validator = needed("pip install bids-validator-deno", "bids-validator-deno", beside)
    shutil.rmtree(bids / "sub-02/ses-2")
    more = ["--weights", str(weights_dir), "--device", "cpu", "--extract", "off", "--save-probabilities", *QUICK]
    for output in (tmp_path / "out", bids / "derivatives/infantbrainseg"):
        assert main([str(bids), str(output), "participant", *more]) == 0
        assert main([str(bids), str(output), "group"]) == 0
        assert len(list(output.rglob("*_probseg.nii.gz"))) == 6
        done = subprocess.run([validator, str(output), "--json"], capture_output=True, text=True, check=False, timeout=120)
        issues = json.loads(done.stdout)["issues"]["issues"]
        assert [issue for issue in issues if issue["severity"] == "error"] == []
        assert issues, "it warns at least of the README that is not there"


SLOW_RUN = """
import sys, time
from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.outputs import bids
write = bids.write_image
def slowly(image, path):
    write(image, path)
    print("writing", flush=True)
    time.sleep(60)
sys.modules["InfantBrainSegLib.outputs.bids"].write_image = slowly
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_after_kill_9_another_run_goes_on_at_once_and_its_labels_are_those_of_an_undisturbed_run(bids, tmp_path, weights_dir):
    shutil.rmtree(bids / "sub-02")
    more = ["--weights", str(weights_dir), "--device", "cpu", "--extract", "off", *QUICK]
    argv = [str(bids), str(tmp_path / "out"), "participant", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", SLOW_RUN, *argv], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "writing\n"
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert [path.name for path in (tmp_path / "out").glob(".infantbrainseg-lock*")] == [".infantbrainseg-lock-sub-01"]
    started = time.monotonic()
    for output in ("out", "undisturbed"):
        assert main([str(bids), str(tmp_path / output), "participant", *more]) == 0
    assert time.monotonic() - started < 60
    assert labels_below(tmp_path / "out") == labels_below(tmp_path / "undisturbed")
    assert files_below(tmp_path / "out") == files_below(tmp_path / "undisturbed")
    assert list((tmp_path / "out").rglob(".infantbrainseg*")) == []


def test_the_machine_of_a_lock_is_named_where_it_is_another_one(bids, tmp_path, options, stand_in):
    out = tmp_path / "out"
    run_batch(bids, out, options, segmenter=stand_in)
    owner = {"pid": 7, "host": f"not-{socket.gethostname()}", "since": "2026-01-01 10:00 UTC", "token": "t"}
    (out / ".infantbrainseg-lock").write_text(json.dumps(owner))
    with pytest.raises(InputError, match=f"in use by process 7 on the machine not-{socket.gethostname()}, since 2026-01-01 10:00 UTC"):
        run_batch(bids, out, options, segmenter=stand_in)
