import numpy as np
import pytest
import torch

from InfantBrainSegLib.training.simulation.labelmaps import AIR, CORTEX, WHITE
from InfantBrainSegLib.training.simulation.thickening import amount_for, moved_volumes, pull_back, sample, thickening_field


def slabs(cortex: int, white: int) -> np.ndarray:
    """Air, cortex, white matter and air again along the first axis; even along the others."""
    classes = np.full((20 + cortex + white + 20, 6, 4), AIR, np.uint8)
    classes[20 : 20 + cortex] = CORTEX
    classes[20 + cortex : 20 + cortex + white] = WHITE
    return classes


def moved_shares(classes: np.ndarray, amount: float) -> dict[int, float]:
    """Volume of cortex and white matter, in voxels and by the linear shares, after the field has moved them."""
    field = torch.as_tensor(thickening_field(classes)).float()
    grid = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in classes.shape], indexing="ij"))
    positions = pull_back(grid, field, amount, (0, 0, 0))
    shares = sample(torch.as_tensor(np.stack([classes == CORTEX, classes == WHITE])).float(), positions, (0, 0, 0))
    return dict(zip((CORTEX, WHITE), shares.sum((1, 2, 3)).tolist(), strict=True))


def test_in_slabs_the_field_rises_through_cortex_by_one_a_voxel_and_falls_through_white_matter():
    field = thickening_field(slabs(10, 10)).astype(float)
    along = field[0, :, 3, 2]
    assert along[28] - along[22] == pytest.approx(6, abs=0.1)
    assert along[38] - along[32] == pytest.approx(-6, abs=0.1)
    assert np.abs(field[1:]).max() < 0.01


@pytest.mark.parametrize("amount", [-0.2, 0.1, 0.25])
def test_cortex_gains_what_white_matter_loses(amount):
    volumes = moved_shares(slabs(10, 20), amount)
    assert volumes[CORTEX] == pytest.approx(10 * (1 + amount) * 24, rel=0.02)
    assert volumes[WHITE] == pytest.approx((20 - 10 * amount) * 24, rel=0.02)
    assert moved_volumes(10, 20, amount) == pytest.approx((10 * (1 + amount), 20 - 10 * amount))


def test_the_amount_brings_the_ratio_that_was_asked_for_as_far_as_it_may():
    amount = amount_for(10, 10, 1.5)
    assert amount == pytest.approx(0.2)  # 12 to 8
    assert np.divide(*moved_volumes(10, 10, amount)) == pytest.approx(1.5)
    assert amount_for(10, 10, 1.0) == 0
    assert (amount_for(10, 10, 9.0), amount_for(10, 10, 0.1)) == (0.3, -0.3)


def test_a_blade_of_white_matter_gets_thinner_and_none_of_it_is_lost():
    classes = np.full((40, 40, 8), CORTEX, np.uint8)
    classes[:4], classes[-4:], classes[:, -4:] = AIR, AIR, AIR
    classes[:, :12] = np.where(classes[:, :12] == AIR, AIR, WHITE)
    classes[19:21, 12:30] = WHITE  # two voxels thick, in the middle of a gyrus
    field = torch.as_tensor(thickening_field(classes)).float()
    grid = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in classes.shape], indexing="ij"))
    white = sample(torch.as_tensor(classes == WHITE).float()[None], pull_back(grid, field, 0.25, (0, 0, 0)), (0, 0, 0))[0]
    thickness = white[10:30, 14:27].sum(0)  # (13, 8)
    assert float(thickness.min()) > 1.0
    assert float(thickness.max()) < 2.0
