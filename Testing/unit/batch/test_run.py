import hashlib
import json
import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from command_line import cohort, files_below
from stand_ins import StandIn

from InfantBrainSegLib.batch import job as job_module
from InfantBrainSegLib.batch import run as batch_module
from InfantBrainSegLib.batch.cohort import COLUMNS
from InfantBrainSegLib.batch.job import BatchOptions
from InfantBrainSegLib.batch.run import run_batch
from InfantBrainSegLib.core.errors import DeviceError, InputError, WeightsError
from InfantBrainSegLib.imaging.files import read_image, write_image, write_text
from InfantBrainSegLib.pipeline.segmenter import Segmenter, SegmentOptions, segment

RESULTS = [
    "desc-cerebrum_mask.json",
    "desc-cerebrum_mask.nii.gz",
    "desc-volumes_stats.tsv",
    "dseg.json",
    "dseg.nii.gz",
    "overview.png",
    "report.json",
]


def labels_of(output_dir):
    return output_dir / "sub-01/anat/sub-01_space-T1w_dseg.nii.gz"


def edit(path):
    """What a user does in a viewer: one voxel is relabelled and the file saved."""
    image = sitk.ReadImage(str(path))
    image[3, 3, 3] = 1
    sitk.WriteImage(image, str(path))
    return path.read_bytes()


def stop_at(call):
    """Give a segmenter that is stopped like by Ctrl-C in the given call."""
    inner = StandIn()

    def segmenter(*given):
        if len(inner.calls) == call:
            raise KeyboardInterrupt
        return inner(*given)

    return segmenter


def test_the_output_is_a_bids_derivative_dataset_with_one_table(bids, tmp_path, options, stand_in):
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    results = [
        f"{place}/anat/{name}_space-T1w_{result}"
        for place, name in (("sub-01", "sub-01"), ("sub-02/ses-1", "sub-02_ses-1"), ("sub-02/ses-2", "sub-02_ses-2"))
        for result in RESULTS
    ]
    assert files_below(tmp_path / "out") == sorted(
        [".bidsignore", "cohort.csv", "cohort.html", "dataset_description.json", "dseg.tsv", *results]
    )
    description = json.loads((tmp_path / "out/dataset_description.json").read_text(encoding="utf-8"))
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "InfantBrainSeg"
    assert "DatasetLinks" not in description  # the way there may hold a name
    sidecar = json.loads((tmp_path / "out/sub-02/ses-1/anat/sub-02_ses-1_space-T1w_dseg.json").read_text(encoding="utf-8"))
    assert sidecar["Sources"] == [f"bids:raw:sub-02/ses-1/anat/sub-02_ses-1_{suffix}.nii.gz" for suffix in ("T1w", "T2w")]
    assert (sidecar["SpatialReference"], sidecar["Manual"]) == (sidecar["Sources"][0], False)
    assert (tmp_path / "out/dseg.tsv").read_text(encoding="utf-8").splitlines()[:4] == [
        "index\tname\tabbreviation\tcolor\tmapping",
        "1\tCerebrospinal fluid\tCSF\t#4287f5\t3",
        "2\tGray matter\tGM\t#e27a3f\t1",
        "3\tWhite matter\tWM\t#faf0be\t2",
    ]


def test_a_bids_folder_may_be_named_from_where_one_works(bids, tmp_path, options, stand_in, monkeypatch):
    monkeypatch.chdir(bids.parent)
    rows = run_batch(bids.name, "out", options, segmenter=stand_in)
    wanted = run_batch(bids, tmp_path / "absolute", options, segmenter=stand_in)
    assert [(row["scan"], row["status"], row.get("reason")) for row in rows] == [
        (row["scan"], row["status"], row.get("reason")) for row in wanted
    ]
    assert "ok" in {row["status"] for row in rows}


def test_labels_lie_on_each_t1s_grid_and_the_table_holds_their_volumes(bids, tmp_path, options, stand_in):
    rows = run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    grid = phantoms.grid((2.8, 2.5, 2.9), phantoms.PERMUTED)
    labels = sitk.ReadImage(str(labels_of(tmp_path / "out")))
    assert np.array_equal(sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(phantoms.draw(grid)))
    assert np.allclose(labels.GetDirection(), grid.GetDirection(), atol=1e-6)
    assert np.allclose(labels.GetOrigin(), grid.GetOrigin(), atol=1e-4)
    table = cohort(tmp_path / "out")
    assert list(table) == ["sub-01", "sub-02_ses-1", "sub-02_ses-2"]
    assert tuple(table["sub-01"]) == COLUMNS
    row = table["sub-02_ses-2"]
    assert (row["subject"], row["session"], row["status"], row.get("reason")) == ("sub-02", "ses-2", "ok", "")
    voxel_ml = 2.8 * 2.5 * 2.9 / 1000
    for value, tissue in enumerate(("csf", "gm", "wm"), start=1):
        assert float(row[f"{tissue}_ml"]) == pytest.approx(voxel_ml * (sitk.GetArrayFromImage(labels) == value).sum(), abs=2e-3)
    assert sum(float(row[f"{tissue}_fraction"]) for tissue in ("csf", "gm", "wm")) == pytest.approx(1, abs=2e-4)
    assert (tmp_path / "out" / row["segmentation"]).is_file()
    assert row["t1"] == "sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz"
    assert [dict.fromkeys(COLUMNS, "") | given for given in rows] == list(table.values())


def test_what_is_finished_is_not_segmented_again_and_keeps_its_row(bids, tmp_path, options, stand_in):
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    table = (tmp_path / "out/cohort.csv").read_bytes()
    os.utime(bids / "sub-01/anat/sub-01_T1w.nii.gz", (0, 0))  # copied again, same content
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    assert len(stand_in.calls) == 3
    assert (tmp_path / "out/cohort.csv").read_bytes() == table


def other_t1(bids, out, options):
    path = bids / "sub-01/anat/sub-01_T1w.nii.gz"
    write_image(sitk.ReadImage(str(path)) * 1.01, path)
    return options


def new_mask(bids, out, options):
    path = bids / "sub-01/anat/sub-01_T1w.nii.gz"
    write_image(sitk.ReadImage(str(path)) > 0, path.with_name("sub-01_desc-brain_mask.nii.gz"))
    return options


def cut_short(bids, out, options):
    labels_of(out).write_bytes(labels_of(out).read_bytes()[:-200])
    return options


def without(name):
    def change(bids, out, options):
        (labels_of(out).parent / f"sub-01_space-T1w_{name}").unlink()
        return options

    return change


def damaged_report(bids, out, options):
    (labels_of(out).parent / "sub-01_space-T1w_report.json").write_text("{")
    return options


@pytest.mark.parametrize("change", [other_t1, new_mask, cut_short, damaged_report, *map(without, RESULTS)])
def test_one_scan_is_done_again_when_its_inputs_changed_or_its_results_are_not_whole(bids, tmp_path, options, stand_in, change):
    out = tmp_path / "out"
    run_batch(bids, out, options, segmenter=stand_in)
    before = files_below(out)
    run_batch(bids, out, change(bids, out, options), segmenter=stand_in)
    assert len(stand_in.calls) == 4
    assert files_below(out) == before
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(labels_of(out)))).max() == 3


@pytest.mark.slow
def test_all_is_done_again_with_other_options_weights_version_or_when_asked(bids, tmp_path, options, stand_in, monkeypatch):
    out = tmp_path / "out"
    run_batch(bids, out, options, segmenter=stand_in)
    stage_one = replace(options, segment=replace(options.segment, use_context=False))
    for other in (stage_one, replace(stage_one, segment=replace(stage_one.segment, flip=True)), replace(options, redo=True)):
        stand_in.calls.clear()
        run_batch(bids, out, other, segmenter=stand_in)
        assert len(stand_in.calls) == 3
    stand_in.calls.clear()
    run_batch(bids, out, replace(options, segment=SegmentOptions("cpu", extract="off")), segmenter=stand_in)  # the bundled weights
    assert len(stand_in.calls) == 3
    monkeypatch.setattr(job_module, "__version__", "99")
    run_batch(bids, out, replace(options, segment=SegmentOptions("cpu", extract="off")), segmenter=stand_in)
    assert len(stand_in.calls) == 6


def test_labels_that_a_user_edited_stay_and_are_told_of(bids, tmp_path, options, stand_in):
    out = tmp_path / "out"
    run_batch(bids, out, options, segmenter=stand_in)
    edited = edit(labels_of(out))
    run_batch(bids, out, options, segmenter=stand_in)
    assert len(stand_in.calls) == 3
    assert labels_of(out).read_bytes() == edited
    assert "was edited after the run" in cohort(out)["sub-01"]["warnings"]


def test_edited_labels_are_kept_under_another_name_when_the_scan_is_done_again(bids, tmp_path, options, stand_in):
    out = tmp_path / "out"
    run_batch(bids, out, options, segmenter=stand_in)
    edited = edit(labels_of(out))
    run_batch(bids, out, replace(options, redo=True), segmenter=stand_in)
    (aside,) = labels_of(out).parent.glob("*.edited-*")
    assert aside.read_bytes() == edited
    assert labels_of(out).read_bytes() != edited
    assert aside.name in cohort(out)["sub-01"]["warnings"]


def test_labels_edited_with_a_number_of_the_user_s_own_are_kept_too(bids, tmp_path, options, stand_in):
    out = tmp_path / "out"
    run_batch(bids, out, options, segmenter=stand_in)
    image = sitk.ReadImage(str(labels_of(out)))
    image[3, 3, 3] = 99  # a lesion, say
    sitk.WriteImage(image, str(labels_of(out)))
    edited = labels_of(out).read_bytes()
    run_batch(bids, out, options, segmenter=stand_in)
    (aside,) = labels_of(out).parent.glob("*.edited-*")
    assert aside.read_bytes() == edited
    assert aside.name in cohort(out)["sub-01"]["warnings"]


def test_a_bad_scan_gets_its_reason_and_the_others_their_results(bids, tmp_path, options):
    (bids / "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz").write_bytes(b"not an image")
    (bids / "sub-02/ses-2/anat/sub-02_ses-2_T2w.nii.gz").unlink()

    class Faulty(StandIn):
        def __call__(self, *given):
            if not self.calls:
                self.calls.append(None)
                raise ZeroDivisionError("of ours")
            return super().__call__(*given)

    shutil.copytree(bids / "sub-01", bids / "sub-04")
    for path in (bids / "sub-04/anat").iterdir():
        path.rename(path.with_name(path.name.replace("sub-01", "sub-04")))
    run_batch(bids, tmp_path / "out", options, segmenter=Faulty())
    table = cohort(tmp_path / "out")
    assert [row["status"] for row in table.values()] == ["failed", "failed", "failed", "ok"]
    assert "Unexpected ZeroDivisionError (of ours)" in table["sub-01"]["reason"]
    assert "cannot be read as an image" in table["sub-02_ses-1"]["reason"]
    assert "No T2w image" in table["sub-02_ses-2"]["reason"]
    assert [path.name for path in (tmp_path / "out").glob("sub-*")] == ["sub-04"]


def test_a_table_that_is_open_elsewhere_is_written_after_the_next_scan(bids, tmp_path, options, stand_in, monkeypatch):
    written = []

    def locked_once(text, path):
        written.append(path.name)
        if path.name == "cohort.csv" and written.count("cohort.csv") == 2:
            raise InputError("cohort.csv is open in another program.")
        return write_text(text, path)

    monkeypatch.setattr(batch_module, "write_text", locked_once)
    rows = run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    assert [row["status"] for row in rows] == [row["status"] for row in cohort(tmp_path / "out").values()]
    assert "pending" not in {row["status"] for row in rows}


def test_a_file_missing_from_a_csv_fails_its_row_alone(small_scans, tmp_path, options, stand_in):
    for suffix in ("T1w", "T2w"):
        shutil.copyfile(small_scans / f"{suffix}.nii.gz", tmp_path / f"{suffix}.nii.gz")
    (tmp_path / "list.csv").write_text("subject,t1,t2\n1,T1w.nii.gz,none.nii.gz\n2,T1w.nii.gz,T2w.nii.gz\n")
    run_batch(tmp_path / "list.csv", tmp_path / "out", options, segmenter=stand_in)
    first, second = cohort(tmp_path / "out").values()
    assert (first["status"], second["status"]) == ("failed", "ok")
    assert first["reason"].startswith("T2 does not exist; wanted an image file")
    sidecar = json.loads((tmp_path / "out/sub-2/anat/sub-2_space-T1w_dseg.json").read_text(encoding="utf-8"))
    assert sidecar["SpatialReference"] == f"hash://sha256/{hashlib.sha256((tmp_path / 'T1w.nii.gz').read_bytes()).hexdigest()}"


def test_a_failed_second_run_says_that_older_results_still_lie_there(bids, tmp_path, options, stand_in):
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    (bids / "sub-01/anat/sub-01_T1w.nii.gz").write_bytes(b"not an image")
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    row = cohort(tmp_path / "out")["sub-01"]
    assert (row["status"], row["gm_ml"]) == ("failed", "")
    assert row["reason"].endswith("The results of an earlier run still lie there.")


def test_a_stopped_batch_keeps_what_is_whole_and_goes_on_with_the_rest(bids, tmp_path, options, stand_in):
    with pytest.raises(KeyboardInterrupt):
        run_batch(bids, tmp_path / "out", options, segmenter=stop_at(1))
    assert [row["status"] for row in cohort(tmp_path / "out").values()] == ["ok", "pending", "pending"]
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["sub-01"]
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    assert len(stand_in.calls) == 2
    assert [row["status"] for row in cohort(tmp_path / "out").values()] == ["ok"] * 3


def test_a_fault_while_the_files_are_moved_brings_the_former_ones_back(bids, tmp_path, options, stand_in, monkeypatch):
    out = tmp_path / "out"
    run_batch(bids, out, options, segmenter=stand_in)
    before = {path: path.read_bytes() for path in (out / "sub-01").rglob("*.*")}
    move = os.replace

    def faulty(source, target):
        if Path(source).parent.name == "new" and Path(target).parent.name == "anat" and Path(target).suffix == ".tsv":
            raise PermissionError(1, "Operation not permitted")
        move(source, target)

    monkeypatch.setattr(os, "replace", faulty)
    run_batch(bids, out, replace(options, redo=True), segmenter=stand_in)
    monkeypatch.setattr(os, "replace", move)
    row = cohort(out)["sub-01"]
    assert row["status"] == "failed"
    assert "cannot be replaced (Operation not permitted)" in row["reason"]
    assert {path: path.read_bytes() for path in (out / "sub-01").rglob("*.*")} == before


def test_a_reason_tells_no_path_of_the_output(bids, tmp_path, options, stand_in, monkeypatch):
    out = tmp_path / "out"

    def full(text, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("InfantBrainSegLib.outputs.bids.write_text", lambda text, path: None if out == path.parent else full(text, path))
    run_batch(bids, out, options, segmenter=stand_in)
    row = cohort(out)["sub-01"]
    assert "No space left on device" in row["reason"]
    assert str(tmp_path) not in (out / "cohort.csv").read_text(encoding="utf-8")


def test_what_a_killed_batch_left_is_swept_before_the_next_begins(bids, tmp_path, options, stand_in):
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    hidden = tmp_path / "out/sub-02/.infantbrainseg-x"
    hidden.mkdir()
    os.utime(hidden, (0, 0))
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    assert len(stand_in.calls) == 3
    assert not hidden.exists()


def test_progress_runs_from_0_to_1_over_all_scans_and_names_them(bids, tmp_path, options, stand_in):
    told = []
    run_batch(bids, tmp_path / "out", options, lambda step, fraction: told.append((step, fraction)), stand_in)
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert ("sub-01: stage 1", pytest.approx(0.5 / 3)) in told
    assert told[-1] == ("done", 1.0)
    assert [step for step, _ in told if step.startswith("sub-02_ses-1")] == [
        f"sub-02_ses-1: {step}" for step in ("read", "stage 1", "write")
    ]


@pytest.mark.parametrize("output", ["bids", "bids/sub-01/out"])
def test_an_output_folder_among_the_scans_is_refused(bids, tmp_path, options, stand_in, output):
    before = files_below(tmp_path)
    with pytest.raises(InputError, match="lies among the scans"):
        run_batch(bids, tmp_path / output, options, segmenter=stand_in)
    assert files_below(tmp_path) == before


def test_derivatives_within_the_input_are_a_fine_output_and_are_no_input(bids, options, stand_in):
    for _ in range(2):
        rows = run_batch(bids, bids / "derivatives" / "infantbrainseg", options, segmenter=stand_in)
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert len(stand_in.calls) == 3
    description = json.loads((bids / "derivatives/infantbrainseg/dataset_description.json").read_text(encoding="utf-8"))
    assert description["DatasetLinks"] == {"raw": "../.."}


def test_another_dataset_or_the_list_itself_is_never_written_over(bids, tmp_path, options, stand_in):
    other = tmp_path / "other"
    other.mkdir()
    (other / "dataset_description.json").write_text('{"Name": "mine", "BIDSVersion": "1.9.0"}')
    with pytest.raises(InputError, match="holds another dataset"):
        run_batch(bids, other, options, segmenter=stand_in)
    (tmp_path / "cohort.csv").write_text("subject,t1,t2\n1,a.nii,b.nii\n")
    with pytest.raises(InputError, match="would be replaced"):
        run_batch(tmp_path / "cohort.csv", tmp_path, options, segmenter=stand_in)
    assert files_below(other) == ["dataset_description.json"]
    assert (tmp_path / "cohort.csv").read_text(encoding="utf-8").endswith("1,a.nii,b.nii\n")


def test_an_output_device_or_weights_that_can_not_be_used_are_reported_before_any_work(bids, tmp_path, options, stand_in):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        run_batch(bids, tmp_path / "taken", options, segmenter=stand_in)
    with pytest.raises(DeviceError, match="Unknown device"):
        run_batch(bids, tmp_path / "out", BatchOptions(SegmentOptions("tpu")), segmenter=stand_in)
    with pytest.raises(WeightsError, match="missing"):
        run_batch(bids, tmp_path / "out", BatchOptions(SegmentOptions("cpu", tmp_path)), segmenter=stand_in)
    assert not (tmp_path / "out").exists()
    assert stand_in.calls == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name themselves")
def test_a_path_that_is_not_utf_8_is_its_rows_reason(small_scans, tmp_path, options, stand_in):
    root = tmp_path / "bids"
    for subject in ("01", "02"):
        (root / f"sub-{subject}/anat").mkdir(parents=True)
        middle = "_acq-\udcff" if subject == "01" else ""
        for suffix in ("T1w", "T2w"):
            shutil.copyfile(small_scans / f"{suffix}.nii.gz", root / f"sub-{subject}/anat/sub-{subject}{middle}_{suffix}.nii.gz")
    run_batch(root, tmp_path / "out", options, segmenter=stand_in)
    rows = list(cohort(tmp_path / "out").values())
    assert [row["status"] for row in rows if row["subject"] == "sub-02"] == ["ok"]
    assert all(row["reason"] for row in rows if row["subject"] == "sub-01")
    assert len(rows) >= 2


def test_without_vtk_a_batch_writes_all_but_the_pictures_and_its_table_says_so(bids, tmp_path, options, stand_in, monkeypatch):
    monkeypatch.setitem(sys.modules, "vtkmodules.vtkRenderingFreeType", None)
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    rows = cohort(tmp_path / "out").values()
    assert [(row["status"], "VTK cannot be loaded" in row["warnings"]) for row in rows] == [("ok", True)] * 3
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    assert len(stand_in.calls) == 3


def test_every_subject_folder_has_a_row_and_bad_ones_stop_nobody(bids, tmp_path, options, stand_in):
    for folder in ("sub-baby_12", "sub-13 copy", "SUB-14"):
        shutil.copytree(bids / "sub-01", bids / folder)
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    status = {name: row["status"] for name, row in cohort(tmp_path / "out").items()}
    good = dict.fromkeys(("sub-01", "sub-02_ses-1", "sub-02_ses-2"), "ok")
    assert status == {**good, **dict.fromkeys(("sub-baby_12", "sub-13 copy", "SUB-14"), "failed")}
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"sub-01", "sub-02"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
@pytest.mark.parametrize("suffix", ["T1w", "T2w", "desc-brain_mask"])
def test_a_link_to_nothing_fails_its_scan_and_says_how_to_get_the_file(bids, tmp_path, options, stand_in, suffix):
    path = bids / f"sub-01/anat/sub-01_{suffix}.nii.gz"
    path.unlink(missing_ok=True)
    path.symlink_to("../../.git/annex/objects/xx/SHA256E-s1--abc.nii.gz")
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    rows = cohort(tmp_path / "out")
    assert [row["status"] for row in rows.values()] == ["failed", "ok", "ok"]
    assert "is a link to nothing; wanted an image file: get what it stands for" in rows["sub-01"]["reason"]


def test_a_fault_of_the_disk_before_the_run_fails_its_scan_alone(bids, tmp_path, options, stand_in, monkeypatch):
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    finished = job_module.is_same_input

    def stale(given, record):
        if "sub-01" in given.path.name:
            raise OSError(116, "Stale file handle", str(given.path))
        return finished(given, record)

    monkeypatch.setattr(job_module, "is_same_input", stale)
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    rows = cohort(tmp_path / "out")
    assert [row["status"] for row in rows.values()] == ["failed", "ok", "ok"]
    assert "Stale file handle" in rows["sub-01"]["reason"]
    assert str(bids) not in rows["sub-01"]["reason"]


class TwoParts:
    """In place of `Segmenter.begin`: tells when each part of each scan ran and in which thread; `rest` may do more before it ends."""

    def __init__(self, monkeypatch, rest=lambda number: None):
        self.told = []
        self.threads = []
        self.second_began = threading.Event()
        inner = StandIn()

        def begin(_, *given):
            result, number = inner(*given), len(inner.calls)
            self.told.append(f"networks {number}")
            self.threads.append(threading.current_thread())
            if number == 2:
                self.second_began.set()

            def end(progress):
                rest(number)
                self.told.append(f"rest {number}")
                return result

            return end

        monkeypatch.setattr(Segmenter, "begin", begin)


def test_a_scan_is_written_while_the_next_one_is_in_the_networks(bids, tmp_path, options, monkeypatch):
    parts = TwoParts(monkeypatch, lambda number: number > 1 or parts.second_began.wait(20))
    rows = run_batch(bids, tmp_path / "out", options)
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert parts.told.index("networks 2") < parts.told.index("rest 1")
    assert set(parts.threads) == {threading.main_thread()}  # where a stop is heard


def test_a_large_scan_is_written_before_the_next_one_begins(bids, tmp_path, options, monkeypatch):
    monkeypatch.setattr(batch_module, "BESIDE_VOXELS", 10)
    parts = TwoParts(monkeypatch, lambda number: time.sleep(0.1))
    run_batch(bids, tmp_path / "out", options)
    assert parts.told == [f"{part} {number}" for number in (1, 2, 3) for part in ("networks", "rest")]


def test_what_fails_after_the_networks_fails_its_own_scan(bids, tmp_path, options, monkeypatch):
    def no_memory(number):
        if number == 2:
            raise MemoryError

    TwoParts(monkeypatch, no_memory)
    rows = run_batch(bids, tmp_path / "out", options)
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert "memory" in rows[1]["reason"].lower()
    assert [path.name for path in (tmp_path / "out").rglob(".infantbrainseg-*")] == [".infantbrainseg-failed-sub-02_ses-1"]


def test_a_stop_waits_for_the_scan_that_is_being_written(bids, tmp_path, options, monkeypatch):
    TwoParts(monkeypatch, lambda number: time.sleep(0.5))
    begin = Segmenter.begin
    begun = []

    def stopped(*given):
        begun.append(given)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return begin(*given)

    monkeypatch.setattr(Segmenter, "begin", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_batch(bids, tmp_path / "out", options)
    assert [row["status"] for row in cohort(tmp_path / "out").values()] == ["ok", "pending", "pending"]
    assert not list((tmp_path / "out").rglob(".infantbrainseg-*"))


@pytest.mark.slow
def test_labels_of_a_batch_are_those_of_single_runs(bids, tmp_path, options):
    options = replace(options, segment=replace(options.segment, use_context=False))
    rows = run_batch(bids, tmp_path / "out", options)
    assert [row["status"] for row in rows] == ["ok"] * 3
    for row in rows[:2]:
        t1, t2 = (read_image(bids / row[role]) for role in ("t1", "t2"))
        write_image(segment(t1, t2, None, options.segment).labels, tmp_path / "single.nii.gz")
        assert (tmp_path / "out" / row["segmentation"]).read_bytes() == (tmp_path / "single.nii.gz").read_bytes()
