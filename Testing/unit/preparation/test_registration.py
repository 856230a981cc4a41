import json

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.files import same_grid
from InfantBrainSegLib.preparation.registration import align, align_pair, move_grid


@pytest.fixture(scope="module")
def scans():
    """T1 and T2 of the lopsided brain at 2 mm; it has no symmetry that could hide a turn."""
    grid = phantoms.grid((2.0, 2.0, 2.0))
    return phantoms.noisy(phantoms.draw(grid, phantoms.T1_LEVELS)), phantoms.noisy(phantoms.draw(grid, phantoms.T2_LEVELS), seed=2)


def rigid(angles_degrees, translation_mm):
    return sitk.Euler3DTransform((5.0, -8.0, 3.0), *np.deg2rad(angles_degrees).tolist(), translation_mm)


def error_mm(found, moved_by):
    """Mean distance over the brain between where T2's points are found and where they are."""
    points = phantoms.points_mm(phantoms.grid((12.0, 12.0, 12.0)))
    inside = points[phantoms.labels_at(points) > 0] * [-1, -1, 1]
    truth = moved_by.GetInverse()
    return np.mean([np.linalg.norm(np.subtract(found.TransformPoint(p), truth.TransformPoint(p))) for p in inside.tolist()])


A_LITTLE, FAR = rigid((4, -3, 2), (3.0, -2.0, 1.0)), rigid((-9, 10, 14), (-12.0, 18.0, 20.0))


@pytest.fixture(scope="module")
def found_near(scans):
    t1, t2 = scans
    return align(t1, move_grid(t2, A_LITTLE))


def test_a_small_known_motion_is_found_within_half_a_millimeter(found_near):
    assert found_near.report["moved"]
    assert error_mm(found_near.transform, A_LITTLE) < 0.5
    assert found_near.report["overlap_after"] > 0.97 > found_near.report["overlap_before"]


@pytest.mark.slow
def test_a_motion_of_19_degrees_and_29_mm_is_found_within_1_mm(scans):
    t1, t2 = scans
    assert error_mm(align(t1, move_grid(t2, FAR)).transform, FAR) < 1.0


def test_the_same_pair_gives_the_same_transform_again(scans, found_near):
    t1, t2 = scans
    assert align(t1, move_grid(t2, A_LITTLE)).transform.GetParameters() == found_near.transform.GetParameters()


def test_a_pair_that_lies_right_is_left_exactly_as_it_is(scans):
    t1, t2 = scans
    found = align(t1, t2)
    assert found.transform is None
    assert not found.report["moved"]
    assert same_grid(found.t2, t2)
    assert (sitk.GetArrayViewFromImage(found.t2) == sitk.GetArrayViewFromImage(t2)).all()


def test_the_voxels_of_a_moved_t2_are_untouched_and_its_corners_move_as_told(scans):
    _, t2 = scans
    motion = rigid((10, 0, -5), (7.0, 1.0, 2.0))
    moved = move_grid(t2, motion)
    assert (sitk.GetArrayViewFromImage(moved) == sitk.GetArrayViewFromImage(t2)).all()
    corner = [n - 1 for n in t2.GetSize()]
    assert motion.TransformPoint(moved.TransformIndexToPhysicalPoint(corner)) == pytest.approx(t2.TransformIndexToPhysicalPoint(corner))


@pytest.fixture(scope="module")
def heads():
    """The same brain in CSF, bone and scalp, with noise everywhere; T2 has slices of 3 mm."""
    thick = phantoms.grid((2.0, 2.0, 3.0), span_mm=124.0)
    return [
        painted_head(phantoms.grid((2.0, 2.0, 2.0), span_mm=124.0), phantoms.T1_LEVELS, (40, 10, 220), seed=1),
        painted_head(thick, phantoms.T2_LEVELS, (400, 20, 150), seed=2),
    ]


def painted_head(grid, levels, shell, seed):
    points = phantoms.points_mm(grid)
    labels, radius = phantoms.labels_at(points), np.linalg.norm(points / (34, 42, 30), axis=-1)
    layer = np.digitize(radius, (1.08, 1.22, 1.36))
    rng = np.random.default_rng(seed)
    values = np.where(labels > 0, levels[labels], np.array([*shell, 0])[layer]) + rng.normal(0, 4, labels.shape)
    head = sitk.GetImageFromArray(np.hypot(values, rng.normal(0, 4, labels.shape)).astype(np.float32))
    head.CopyInformation(grid)
    return head


def test_whole_heads_with_a_noisy_background_are_aligned(heads):
    t1, t2 = heads
    motion = rigid((6, 5, -8), (9.0, -7.0, 4.0))
    found = align(t1, move_grid(t2, motion))
    assert error_mm(found.transform, motion) < 1.0
    assert found.report["overlap_after"] > 0.95 > found.report["overlap_before"]


def test_whole_heads_that_lie_right_are_left_as_they_are(heads):
    assert align(*heads).transform is None


@pytest.mark.slow
def test_a_mask_of_the_brain_lets_whole_heads_be_aligned_by_the_brain_alone(heads):
    t1, t2 = heads
    motion = rigid((-5, 3, 6), (-4.0, 8.0, 2.0))
    mask = phantoms.draw(phantoms.grid((3.0, 3.0, 3.0))) > 0
    assert error_mm(align(t1, move_grid(t2, motion), mask).transform, motion) < 1.0


@pytest.mark.parametrize("background", [0.0, 5.0], ids=["stripped", "noisy"])
def test_two_different_things_are_refused_with_overlap_and_remedy(scans, background):
    t1, _ = scans
    grid = phantoms.grid((2.0, 2.0, 2.0))
    x, y, z = np.moveaxis(phantoms.points_mm(grid), -1, 0)
    rod = (np.hypot(x, y) < 16) & (np.abs(z) < 45)
    rng = np.random.default_rng(0)
    values = np.where(rod, rng.uniform(50, 200, rod.shape), rng.uniform(0, background, rod.shape)).astype(np.float32)
    other = sitk.GetImageFromArray(values)
    other.CopyInformation(grid)
    with pytest.raises(InputError, match=r"overlap(ping)? by \d+ %.*--align off"):
        align(t1, other)


@pytest.mark.slow
def test_a_turn_beyond_the_limits_is_never_accepted_in_silence(scans):
    t1, t2 = scans
    motion = rigid((0, 0, 40), (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="--align off"):
        align(t1, move_grid(t2, motion))


def test_a_scan_that_is_empty_but_for_a_voxel_is_not_sought(scans):
    t1, t2 = scans
    lone = t1 * 0
    lone[20, 20, 20] = 1
    for pair in ((lone, t2), (t1, lone)):
        assert not align(*pair).report["moved"]


def test_switched_off_or_with_one_scan_nothing_is_moved(scans):
    t1, t2 = scans
    moved = move_grid(t2, rigid((0, 0, 10), (5.0, 0.0, 0.0)))
    assert align_pair(t1, moved, None, "off").t2 is moved
    assert align_pair(t1, None, None, "auto").t2 is None


@pytest.mark.slow
def test_segment_saves_the_transform_of_a_moved_t2_and_tells_of_it(scans, weights_dir, tmp_path):
    t1, t2 = scans
    motion = rigid((6, 5, -8), (9.0, -7.0, 4.0))
    sitk.WriteImage(t1, str(tmp_path / "T1.nii.gz"))
    sitk.WriteImage(move_grid(t2, motion), str(tmp_path / "T2.nii.gz"))
    given = ["--t1", str(tmp_path / "T1.nii.gz"), "--t2", str(tmp_path / "T2.nii.gz"), "--output-dir", str(tmp_path / "out")]
    assert (
        main(["segment", *given, "--weights", str(weights_dir), "--device", "cpu", "--no-context", "--extract", "off", "--align", "auto"])
        == 0
    )
    assert error_mm(sitk.ReadTransform(str(tmp_path / "out" / "t2_to_t1.tfm")), motion) < 1.0
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["alignment"]["moved"]
