import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from phantoms import LPS, OBLIQUE, PERMUTED, RAS

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.space import WorkingSpace, mask_box, plan_space, to_xyz, transfer


def one_voxel(direction=LPS):
    """Give a mask of one voxel, index (i, j, k) = (3, 4, 5), at LPS origin (10, 20, 30)."""
    mask = sitk.Image((8, 9, 10), sitk.sitkUInt8)
    mask.SetOrigin((10, 20, 30))
    mask.SetDirection(np.ravel(direction).tolist())
    mask[3, 4, 5] = 1
    return mask


def test_the_grid_lies_five_voxels_round_the_brain_in_ras():
    space = plan_space(one_voxel())
    assert space.shape == (11, 11, 11)
    assert space.origin_mm == (-13 - 5, -24 - 5, 35 - 5)  # LPS (13, 24, 35) is RAS (-13, -24, 35)


def test_an_image_of_the_working_space_lies_where_it_says():
    values = np.zeros((2, 3, 4), np.float32)
    values[1, 2, 3] = 7
    image = WorkingSpace((2, 3, 4), (1.0, 2.0, 3.0), one_voxel()).to_image(values)
    index = image.TransformPhysicalPointToIndex((-2.0, -4.0, 6.0))  # RAS (2, 4, 6)
    assert image[index] == 7
    np.testing.assert_array_equal(to_xyz(sitk.GetArrayFromImage(image)), values)


@pytest.mark.parametrize("direction", [LPS, RAS, PERMUTED], ids=["LPS", "RAS", "permuted"])
def test_a_coinciding_voxel_transfers_to_its_own_place(direction):
    mask = one_voxel(direction)
    space = plan_space(mask)
    way = space.exact_way()
    np.testing.assert_array_equal(way @ [3, 4, 5, 1], [5, 5, 5])
    box = (slice(4, 7), slice(3, 6), slice(2, 5))  # (K, J, I) round the voxel
    values = np.random.default_rng(1).normal(size=space.shape)
    moved = transfer(values, way, box)
    for i, j, k in ((2, 3, 4), (4, 3, 5), (3, 5, 6)):
        left, back, up = mask.TransformIndexToPhysicalPoint((i, j, k))
        x, y, z = np.rint(np.array([-left, -back, up]) - space.origin_mm).astype(int)
        assert moved[k - 4, j - 3, i - 2] == values[x, y, z]


def test_voxels_off_the_grid_have_no_exact_way():
    assert plan_space(one_voxel(OBLIQUE)).exact_way() is None
    stretched = phantoms.draw(phantoms.grid((1.001, 1.0, 1.0)))  # drifts 0.07 voxel over the brain
    assert plan_space(stretched).exact_way() is None


def test_rounding_in_a_header_does_not_count_as_off_the_grid():
    rounded = phantoms.draw(phantoms.grid((1.000001, 1.0, 1.0)))
    assert plan_space(rounded).exact_way() is not None


def test_the_crop_is_the_brain_s_box():
    box, inside = plan_space(one_voxel()).t1_crop()
    assert box == (slice(5, 6), slice(4, 5), slice(3, 4))
    assert inside.tolist() == [[[True]]]


def test_an_empty_mask_has_no_box():
    with pytest.raises(InputError, match="empty"):
        mask_box(sitk.Image((3, 3, 3), sitk.sitkUInt8))
