"""The measures of anatomy give what a drawn brain has."""

import numpy as np
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.core.labels import CSF, GM, WM
from InfantBrainSegLib.training.simulation.labelmaps import CORTEX as CORTEX_CLASS
from InfantBrainSegLib.training.simulation.labelmaps import WHITE, LabelMap
from InfantBrainSegLib.training.simulation.synthesis import SIMULATIONS
from Testing.benchmarks import anatomy
from Testing.benchmarks import measure_anatomy as benchmark
from Testing.benchmarks.anatomy import BLADES, BY_DEPTH, CORTEX, CROWN, GM_WM, SHARES, depth_below_hull_mm, measure_anatomy, read_labels

CORTEX_VOXELS = 3


def ball(radius_mm, size=80, center=None):
    place = np.indices((size,) * 3) - (np.full(3, size / 2) if center is None else np.array(center)).reshape(3, 1, 1, 1)
    return np.sqrt((place**2).sum(0)) <= radius_mm


def brain(blade_voxels=None):
    """White matter in a cortex of 3 mm; or blades of so many voxels under it, between gray matter of 4 mm."""
    labels = np.zeros((80, 80, 80), np.uint8)
    labels[ball(34)] = CSF.value
    labels[ball(30)] = GM.value
    core = ball(30 - CORTEX_VOXELS)
    if blade_voxels:
        core &= (np.arange(80) % (blade_voxels + 4) < blade_voxels)[:, None, None] | ball(10)
    labels[core] = WM.value
    return labels


def test_ratio_and_shares_count_voxels():
    labels = brain()
    found = measure_anatomy(labels)
    counts = [np.count_nonzero(labels == tissue.value) for tissue in (CSF, GM, WM)]
    assert found[GM_WM] == pytest.approx(counts[1] / counts[2])
    assert found[SHARES] == pytest.approx([count / sum(counts) for count in counts])


def test_depth_starts_at_1_mm_and_looks_over_a_narrow_sulcus_but_not_a_wide_one():
    solid = ball(30)
    narrow, wide = solid.copy(), solid.copy()
    narrow[38:42, :, 40:] = False
    wide[20:60, :, 40:] = False
    assert depth_below_hull_mm(solid)[solid].min() == 1
    assert depth_below_hull_mm(narrow)[40, 40, 55] > 10
    assert depth_below_hull_mm(wide)[40, 40, 55] == 0


def test_a_hole_is_inside():
    hollow = ball(30) & ~ball(12)
    assert depth_below_hull_mm(hollow)[40, 40, 40] == pytest.approx(30, abs=1)


def test_white_matter_below_a_cortex_of_3_mm_is_found_below_it():
    found = measure_anatomy(brain())
    assert 0 < found[BY_DEPTH][0] < 0.25
    assert found[BY_DEPTH][1:] == [1, 1, 1, 1]
    assert found[CORTEX][1] == pytest.approx(CORTEX_VOXELS, abs=0.5)
    assert found[CROWN] == pytest.approx(CORTEX_VOXELS, abs=0.5)


@pytest.mark.parametrize("width", [2, 3, 5])
def test_the_width_of_blades(width):
    flat = measure_anatomy(brain(width))[BLADES]
    assert flat == pytest.approx(
        1.5 * width, rel=0.12
    )  # blades along the grid have no stairs, so their surface is not less than their faces


def test_labels_without_white_matter_are_refused():
    with pytest.raises(ValueError, match="no white matter"):
        measure_anatomy(np.full((20, 20, 20), GM.value, np.uint8))


@pytest.mark.parametrize("values", [[0, 1, 2, 3], [0, 10, 150, 250], [0, 24, 3, 2]], ids=["own", "iSeg", "FreeSurfer"])
def test_files_in_any_scheme_and_on_any_grid_give_the_same(tmp_path, values):
    labels = brain()[::2, ::2, ::2]
    image = sitk.GetImageFromArray(np.array(values, np.int16)[labels])
    image.SetSpacing((2, 2, 2))
    sitk.WriteImage(image, str(tmp_path / "labels.nii.gz"))
    read = read_labels(tmp_path / "labels.nii.gz")
    assert read.shape == (80, 80, 80)
    assert (read[::2, ::2, ::2] == labels).mean() > 0.99


def test_the_command_prints_a_line_a_file_under_that_of_real_brains(tmp_path, capsys, monkeypatch):
    sitk.WriteImage(sitk.GetImageFromArray(brain()), str(tmp_path / "one.nii.gz"))
    monkeypatch.setattr("sys.argv", ["label-anatomy", str(tmp_path / "one.nii.gz")])
    anatomy.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["six-month-olds", "one.nii.gz"]
    assert len({line.count("|") for line in lines}) == 1


def small_map(name):
    """A ball of white matter in cortex of 3 voxels."""
    place = np.indices((48,) * 3) - 23.5
    radius = np.sqrt((place**2).sum(0))
    classes = np.zeros(radius.shape, np.uint8)
    classes[radius < 18] = CORTEX_CLASS
    classes[radius < 15] = WHITE
    none = np.zeros_like(classes)
    return LabelMap(name, classes, np.clip((radius - 18) * 10, 0, 255).astype(np.uint8), none, none)


@pytest.mark.parametrize("simulation", list(SIMULATIONS))
def test_what_a_simulation_draws_of_one_kind_of_map_makes_a_line_of_the_table(simulation, monkeypatch):
    monkeypatch.setitem(benchmark.KINDS, "infant", 2)
    maps = [small_map("adult_01"), small_map("infant_05mo")]
    found = benchmark.drawn(lambda: maps, simulation, "infant")
    assert len(found) == 2
    assert found[0][GM_WM] != found[1][GM_WM]
    line = benchmark.summary("drawn", found)
    assert line.count("|") == anatomy.six_months().count("|")
    low, high = sorted(one[GM_WM] for one in found)
    assert f"({low:.2f}-{high:.2f})" in line
