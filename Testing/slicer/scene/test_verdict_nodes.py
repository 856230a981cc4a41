"""The verdict of a run and its places: kept in the scene, and shown in the slice views where the scan lies now."""

import json

import mrml
import numpy as np
import phantoms
import pytest
from InfantBrainSegSlicer.scene.options import Scans
from InfantBrainSegSlicer.scene.places import jump_to
from InfantBrainSegSlicer.scene.provenance import PROVENANCE_ROLE, Record, read_record
from InfantBrainSegSlicer.scene.results import inputs_of
from run_helpers import middle_voxel_mm
from stand_in import CHECKS

from InfantBrainSegLib.core.check import CheckCode, SignCode

MOVED = np.eye(4)
MOVED[:3, :3] = phantoms.OBLIQUE
MOVED[:3, 3] = (12.0, -7.0, 30.0)
TURNED = np.eye(4)
TURNED[:3, :3] = phantoms.rotation(90, 1)


def test_checks_verdict_and_places_of_a_run_are_reported(logic, scans):
    record = logic.process(*scans).record
    assert [check.as_dict() for check in record.checks] == CHECKS
    assert record.decision == "look"
    assert [reason.code for reason in record.reasons] == [CheckCode.SPACING, SignCode.DOUBTFUL_PLACES]
    assert [(place.slice_index, place.doubtful_share) for place in record.places] == [(17, 0.52)]
    assert record.notes == ("A mask was given.",)


@pytest.mark.parametrize("at_first", [None, MOVED], ids=["free", "moved"])
def test_every_slice_view_is_centered_on_the_place_whatever_transform_t1_has_at_the_run_and_later(logic, scene, scans, at_first):
    views = mrml.slice_views(scene)
    for scan in scans if at_first is not None else ():
        scan.SetAndObserveTransformNodeID(mrml.linear_transform(at_first).GetID())
    run = logic.process(*scans)
    for later in (at_first, None, MOVED, TURNED):
        transform = "" if later is None else mrml.linear_transform(later).GetID()
        for node in (scans[0], run.segmentationNode):
            node.SetAndObserveTransformNodeID(transform)
        jump_to(run.segmentationNode, run.record.places[0])
        for view in views:
            assert np.allclose(mrml.middle_of(view), middle_voxel_mm(scans[0]), atol=0.01)


def test_a_place_follows_a_warp_that_is_put_on_the_result(logic, scene, scans):
    views = mrml.slice_views(scene)
    run = logic.process(*scans)
    warp = mrml.bent_transform()
    for node in (scans[0], run.segmentationNode):
        node.SetAndObserveTransformNodeID(warp.GetID())
    place = run.record.places[0]
    wanted = [0.0, 0.0, 0.0]
    warp.GetTransformToParent().TransformPoint(place.scan_ras_mm, wanted)
    jump_to(run.segmentationNode, place)
    assert np.linalg.norm(np.subtract(wanted, place.scan_ras_mm)) > 0.3
    assert np.allclose(mrml.middle_of(views[0]), wanted, atol=0.01)


def test_the_judgement_and_the_inputs_come_back_with_a_saved_scene(logic, scene, scans, tmp_path):
    run = logic.process(*scans)
    wanted = run.record
    assert inputs_of(run.segmentationNode) == Scans(*scans)
    assert scene.WriteToMRB(str(tmp_path / "saved.mrb"))
    cache = tmp_path / "second cache"
    cache.mkdir()
    loaded = mrml.new_scene(cache)
    assert loaded.ReadFromMRB(str(tmp_path / "saved.mrb"), True)
    segmentation = loaded.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert read_record(segmentation) == wanted
    assert [node.GetName() for node in inputs_of(segmentation).named().values()] == ["T1", "T2"]


def test_the_provenance_tells_choices_but_no_path(logic, scans):
    run = logic.process(*scans)
    told = json.loads(run.provenanceNode.GetText())
    assert told["options"] == {"use_context": True, "align": "auto", "age_months": None}
    assert told["checks"] == CHECKS
    assert told["extraction"] == {"message": "A mask was given."}


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"checks": [{"odd": 1}]}', '{"verdict": {"places": [{}]}}', '{"verdict": 3}'])
def test_a_provenance_that_was_edited_or_is_older_gives_an_empty_record(scene, text):
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node = scene.AddNewNodeByClass("vtkMRMLTextNode")
    segmentation.SetNodeReferenceID(PROVENANCE_ROLE, node.GetID())
    node.SetText(text)
    assert read_record(segmentation) == Record()
    assert read_record(None) == Record()
