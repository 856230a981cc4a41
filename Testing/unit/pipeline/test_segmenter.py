import json

import head_phantom
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import torch
from stand_ins import of_arrays

from InfantBrainSegLib.core.check import SignCode
from InfantBrainSegLib.core.errors import DeviceError, ErrorCode, InputError, WeightsError
from InfantBrainSegLib.core.labels import CSF, GM, WM
from InfantBrainSegLib.extraction.extract import extract, left_as_given
from InfantBrainSegLib.imaging.files import index_to_physical
from InfantBrainSegLib.networks import predictor as runner_module
from InfantBrainSegLib.networks import weights as weights_module
from InfantBrainSegLib.networks.predictor import trained_window
from InfantBrainSegLib.networks.sliding_window import SlidingWindowConfig
from InfantBrainSegLib.networks.weights import LoadedNetwork
from InfantBrainSegLib.pipeline import prepare_scans as preparing
from InfantBrainSegLib.pipeline.cleanup import CleanupConfig
from InfantBrainSegLib.pipeline.report import SCHEMA_VERSION, Report
from InfantBrainSegLib.pipeline.segmenter import LATER_ROUND_SHARE, Segmenter, SegmentOptions, segment


def thresholds(network, inputs, mask, config, device, progress=None):
    """In place of a network: the three levels of the noise-free phantom, told apart on T1."""
    levels = np.sort([inputs[0][mask].min(), np.median(inputs[0][mask]), inputs[0][mask].max()])
    nearest = np.abs(inputs[0][..., None] - levels).argmin(-1)  # 0, 1, 2 for CSF, GM, WM
    probabilities = np.full((4, *mask.shape), 0.05, np.float32)
    for value in (1, 2, 3):
        probabilities[value][nearest == value - 1] = 0.85
    return probabilities


@pytest.fixture(autouse=True)
def brains_as_they_are(monkeypatch):
    """These tests are of the tissue networks: nothing is extracted."""
    monkeypatch.setattr(preparing, "extract", lambda t1, t2, *rest: left_as_given(t1, t2, None, ""))


@pytest.fixture
def perfect_network(monkeypatch):
    monkeypatch.setattr(runner_module, "predict", of_arrays(thresholds))


@pytest.mark.parametrize("direction", [phantoms.LPS, phantoms.RAS, phantoms.PERMUTED])
def test_a_perfect_network_gives_back_the_phantom_voxel_by_voxel(weights_dir, perfect_network, direction):
    grid = phantoms.grid(direction=direction)
    t1, t2 = phantoms.draw(grid, phantoms.T1_LEVELS), phantoms.draw(grid, phantoms.T2_LEVELS)
    result = segment(t1, t2, options=SegmentOptions("cpu", weights_dir))
    assert result.labels.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(index_to_physical(result.labels), index_to_physical(t1))
    assert np.array_equal(sitk.GetArrayFromImage(result.labels), sitk.GetArrayFromImage(phantoms.draw(grid)))
    for volume in result.volumes:
        assert volume.mean_confidence == pytest.approx(0.85, abs=1e-3)


def test_a_t2_on_another_oblique_grid_gives_the_phantom_on_t1s_grid(weights_dir, perfect_network):
    grid = phantoms.grid()
    t2 = phantoms.draw(phantoms.grid((0.9, 1.0, 1.4), phantoms.OBLIQUE), phantoms.T2_LEVELS)
    options = SegmentOptions("cpu", weights_dir, extract="off")
    result = segment(phantoms.draw(grid, phantoms.T1_LEVELS), t2, phantoms.draw(grid) > 0, options)
    wrong = sitk.GetArrayFromImage(result.labels) != sitk.GetArrayFromImage(phantoms.draw(grid))
    assert wrong.mean() < 0.01  # a rim of voxels where T2's coarser voxels end


def test_the_second_stage_sees_distance_maps_of_the_first_stages_labels(weights_dir, monkeypatch):
    seen = []

    def spy(network, inputs, mask, config, device, progress=None):
        seen.append(inputs)
        return thresholds(network, inputs, mask, config, device)

    monkeypatch.setattr(runner_module, "predict", of_arrays(spy))
    grid = phantoms.grid()
    segment(phantoms.draw(grid, phantoms.T1_LEVELS), phantoms.draw(grid, phantoms.T2_LEVELS), options=SegmentOptions("cpu", weights_dir))
    assert [len(inputs) for inputs in seen] == [2, 5, 5]
    labels_inside = [seen[1][1 + tissue.value] < 0 for tissue in (CSF, GM, WM)]  # a signed distance is negative in its tissue
    assert np.array_equal(seen[0], seen[1][:2])
    assert np.array_equal(np.sum(labels_inside, 0) == 1, seen[0].any(0) | np.any(labels_inside, 0))


def test_fluid_that_the_networks_call_white_matter_becomes_csf_before_distance_maps_and_result(weights_dir, monkeypatch):
    seen = []

    def blind(network, inputs, mask, config, device, progress=None):
        """Half of the fluid is called WM, the upper one, in each run."""
        seen.append(inputs)
        probabilities = thresholds(network, inputs[:2], mask, config, device)
        fluid = probabilities[CSF.value] > 0.5
        height = np.nonzero(fluid)[2]
        fluid[..., : int(height.mean())] = False
        probabilities[:, fluid] = np.float32([0.05, 0.05, 0.05, 0.85])[:, None]
        return probabilities

    monkeypatch.setattr(runner_module, "predict", of_arrays(blind))
    grid = phantoms.grid()
    scans = phantoms.draw(grid, phantoms.T1_LEVELS), phantoms.draw(grid, phantoms.T2_LEVELS)
    result = segment(*scans, options=SegmentOptions("cpu", weights_dir))
    truth, labels = (sitk.GetArrayFromImage(image) for image in (phantoms.draw(grid), result.labels))
    fluid = truth == CSF.value
    assert not (labels[~fluid] == CSF.value).any()
    assert (labels[fluid] == CSF.value).mean() > 0.8  # not the rim of the upper half
    for inputs in seen[1:]:
        assert np.count_nonzero(inputs[1 + CSF.value] < 0) == np.count_nonzero(labels == CSF.value)
    reasons = {reason.code for reason in result.report.verdict.reasons}
    assert SignCode.FLUID in reasons
    assert SignCode.LABEL_INTENSITY not in reasons


@pytest.mark.parametrize("flip", [False, True])
def test_the_second_round_sees_the_mirrored_brain_guided_by_the_firsts_result_and_both_are_blended(
    weights_dir, phantom_scans, monkeypatch, flip
):
    seen = []

    def answers(network, inputs, mask, config, device, progress=None):
        """The first stage: GM everywhere. The second: the phantom's tissues, in its last run surer the further to what is its left."""
        seen.append(inputs)
        probabilities = thresholds(network, inputs[:2], mask, config, device)
        if len(inputs) == 2:
            probabilities[:] = [[[[0.1]]], [[[0.1]]], [[[0.7]]], [[[0.1]]]]
        elif len(seen) == len(runs):
            probabilities *= np.linspace(0.2, 1.0, mask.shape[0], dtype=np.float32)[:, None, None]
        return probabilities

    runs = ["stage 1", "mirrored", "round 1", "mirrored", "straight", "mirrored"] if flip else ["stage 1", "round 1", "mirrored"]
    monkeypatch.setattr(runner_module, "predict", of_arrays(answers))
    result = segment(*phantom_scans, options=SegmentOptions("cpu", weights_dir, flip=flip, rounds=2))
    assert len(seen) == len(runs)
    once, again = seen[runs.index("round 1")], seen[-1][:, ::-1]
    inside = once[0] != 0
    assert np.array_equal(once[:2], again[:2])
    assert not np.array_equal(again, again[:, ::-1])
    nearest = [inputs[2:][:, inside].argmin(0) + 1 for inputs in (once, again)]  # a signed distance is negative in its tissue alone
    assert set(nearest[0]) == {GM.value}
    assert np.array_equal(nearest[1], thresholds(None, once, inside, None, None).argmax(0)[inside])
    surest = np.where(inside, result._probabilities.max(0).astype(float), np.nan)
    falls = np.linspace(1.0, 0.2, inside.shape[0])  # along what the networks see as left to right
    share = LATER_ROUND_SHARE / (2 if flip else 1)  # of the last run in the mean
    expected = 0.85 * (1 - share + share * falls)
    assert np.nanmax(np.abs(surest - expected[:, None, None])) < 1e-3


def test_the_third_round_is_guided_by_the_first_two_and_blended_with_the_second_alone(weights_dir, phantom_scans, monkeypatch):
    answers = [(0.1, 0.1, 0.7, 0.1), (0.1, 0.1, 0.6, 0.2), (0.1, 0.0, 0.1, 0.8), (0.0, 0.9, 0.05, 0.05)]  # of the four runs, everywhere
    seen = []

    def spy(network, inputs, mask, config, device, progress=None):
        seen.append(inputs)
        return np.broadcast_to(np.float32(answers[len(seen) - 1])[:, None, None, None], (4, *mask.shape))

    monkeypatch.setattr(runner_module, "predict", of_arrays(spy))
    result = segment(*phantom_scans, options=SegmentOptions("cpu", weights_dir, rounds=3))
    first, _, third = seen[1:]
    inside = first[0] != 0
    assert np.array_equal(third[:2], first[:2])
    assert (third[2:][:, inside].argmin(0) + 1 == WM.value).all()  # of the first two runs WM is the likelier
    blended = (1 - LATER_ROUND_SHARE) * np.array(answers[2]) + LATER_ROUND_SHARE * np.array(answers[3])
    assert result._probabilities.max((1, 2, 3)).tolist() == pytest.approx(blended.tolist(), abs=1e-3)


def test_windows_are_as_large_as_a_network_was_trained_on_but_not_too_large():
    def windows(**training):
        window = trained_window(LoadedNetwork(None, "fcn2", "", None, training))
        return window.patch_voxels, window.batch_size

    assert windows() == windows(patch_voxels=64) == (64, 4)
    assert windows(patch_voxels=96) == (80, 2)
    assert windows(patch_voxels=32) == (32, 4)


def test_one_round_is_the_papers_way(weights_dir, phantom_scans):
    options = SegmentOptions("cpu", weights_dir, window=SlidingWindowConfig(overlap=0), rounds=1)
    report = segment(*phantom_scans, options=options).report
    assert report.options["rounds"] == 1
    assert "stage 2" in report.seconds
    assert "stage 2, round 2" not in report.seconds


def test_other_numbers_of_rounds_are_refused():
    with pytest.raises(ValueError, match="rounds is 4; wanted 1, 2 or 3"):
        SegmentOptions(rounds=4)


@pytest.mark.parametrize(("chosen", "used"), [(1, 1), (3, 3), (0, 2)])
def test_the_networks_use_the_chosen_threads_and_torchs_own_number_comes_back(weights_dir, phantom_scans, monkeypatch, chosen, used):
    seen = []

    def predict(*arguments, **more):
        seen.append(torch.get_num_threads())
        return thresholds(*arguments, **more)

    monkeypatch.setattr(runner_module, "predict", of_arrays(predict))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        report = segment(*phantom_scans, options=SegmentOptions("cpu", weights_dir, use_context=False, threads=chosen)).report
        assert (set(seen), torch.get_num_threads()) == ({used}, 2)
    finally:
        torch.set_num_threads(before)
    assert "threads" not in report.options  # they do not change the result


def test_a_number_of_threads_below_0_is_refused():
    with pytest.raises(ValueError, match="threads is -1; wanted a whole number, 0 or more"):
        SegmentOptions(threads=-1)


def test_without_context_one_network_is_loaded_and_run(weights_dir, phantom_scans):
    options = SegmentOptions("cpu", weights_dir, use_context=False, window=SlidingWindowConfig(overlap=0))
    report = segment(*phantom_scans, options=options).report
    assert list(report.weights) == ["fcn1"]
    assert list(report.seconds) == ["load", "align", "extract", "prepare", "stage 1", "clean up", "restore"]


def test_the_report_is_plain_json_and_names_what_was_used(weights_dir, phantom_scans):
    options = SegmentOptions("cpu", weights_dir, window=SlidingWindowConfig(overlap=0))
    report = json.loads(json.dumps(segment(*phantom_scans, options=options).report.to_json()))
    manifest = json.loads((weights_dir / "manifest.json").read_text(encoding="utf-8"))
    assert {f"{stage}.pt": entry["sha256"] for stage, entry in report["weights"].items()} == {n: e["sha256"] for n, e in manifest.items()}
    assert report["device"]["used"] == "cpu"
    assert report["geometry"]["segmentation"] == report["geometry"]["t1"]
    assert report["geometry"]["t1"]["spacing_mm"] == [1.5, 1.5, 1.5]
    assert set(report["versions"]) >= {"InfantBrainSeg", "python", "torch", "numpy", "SimpleITK", "scipy", "vtk"}
    assert set(report["cleanup"]) >= {"islands_removed", "holes_filled"}
    assert report["peak_memory_mb"] > 0
    assert report["schema_version"] == SCHEMA_VERSION
    assert json.loads(json.dumps(Report.from_json(report).to_json())) == report


def test_a_report_of_another_schema_is_refused():
    with pytest.raises(InputError) as refused:
        Report.from_json({"checks": []})
    assert refused.value.code == ErrorCode.REPORT_VERSION


def test_probabilities_of_the_tissues_lie_on_t1s_grid_and_between_0_and_1(weights_dir, perfect_network):
    grid = phantoms.grid()
    t1 = phantoms.draw(grid, phantoms.T1_LEVELS)
    result = segment(t1, phantoms.draw(grid, phantoms.T2_LEVELS), options=SegmentOptions("cpu", weights_dir))
    white = sitk.GetArrayFromImage(result.probability(WM))
    assert white.shape == sitk.GetArrayViewFromImage(t1).shape
    assert np.allclose(white[sitk.GetArrayFromImage(phantoms.draw(grid)) == phantoms.WM], 0.85, atol=1e-3)


def test_memory_that_runs_out_is_noted_and_the_next_stage_starts_smaller(weights_dir, phantom_scans, monkeypatch):
    tried = []

    def short_of_memory(network, inputs, mask, config, device, progress=None):
        tried.append(config.batch_size)
        if config.batch_size > 1:
            raise MemoryError
        return thresholds(network, inputs, mask, config, device)

    monkeypatch.setattr(runner_module, "predict", of_arrays(short_of_memory))
    report = segment(*phantom_scans, options=SegmentOptions("cpu", weights_dir, window=SlidingWindowConfig(batch_size=4))).report
    assert tried == [4, 2, 1, 1, 1]
    assert len(report.memory_ladder) == 2
    assert report.device["batch_size"] == 1


def test_a_result_of_one_tissue_is_warned_of(weights_dir, phantom_scans, monkeypatch):
    def all_gray(network, inputs, mask, config, device, progress=None):
        probabilities = np.zeros((4, *mask.shape), np.float32)
        probabilities[GM.value] = 1
        return probabilities

    monkeypatch.setattr(runner_module, "predict", of_arrays(all_gray))
    warnings = segment(*phantom_scans, options=SegmentOptions("cpu", weights_dir)).report.warnings
    assert [warning.split(";")[0] for warning in warnings] == ["Only 0.0 % of the result is CSF", "Only 0.0 % of the result is WM"]


def test_cleaning_up_can_be_turned_off(weights_dir, phantom_scans, perfect_network):
    options = SegmentOptions("cpu", weights_dir, cleanup=CleanupConfig(enabled=False))
    assert segment(*phantom_scans, options=options).report.cleanup["voxels_changed"] == 0


def test_progress_only_rises_and_names_each_step_in_order(weights_dir, phantom_scans, perfect_network):
    told = []
    segment(*phantom_scans, options=SegmentOptions("cpu", weights_dir), progress=lambda step, fraction: told.append((step, fraction)))
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert list(dict.fromkeys(step for step, _ in told)) == [
        "load",
        "align",
        "extract",
        "prepare",
        "stage 1",
        "context",
        "stage 2",
        "context, round 2",
        "stage 2, round 2",
        "clean up",
        "restore",
    ]


def test_an_unknown_device_and_missing_weights_are_reported_before_any_work(tmp_path, weights_dir, phantom_scans):
    with pytest.raises(DeviceError, match="Unknown device 'tpu'"):
        segment(*phantom_scans, options=SegmentOptions("tpu", weights_dir))
    with pytest.raises(WeightsError, match="missing"):
        segment(*phantom_scans, options=SegmentOptions("cpu", tmp_path))


def test_flip_averages_each_stage_with_its_mirrored_run_put_back(weights_dir, phantom_scans, monkeypatch):
    seen = []

    def leans_right(network, inputs, mask, config, device, progress=None):
        """GM everywhere, surer of it the further to the right a voxel lies."""
        seen.append(inputs)
        probabilities = np.zeros((4, *mask.shape), np.float32)
        probabilities[GM.value] = np.linspace(0.5, 0.9, mask.shape[0])[:, None, None]
        probabilities[WM.value] = 1 - probabilities[GM.value]
        return probabilities

    monkeypatch.setattr(runner_module, "predict", of_arrays(leans_right))
    result = segment(*phantom_scans, options=SegmentOptions("cpu", weights_dir, use_context=False, flip=True))
    assert np.array_equal(seen[1], seen[0][:, ::-1])
    assert result.volumes[1].mean_confidence == pytest.approx(0.7, abs=1e-3)
    values = sitk.GetArrayFromImage(result.probability(GM))
    assert values[values > 0] == pytest.approx(0.7, abs=1e-3)
    assert result.report.options["flip"] is True


@pytest.mark.parametrize("name", ["T1", "T2"])
def test_one_scan_alone_gives_labels_on_its_own_grid_and_a_warning(weights_dir, monkeypatch, name):
    seen = []

    def spy(network, inputs, mask, config, device, progress=None):
        seen.append(inputs)
        probabilities = np.zeros((4, *mask.shape), np.float32)
        probabilities[GM.value] = 1
        return probabilities

    monkeypatch.setattr(runner_module, "predict", of_arrays(spy))
    grid = phantoms.grid((0.9, 1.0, 1.4), phantoms.OBLIQUE)
    scan = phantoms.draw(grid, phantoms.T1_LEVELS)
    result = segment(*((scan, None) if name == "T1" else (None, scan)), options=SegmentOptions("cpu", weights_dir))
    present = {"T1": 0, "T2": 1}[name]
    assert seen[0][present].any()
    assert not seen[0][1 - present].any()
    assert np.array_equal(index_to_physical(result.labels), index_to_physical(scan))
    assert np.array_equal(sitk.GetArrayFromImage(result.labels) > 0, sitk.GetArrayFromImage(scan) > 0)
    assert ("single_scan", f"only {name}") in [(check.code.value, check.found) for check in result.report.checks]


def test_no_scan_at_all_is_refused(weights_dir):
    with pytest.raises(InputError, match="Neither T1 nor T2 was given"):
        segment(None, None, options=SegmentOptions("cpu", weights_dir))


@pytest.mark.slow
def test_two_heads_read_each_of_the_four_weights_files_once(weights_dir, monkeypatch):
    read = []
    monkeypatch.setattr(preparing, "extract", extract)
    inner = weights_module._read
    monkeypatch.setattr(weights_module, "_read", lambda path, **how: read.append(path.name) or inner(path, **how))
    t1, t2 = head_phantom.scans(phantoms.grid((3.0, 3.0, 3.0), span_mm=140.0))
    networks = {}

    def answers(network, inputs, mask, config, device, progress=None):
        if config.overlap == 0:
            return thresholds(network, inputs, mask, config, device)
        return networks["head"](LoadedNetwork(network, "", "", None, {}), inputs, mask, config, lambda share: None)

    monkeypatch.setattr(runner_module, "predict", of_arrays(answers))
    segmenter = Segmenter(weights_dir, "cpu")
    options = SegmentOptions(
        "cpu",
        weights_dir,
        window=SlidingWindowConfig(overlap=0),
        align="off",
        bias_correction="off",
        rounds=1,
        cleanup=CleanupConfig(enabled=False),
    )
    results = []
    for _ in range(2):
        networks["head"] = head_phantom.KnowingNetwork(t1)
        results.append(segmenter(t1, phantoms.noisy(t2), options=options))
    assert sorted(read) == ["fcn1.pt", "fcn2.pt", "locate.pt", "refine.pt"]
    first, second = (sitk.GetArrayFromImage(result.labels) for result in results)
    assert np.array_equal(first, second)
    assert set(results[0].report.extraction["weights"]) == {"locate", "refine"}
