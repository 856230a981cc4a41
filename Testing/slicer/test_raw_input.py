"""What raw scans bring into the scene: one scan alone, the mask that was found, the transform of a T2 that was moved, the full check."""

import json
from pathlib import Path

import mrml
import numpy as np
import phantoms
import pytest
import slicer
import stand_in
from InfantBrainSegSlicer.logic import SceneLogic, SegmentParameters
from InfantBrainSegSlicer.scene.results import INPUT_ROLES, MASK_ROLE
from run_helpers import echoed_words, ids, poll_to_end, temporary_folders

from InfantBrainSegLib.cli.main import build_parser
from InfantBrainSegLib.core.check import CheckCode
from InfantBrainSegLib.core.errors import InfantBrainSegError, InputError

KEEP = SegmentParameters(saveMask=True)
TURNED = np.eye(4)
TURNED[:3, :3] = phantoms.OBLIQUE
TURNED[:3, 3] = (12.0, -7.0, 30.0)


@pytest.mark.parametrize("alone", ["T1", "T2"])
def test_one_scan_alone_is_segmented_on_its_own_grid(logic, scans, alone):
    scan = scans[alone == "T2"]
    run = logic.process(*(scan if node is scan else None for node in scans))
    segmentation = run.segmentationNode
    assert segmentation.GetName() == f"{alone} segmentation"
    referenced = {name: segmentation.GetNodeReference(role) for name, role in INPUT_ROLES.items()}
    assert referenced == {"T1": None, "T2": None, "The brain mask": None, alone: scan}
    white = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "WM", scan) > 0
    assert np.array_equal(white, slicer.util.arrayFromVolume(scan) >= 115)


@pytest.mark.parametrize("alone", ["T1", "T2"])
def test_the_child_is_told_of_one_scan_alone_and_the_library_understands(logic, scans, alone):
    logic.command = stand_in.command("echo")
    run = poll_to_end(logic.process(*(node if node.GetName() == alone else None for node in scans), wait=False))
    arguments = build_parser().parse_args(echoed_words(run))
    assert [name for name in ("t1", "t2", "mask") if getattr(arguments, name)] == [alone.lower()]


def test_age_extraction_alignment_and_bias_correction_reach_the_child(logic, scans, tmp_path):
    logic.command = stand_in.command("echo")
    chosen = SegmentParameters(device="3", ageMonths=-0.5, extract="off", align="auto", biasCorrection="on")
    arguments = build_parser().parse_args(echoed_words(poll_to_end(logic.process(*scans, parameters=chosen, wait=False))))
    assert (arguments.age_months, arguments.extract, arguments.align, arguments.bias_correction) == (-0.5, "off", "auto", "on")
    chosen = SegmentParameters(device="3", extract="off", align="auto", biasCorrection="on")
    arguments = build_parser().parse_args(echoed_words(logic.segmentBatch(tmp_path, tmp_path / "out", chosen)))
    assert (arguments.extract, arguments.align, arguments.bias_correction) == ("off", "auto", "on")


def test_one_age_for_a_whole_batch_is_refused(logic, tmp_path):
    with pytest.raises(InputError, match="One age cannot serve a whole batch"):
        logic.segmentBatch(tmp_path, tmp_path, SegmentParameters(ageMonths=6.0))


def test_the_mask_is_kept_when_asked_for_lies_on_t1_and_can_be_given_back(logic, scans):
    for node in scans:
        node.SetAndObserveTransformNodeID(mrml.linear_transform(TURNED).GetID())
    assert logic.process(*scans).maskNode is None
    mask = logic.process(*scans, parameters=KEEP).maskNode
    assert (mask.GetName(), mask.GetClassName()) == ("T1 cerebrum mask", "vtkMRMLLabelMapVolumeNode")
    assert np.array_equal(slicer.util.arrayFromVolume(mask), slicer.util.arrayFromVolume(scans[0]) > 0)
    assert np.allclose(mrml.world_points_mm(mask), mrml.world_points_mm(scans[0]))
    array = slicer.util.arrayFromVolume(mask)
    array[: array.shape[0] // 2] = 0
    mask.Modified()
    again = logic.process(*scans, parameters=SegmentParameters(maskNode=mask))
    gray = slicer.util.arrayFromSegmentBinaryLabelmap(again.segmentationNode, "GM", scans[0]) > 0
    assert np.array_equal(gray, (slicer.util.arrayFromVolume(scans[0]) == 100) & (array > 0))


def test_a_second_run_replaces_the_mask_it_made_and_never_one_that_was_edited_or_given(logic, scans):
    first = logic.process(*scans, parameters=KEEP)
    again = logic.process(*scans, first.segmentationNode, parameters=KEEP)
    assert again.maskNode is first.maskNode
    given = logic.process(*scans, first.segmentationNode, parameters=SegmentParameters(maskNode=first.maskNode, saveMask=True))
    assert given.maskNode is not first.maskNode
    edited = slicer.util.arrayFromVolume(given.maskNode)
    edited[:] = 0
    last = logic.process(*scans, first.segmentationNode, parameters=KEEP)
    assert last.maskNode is not given.maskNode
    assert not edited.any()
    assert first.segmentationNode.GetNodeReference(MASK_ROLE) is last.maskNode


def test_a_mask_that_was_not_written_is_said(logic, scans):
    logic.command = stand_in.command("maskless")
    run = logic.process(*scans, parameters=KEEP)
    assert run.maskNode is None
    assert any("wrote no cerebrum mask" in warning for warning in run.warnings)


@pytest.mark.parametrize("t1_world", [None, TURNED], ids=["T1 free", "T1 moved"])
@pytest.mark.parametrize("t2_world", [None, np.linalg.inv(TURNED)], ids=["T2 free", "T2 moved"])
def test_a_moved_t2_gets_a_transform_that_brings_it_where_the_child_saw_it_also_when_t1_is_moved_later(logic, scans, t1_world, t2_world):
    t1, t2 = scans
    for node, world in ((t1, t1_world), (t2, t2_world)):
        if world is not None:
            node.SetAndObserveTransformNodeID(mrml.linear_transform(world).GetID())
    logic.command = stand_in.command("moved")
    given_mm = mrml.world_points_mm(t2)
    run = logic.process(t1, t2)
    assert np.allclose(mrml.world_points_mm(t2), given_mm)
    assert run.transformNode.GetName() == "T2 to T1"
    t2_to_t1 = stand_in.t1_to_t2().GetInverse()
    wanted_mm = np.array([t2_to_t1.TransformPoint((point * [-1, -1, 1]).tolist()) for point in given_mm[::9, ::9, ::9].reshape(-1, 3)])
    wanted_mm *= [-1, -1, 1]
    t2.SetAndObserveTransformNodeID(run.transformNode.GetID())
    assert np.allclose(mrml.world_points_mm(t2)[::9, ::9, ::9].reshape(-1, 3), wanted_mm, atol=1e-4)
    parent = t1.GetParentTransformNode()
    if parent is not None:
        parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4)))
        back = np.linalg.inv(t1_world)
        wanted_mm = wanted_mm @ back[:3, :3].T + back[:3, 3]
        assert np.allclose(mrml.world_points_mm(t2)[::9, ::9, ::9].reshape(-1, 3), wanted_mm, atol=1e-4)


def test_a_transform_that_t2_is_under_already_is_not_changed_by_the_next_run(logic, scans):
    logic.command = stand_in.command("moved")
    first = logic.process(*scans)
    again = logic.process(*scans, first.segmentationNode)
    assert again.transformNode is first.transformNode
    scans[1].SetAndObserveTransformNodeID(first.transformNode.GetID())
    before = mrml.world_points_mm(scans[1])
    last = logic.process(*scans, first.segmentationNode)
    assert last.transformNode is not first.transformNode
    assert np.allclose(mrml.world_points_mm(scans[1]), before)


def test_the_full_check_gives_the_table_and_leaves_the_scene_and_the_disk_as_they_were(logic, scene, scans):
    before = ids(scene)
    run = logic.checkImages(*scans)
    assert [check.status for check in run.record.checks] == ["pass", "warn"]
    assert (run.segmentationNode, run.record.decision) == (None, "")
    assert ids(scene) == before
    assert temporary_folders() == []


@pytest.mark.parametrize(("mode", "told"), [("refuse", "T1 'T1' has no brain"), ("empty", "no readable table"), ("abort", "SIGKILL")])
def test_a_full_check_that_fails_is_reported(logic, scans, mode, told):
    logic.command = stand_in.command(mode)
    with pytest.raises(InfantBrainSegError, match=told):
        logic.checkImages(*scans)


def test_the_library_s_own_full_check_runs_as_the_command_line_does_and_its_log_has_the_table(scene):
    grid = phantoms.grid((2.0, 2.0, 2.0))
    levels = (phantoms.T1_LEVELS, phantoms.T1_LEVELS)
    pair = [mrml.volume_node(phantoms.noisy(phantoms.draw(grid, chosen)), name) for chosen, name in zip(levels, "AB", strict=True)]
    parameters = SegmentParameters(device="cpu", ageMonths=1.5, extract="off")
    run = SceneLogic().checkImages(*pair, parameters)
    found = {check.code: check for check in run.record.checks}
    assert found[CheckCode.SAME_IMAGE].status == "stop"  # the same image twice
    assert found[CheckCode.BRAIN_VOLUME].wanted.endswith("at 1.5 months")
    assert json.dumps(found[CheckCode.SAME_IMAGE].found)[1:-1] in Path(run.logPath).read_text(encoding="utf-8")
    Path(run.logPath).unlink()
