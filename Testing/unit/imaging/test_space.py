import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import CSF, GM, LPS, OBLIQUE, PERMUTED, RAS, WM, points_mm

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.files import index_to_physical
from InfantBrainSegLib.imaging.resample import on_grid_of
from InfantBrainSegLib.imaging.space import WorkingSpace, mask_box, plan_space, ras_grid, to_xyz, transfer


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


SIZES = st.tuples(*[st.integers(12, 20)] * 3)
PLACES = st.tuples(*[st.floats(-60, 60)] * 3)
ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
AXES = st.builds(
    lambda order, signs: np.eye(3)[:, list(order)] * signs, st.permutations(range(3)), st.tuples(*[st.sampled_from((-1, 1))] * 3)
)
ROTATIONS = st.builds(lambda degrees, center: euler(degrees, center), ANGLES, PLACES)
ANY_HEADER = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def euler(degrees, center=(0.0, 0.0, 0.0)):
    rotation = sitk.Euler3DTransform()
    rotation.SetCenter(center)
    rotation.SetRotation(*np.deg2rad(degrees).tolist())
    return rotation


def turned(degrees):
    return np.reshape(euler(degrees).GetMatrix(), (3, 3))


@st.composite
def any_grids(draw):
    """An empty image that is oblique, flipped, permuted, anisotropic and sheared."""
    image = sitk.Image(draw(SIZES), sitk.sitkUInt8)
    image.SetSpacing(draw(st.tuples(*[st.floats(0.5, 2.5)] * 3)))
    shear = np.eye(3)
    shear[0, 1], shear[1, 2] = draw(st.floats(-0.3, 0.3)), draw(st.floats(-0.3, 0.3))
    direction = turned(draw(ANGLES)) @ draw(AXES) @ shear
    image.SetDirection((direction / np.linalg.norm(direction, axis=0)).ravel().tolist())
    image.SetOrigin(draw(PLACES))
    return image


@st.composite
def coinciding_grids(draw):
    """An empty 1 mm image along the axes of a head that lies in some way, and that way."""
    rotation = draw(st.none() | ROTATIONS)
    axes = draw(AXES) if rotation is None else np.reshape(rotation.GetMatrix(), (3, 3)) @ draw(AXES)
    image = sitk.Image(draw(SIZES), sitk.sitkUInt8)
    image.SetDirection(axes.ravel().tolist())
    image.SetOrigin(draw(PLACES))
    return image, rotation


def lopsided(image):
    """A mask and labels (K, J, I) that no flip or exchange of axes maps onto themselves: a corner cut off, another label in each other."""
    mask = np.ones(image.GetSize()[::-1], np.uint8)
    mask[:3, :4, :5] = 0
    labels = np.where(mask, GM, 0).astype(np.uint8)
    labels[-5:, :4, :3] = CSF
    labels[:4, -6:, :5] = WM
    labels[6:8, 7, -3:] = WM
    return on_grid_of(image, mask), labels


def into_working_space(space, values, image):
    """Values (K, J, I) of T1's grid taken to the working space by its own image's header: (X, Y, Z)."""
    target = space.to_image(np.zeros(space.shape, np.uint8))
    return to_xyz(sitk.GetArrayFromImage(sitk.Resample(on_grid_of(image, values), target, sitk.Transform(), sitk.sitkNearestNeighbor)))


def same_geometry(image, other):
    return all(getattr(image, f"Get{part}")() == getattr(other, f"Get{part}")() for part in ("Size", "Spacing", "Origin", "Direction"))


@ANY_HEADER
@given(coinciding_grids())
def test_where_voxels_coincide_a_lopsided_phantom_comes_back_voxel_by_voxel(drawn):
    image, rotation = drawn
    mask, labels = lopsided(image)
    space = plan_space(mask, rotation)
    way = space.exact_way()
    assert way is not None
    assert sorted(space.shape) == sorted(n + 10 for n in image.GetSize())
    working = into_working_space(space, labels, image)
    brain = into_working_space(space, sitk.GetArrayFromImage(mask), image) > 0
    restored = space.labels_to_scan(working, np.full((4, *space.shape), 0.25, np.float32), brain)
    assert same_geometry(restored, image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(restored), labels)
    speckle = np.random.default_rng(5).random(labels.shape, np.float32) * (labels > 0)
    restored = space.map_to_scan(into_working_space(space, speckle, image), brain)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(restored), speckle)


@ANY_HEADER
@given(any_grids(), st.none() | ROTATIONS)
def test_on_any_grid_a_smooth_map_and_its_labels_come_back_where_they_were(image, rotation):
    mask, _ = lopsided(image)
    space = plan_space(mask, rotation)
    positions_mm = points_mm(space.to_image(np.zeros(space.shape, np.uint8))).transpose(2, 1, 0, 3)  # (X, Y, Z, 3)
    middle_mm = points_mm(image).reshape(-1, 3).mean(axis=0)
    slopes = np.array([0.02, -0.01, 0.03])
    everywhere = np.ones(space.shape, bool)
    inside = sitk.GetArrayFromImage(mask) > 0
    expected = (points_mm(image) - middle_mm) @ slopes
    field = ((positions_mm - middle_mm) @ slopes).astype(np.float32)
    restored = space.map_to_scan(field, everywhere)
    assert same_geometry(restored, image)
    np.testing.assert_allclose(sitk.GetArrayFromImage(restored), np.where(inside, expected, 0), atol=1e-4)
    white = np.clip(0.5 + field, 0, 1)  # the border of two labels is a plane
    probabilities = np.stack([0 * white, 0 * white, 1 - white, white])
    labels = space.labels_to_scan(probabilities.argmax(0).astype(np.uint8), probabilities, everywhere)
    clear = np.abs(expected) > 1e-3
    wanted = np.where(inside, np.where(expected > 0, WM, GM), 0)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels)[clear], wanted[clear])


@ANY_HEADER
@given(any_grids(), st.none() | ROTATIONS, st.tuples(*[st.integers(0, 11)] * 3))
def test_a_place_goes_to_the_scan_and_comes_back(image, rotation, index):
    mask, _ = lopsided(image)
    space = plan_space(mask, rotation)
    voxel = space.from_t1 @ [*index, 1]
    assert (voxel[:3] > -8).all()  # the cut-off corner may lie beyond the margin
    ras_mm, found = space.place_to_scan(tuple(voxel[:3]))
    np.testing.assert_allclose(found, index, atol=1e-6)
    np.testing.assert_allclose(ras_mm, points_mm(image)[index[::-1]], atol=1e-6)
    x, y, z = ras_mm
    np.testing.assert_allclose(np.linalg.solve(space.affine, [-x, -y, z, 1]), voxel, atol=1e-6)


@ANY_HEADER
@given(any_grids(), st.none() | ROTATIONS)
def test_the_working_space_lies_upright_and_holds_the_brain_with_its_margin(image, rotation):
    mask, _ = lopsided(image)
    space = plan_space(mask, rotation)
    axes = space.affine[:3, :3] if rotation is None else np.reshape(rotation.GetMatrix(), (3, 3)).T @ space.affine[:3, :3]
    np.testing.assert_allclose(axes, RAS, atol=1e-12)  # right, anterior, superior of the upright head, in LPS
    k, j, i = np.nonzero(sitk.GetArrayFromImage(mask))
    voxels = (space.from_t1 @ np.stack([i, j, k, np.ones_like(i)]))[:3]
    assert (voxels.min(axis=1) >= 5 - 2e-3).all()
    assert (voxels.min(axis=1) < 6).all()
    assert (voxels.max(axis=1) <= np.array(space.shape) - 6 + 2e-3).all()


@ANY_HEADER
@given(any_grids(), st.none() | ROTATIONS)
def test_a_grid_along_the_upright_axes_holds_all_points(image, rotation):
    points = points_mm(image).reshape(-1, 3).T * [[-1], [-1], [1]]  # LPS
    grid = ras_grid(points, 1.5, 3.0, rotation)
    found = np.linalg.solve(index_to_physical(grid), np.vstack([points, np.ones(points.shape[1])]))[:3]
    assert found.min() == pytest.approx(2, abs=1e-6)
    assert (found.max(axis=1) <= np.array(grid.GetSize()) - 3 + 1e-6).all()


@ANY_HEADER
@given(coinciding_grids())
def test_labels_of_a_coinciding_grid_come_to_their_own_voxels_and_back(way):
    image, rotation = way
    mask, labels = lopsided(image)
    space = plan_space(mask, rotation)
    found = space.labels_from_scan(on_grid_of(image, labels))
    assert np.array_equal(found, into_working_space(space, labels, image))
    certain = np.eye(4, dtype=np.float32)[found].transpose(3, 0, 1, 2)
    back = space.labels_to_scan(found, certain, found > 0)
    assert np.array_equal(sitk.GetArrayFromImage(back), labels)
    assert same_geometry(back, image)


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7, 0.7), (1.0, 1.0, 1.0), (0.8, 1.3, 1.6)])
@pytest.mark.parametrize("direction", [OBLIQUE, OBLIQUE @ PERMUTED, phantoms.SHEARED])
def test_labels_of_any_grid_come_to_where_they_lie(spacing_mm, direction):
    labels = phantoms.draw(phantoms.grid(spacing_mm, direction))
    space = plan_space(labels > 0)
    found = space.labels_from_scan(labels)
    wanted = phantoms.labels_at(points_mm(space.to_image(found)))  # (Z, Y, X)
    assert (to_xyz(wanted) != found).mean() < 0.02
    values = sitk.GetArrayFromImage(labels)
    everything = space.share_from_scan(values > 0)
    assert np.allclose(sum(space.share_from_scan(values == value) for value in (CSF, GM, WM)), everything, atol=1e-4)
    assert everything.sum() == pytest.approx((values > 0).sum() * np.prod(spacing_mm) * abs(np.linalg.det(direction)), rel=0.01)


def test_a_voxel_of_which_half_is_tissue_gets_the_tissue_with_the_largest_share():
    grid = phantoms.grid((0.5, 0.5, 0.5), span_mm=12)
    values = np.zeros(grid.GetSize()[::-1], np.uint8)
    values[6:18, 6:18, 6:18] = GM
    values[6:18, 6:18, 10:18] = WM
    labels = on_grid_of(grid, values)
    space = plan_space(on_grid_of(grid, (values > 0).astype(np.uint8)))
    shares = {value: space.share_from_scan(values == value) for value in (GM, WM)}
    found = space.labels_from_scan(labels)
    assert {int(value) for value in np.unique(found)} == {0, GM, WM}
    tissue = shares[GM] + shares[WM] >= 0.5
    assert np.array_equal(found > 0, tissue)
    assert np.array_equal(found[tissue] == WM, (shares[WM] > shares[GM])[tissue])


def test_places_that_are_none_fill_nothing():
    space = plan_space(one_voxel())
    assert not space.share_from_scan(np.zeros((10, 9, 8), bool)).any()
