import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import mrml
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import slicer
import stand_in
from InfantBrainSegSlicer.logic import SceneLogic, SegmentParameters
from InfantBrainSegSlicer.run.run import FAILED, FINISHED, RUNNING
from run_helpers import echoed_words, ids, poll_to_end, temporary_folders
from stand_in import ROOT

from InfantBrainSegLib.cli.main import build_parser
from InfantBrainSegLib.core.errors import InfantBrainSegError, InputError
from InfantBrainSegLib.core.labels import TISSUES, from_any

TURNED = np.eye(4)
TURNED[:3, :3] = phantoms.OBLIQUE
TURNED[:3, 3] = (12.0, -7.0, 30.0)


def in_scene(grid, levels, name, world=None):
    """Add the phantom on a grid; with a transform to the world, drawn so that the phantom lies right in the world."""
    node = mrml.volume_node(grid, name)
    if world is not None:
        node.SetAndObserveTransformNodeID(mrml.linear_transform(world).GetID())
    slicer.util.updateVolumeFromArray(node, levels[phantoms.labels_at(mrml.world_points_mm(node))])
    return node


GRIDS = {
    "oblique": (phantoms.grid((2.2, 1.7, 2.6), phantoms.OBLIQUE), None),
    "permuted": (phantoms.grid((2.6, 1.7, 2.2), phantoms.PERMUTED), None),
    "under a transform": (phantoms.grid((2.2, 1.7, 2.6), phantoms.RAS, shift_mm=(-15.0, 9.0, -26.0)), TURNED),
}


@pytest.mark.parametrize(("grid", "world"), GRIDS.values(), ids=GRIDS)
def test_the_result_coincides_with_t1_in_the_world_whatever_grid_and_transform_t1_and_t2_have(logic, grid, world):
    t1 = in_scene(grid, phantoms.T1_LEVELS, "T1", world)
    other = phantoms.grid((1.8, 2.4, 2.0), phantoms.PERMUTED @ phantoms.OBLIQUE, 130.0)
    t2 = in_scene(other, phantoms.T2_LEVELS, "T2", np.linalg.inv(TURNED) if world is None else None)
    run = logic.process(t1, t2, parameters=SegmentParameters(saveProbabilities=True))
    labelmap = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Out")
    export = slicer.modules.segmentations.logic().ExportAllSegmentsToLabelmapNode
    assert export(run.segmentationNode, labelmap, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY)
    points = mrml.world_points_mm(labelmap)
    assert np.allclose(points, mrml.world_points_mm(t1), atol=1e-3)
    wanted = phantoms.labels_at(mrml.world_points_mm(t1))
    assert np.array_equal(slicer.util.arrayFromVolume(labelmap), wanted)
    seen = slicer.util.arrayFromVolume(run.probabilityNodes[0])  # the stand-in's: T2 where the child saw it, on T1's grid
    assert np.allclose(mrml.world_points_mm(run.probabilityNodes[0]), mrml.world_points_mm(t1))
    assert np.mean(seen != phantoms.T2_LEVELS[wanted]) < 0.06  # nearest neighbours of another grid, at the tissues' edges


def test_a_run_gives_all_its_nodes_and_leaves_no_temporary_folder(logic, scene, scans):
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    told = []
    parameters = SegmentParameters(saveProbabilities=True)
    run = logic.process(*scans, labelmapNode=labelmap, parameters=parameters, progress=lambda *news: told.append(news))
    assert run.state == FINISHED
    assert run.message == ""
    assert run.labelmapNode is labelmap
    assert len(run.probabilityNodes) == run.tableNode.GetNumberOfRows() == len(TISSUES)
    assert json.loads(run.provenanceNode.GetText())["weights_sha256"]["fcn1"] == "ab" * 32
    assert run.warnings == ("T2 'T2' looks odd.", "Spacing: 2.5 mm; wanted 2 mm: use a finer scan.")
    assert run.notes == ("T2 'T2' looks odd.",)
    assert told == [("read", 0.0), ("prepare", 0.1), ("stage 2", 0.8), ("done", 1.0)]
    assert (run.step, run.progress) == ("done", 1.0)
    assert 0 < run.seconds < 60
    assert "looks odd" in Path(run.logPath).read_text(encoding="utf-8")
    assert temporary_folders() == []


def test_provenance_of_a_run_names_neither_a_path_nor_a_node_also_in_its_warnings(logic, scans):
    for node in scans:
        node.SetName("Smith^Anna")
        node.SetAndObserveTransformNodeID(mrml.linear_transform(np.diag([1.1, 1.0, 1.0, 1.0])).GetID())
    run = logic.process(*scans)
    text = run.provenanceNode.GetText()
    assert "Smith" not in text
    assert tempfile.gettempdir() not in text
    assert [warning.split(";")[0] for warning in json.loads(text)["warnings"]] == [
        "T2 looks odd.",
        "Spacing: 2.5 mm",
        "The transform of T1 scales volumes by 1.1",
    ]
    assert run.warnings[0] == "T2 'Smith^Anna' looks odd."


def test_a_second_run_on_the_same_outputs_replaces_them_in_place(logic, scene, scans):
    first = logic.process(*scans)
    before = ids(scene)
    slicer.util.updateVolumeFromArray(scans[0], 170 - slicer.util.arrayFromVolume(scans[0]))
    second = logic.process(*scans, first.segmentationNode, tableNode=first.tableNode)
    assert ids(scene) == before
    assert second.segmentationNode is first.segmentationNode
    found = slicer.util.arrayFromSegmentBinaryLabelmap(second.segmentationNode, "WM", scans[0])
    assert np.array_equal(found > 0, slicer.util.arrayFromVolume(scans[0]) >= 115)


@pytest.mark.parametrize("as_segmentation", [False, True])
def test_a_mask_reaches_the_child_in_its_place(logic, scene, scans, as_segmentation):
    grid = phantoms.grid((3.0, 2.0, 2.5), phantoms.OBLIQUE)
    mask = mrml.volume_node(grid, "Mask", "vtkMRMLLabelMapVolumeNode")
    slicer.util.updateVolumeFromArray(mask, (mrml.world_points_mm(mask)[..., 0] > 8).astype(np.uint8))
    if as_segmentation:
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mask")
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(mask, node)
        mask = node
    run = logic.process(*scans, parameters=SegmentParameters(maskNode=mask))
    gray = slicer.util.arrayFromSegmentBinaryLabelmap(run.segmentationNode, "GM", scans[0]) > 0
    x = mrml.world_points_mm(scans[0])[..., 0]
    wanted = slicer.util.arrayFromVolume(scans[0]) == 100
    assert np.array_equal(gray[np.abs(x - 8) > 3], (wanted & (x > 8))[np.abs(x - 8) > 3])


def test_parameters_reach_the_command_line(logic, scans):
    logic.command = stand_in.command("echo")
    folder = Path(sys.modules["InfantBrainSegLib"].__file__).parent / "weights"
    parameters = SegmentParameters(device="1", weightsPath=str(folder), useContext=False, flip=True, saveProbabilities=True)
    run = poll_to_end(logic.process(*scans, parameters=parameters, wait=False))
    assert run.state == FAILED
    words = echoed_words(run)
    assert build_parser().parse_args(words).command == "segment"  # the library understands them
    assert words[words.index("--device") + 1] == "1"
    assert words[words.index("--weights") + 1] == str(folder)
    assert {"--no-context", "--flip", "--save-probabilities"} <= set(words)
    assert words[words.index("--progress") + 1] == "lines"


@pytest.mark.parametrize(("chosen", "rounds"), [({}, 2), ({"secondRound": False}, 1)])
def test_the_second_round_may_be_left_out(chosen, rounds):
    words = ["segment", "--t1", "T1.nii", "--output-dir", "out", *SegmentParameters(**chosen).arguments("segment")]
    assert build_parser().parse_args(words).rounds == rounds


def test_bad_input_is_reported_before_anything_starts(logic, scene, scans):
    logic.command = ["must not start"]
    before = ids(scene)
    for wait in (True, False):
        with pytest.raises(InputError, match="chosen as T1 and as T2"):
            logic.process(scans[0], scans[0], wait=wait)
    assert ids(scene) == before


def test_slicers_windows_are_kept_alive_while_a_call_waits(logic, scans, monkeypatch):
    redrawn = []
    monkeypatch.setattr(slicer, "app", SimpleNamespace(processEvents=lambda: redrawn.append(1)), raising=False)
    logic.process(*scans)
    assert len(redrawn) > 2


def test_two_runs_can_go_on_side_by_side(logic, scans):
    runs = [logic.process(*scans, wait=False) for _ in range(2)]
    assert [run.state for run in runs] == [RUNNING, RUNNING]
    assert [poll_to_end(run).state for run in runs] == [FINISHED, FINISHED]
    assert runs[0].segmentationNode is not runs[1].segmentationNode


def test_a_batch_runs_the_batch_command_and_some_failed_subjects_do_not_fail_it(logic, scene, tmp_path):
    logic.command = stand_in.command("echo")
    before = ids(scene)
    run = logic.segmentBatch(tmp_path, tmp_path / "out", SegmentParameters(device="3"))
    words = echoed_words(run)
    assert build_parser().parse_args(words).command == "batch"
    assert words[:5] == ["batch", "--input", str(tmp_path), "--output-dir", str(tmp_path / "out")]
    assert run.state == FINISHED
    assert ids(scene) == before
    assert (run.succeeded, run.failed, run.cohortPath) == (("sub-2",), ("sub-1", "sub-3"), str(tmp_path / "out" / "cohort.csv"))
    assert run.message == f"2 of 3 scans have no result: {run.cohortPath} says why."


def test_a_batch_without_failures_has_nothing_to_say_and_one_without_a_table_fails(logic, tmp_path):
    logic.command = stand_in.command("echo")
    run = logic.segmentBatch(tmp_path, tmp_path / "out")
    assert (run.state, run.message, len(run.succeeded), run.failed) == (FINISHED, "", 3, ())
    logic.command = stand_in.command("empty")
    with pytest.raises(InfantBrainSegError, match="left no readable"):
        logic.segmentBatch(tmp_path, tmp_path / "other")


def test_a_batch_that_can_not_start_is_reported(logic, tmp_path):
    with pytest.raises(InputError, match="does not exist; wanted a BIDS folder or a CSV"):
        logic.segmentBatch(tmp_path / "nothing", tmp_path)
    with pytest.raises(InputError, match="No output folder"):
        logic.segmentBatch(tmp_path, "")


def test_devices_come_from_the_library_and_start_with_automatic_and_cpu(logic, monkeypatch):
    logic.command = None
    found = logic.devices()
    assert [value for value, _ in found[:2]] == ["auto", "cpu"]
    assert all(label for _, label in found)


def test_devices_are_automatic_and_cpu_where_the_child_does_not_answer(logic):
    logic.command = stand_in.command("no torch")
    assert [value for value, _ in logic.devices()] == ["auto", "cpu"]
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


@pytest.mark.slow
def test_the_library_itself_with_its_own_weights_segments_a_block_of_the_sample(scene):
    folder = ROOT / "InfantBrainSeg" / "Resources" / "SampleData"
    nodes = []
    for name in ("T1", "T2"):
        image = sitk.ReadImage(str(folder / f"{name}.nii.gz"))
        nodes.append(mrml.volume_node(sitk.Cast(image[38:90, 44:96, 25:77], sitk.sitkFloat32), name))  # 52 mm cubed, 119 ml of brain
    steps = []
    parameters = SegmentParameters(device="cpu", useContext=False, extract="off")  # no whole brain
    run = SceneLogic().process(*nodes, parameters=parameters, progress=lambda step, _: steps.append(step))
    volumes = slicer.util.arrayFromTableColumn(run.tableNode, "Volume cm3")
    assert all(volume > 3 for volume in volumes)
    assert 100 < sum(volumes) < 130
    assert list(dict.fromkeys(steps)) == ["read", "load", "align", "extract", "prepare", "stage 1", "clean up", "restore", "write", "done"]
    told = json.loads(run.provenanceNode.GetText())
    manifest = json.loads((ROOT / "InfantBrainSegLib" / "weights" / "manifest.json").read_text(encoding="utf-8"))
    assert told["weights_sha256"] == {"fcn1": manifest["fcn1.pt"]["sha256"]}
    assert told["device"]["used"] == "cpu"
    reference = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "label.nii.gz")))[25:77, 44:96, 38:90]
    for tissue in TISSUES:
        found = slicer.util.arrayFromSegmentBinaryLabelmap(run.segmentationNode, tissue.short_name, nodes[0]) > 0
        wanted = from_any(reference) == tissue.value
        assert 2 * np.count_nonzero(found & wanted) / (np.count_nonzero(found) + np.count_nonzero(wanted)) > 0.65, tissue.name
    Path(run.logPath).unlink()
