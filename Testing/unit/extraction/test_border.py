"""A ball of cerebrum in a shell of skull, of which the network's word is shifted to one side."""

import numpy as np
import pytest
from scipy import ndimage

from InfantBrainSegLib.evaluation.metrics import dice
from InfantBrainSegLib.extraction.border import refine_border

SIZE, RADIUS, SHIFT = 56, 18, 2
X, Y, Z = np.meshgrid(*[np.arange(SIZE) - (SIZE - 1) / 2] * 3, indexing="ij")
CEREBRUM = np.sqrt(X**2 + (Y / 1.1) ** 2 + Z**2) < RADIUS
BELOW = np.zeros(CEREBRUM.shape)
MM = (1.0, 1.0, 1.0)


def images(inside, outside):
    """T1 and T2 of these levels, with noise and a bias field along x; 0 inside is an absent one."""
    rng = np.random.default_rng(0)
    field = np.exp(X / 80)
    pairs = zip(inside, outside, strict=True)
    return np.stack([(np.where(CEREBRUM, a, b) + 0.05 * rng.normal(size=X.shape)) * field * (a > 0) for a, b in pairs]).astype(np.float32)


@pytest.fixture
def word():
    """The network's probability: soft, and too far along x."""
    return np.roll(ndimage.gaussian_filter(CEREBRUM.astype(np.float32), 1.5), SHIFT, axis=0)


@pytest.mark.parametrize(
    ("inside", "outside"), [((0.4, 2.0), (0.1, 0.2)), ((0.4, 0.5), (0.9, 1.2)), ((0.4, 0.0), (0.1, 0.0)), ((0.0, 2.0), (0.0, 0.7))]
)
def test_the_border_moves_to_where_the_intensities_change_whatever_the_contrast(word, inside, outside):
    refined = refine_border(word, BELOW, images(inside, outside), MM) > 0.5
    assert dice(word > 0.5, CEREBRUM) < 0.94
    assert dice(refined, CEREBRUM) > 0.99


def test_distances_are_millimeters_whatever_the_voxels(word):
    thick = slice(None, None, 2)
    refined = refine_border(word[:, :, thick], BELOW[:, :, thick], images((0.4, 2.0), (0.1, 0.2))[..., thick], (1.0, 1.0, 2.0))
    assert dice(refined > 0.5, CEREBRUM[:, :, thick]) > 0.99
    far = np.roll(word, 3, axis=0)  # five voxels of 0.5 mm lie within the reach, five of 1 mm do not
    fine, coarse = (refine_border(far, BELOW, images((0.4, 2.0), (0.1, 0.2)), (mm,) * 3) > 0.5 for mm in (0.5, 1.0))
    assert dice(fine, CEREBRUM) > dice(coarse, CEREBRUM) + 0.01


def test_where_both_sides_look_alike_the_network_is_believed(word):
    refined = refine_border(word, BELOW, images((1.0, 1.0), (1.0, 1.0)), MM)
    assert dice(refined > 0.5, word > 0.5) > 0.98


def test_next_to_the_cerebellum_nothing_moves(word):
    below = np.where(X > 8, 0.5, 0.0)
    refined = refine_border(word, below, images((0.4, 2.0), (0.1, 0.2)), MM)
    assert np.allclose(refined[X > 8], word[X > 8], atol=0.002)
    assert not np.allclose(refined[X < 0], word[X < 0], atol=0.1)


def test_a_scan_that_does_not_reach_the_brain_is_not_asked(word):
    both = images((0.4, 2.0), (0.1, 0.2))
    both[1] = 0
    both[1, :4] = 1.0
    assert np.array_equal(refine_border(word, BELOW, both, MM), refine_border(word, BELOW, both[:1], MM))


def test_a_small_or_empty_brain_is_left_as_it_is():
    images_ = images((0.4, 2.0), (0.1, 0.2))
    empty, small = np.zeros(CEREBRUM.shape), np.zeros(CEREBRUM.shape)
    small[20:24, 20:24, 20:24] = 0.99
    for probability in (empty, small):
        assert np.allclose(refine_border(probability, BELOW, images_, MM), probability, atol=0.002)
