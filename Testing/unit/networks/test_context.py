import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from InfantBrainSegLib.core.labels import CSF, GM, TISSUES, WM
from InfantBrainSegLib.networks.context import ContextConfig, distance_maps, signed_distance_maps


def _slab():
    labels = np.zeros((8, 3, 3), np.uint8)
    labels[2:5] = GM.value
    labels[5:] = WM.value
    return labels


def test_signed_distances_are_in_mm_negative_inside_and_clipped():
    gm = distance_maps(_slab(), ContextConfig(clip_mm=2.0))[GM.value - 1, :, 1, 1] * 2.0
    assert gm.tolist() == [2, 1, -1, -2, -1, 1, 2, 2]


def test_the_papers_maps_are_unsigned_and_end_at_one():
    wm = distance_maps(_slab(), ContextConfig(signed=False))[WM.value - 1, :, 1, 1]
    assert wm.tolist() == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0, 0, 0])


def test_unsigned_distances_divided_by_a_length_are_the_same_in_a_patch_and_in_its_volume():
    config = ContextConfig(signed=False, divisor_mm=4.0)
    whole = distance_maps(_slab(), config)[WM.value - 1, :, 1, 1]
    assert whole.tolist() == pytest.approx([1.25, 1.0, 0.75, 0.5, 0.25, 0, 0, 0])
    assert distance_maps(_slab()[2:], config)[WM.value - 1, :, 1, 1].tolist() == pytest.approx(whole[2:].tolist())


def test_there_is_one_map_for_each_tissue_and_they_differ():
    maps = distance_maps(_slab())
    assert maps.shape == (len(TISSUES), 8, 3, 3)
    assert maps.dtype == np.float32
    assert not np.array_equal(maps[GM.value - 1], maps[WM.value - 1])


@pytest.mark.parametrize("signed", [True, False])
def test_an_absent_tissue_is_far_away_everywhere(signed):
    assert (distance_maps(_slab(), ContextConfig(signed=signed))[CSF.value - 1] == 1).all()


def test_a_tissue_that_fills_the_volume_is_deep_inside():
    assert (distance_maps(np.full((4, 4, 4), WM.value, np.uint8))[WM.value - 1] == -1).all()


def _signed(labels, tissue, clip_mm):
    """By scipy's exact transform of the inside and of the outside."""
    inside = labels == tissue.value
    if not inside.any() or inside.all():
        return np.where(inside, -1.0, 1.0)
    signed_mm = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    return np.clip(signed_mm, -clip_mm, clip_mm) / clip_mm


@pytest.mark.parametrize("clip_mm", [2.5, 10.0, 90.0])
def test_signed_distances_of_many_label_maps_are_exact(clip_mm):
    rng = np.random.default_rng(4)
    labels = rng.choice(4, size=(3, 24, 20, 15), p=[0.9, 0.02, 0.05, 0.03]).astype(np.uint8)
    labels[1, :, :, 6:] = GM.value  # one tissue nearly everywhere
    labels[2] = WM.value  # one tissue alone, the others absent
    found = signed_distance_maps(torch.from_numpy(labels), clip_mm).numpy()
    for index, channel in itertools.product(range(3), range(3)):
        np.testing.assert_allclose(found[index, channel], _signed(labels[index], TISSUES[channel], clip_mm), atol=1e-6)
