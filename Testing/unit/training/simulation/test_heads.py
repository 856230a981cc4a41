import numpy as np
import pytest
import SimpleITK as sitk
import torch

from InfantBrainSegLib.core.errors import TrainingError
from InfantBrainSegLib.core.labels import INFRATENTORIAL, LEFT_CEREBRUM, RIGHT_CEREBRUM
from InfantBrainSegLib.networks.fcn import NetworkConfig
from InfantBrainSegLib.training.config import TrainingConfig
from InfantBrainSegLib.training.simulation.head_synthesis import FIND, REFINE, HeadConfig, HeadPatches, HeadSimulator
from InfantBrainSegLib.training.simulation.heads import LOWER_CSF, SKIN, SKULL, build_head_pack, load_heads, read_head
from InfantBrainSegLib.training.simulation.labelmaps import CORTEX, OUTER_CSF

LEFT_WM, RIGHT_WM, LEFT_GM, RIGHT_GM, CEREBELLUM, BRAINSTEM, CSF, SCALP, BONE = 2, 41, 3, 42, 8, 16, 24, 511, 515
SIZE = 72


def codes():
    """A head of boxes, (X, Y, Z) RAS: white in gray in fluid in bone, the right half wider; cerebellum below and behind."""
    head = np.zeros((SIZE,) * 3, np.int16)
    head[6:66, 6:66, 6:66] = SCALP
    head[8:64, 8:64, 8:64] = BONE
    head[10:62, 10:62, 10:62] = CSF
    head[12:32, 12:60, 30:60], head[32:60, 12:60, 30:60] = LEFT_GM, RIGHT_GM
    head[16:30, 16:56, 36:56], head[36:56, 16:56, 36:56] = LEFT_WM, RIGHT_WM
    head[20:52, 14:34, 12:26] = CEREBELLUM
    head[30:42, 36:44, 12:30] = BRAINSTEM
    head[2:4, 2:4, 2:4] = 507
    return head


def write(array, path):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    return read_head(write(codes(), tmp_path_factory.mktemp("heads") / "adult_01.nii.gz"))


def test_each_voxel_of_the_brain_belongs_to_its_part(head):
    assert head.target[20, 40, 40] == LEFT_CEREBRUM
    assert head.target[50, 40, 40] == RIGHT_CEREBRUM
    assert head.target[40, 20, 20] == INFRATENTORIAL
    assert head.target[7, 40, 40] == 0
    assert head.classes[7, 40, 40] == SKIN
    assert head.classes[9, 40, 40] == SKULL


def test_fluid_belongs_to_the_nearest_part_and_is_named_by_it(head):
    assert head.target[11, 40, 50] == LEFT_CEREBRUM
    assert head.classes[11, 40, 50] == OUTER_CSF
    assert head.target[30, 20, 11] == INFRATENTORIAL
    assert head.classes[30, 20, 11] == LOWER_CSF


def test_a_map_without_a_skull_is_no_head(tmp_path):
    array = codes()
    array[array > 500] = 0
    path = write(array, tmp_path / "brain.nii.gz")
    with pytest.raises(TrainingError, match="whole head"):
        read_head(path)
    with pytest.raises(TrainingError, match="no whole-head label map"):
        build_head_pack(tmp_path, tmp_path / "pack.npz")


def test_a_pack_gives_back_what_went_in(tmp_path, head):
    write(codes(), tmp_path / "adult_01.nii.gz")
    assert build_head_pack(tmp_path, tmp_path / "pack.npz") == ["adult_01"]
    (packed,) = load_heads(tmp_path / "pack.npz")
    np.testing.assert_array_equal(packed.classes, head.classes)
    np.testing.assert_array_equal(packed.target, head.target)
    with pytest.raises(TrainingError, match="it holds adult_01"):
        load_heads(tmp_path / "pack.npz", lambda name: False)


def plain(**changes):
    return HeadConfig(
        **{
            **{"voxel_mm": 1.0, "scale": (1.0, 1.0), "rotation_degrees": 0.0, "warp_mm": 0.0, "stripped_share": 0.0, "cut_share": 0.0},
            **changes,
        }
    )


def synthesized(head, config, seed=3, size=SIZE):
    with torch.inference_mode():
        return HeadSimulator([head], config).synthesize(
            head, (np.array(head.target.shape) - 1) / 2, (size,) * 3, np.random.default_rng(seed)
        )


def test_a_mirrored_head_keeps_its_left_on_the_left(head):
    """The wider half changes sides with the mirror, the names do not."""
    wider = set()
    for seed in range(8):
        parts = synthesized(head, plain(), seed).parts.numpy()
        left, right = (np.argwhere(parts == part)[:, 0].mean() for part in (LEFT_CEREBRUM, RIGHT_CEREBRUM))
        assert left < right
        wider.add(int((parts == LEFT_CEREBRUM).sum() > (parts == RIGHT_CEREBRUM).sum()))
    assert wider == {0, 1}


def test_the_same_random_numbers_paint_the_same_head(head):
    one, other = (synthesized(head, plain(rotation_degrees=30.0), 5) for _ in range(2))
    torch.testing.assert_close(one.images, other.images, rtol=0, atol=0)
    torch.testing.assert_close(one.parts, other.parts)


def test_twice_the_sampling_leaves_the_parts_where_they_are(head):
    once, twice = (synthesized(head, plain(oversampling=n), 5) for n in (1, 2))
    assert (once.parts == twice.parts).float().mean() > 0.97
    assert once.images.shape == twice.images.shape


def test_voxels_of_two_millimeters_show_twice_as_much(head):
    fine, coarse = synthesized(head, plain()), synthesized(head, plain(voxel_mm=2.0))
    ratio = (fine.parts > 0).sum() / (coarse.parts > 0).sum()
    assert 7 < ratio < 9
    assert coarse.coarse is None


def test_a_stripped_head_has_nothing_outside_and_no_part_where_it_has_nothing(head):
    for seed in range(4):
        one = synthesized(head, plain(stripped_share=1.0), seed)
        empty = (one.images == 0).all(0)
        assert empty.float().mean() > 0.3
        assert (one.parts[empty] == 0).all()
        assert (~empty & (one.classes == SKIN)).sum() < 0.2 * (one.classes == SKIN).sum()


def test_beyond_the_field_of_view_there_is_nothing(head):
    one = synthesized(head, plain(cut_share=1.0))
    empty = (one.images == 0).all(0).numpy()
    assert any(np.take(empty, end, axis).all() for axis in range(3) for end in (0, -1))
    assert (one.parts.numpy()[empty] == 0).all()


def test_the_coarse_parts_lie_near_the_true_ones(head):
    one = synthesized(head, plain(coarse_error_mm=1.0, coarse_lost_share=0.0, coarse_border_voxels=0))
    for part in (LEFT_CEREBRUM, RIGHT_CEREBRUM, INFRATENTORIAL):
        near = one.coarse[part - 1] > 0.5
        true = one.parts == part
        assert 2 * (near & true).sum() > 0.85 * (near.sum() + true.sum())


def test_bone_is_seldom_as_bright_as_cortex(head):
    heads = [synthesized(head, plain(random_share=0.0), seed) for seed in range(8)]
    darker = [one.images[0][one.classes == SKULL].mean() < one.images[0][one.classes == CORTEX].mean() for one in heads]
    assert sum(darker) > 4


@pytest.mark.parametrize(("config", "channels"), [(FIND, 2), (REFINE, 5)])
def test_batches_have_the_channels_of_their_network(head, config, channels):
    images, parts = HeadPatches(HeadSimulator([head], config), 32, 0.5).batch(np.random.default_rng(0), 2)
    assert images.shape == (2, channels, 32, 32, 32)
    assert parts.shape == (2, 32, 32, 32)
    assert torch.isfinite(images).all()
    assert parts.max() <= INFRATENTORIAL


def test_dropped_streams_are_all_zero(head):
    patches = HeadPatches(HeadSimulator([head], FIND), 16, 1.0)
    for seed in range(4):
        images, _ = patches.batch(np.random.default_rng(seed), 1)
        assert (images[0] == 0).all((1, 2, 3)).sum() >= 1


def test_the_stages_of_extraction_want_their_streams():
    with pytest.raises(TrainingError, match="locate has streams of"):
        TrainingConfig(stage="locate", network=NetworkConfig((1, 1, 3), 2))
    with pytest.raises(TrainingError, match="refine has streams of"):
        TrainingConfig(stage="refine", network=NetworkConfig((1, 1), 2))
