"""The verdict after a run: accept, look at these places, or do not use."""

import json
import re
from dataclasses import replace

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from scans_for_checks import good_pair
from stand_ins import of_arrays

from InfantBrainSegLib.checks.label_intensity import Mislabelled
from InfantBrainSegLib.checks.result_checks import ACCEPT, DO_NOT_USE, LOOK, Outcome, judge
from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.core.check import PASS, STOP, WARN, Check, CheckCode, Reason, SignCode
from InfantBrainSegLib.core.labels import CSF, GM, WM
from InfantBrainSegLib.imaging.space import plan_space
from InfantBrainSegLib.networks import predictor as runner_module
from InfantBrainSegLib.pipeline.segmenter import SegmentOptions, segment
from InfantBrainSegLib.pipeline.volumes import measure

GOOD = (Check(CheckCode.SPACING, PASS, "1 mm", "2 mm"),)


def fractions_of(labels):
    return {volume.tissue: volume.fraction for volume in measure(labels, tissues=(CSF, GM, WM))}


def outcome(mask_grid=None, **changes):
    """A sure result of the phantom in prepared space, the two stages alike."""
    space = plan_space(phantoms.draw(mask_grid or phantoms.grid()) > 0)
    empty = space.to_image(np.zeros(space.shape, np.uint8))
    labels = sitk.GetArrayFromImage(phantoms.draw(empty)).transpose(2, 1, 0)  # (X, Y, Z)
    labels[(labels == 2) & (np.indices(labels.shape).sum(0) % 4 == 0)] = 1  # more CSF, as a brain has
    fractions = fractions_of(space.to_image(labels))
    given = {"first": labels, "last": labels, "confidence": np.full(labels.shape, 0.8, np.float32), "mask": labels > 0}
    return Outcome(**{**given, "space": space, "fractions": fractions, "islands_removed": 100, **changes})


def test_a_sure_result_of_good_images_is_accepted():
    verdict = judge(outcome(), GOOD)
    assert (verdict.decision, verdict.reasons, verdict.places) == (ACCEPT, (), ())
    assert verdict.agreement == {"CSF": 1.0, "GM": 1.0, "WM": 1.0}
    assert verdict.mean_confidence == pytest.approx(0.8)
    assert sum(verdict.fractions.values()) == pytest.approx(1)


def test_a_warning_asks_for_a_look_and_a_stop_forbids():
    good = outcome()
    assert judge(good, (Check(CheckCode.CLIPPING, WARN, "2 %", "1 %", "r"),)).decision == LOOK
    verdict = judge(good, (Check(CheckCode.CONTRASTS, STOP, "swapped", "not", "r"), Check(CheckCode.CLIPPING, WARN, "2 %", "1 %", "r")))
    assert verdict.message == "Do not use: contrasts: swapped; clipping: 2 %."


@pytest.mark.parametrize(("confidence", "decision"), [(0.72, ACCEPT), (0.6, LOOK), (0.45, DO_NOT_USE)])
def test_mean_confidence(confidence, decision):
    good = outcome()
    assert judge(outcome(confidence=np.where(good.mask, confidence, 0.0)), GOOD).decision == decision


@pytest.mark.parametrize(("share", "decision"), [(0.05, ACCEPT), (0.25, LOOK), (0.7, DO_NOT_USE)])
def test_agreement_of_the_stages(share, decision):
    good = outcome()
    differs = np.random.default_rng(0).random(good.mask.shape) < share
    first = np.where(differs & good.mask, good.last % 3 + 1, good.last)
    verdict = judge(outcome(first=first), GOOD)
    assert verdict.decision == decision
    assert verdict.agreement["GM"] < 1 - share / 2


def test_without_a_second_stage_there_is_no_agreement_to_tell():
    verdict = judge(outcome(first=None), GOOD)
    assert (verdict.decision, verdict.agreement) == (ACCEPT, {})


@pytest.mark.parametrize(("kept", "decision"), [(0.02, LOOK), (0.0, DO_NOT_USE)])
def test_a_tissue_that_is_hardly_there(kept, decision):
    good = outcome()
    fluid = good.last == 1
    last = np.where(fluid & (np.random.default_rng(0).random(fluid.shape) > kept * good.mask.sum() / fluid.sum()), 2, good.last)
    verdict = judge(outcome(first=last, last=last, fractions=fractions_of(good.space.to_image(last.astype(np.uint8)))), GOOD)
    assert (verdict.decision, verdict.reasons[0].code) == (decision, SignCode.TISSUE_FRACTION)


@pytest.mark.parametrize(("volume_ml", "share", "decision"), [(0.6, 0.2, ACCEPT), (1.5, 0.01, LOOK), (40.0, 0.2, DO_NOT_USE)])
def test_a_label_against_its_intensities_asks_for_a_look_or_forbids(volume_ml, share, decision):
    verdict = judge(outcome(mislabelled=(Mislabelled(WM, CSF, volume_ml, share, (30.0, 31.0, 32.0)),)), GOOD)
    assert verdict.decision == decision
    if decision != ACCEPT:
        assert [reason.code for reason in verdict.reasons] == [SignCode.LABEL_INTENSITY]
        assert verdict.places[0].ras_mm == pytest.approx(outcome().space.place_to_scan((30.0, 31.0, 32.0))[0])


@pytest.mark.parametrize(("volume_mm3", "decision"), [(900, ACCEPT), (1100, LOOK)])
def test_fluid_that_the_networks_did_not_know_asks_for_a_look(volume_mm3, decision):
    fluid = np.zeros(outcome().mask.shape, bool)
    fluid.flat[:volume_mm3] = True
    verdict = judge(outcome(fluid=fluid), GOOD)
    assert verdict.decision == decision
    assert [reason.code for reason in verdict.reasons] == ([] if decision == ACCEPT else [SignCode.FLUID])


@pytest.mark.parametrize(
    ("age_months", "ratio", "decision"),
    [
        (6, 1.56, ACCEPT),
        (6, 1.39, ACCEPT),
        (5, 1.69, LOOK),
        (8, 2.4, LOOK),
        (6, 1.3, LOOK),
        (4.9, 2.4, ACCEPT),
        (9, 2.4, ACCEPT),
        (None, 2.4, ACCEPT),
    ],
)
def test_between_5_and_8_months_gray_to_white_matter_that_no_real_brain_has_asks_for_a_look(age_months, ratio, decision):
    fractions = {"CSF": 0.2, "GM": 0.8 * ratio / (1 + ratio), "WM": 0.8 / (1 + ratio)}
    verdict = judge(outcome(fractions=fractions, age_months=age_months), GOOD)
    assert verdict.decision == decision
    if decision == LOOK:
        (reason,) = verdict.reasons
        assert reason.code == SignCode.GRAY_TO_WHITE
        assert f"{ratio:.2f} times as much GM as WM; wanted 1.39 to 1.68 at {age_months} months" in verdict.message
        assert Reason.from_dict(reason.as_dict()) == reason


def test_a_result_without_white_matter_is_judged_whatever_the_age():
    fractions = {"CSF": 0.2, "GM": 0.8, "WM": 0.0}
    assert judge(outcome(fractions=fractions, age_months=6), GOOD).decision == DO_NOT_USE


def test_many_islands_ask_for_a_look():
    (reason,) = judge(outcome(islands_removed=5000), GOOD).reasons
    assert reason == Reason(SignCode.ISLANDS, "5000 islands were removed")
    assert Reason.from_dict(reason.as_dict()) == reason


def test_of_a_head_that_was_set_upright_message_and_places_tell_where_it_lay():
    half_turn = sitk.Euler3DTransform((0, 0, 0), 0, 0, np.pi, (5, 0, 0))  # about S, then 5 mm to the patient's left
    good = outcome()
    x, y, z = (round(mm - origin) for mm, origin in zip((10, 12, 6), good.space.origin_mm, strict=True))
    unsure = np.zeros(good.mask.shape, bool)
    unsure[x - 9 : x + 10, y - 9 : y + 10, z - 9 : z + 10] = True
    confidence = np.where(unsure, 0.4, 0.9)
    (straight,) = judge(outcome(confidence=confidence), GOOD).places
    verdict = judge(outcome(confidence=confidence, space=replace(good.space, rotation=half_turn)), GOOD)
    (place,) = verdict.places
    right, front, up = straight.ras_mm
    assert place.ras_mm == pytest.approx((-right - 5, -front, up))
    assert f"(RAS {round(place.ras_mm[0])}, {round(place.ras_mm[1])}, {round(up)} mm)" in verdict.message


@pytest.mark.parametrize("direction", [phantoms.LPS, phantoms.PERMUTED, phantoms.OBLIQUE])
def test_a_doubtful_place_is_named_by_t1s_slice_and_ras_mm(direction):
    t1_grid = phantoms.grid((0.9, 1.0, 1.4), direction)
    good = outcome(t1_grid)
    middle = np.array([10.0, 12.0, 6.0])  # RAS mm
    points = phantoms.points_mm(good.space.to_image(np.zeros(good.mask.shape, np.uint8))).transpose(2, 1, 0, 3)
    unsure = np.linalg.norm(points - middle, axis=-1) < 10
    verdict = judge(outcome(t1_grid, confidence=np.where(unsure, 0.4, 0.9)), GOOD)
    (place,) = verdict.places
    assert np.abs(place.ras_mm - middle).max() <= 4
    x, y, z = place.ras_mm
    assert place.slice_index == t1_grid.TransformPhysicalPointToIndex((-x, -y, z))[2]
    assert verdict.message.startswith(f"Look at slice {place.slice_index} (RAS {round(x)}, {round(y)}, {round(z)} mm) before use: ")


def test_slices_of_several_places_are_named_once_each_and_in_order():
    points = phantoms.points_mm(outcome().space.to_image(np.zeros(outcome().mask.shape, np.uint8))).transpose(2, 1, 0, 3)
    x, y, z = np.moveaxis(points, -1, 0)
    unsure = ((x + 16) ** 2 + y**2 + z**2 < 81) | ((x - 16) ** 2 + y**2 + z**2 < 81)
    verdict = judge(outcome(confidence=np.where(unsure, 0.4, 0.9)), GOOD)
    indices = [place.slice_index for place in verdict.places]
    named = [int(word) for word in re.findall(r"(\d+) \(RAS", verdict.message)]
    assert len(indices) >= 2
    assert named == sorted(set(indices))


def test_segment_stores_checks_and_verdict_and_prints_the_message(scan_files, weights_dir, tmp_path, capsys, monkeypatch):
    def all_gray(network, inputs, mask, config, device, progress=None):
        probabilities = np.full((4, *mask.shape), 0.1, np.float32)
        probabilities[2] = 0.7
        return probabilities

    monkeypatch.setattr(runner_module, "predict", of_arrays(all_gray))
    files = ["--t1", scan_files[0], "--t2", scan_files[1], "--output-dir", tmp_path, "--weights", weights_dir, "--extract", "off"]
    assert main(["segment", *map(str, files), "--device", "cpu", "--age-months", "24"]) == 0
    out, err = capsys.readouterr()
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"]["message"] in out.splitlines()
    assert report["verdict"]["decision"] == DO_NOT_USE
    assert {check["code"]: check["status"] for check in report["checks"]}["brain_volume"] == STOP
    assert "Warning: Brain volume: 179 ml" in err


def test_a_stop_does_not_keep_labels_from_being_made_but_forbids_their_use(weights_dir, monkeypatch):
    t1, _ = good_pair()
    monkeypatch.setattr(
        runner_module, "predict", of_arrays(lambda network, inputs, mask, *rest: np.full((4, *mask.shape), 0.25, np.float32))
    )
    result = segment(t1, t1, options=SegmentOptions("cpu", weights_dir, use_context=False, extract="off"))
    assert result.report.verdict.decision == DO_NOT_USE
    assert result.report.verdict.reasons[0].code == CheckCode.SAME_IMAGE


def test_check_only_prints_the_table_writes_nothing_and_needs_no_output_folder(scan_files, tmp_path, capsys):
    t1, t2 = map(str, scan_files)
    assert main(["segment", "--t1", t1, "--t2", t2, "--check-only", "--extract", "off"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split("  ")[0] == "field of view"
    assert err == ""
    assert main(["segment", "--t1", t2, "--t2", t1, "--check-only", "--extract", "off"]) == 2
    assert "swapped" in capsys.readouterr().out


def test_check_only_writes_its_table_as_json_too_and_tells_its_progress(scan_files, tmp_path, capsys):
    t1, t2 = map(str, scan_files)
    table = tmp_path / "table.json"
    assert main(["segment", "--t1", t1, "--t2", t2, "--check-only", "--extract", "off", "--json", str(table), "--progress", "lines"]) == 0
    rows = json.loads(table.read_text(encoding="utf-8"))
    assert set(rows[0]) == {"code", "name", "status", "found", "wanted", "remedy"}
    assert rows[0]["code"] == "field_of_view"
    out, err = capsys.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert "field of view" in err  # lines of JSON alone on stdout
    assert told[-1] == {"step": "done", "progress": 1.0}


def test_a_run_takes_no_json_file(scan_files, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["segment", "--t1", str(scan_files[0]), "--output-dir", str(tmp_path / "out"), "--json", str(tmp_path / "t.json")])
    assert "report.json" in capsys.readouterr().err


def test_without_an_output_folder_or_check_only_segment_says_what_is_missing(scan_files, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["segment", "--t1", str(scan_files[0])])
    assert exit_.value.code == 2
    assert "--output-dir" in capsys.readouterr().err
