import json

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.__main__ import main
from InfantBrainSegLib.align import align, align_pair, move_grid
from InfantBrainSegLib.errors import InputError
from InfantBrainSegLib.images import same_grid


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


@pytest.mark.parametrize(
    "moved_by", [rigid((4, -3, 2), (3.0, -2.0, 1.0)), rigid((-9, 10, 14), (-12.0, 18.0, 20.0))], ids=["a little", "20 degrees and 30 mm"]
)
def test_a_known_motion_is_found_within_1_mm(scans, moved_by):
    t1, t2 = scans
    found = align(t1, move_grid(t2, moved_by))
    assert found.report["moved"]
    assert error_mm(found.transform, moved_by) < 1.0
    assert found.report["overlap_after"] > 0.97 > found.report["overlap_before"]


def test_the_same_pair_gives_the_same_transform_again(scans):
    t1, t2 = scans
    moved = move_grid(t2, rigid((4, -3, 2), (3.0, -2.0, 1.0)))
    assert align(t1, moved).transform.GetParameters() == align(t1, moved).transform.GetParameters()


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


def test_whole_heads_with_a_noisy_background_are_aligned(scans):
    t1, t2 = (
        sitk.AdditiveGaussianNoise(sitk.ConstantPad(scan, (8,) * 3, (8,) * 3, 20), 3.0, 20.0, seed) for seed, scan in enumerate(scans)
    )
    motion = rigid((6, 5, -8), (9.0, -7.0, 4.0))
    assert error_mm(align(t1, move_grid(t2, motion)).transform, motion) < 1.0


def test_two_different_things_are_refused_with_overlap_and_remedy(scans):
    t1, _ = scans
    grid = phantoms.grid((2.0, 2.0, 2.0))
    x, y, z = np.moveaxis(phantoms.points_mm(grid), -1, 0)
    rod = (np.hypot(x, y) < 16) & (np.abs(z) < 45)
    values = np.where(rod, np.random.default_rng(0).uniform(50, 200, rod.shape), 0).astype(np.float32)
    other = sitk.GetImageFromArray(values)
    other.CopyInformation(grid)
    with pytest.raises(InputError, match=r"overlap by \d+ %.*--align off"):
        align(t1, other)


def test_a_turn_beyond_the_limits_is_never_accepted_in_silence(scans):
    t1, t2 = scans
    motion = rigid((0, 0, 40), (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="--align off"):
        align(t1, move_grid(t2, motion))


def test_switched_off_or_with_one_scan_nothing_is_moved(scans):
    t1, t2 = scans
    moved = move_grid(t2, rigid((0, 0, 10), (5.0, 0.0, 0.0)))
    assert align_pair(t1, moved, None, "off").t2 is moved
    assert align_pair(t1, None, None, "auto").t2 is None


def test_segment_saves_the_transform_of_a_moved_t2_and_tells_of_it(scans, weights_dir, tmp_path):
    t1, t2 = scans
    motion = rigid((6, 5, -8), (9.0, -7.0, 4.0))
    sitk.WriteImage(t1, str(tmp_path / "T1.nii.gz"))
    sitk.WriteImage(move_grid(t2, motion), str(tmp_path / "T2.nii.gz"))
    given = ["--t1", str(tmp_path / "T1.nii.gz"), "--t2", str(tmp_path / "T2.nii.gz"), "--output-dir", str(tmp_path / "out")]
    assert main(["segment", *given, "--weights", str(weights_dir), "--device", "cpu", "--no-context", "--align", "auto"]) == 0
    assert error_mm(sitk.ReadTransform(str(tmp_path / "out" / "t2_to_t1.tfm")), motion) < 1.0
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["alignment"]["moved"]
