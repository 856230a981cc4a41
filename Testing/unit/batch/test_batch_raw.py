"""A batch of what comes from the scanner: DICOM folders, lone scans, ages, raw heads; and what it tells of each result."""

import json
from dataclasses import replace

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from command_line import cohort
from dicom_files import write_series
from stand_ins import StandIn

from InfantBrainSegLib.batch.run import run_batch
from InfantBrainSegLib.cli.main import build_parser
from InfantBrainSegLib.networks.weights import Networks

STEM = "sub-01/anat/sub-01_space-T1w"


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def with_options(options, **changes):
    return replace(options, segment=replace(options.segment, **changes))


@pytest.fixture
def exams(tmp_path):
    """A CSV of two subjects: a folder for each series, and one folder with two."""
    grid = phantoms.grid((2.8, 2.5, 2.9))
    for folder, uid, levels in (("t1", "1.2.1", phantoms.T1_LEVELS), ("t2", "1.2.2", phantoms.T2_LEVELS)):
        scan = phantoms.draw(grid, levels)
        write_series(tmp_path / folder, scan, uid, folder)
        write_series(tmp_path / "both", scan, uid, folder)
    path = tmp_path / "list.csv"
    path.write_text("subject,t1,t2,t1_series,t2_series\n1,t1,t2,,\n2,both,both,1.2.1,\n3,both,both,1.2.1,1.2.2\n")
    return path


def test_the_table_holds_verdict_checks_and_mean_confidence(bids, tmp_path, options, stand_in):
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    row = cohort(tmp_path / "out")["sub-01"]
    assert [row[name] for name in ("verdict", "checks_warn", "checks_stop", "mean_confidence")] == [
        "do not use",
        "spacing",
        "shape",
        "0.7500",
    ]


def test_the_mask_is_a_derivative_with_a_sidecar_of_its_own(bids, tmp_path, options, stand_in):
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    mask, labels = (sitk.ReadImage(str(tmp_path / "out" / f"{STEM}_{name}.nii.gz")) for name in ("desc-cerebrum_mask", "dseg"))
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(labels) > 0)
    sidecar = read_json(tmp_path / "out" / f"{STEM}_desc-cerebrum_mask.json")
    assert (sidecar["Type"], sidecar["Sources"][0]) == ("ROI", "bids:raw:sub-01/anat/sub-01_T1w.nii.gz")


def test_the_transform_of_a_t2_that_was_moved_lies_beside_the_labels_until_it_is_not_moved(bids, tmp_path, options):
    moved = sitk.Euler3DTransform((0, 0, 0), 0.1, 0, 0, (1, 2, 3))
    path = tmp_path / "out/sub-02/ses-1/anat/sub-02_ses-1_from-T2w_to-T1w_mode-image_xfm.tfm"
    run_batch(bids, tmp_path / "out", options, segmenter=StandIn(moved))
    assert sitk.ReadTransform(str(path)).TransformPoint((4, 5, 6)) == pytest.approx(moved.TransformPoint((4, 5, 6)))
    run_batch(bids, tmp_path / "out", with_options(options, align="off"), segmenter=StandIn())
    assert not path.exists()


@pytest.mark.parametrize("other", [{"align": "off"}, {"bias_correction": "on"}, {"extract": "auto"}])
def test_all_is_done_again_when_raw_input_is_treated_otherwise(bids, tmp_path, options, stand_in, monkeypatch, other):
    monkeypatch.setattr(Networks, "sha256", lambda self, stages: dict.fromkeys(stages, "1"))
    for _ in range(2):
        run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    assert len(stand_in.calls) == 3
    for _ in range(2):
        run_batch(bids, tmp_path / "out", with_options(options, **other), segmenter=stand_in)
    assert len(stand_in.calls) == 6


@pytest.mark.slow
def test_all_is_done_again_when_the_weights_that_find_the_cerebrum_changed(bids, tmp_path, options, stand_in, monkeypatch):
    for weights in ("old", "old", "new"):
        monkeypatch.setattr(
            Networks, "sha256", lambda self, stages, weights=weights: {s: weights if s == "locate" else "1" for s in stages}
        )
        run_batch(bids, tmp_path / "out", with_options(options, extract="auto"), segmenter=stand_in)
    assert len(stand_in.calls) == 6


def test_each_scan_has_its_own_age_and_is_done_again_when_that_changed(bids, tmp_path, options, stand_in):
    (bids / "participants.tsv").write_text("participant_id\tage_months\nsub-01\t6\n")
    (bids / "sub-02/sub-02_sessions.tsv").write_text("session_id\tage\nses-1\t12\nses-2\tn/a\n")
    for _ in range(2):
        run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    assert [call.options.age_months for call in stand_in.calls] == [6, None, None]
    table = cohort(tmp_path / "out")
    assert [row["age_months"] for row in table.values()] == ["6", "", ""]
    assert "has no units and was not used" in table["sub-02_ses-1"]["warnings"]
    assert not any("no units" in table[name]["warnings"] for name in ("sub-01", "sub-02_ses-2"))
    (bids / "participants.tsv").write_text("participant_id\tage_months\nsub-01\t7\n")
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    assert [call.options.age_months for call in stand_in.calls[3:]] == [7]


def test_a_lone_scan_is_segmented_when_asked_for(bids, tmp_path, options, stand_in):
    (bids / "sub-01/anat/sub-01_T2w.nii.gz").unlink()
    (bids / "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz").unlink()
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    assert [row["status"] for row in cohort(tmp_path / "out").values()] == ["failed", "failed", "ok"]
    run_batch(bids, tmp_path / "out", replace(options, single_scan=True), segmenter=stand_in)
    assert [row["status"] for row in cohort(tmp_path / "out").values()] == ["ok", "ok", "ok"]
    assert [(call.t1 is None, call.t2 is None) for call in stand_in.calls] == [(False, False), (False, True), (True, False)]
    labels = tmp_path / "out/sub-02/ses-1/anat/sub-02_ses-1_space-T2w_dseg"
    assert labels.with_suffix(".nii.gz").is_file()
    assert read_json(labels.with_suffix(".json"))["SpatialReference"].endswith("sub-02_ses-1_T2w.nii.gz")
    run_batch(bids, tmp_path / "out", replace(options, single_scan=True), segmenter=stand_in)
    assert len(stand_in.calls) == 3


def test_dicom_folders_are_read_and_a_choice_of_series_is_asked_for(exams, tmp_path, options, stand_in):
    run_batch(exams, tmp_path / "out", options, segmenter=stand_in)
    first, second, third = cohort(tmp_path / "out").values()
    assert [row["status"] for row in (first, second, third)] == ["ok", "failed", "ok"]
    assert "The folder of T2 has 2 series; wanted one" in second["reason"]
    assert "in the column t2_series" in second["reason"]
    assert "1.2.1 (t1, 35 slices, 2.8×2.5×2.9 mm); 1.2.2 (t2, 35 slices" in second["reason"]
    assert [row["t1"] for row in (first, second, third)] == ["folder"] * 3
    one, other = stand_in.calls
    for role in ("t1", "t2"):
        assert np.array_equal(sitk.GetArrayFromImage(getattr(one, role)), sitk.GetArrayFromImage(getattr(other, role)))


@pytest.mark.slow
def test_a_finished_dicom_scan_is_done_again_when_another_series_is_named(exams, tmp_path, options, stand_in):
    for _ in range(2):
        run_batch(exams, tmp_path / "out", options, segmenter=stand_in)
    assert len(stand_in.calls) == 2
    exams.write_text(exams.read_text().replace("3,both,both,1.2.1,1.2.2", "3,both,both,1.2.2,1.2.1"))
    run_batch(exams, tmp_path / "out", options, segmenter=stand_in)
    assert len(stand_in.calls) == 3


def test_a_mask_that_a_user_edited_stays_and_goes_aside_when_the_scan_is_done_again(bids, tmp_path, options, stand_in):
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    path = tmp_path / "out" / f"{STEM}_desc-cerebrum_mask.nii.gz"
    mask = sitk.ReadImage(str(path))
    mask[3, 3, 3] = 255
    sitk.WriteImage(mask, str(path))
    edited = path.read_bytes()
    run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    assert len(stand_in.calls) == 3
    assert path.read_bytes() == edited
    assert "to segment inside it, copy it" in cohort(tmp_path / "out")["sub-01"]["warnings"]
    run_batch(bids, tmp_path / "out", replace(options, redo=True), segmenter=stand_in)
    (aside,) = path.parent.glob("*.edited-*")
    assert aside.read_bytes() == edited
    assert aside.name in cohort(tmp_path / "out")["sub-01"]["warnings"]


def test_a_mask_among_the_results_is_no_input_and_a_copy_is(bids, tmp_path, options, stand_in):
    folder = bids / "sub-01/anat"
    listed = tmp_path / "list.csv"
    listed.write_text(f"subject,t1,t2,mask\n01,{folder}/sub-01_T1w.nii.gz,{folder}/sub-01_T2w.nii.gz,\n")
    run_batch(listed, tmp_path / "out", options, segmenter=stand_in)
    mask = tmp_path / "out" / f"{STEM}_desc-cerebrum_mask.nii.gz"
    listed.write_text(listed.read_text().rstrip() + str(mask))
    run_batch(listed, tmp_path / "out", options, segmenter=stand_in)
    assert "lies among the results" in cohort(tmp_path / "out")["sub-01"]["reason"]
    mask.rename(tmp_path / "mine.nii.gz")
    listed.write_text(listed.read_text().replace(str(mask), "mine.nii.gz"))
    run_batch(listed, tmp_path / "out", options, segmenter=stand_in)
    assert cohort(tmp_path / "out")["sub-01"]["status"] == "ok"
    assert stand_in.calls[-1].mask is not None


def test_segment_and_batch_share_the_options_for_raw_input():
    for command in (["segment"], ["batch", "--input", "a", "--output-dir", "b"]):
        arguments = build_parser().parse_args(command)
        assert (arguments.extract, arguments.bias_correction) == ("auto", "auto")
        arguments = build_parser().parse_args([*command, "--extract", "off", "--align", "auto", "--bias-correction", "on"])
        assert (arguments.extract, arguments.align, arguments.bias_correction) == ("off", "auto", "on")
