import head_phantom
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import torch
from head_phantom import SCALP, KnowingNetwork
from scipy import ndimage

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.evaluation.metrics import dice
from InfantBrainSegLib.extraction import extract as extract_module
from InfantBrainSegLib.extraction.locate import _Order, _orders
from InfantBrainSegLib.imaging.files import same_grid
from InfantBrainSegLib.imaging.resample import on_grid_of
from InfantBrainSegLib.networks.predictor import Predictor
from InfantBrainSegLib.networks.weights import LoadedNetwork, Networks


class NamedNetworks(Networks):
    """Networks without weights."""

    def get(self, stage):
        return LoadedNetwork(None, stage, f"sha of {stage}", None, {})


class AnswersInstead(Predictor):
    """A predictor that runs no network, but asks what stands in for all."""

    def __init__(self, network):
        super().__init__(torch.device("cpu"), "cpu", None, False, NamedNetworks())
        self.predict_array = network


def extract(t1, t2, network, on_progress):
    return extract_module.extract(t1, t2, AnswersInstead(network), on_progress)


def set_upright(t1, t2, mask, network, on_progress):
    return extract_module.set_upright(t1, t2, mask, AnswersInstead(network), on_progress)


def silent(share):
    pass


def found(mask):
    return sitk.GetArrayFromImage(mask) > 0


def cerebrum_on(grid, turn=None):
    return np.isin(head_phantom.parts_on(grid, turn), (1, 2))


@pytest.mark.parametrize("direction", [phantoms.LPS, phantoms.OBLIQUE @ phantoms.PERMUTED])
def test_the_cerebrum_of_a_whole_head_lies_on_t1s_exact_grid(direction):
    grid = phantoms.grid((1.5, 2.0, 1.8), direction, span_mm=140.0)
    t1, t2 = head_phantom.scans(grid)
    result = extract(t1, t2, KnowingNetwork(t1), silent)
    assert same_grid(result.mask, t1)
    assert dice(found(result.mask), cerebrum_on(grid)) > 0.97
    assert not result.report.stripped


def test_t2_may_lie_on_a_grid_of_its_own():
    t1, _ = head_phantom.scans(phantoms.grid((2.0, 2.0, 2.0), span_mm=140.0))
    _, t2 = head_phantom.scans(phantoms.grid((2.5, 1.5, 2.0), phantoms.PERMUTED, span_mm=130.0, shift_mm=(3.0, -2.0, 4.0)))
    seen = {}
    network = KnowingNetwork(t1)

    def watch(stage, inputs, *rest):
        seen[stage.stage] = inputs
        return network(stage, inputs, *rest)

    extract(t1, t2, watch, silent)
    both = (seen["refine"][0] > 0.3) & (seen["refine"][1] > 0.3)
    assert both.sum() > 0.97 * (seen["refine"][0] > 0.3).sum()


def test_what_is_taken_for_brain_far_from_what_was_located_is_not_believed():
    grid = phantoms.grid((2.0, 2.0, 2.0), span_mm=140.0)
    t1, t2 = head_phantom.scans(grid)
    network = KnowingNetwork(t1)

    def leaking(stage, inputs, *rest):
        probabilities = network(stage, inputs, *rest)
        if stage.stage == "refine":
            probabilities[:] = np.array([0, 1, 0, 0], np.float32)[:, None, None, None]  # left cerebrum everywhere
        return probabilities

    mask = found(extract(t1, t2, leaking, silent).mask)
    off_mm = ndimage.distance_transform_edt(~np.isin(head_phantom.parts_on(grid), (1, 2, 3)), sampling=2.0)
    assert mask[off_mm == 0].all()
    assert 10 < off_mm[mask].max() < 12 + 3  # 12 mm, and a voxel of the first network


def test_a_stripped_brain_loses_its_cerebellum_and_nothing_else():
    grid = phantoms.grid((2.0, 2.0, 2.0), span_mm=120.0)
    t1, t2 = head_phantom.scans(grid, kept=(1, 2, 3), noise=0)
    result = extract(t1, t2, KnowingNetwork(t1), silent)
    cerebrum = cerebrum_on(grid)
    assert result.report.stripped
    assert dice(found(result.mask), cerebrum) > 0.98
    assert "cerebellum and brainstem were taken out" in result.report.message


def test_a_stripped_cerebrum_is_left_as_it_is():
    t1, t2 = head_phantom.scans(phantoms.grid((2.0, 2.0, 2.0), span_mm=100.0), kept=(1, 2), noise=0)
    result = extract(t1, t2, KnowingNetwork(t1), silent)
    assert result.mask is None
    assert (result.t1, result.t2) == (t1, t2)


class SurerOfTheHalfTurn(KnowingNetwork):
    """Is less sure of the first thing it sees, which is the head as the header says."""

    def __call__(self, stage, inputs, *rest):
        probabilities = super().__call__(stage, inputs, *rest)
        return 0.9 * probabilities + 0.1 / len(probabilities) if len(self.calls) == 1 else probabilities


@pytest.mark.parametrize("masked", [False, True])
def test_a_stripped_cerebrum_found_back_to_front_is_set_upright(masked):
    t1, t2 = head_phantom.scans(phantoms.grid((2.0, 2.0, 2.0), span_mm=100.0), kept=(1, 2), noise=0)
    network = SurerOfTheHalfTurn(t1)
    mask = on_grid_of(t1, cerebrum_on(t1).astype(np.uint8))
    result = set_upright(t1, t2, mask, network, silent) if masked else extract(t1, t2, network, silent)
    assert network.calls[:5] == ["locate"] * 5  # straight, three half turns, the mirror of the best
    assert result.report.rotation_degrees == pytest.approx(180, abs=3)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(result.t1), sitk.GetArrayFromImage(t1))
    center = np.array(result.rotation.GetCenter())
    moved = np.array(result.rotation.TransformPoint(np.add(center, [10, 20, 30]).tolist())) - center
    np.testing.assert_allclose(moved, [-10, -20, 30], atol=2)
    assert (result.mask is None) != masked


def test_where_the_cerebellum_is_seen_the_half_turn_is_not_tried():
    t1, t2 = head_phantom.scans(phantoms.grid((2.0, 2.0, 2.0), span_mm=120.0), kept=(1, 2, 3), noise=0)
    network = KnowingNetwork(t1)
    assert extract(t1, t2, network, silent).rotation is None
    assert network.calls.count("locate") == 2


def test_a_stripped_brain_that_lies_as_none_does_is_left_and_its_pose_not_reported():
    turn = phantoms.rotation(90, 0)
    t1, t2 = head_phantom.scans(phantoms.grid((2.0, 2.0, 2.0), span_mm=130.0), turn, kept=(1, 2, 3), noise=0)
    network = KnowingNetwork(t1)
    result = extract(t1, t2, network, silent)
    assert network.calls == ["locate"] * 5  # straight, three half turns and mirrored
    assert (result.mask, result.rotation, result.report.rotation_degrees) == (None, None, None)
    assert "cannot be determined" in result.report.message


@pytest.mark.parametrize("degrees", [-35, 40])
def test_a_turned_head_is_set_upright_and_its_mask_fits_its_own_voxels(degrees):
    turn = phantoms.rotation(degrees, 1)
    grid = phantoms.grid((2.0, 2.0, 2.0), span_mm=150.0)
    t1, t2 = head_phantom.scans(grid, turn)
    result = extract(t1, t2, KnowingNetwork(t1), silent)
    assert result.rotation is not None
    assert result.report.rotation_degrees == pytest.approx(abs(degrees), abs=8)
    assert same_grid(result.mask, t1)
    assert same_grid(result.t1, t1)
    assert dice(found(result.mask), cerebrum_on(grid, turn)) > 0.96
    np.testing.assert_array_equal(sitk.GetArrayFromImage(result.t1), sitk.GetArrayFromImage(t1))


def test_a_header_that_hides_how_the_head_lies_is_found_out():
    """A sagittal acquisition whose header says identity: the network knows upright heads alone."""
    grid = phantoms.grid((2.0, 2.0, 2.0), phantoms.PERMUTED, span_mm=150.0)
    t1, t2 = head_phantom.scans(grid)
    for scan in (t1, t2):
        scan.SetDirection(phantoms.LPS.ravel().tolist())
    network = KnowingNetwork(t1, upright_only=True)
    result = extract(t1, t2, network, silent)
    assert network.calls.count("locate") == 24 + 1
    assert result.report.rotation_degrees > 60
    assert dice(found(result.mask), cerebrum_on(grid)) > 0.97


def test_with_a_mask_a_turned_head_is_set_upright_with_the_mask_on_it():
    turn = phantoms.rotation(40, 1)
    t1, t2 = head_phantom.scans(phantoms.grid((2.0, 2.0, 2.0), span_mm=150.0), turn)
    mask = on_grid_of(t1, cerebrum_on(t1, turn).astype(np.uint8))
    network = KnowingNetwork(t1)
    result = set_upright(t1, t2, mask, network, silent)
    assert network.calls == ["locate", "locate"]
    assert result.report.rotation_degrees == pytest.approx(40, abs=8)
    assert result.rotation is not None
    assert (result.t1, result.t2, result.mask) == (t1, t2, mask)


@pytest.mark.parametrize("kept", [(1, 2), (1, 2, 3), (1, 2, 3, SCALP)])
def test_with_a_mask_a_straight_head_is_left_as_it_is(kept):
    t1, t2 = head_phantom.scans(phantoms.grid((2.0, 2.0, 2.0), span_mm=150.0), kept=kept, noise=2.0 if SCALP in kept else 0)
    mask = on_grid_of(t1, cerebrum_on(t1).astype(np.uint8))
    result = set_upright(t1, t2, mask, KnowingNetwork(t1), silent)
    assert (result.t1, result.t2, result.mask, result.rotation) == (t1, t2, mask, None)
    assert "A mask was given" in result.report.message


def test_with_a_mask_and_no_brain_in_sight_the_scans_are_taken_as_they_are():
    t1, t2 = head_phantom.scans(phantoms.grid((2.0, 2.0, 2.0), span_mm=140.0), kept=(SCALP,))
    result = set_upright(t1, t2, t1, KnowingNetwork(t1), silent)
    assert not result.report.has_pose
    assert result.rotation is None


def test_one_scan_alone_is_enough():
    t1, _ = head_phantom.scans(phantoms.grid((2.0, 2.0, 2.0), span_mm=140.0))
    result = extract(t1, None, KnowingNetwork(t1), silent)
    assert result.t2 is None
    assert dice(found(result.mask), cerebrum_on(t1)) > 0.97


def test_a_raw_scan_without_a_brain_is_refused():
    t1, t2 = head_phantom.scans(phantoms.grid((2.0, 2.0, 2.0), span_mm=140.0), kept=(SCALP,))
    with pytest.raises(InputError, match="of brain were found"):
        extract(t1, t2, KnowingNetwork(t1), silent)


def test_a_stripped_scan_in_which_nothing_is_recognised_is_taken_as_it_is():
    t1, t2 = head_phantom.scans(phantoms.grid((2.0, 2.0, 2.0), span_mm=140.0), kept=(SCALP,), noise=0)
    result = extract(t1, t2, KnowingNetwork(t1), silent)
    assert result.mask is None
    assert "taken as they are" in result.report.message


def test_without_any_scan_there_is_nothing_to_extract():
    with pytest.raises(InputError, match="Neither T1 nor T2"):
        extract(None, None, None, silent)


def test_each_of_the_24_orders_is_undone_exactly():
    values = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    orders = _orders()
    assert len(set(orders)) == 24
    assert _Order((0, 1, 2), (1, 1, 1)) in orders
    for order in orders:
        np.testing.assert_array_equal(order.back(order.there(values)), values)
