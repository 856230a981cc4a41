from dataclasses import replace

import numpy as np
import pytest
from scans_for_checks import brain, good_pair

from InfantBrainSegLib.core.check import PASS, STOP, WARN, CheckCode
from InfantBrainSegLib.core.errors import AlignmentError
from InfantBrainSegLib.extraction.extract import Extraction, ExtractionReport
from InfantBrainSegLib.extraction.pose import find_pose
from InfantBrainSegLib.imaging.files import same_grid
from InfantBrainSegLib.imaging.resample import on_grid_of
from InfantBrainSegLib.pipeline import prepare_scans as preparing
from InfantBrainSegLib.pipeline.options import SegmentOptions
from InfantBrainSegLib.pipeline.prepare_scans import check_scans, prepare_scans
from InfantBrainSegLib.pipeline.report import Steps
from InfantBrainSegLib.preparation.registration import Alignment

T1, T2 = good_pair()
MASK = on_grid_of(T1, brain(T1).astype(np.uint8))
UNALIGNED = SegmentOptions("cpu", align="off")


def found(t1, t2, rotation_degrees, turn=None, confidence=0.95, stripped=False):
    report = ExtractionReport("", "260 ml of cerebrum.", stripped, confidence, rotation_degrees=rotation_degrees, rotated=turn is not None)
    return Extraction(t1, t2, MASK, turn, report)


@pytest.mark.parametrize(
    ("degrees", "status", "words"),
    [(8.0, PASS, "turned by 8 degrees"), (None, WARN, "cannot be determined"), (21.0, PASS, "turned by 21 degrees")],
)
def test_the_pose_is_a_row_of_the_table(monkeypatch, degrees, status, words):
    monkeypatch.setattr(preparing, "extract", lambda t1, t2, *rest: found(t1, t2, degrees))
    cerebrum, pose = check_scans((T1, T2, None), UNALIGNED)[:2]
    assert (cerebrum.code, cerebrum.status, cerebrum.found) == (CheckCode.CEREBRUM, PASS, "260 ml of cerebrum; mean probability 0.95")
    assert (pose.code, pose.status, pose.found) == (CheckCode.POSE, status, words)


@pytest.mark.parametrize(
    ("degrees", "facts", "status", "words"),
    [
        (179.0, {"rotated": True, "front_is_back": True}, WARN, "front and back exchanged, set upright"),
        (179.0, {"rotated": True, "upside_down": True}, WARN, "upside down, set upright"),
        (8.0, {"orientation_told": True}, PASS, "turned by 8 degrees"),
        (8.0, {"orientation_told": False}, WARN, "turned by 8 degrees; which way is up and which is front could not be confirmed"),
    ],
)
def test_a_brain_that_lies_otherwise_than_the_header_says_or_does_not_tell_is_warned_of(monkeypatch, degrees, facts, status, words):
    extraction = found(T1, T2, degrees)
    extraction = replace(extraction, report=replace(extraction.report, **facts))
    monkeypatch.setattr(preparing, "extract", lambda t1, t2, *rest: extraction)
    pose = check_scans((T1, T2, None), UNALIGNED)[1]
    assert (pose.code, pose.status, pose.found) == (CheckCode.POSE, status, words)


@pytest.mark.parametrize(("confidence", "stripped", "status"), [(0.85, False, WARN), (0.85, True, PASS), (0.75, True, WARN)])
def test_a_cerebrum_that_the_network_is_not_sure_of_is_warned_of(monkeypatch, confidence, stripped, status):
    monkeypatch.setattr(preparing, "extract", lambda t1, t2, *rest: found(t1, t2, 8.0, confidence=confidence, stripped=stripped))
    cerebrum = check_scans((T1, T2, None), UNALIGNED)[0]
    assert (cerebrum.code, cerebrum.status) == (CheckCode.CEREBRUM, status)
    assert ("--mask" in cerebrum.remedy) == (status == WARN)


def test_a_head_that_was_set_upright_is_warned_of_and_keeps_its_voxels(monkeypatch):
    parts = np.zeros(brain(T1).shape, np.uint8)
    parts[brain(T1)] = 1
    parts[:, :, : parts.shape[2] // 2][parts[:, :, : parts.shape[2] // 2] == 1] = 2  # by its index, whichever way that is
    turn = find_pose(on_grid_of(T1, np.ascontiguousarray(np.swapaxes(parts, 1, 2)))).rotation
    assert turn is not None

    def turning(t1, t2, *rest):
        return Extraction(t1, t2, MASK, turn, found(t1, t2, 88.0, turn).report)

    monkeypatch.setattr(preparing, "extract", turning)
    steps = Steps(lambda step, fraction: None)
    ready = prepare_scans(
        (T1, T2, None), UNALIGNED, preparing.Predictor(preparing.resolve_device("cpu"), "cpu", UNALIGNED.window, False), steps
    )
    assert ready.checks[1].status == WARN
    assert "set upright" in ready.checks[1].found
    assert same_grid(ready.pair.mask, T1)
    assert ready.prepared.space.rotation is turn
    assert list(steps.seconds) == ["align", "extract", "prepare"]


@pytest.mark.parametrize("mask", [MASK, None])
def test_when_switched_off_nobody_looks_for_the_cerebrum_or_the_pose(monkeypatch, mask):
    for name in ("extract", "set_upright"):
        monkeypatch.setattr(preparing, name, lambda *rest: pytest.fail("it looked for the cerebrum"))
    options = SegmentOptions("cpu", align="off", extract="off")
    ready = prepare_scans(
        (T1, T2, mask),
        options,
        preparing.Predictor(preparing.resolve_device("cpu"), "cpu", options.window, False),
        Steps(lambda *rest: None),
    )
    assert "switched off" in ready.extraction.report.message
    assert CheckCode.POSE not in [check.code for check in ready.checks]


@pytest.mark.parametrize(
    ("degrees", "codes"),
    [(12.0, [CheckCode.POSE, CheckCode.FIELD_OF_VIEW]), (None, [CheckCode.FIELD_OF_VIEW, CheckCode.SPACING])],
)
def test_with_a_mask_the_pose_alone_is_looked_at(monkeypatch, degrees, codes):
    def upright(t1, t2, mask, *rest):
        report = ExtractionReport("") if degrees is None else ExtractionReport("", rotation_degrees=degrees, rotated=False)
        return Extraction(t1, t2, mask, None, report)

    monkeypatch.setattr(preparing, "set_upright", upright)
    assert [check.code for check in check_scans((T1, T2, MASK), UNALIGNED)[:2]] == codes


def test_a_t2_that_can_not_be_aligned_is_a_row_of_the_table_that_says_stop(monkeypatch):
    tried = []

    def refusing(t1, t2, mask, choice):
        tried.append(choice)
        if choice == "off":
            return Alignment(t2, None, {})
        raise AlignmentError("T2 lies far away", "T2 on T1", "register them")

    monkeypatch.setattr(preparing, "align_pair", refusing)
    told = []
    checks = check_scans((T1, T2, MASK), SegmentOptions("cpu", extract="auto"), lambda step, share: told.append(share))
    assert tried == ["auto", "off"]
    (row,) = [check for check in checks if check.code == CheckCode.ALIGNMENT]
    assert (row.status, row.found, row.wanted, row.remedy) == (STOP, "T2 lies far away", "T2 on T1", "register them")
    assert max(told) == 1.0


def test_an_alignment_error_reads_as_one_sentence():
    assert str(AlignmentError("a", "b", "c")) == "a; wanted b: c."
