import math

import numpy as np
import pytest
import torch
from torch import nn

from InfantBrainSegLib.core.errors import WeightsError
from InfantBrainSegLib.networks.device import autocast_dtype
from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.networks.sliding_window import SlidingWindowConfig, even_batch, plan_windows, window_weights
from InfantBrainSegLib.networks.sliding_window import predict as predict_tensors

CPU = torch.device("cpu")


def predict(network, inputs, *rest):
    return predict_tensors(network, torch.from_numpy(inputs), *rest).cpu().numpy()


class VoxelwiseNetwork(nn.Module):
    """Logits that depend on each voxel alone, so that windows and blending must change nothing."""

    def forward(self, x):
        return torch.cat([x[:, :1], -x[:, :1], 2 * x[:, 1:2], x[:, :1] * x[:, 1:2]], 1)


class NumberedWindows(nn.Module):
    """Gives the n-th window it sees the probability `levels[n]` of CSF everywhere."""

    def __init__(self, levels):
        super().__init__()
        self.levels = list(levels)

    def forward(self, x):
        logits = torch.full((len(x), 4, *x.shape[2:]), -1e4)
        for index in range(len(x)):
            level = self.levels.pop(0)
            logits[index, 1], logits[index, 2] = math.log(level), math.log(1 - level)
        return logits


def numbered_csf(config, shape, levels):
    probabilities = predict(NumberedWindows(levels), np.zeros((1, *shape), np.float32), None, config, CPU)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-6)
    return probabilities[1]


def test_two_uniform_windows_average_where_they_overlap():
    config = SlidingWindowConfig(patch_voxels=4, overlap=0.5, plan="overlap", blend="uniform", amp=False)
    csf = numbered_csf(config, (6, 4, 4), [0.2, 0.6])  # windows at x = 0 and x = 2
    for x, expected in enumerate([0.2, 0.2, 0.4, 0.4, 0.6, 0.6]):
        np.testing.assert_allclose(csf[x], expected, atol=1e-6)


def test_two_gaussian_windows_blend_by_the_distance_to_their_centres():
    config = SlidingWindowConfig(patch_voxels=4, overlap=0.5, plan="overlap", blend="gaussian", amp=False)
    csf = numbered_csf(config, (6, 4, 4), [0.2, 0.6])
    # sigma is 4/8; voxel 2 is 0.5 from the first centre (1.5) and 1.5 from the second (3.5): weights exp(-0.5) and exp(-4.5)
    near, far = math.exp(-0.5), math.exp(-4.5)
    expected = [0.2, 0.2, (0.2 * near + 0.6 * far) / (near + far), (0.2 * far + 0.6 * near) / (near + far), 0.6, 0.6]
    np.testing.assert_allclose(csf[:, 1, 1], expected, atol=1e-5)


def test_four_uniform_windows_of_a_plane_match_the_answer_worked_out_by_hand():
    config = SlidingWindowConfig(patch_voxels=2, overlap=0.5, plan="overlap", blend="uniform", amp=False, batch_size=3)
    csf = numbered_csf(config, (3, 3, 2), [0.1, 0.2, 0.3, 0.4])  # windows at (0,0), (0,1), (1,0), (1,1)
    expected = [[0.1, 0.15, 0.2], [0.2, 0.25, 0.3], [0.3, 0.35, 0.4]]
    np.testing.assert_allclose(csf[:, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize("blend", ["gaussian", "uniform"])
@pytest.mark.parametrize("plan", ["fit", "overlap", "paper"])
def test_a_voxelwise_network_gives_its_own_answer_whatever_the_windows(blend, plan):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(2, 21, 17, 5)).astype(np.float32)  # the last axis is shorter than a window
    config = SlidingWindowConfig(patch_voxels=8, blend=blend, plan=plan, batch_size=5, amp=False)
    expected = VoxelwiseNetwork()(torch.from_numpy(inputs)[None]).softmax(1)[0].numpy()
    found = predict(VoxelwiseNetwork(), inputs, None, config, CPU)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_window_larger_than_the_volume_sees_it_centred_in_zeros():
    seen = []

    class Spy(VoxelwiseNetwork):
        def forward(self, x):
            seen.append(x.clone())
            return super().forward(x)

    predict(Spy(), np.ones((2, 2, 4, 3), np.float32), None, SlidingWindowConfig(patch_voxels=4, plan="overlap", amp=False), CPU)
    occupied = seen[0][0, 0] == 1
    assert seen[0].shape == (1, 2, 4, 4, 4)
    assert occupied.sum() == 2 * 4 * 3
    assert occupied[1:3, :, 0:3].all()


def test_the_paper_plan_has_two_windows_more_than_fit_an_axis():
    config = SlidingWindowConfig(plan="paper")
    starts = plan_windows((150, 190, 128), None, config).starts
    assert sorted({start[0] for start in starts}) == [0, 29, 57, 86]  # 150 // 64 + 2 = 4 windows from 0 to 150 - 64
    assert sorted({start[1] for start in starts}) == [0, 42, 84, 126]
    assert sorted({start[2] for start in starts}) == [0, 21, 43, 64]


def test_the_overlap_plan_reaches_both_ends_with_at_least_the_overlap_asked_for():
    config = SlidingWindowConfig(patch_voxels=10, overlap=0.25, plan="overlap")
    xs = sorted({start[0] for start in plan_windows((43, 10, 10), None, config).starts})
    assert xs[0] == 0
    assert xs[-1] == 33
    assert max(np.diff(xs)) <= 8  # ends rounded to voxels: floor(7.5) = 7, and never over 7 + 1
    assert len(plan_windows((10, 10, 10), None, config).starts) == 1


def covered(axis, plan, extent):
    """How many windows cover each voxel of an axis."""
    starts = {start[axis] for start in plan.starts}
    return np.sum([[first <= voxel < first + plan.size[axis] for voxel in range(extent)] for first in starts], 0)


def test_the_fitted_plan_has_as_few_windows_as_cover_a_brain_with_a_fifth_of_a_window_shared():
    plan = plan_windows((136, 169, 116), None, SlidingWindowConfig(patch_voxels=80))
    assert plan.size == (80, 72, 72)
    assert len(plan.starts) == 2 * 3 * 2
    assert sorted({start[1] for start in plan.starts}) == [0, 48, 97]  # from end to end, 23 or 24 voxels shared


@pytest.mark.parametrize("patch", [32, 64, 80])
@pytest.mark.parametrize("extent", [(5, 40, 70), (71, 88, 89), (120, 160, 200)])
def test_fitted_windows_cover_the_brain_and_its_rim_wherever_it_lies_and_stay_near_the_size_asked_for(patch, extent):
    low, shape = (7, 0, 30), (150, 170, 260)
    mask = np.zeros(shape, bool)
    mask[tuple(slice(first, first + length) for first, length in zip(low, extent, strict=True))] = True
    plan = plan_windows(shape, mask, SlidingWindowConfig(patch_voxels=patch))
    for axis in range(3):
        assert plan.size[axis] % 8 == 0
        assert plan.size[axis] <= patch + 8
        places = sorted({start[axis] for start in plan.starts})
        assert places[0] >= 0
        assert places[-1] + plan.size[axis] <= shape[axis]
        rim = slice(max(low[axis] - 5, 0), low[axis] + extent[axis] + 5)
        assert covered(axis, plan, shape[axis])[rim].min() >= 1  # with what lies round the brain, as far as the volume reaches
        assert all(np.diff(places) <= plan.size[axis] - patch // 4 + 1)


def test_a_network_that_changed_is_copied_anew_for_mixed_precision(monkeypatch):
    monkeypatch.setattr("InfantBrainSegLib.networks.sliding_window.autocast_dtype", lambda device: torch.bfloat16)
    network = nn.Sequential(nn.Conv3d(1, 4, 1))
    inputs = np.ones((1, 8, 8, 8), np.float32)
    before = predict(network, inputs, None, SlidingWindowConfig(), CPU)
    with torch.no_grad():
        network[0].bias += torch.tensor([5.0, 0.0, 0.0, 0.0])
    after = predict(network, inputs, None, SlidingWindowConfig(), CPU)
    assert after[0].mean() > before[0].mean() + 0.2
    assert network[0].weight.dtype == torch.float32


def test_windows_without_brain_are_skipped_and_stay_background():
    mask = np.zeros((8, 4, 4), bool)
    mask[7, 0, 0] = True
    config = SlidingWindowConfig(patch_voxels=4, overlap=0, plan="overlap", amp=False)
    assert plan_windows(mask.shape, mask, config).starts == ((4, 0, 0),)
    probabilities = predict(NumberedWindows([0.7]), np.zeros((1, 8, 4, 4), np.float32), mask, config, CPU)
    np.testing.assert_allclose(probabilities[1, 4:], 0.7, atol=1e-6)
    np.testing.assert_array_equal(probabilities[0, :4], 1)
    np.testing.assert_array_equal(probabilities[1:, :4], 0)


def test_an_empty_mask_gives_background_everywhere():
    config = SlidingWindowConfig(patch_voxels=4)
    probabilities = predict(VoxelwiseNetwork(), np.ones((2, 5, 5, 5), np.float32), np.zeros((5, 5, 5), bool), config, CPU)
    np.testing.assert_array_equal(probabilities[0], 1)


def test_gaussian_weights_are_positive_symmetric_and_largest_at_the_centre():
    weights = window_weights((64, 64, 64), "gaussian")
    assert weights.min() > 0
    assert torch.equal(weights, weights.flip(0))
    assert torch.equal(weights, weights.transpose(0, 2))
    assert weights[31, 31, 31] == weights.max()


def test_progress_rises_to_one():
    heard = []
    config = SlidingWindowConfig(patch_voxels=4, overlap=0, plan="overlap", amp=False, batch_size=2)
    predict(VoxelwiseNetwork(), np.zeros((2, 12, 4, 4), np.float32), None, config, CPU, heard.append)
    assert heard == [2 / 3, 1.0]


def test_the_batch_size_changes_nothing():
    torch.manual_seed(0)
    network = MultiStreamFCN(NetworkConfig((1, 1), base_width=4)).eval()
    inputs = np.random.default_rng(1).normal(size=(2, 20, 16, 16)).astype(np.float32)
    one, three = (predict(network, inputs, None, SlidingWindowConfig(patch_voxels=16, batch_size=size, amp=False), CPU) for size in (1, 3))
    np.testing.assert_allclose(one, three, atol=1e-5)


def test_batches_are_as_even_as_the_largest_allows():
    assert [even_batch(count, 4) for count in (0, 1, 4, 5, 9, 10, 12)] == [4, 1, 4, 3, 3, 4, 4]


def close_to_float32(device):
    torch.manual_seed(0)
    network = MultiStreamFCN(NetworkConfig((1, 1), base_width=8)).eval()
    inputs = np.random.default_rng(1).normal(size=(2, 24, 32, 32)).astype(np.float32)
    exact, mixed = (predict(network, inputs, None, SlidingWindowConfig(patch_voxels=32, amp=amp), device) for amp in (False, True))
    assert exact.std() > 0.01  # the network does say something
    assert np.abs(exact - mixed).max() < 0.02
    assert np.abs(exact - mixed).mean() < 0.002


@pytest.mark.skipif(autocast_dtype(CPU) is None, reason="this CPU does not compute in bfloat16")
def test_mixed_precision_is_close_to_float32_on_the_cpu():
    close_to_float32(CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mixed_precision_is_close_to_float32_on_the_gpu():
    close_to_float32(torch.device("cuda:0"))


def test_an_overflow_in_mixed_precision_is_computed_again_in_float32(monkeypatch):
    class OverflowsInMixedPrecision(VoxelwiseNetwork):
        def forward(self, x):
            logits = super().forward(x)
            return logits * math.inf if x.dtype is torch.bfloat16 else logits

    monkeypatch.setattr("InfantBrainSegLib.networks.sliding_window.autocast_dtype", lambda device: torch.bfloat16)
    inputs = np.ones((2, 4, 4, 4), np.float32)
    found = predict(OverflowsInMixedPrecision(), inputs, None, SlidingWindowConfig(patch_voxels=4), CPU)
    expected = torch.tensor([1.0, -1.0, 2.0, 1.0]).softmax(0)
    np.testing.assert_allclose(found[:, 0, 0, 0], expected, atol=1e-6)


def test_a_network_that_gives_nan_is_refused():
    class Broken(VoxelwiseNetwork):
        def forward(self, x):
            return super().forward(x) * math.nan

    with pytest.raises(WeightsError, match="NaN"):
        predict(Broken(), np.ones((2, 4, 4, 4), np.float32), None, SlidingWindowConfig(patch_voxels=4), CPU)


@pytest.mark.parametrize("wrong", [{"blend": "mean"}, {"plan": "dense"}, {"overlap": 1.0}, {"patch_voxels": 0}, {"batch_size": 0}])
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(ValueError, match="wanted"):
        SlidingWindowConfig(**wrong)
