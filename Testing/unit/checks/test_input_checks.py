"""Each check of the input: one brain that passes it, and what trips it."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from scans_for_checks import altered, brain, good_pair, points_mm, raw_pair, status_of

from InfantBrainSegLib.checks.growth import brain_range_ml
from InfantBrainSegLib.checks.input_checks import CheckedScans, check_images, inspect
from InfantBrainSegLib.checks.measures import stripes_db
from InfantBrainSegLib.core.check import PASS, STOP, WARN, Check, CheckCode, in_order, to_table, warnings_of
from InfantBrainSegLib.imaging.files import read_image
from InfantBrainSegLib.imaging.resample import on_grid_of
from InfantBrainSegLib.preparation.foreground import check_cover, check_overlap
from InfantBrainSegLib.preparation.normalisation import pair_scans, prepare

IMAGES = Path(__file__).parents[4] / "shared" / "data" / "images"
# of two stripped scans without a mask
OTHERWISE = (CheckCode.CEREBRUM, CheckCode.POSE, CheckCode.MASK_COVER, CheckCode.SINGLE_SCAN, CheckCode.SAME_IMAGE, CheckCode.SAME_CONTRAST)
CODES = [code for code in CheckCode if code not in OTHERWISE]


@pytest.fixture(scope="module")
def good():
    t1, t2 = good_pair()
    pair = pair_scans(t1, t2)
    return CheckedScans(t1, t2, pair, prepare(pair))


def without(image, removed):
    """Set voxels to 0."""
    return altered(image, lambda values: np.where(removed, 0, values))


def moved(image, *offset_mm):
    image = sitk.Image(image)
    image.SetOrigin(tuple(np.add(image.GetOrigin(), offset_mm)))
    return image


def test_a_good_pair_passes_every_check_and_has_no_remedy(good):
    checks = inspect(good, age_months=0)
    assert [check.code for check in checks] == CODES
    assert {(check.status, check.remedy) for check in checks} == {(PASS, "")}
    assert warnings_of(checks) == ()


@pytest.mark.parametrize(("rows", "status"), [(3, WARN), (22, STOP)])
def test_a_field_of_view_that_cuts_the_brain(rows, status):
    t1, t2 = good_pair()
    top = np.flatnonzero(brain(t1).any(axis=(1, 2)))[-1]
    cut = [image[:, :, : int(top) + 1 - rows] for image in (t1, t2)]
    assert status_of(CheckCode.FIELD_OF_VIEW, *cut) == status


def test_a_flat_end_counts_where_the_volume_goes_on():
    t1, t2 = good_pair()
    removed = points_mm(t1)[..., 2] > 10
    assert status_of(CheckCode.FIELD_OF_VIEW, without(t1, removed), without(t2, removed)) == STOP


def test_thick_voxels(good):
    thick = sitk.Image(good.t2)
    thick.SetSpacing((1.8, 1.8, 2.5))
    assert [check.status for check in inspect(replace(good, t2=thick)) if check.code == CheckCode.SPACING] == [WARN]


@pytest.mark.parametrize(("thickness_mm", "status"), [("1.8", PASS), ("1.2", WARN), ("thin", PASS)])
def test_a_gap_that_dicom_tells_of(good, thickness_mm, status):
    t2 = sitk.Image(good.t2)
    t2.SetMetaData("0018|0050", thickness_mm)
    assert [check.status for check in inspect(replace(good, t2=t2)) if check.code == CheckCode.SLICE_GAP] == [status]


@pytest.mark.parametrize(
    ("check", "share", "status"),
    [
        *[(check_overlap, share, status) for share, status in ((0.95, PASS), (0.8, WARN), (0.4, STOP))],
        *[(check_cover, share, status) for share, status in ((0.96, PASS), (0.93, WARN), (0.4, STOP))],
    ],
)
def test_overlap(check, share, status):
    assert check(share).status == status


def test_a_pair_s_own_checks_stand_in_the_table_in_its_order(good):
    checks = inspect(good)
    assert set(good.pair.checks) <= set(checks)
    assert in_order(reversed(checks)) == checks


def test_a_check_comes_back_from_its_file():
    check = Check(CheckCode.CLIPPING, STOP, "40 %", "under 1 %", "export it again")
    assert Check.from_dict(json.loads(json.dumps(check.as_dict()))) == check


@pytest.mark.parametrize(("offset_mm", "status"), [((0, 1, 0), PASS), ((0, 3, 0), WARN), ((0, 6, 0), STOP), ((9, 9, 9), STOP)])
def test_a_t2_that_lies_off(offset_mm, status):
    t1, t2 = good_pair()
    assert status_of(CheckCode.ALIGNMENT, t1, moved(t2, *offset_mm), t1 > 0) == status


def test_a_mirrored_t2_is_named():
    t1, t2 = good_pair()
    (check,) = [c for c in check_images(t1, altered(t2, lambda values: values[:, :, ::-1])) if c.code == CheckCode.ALIGNMENT]
    assert (check.status, check.found) == (STOP, "T2 fits T1 far better mirrored left-right")


def test_a_t2_of_noise_matches_nothing():
    t1, t2 = good_pair()
    noise = altered(t2, lambda values: np.where(values > 0, np.random.default_rng(3).normal(200, 40, values.shape), 0))
    assert status_of(CheckCode.ALIGNMENT, t1, noise) == STOP


def test_identical_turned_over_and_swapped_contrasts_stop_and_a_lone_scan_warns():
    t1, t2 = good_pair()
    inside = brain(t1)
    turned = altered(t1, lambda values: np.where(inside, 300 - values, 0))
    cases = (
        (t1, t1, CheckCode.SAME_IMAGE),
        (t1, turned, CheckCode.SAME_IMAGE),
        (t2, t1, CheckCode.CONTRASTS),
        (t1, None, CheckCode.SINGLE_SCAN),
    )
    assert [status_of(code, *pair) for *pair, code in cases] == [STOP, STOP, STOP, WARN]


def test_a_skull_stops_unless_there_is_a_mask():
    t1, t2 = raw_pair()
    assert status_of(CheckCode.SKULL, t1, t2) == STOP
    assert status_of(CheckCode.SKULL, t1, t2, good_pair()[0] > 0) == PASS


@pytest.mark.parametrize(("step", "status"), [(4, WARN), (40, STOP)])
def test_few_intensity_levels(step, status):
    t1, t2 = good_pair()
    assert status_of(CheckCode.INTENSITY_RANGE, altered(t1, lambda values: np.ceil(values / step) * step), t2) == status


@pytest.mark.parametrize(("percentile", "status"), [(95, WARN), (50, STOP)])
def test_a_clipped_scan(percentile, status):
    t1, t2 = good_pair()
    top = np.percentile(sitk.GetArrayFromImage(t1)[brain(t1)], percentile)
    assert status_of(CheckCode.CLIPPING, altered(t1, lambda values: np.minimum(values, top)), t2) == status


def test_a_stray_bright_voxel_does_not_hide_that_a_scan_is_clipped():
    t1, t2 = good_pair()
    inside = brain(t1)
    top = np.percentile(sitk.GetArrayFromImage(t1)[inside], 95)
    stray = np.zeros(inside.shape, bool)
    stray[tuple(np.argwhere(inside)[0])] = True
    assert status_of(CheckCode.CLIPPING, altered(t1, lambda values: np.where(stray, 100 * top, np.minimum(values, top))), t2) == WARN
    assert status_of(CheckCode.CLIPPING, altered(t1, lambda values: np.where(stray, 100 * top, values)), t2) == PASS


def test_stripes_as_motion_leaves_them():
    t1, t2 = good_pair()
    y_mm = points_mm(t2)[..., 1]
    striped = altered(t2, lambda values: np.where(values > 0, values + 15 * np.sin(2 * np.pi * y_mm / 6), 0))
    assert status_of(CheckCode.MOTION_RINGING, t1, striped) == WARN


def test_stripes_are_found_on_each_axis_and_noise_has_none():
    noise = np.random.default_rng(5).normal(size=(64, 64, 64))
    mask = np.ones(noise.shape, bool)
    mask[[0, -1]] = mask[:, [0, -1]] = mask[:, :, [0, -1]] = False
    assert stripes_db(noise, mask) < 2
    for axis in range(3):
        wave = np.sin(2 * np.pi * np.arange(64) / 5).reshape([-1 if a == axis else 1 for a in range(3)])
        assert stripes_db(noise + wave, mask) > 6


@pytest.mark.parametrize(("age_months", "status"), [(None, PASS), (0, PASS), (6, WARN), (24, WARN), (40, PASS), (-1, PASS)])
def test_the_brain_s_volume_against_its_age(good, age_months, status):
    (check,) = [check for check in inspect(good, age_months) if check.code == CheckCode.BRAIN_VOLUME]
    assert check.status == status
    assert ("no norm" in check.wanted) == (age_months in (40, -1))


def test_less_than_half_of_the_least_brain_of_an_age_stops(phantom_scans):
    assert status_of(CheckCode.BRAIN_VOLUME, *phantom_scans, age_months=24) == STOP  # 179 ml


def test_the_norm_follows_the_published_growth():
    at = {age: np.mean(brain_range_ml(age)) for age in (0, 0.7, 3, 12, 24)}
    assert at[3] / at[0] == pytest.approx(1.64, abs=0.01)  # Holland et al. 2014
    assert at[12] / at[0.7] == pytest.approx(2.01, rel=0.06)  # Knickmeyer et al. 2008, from the first month
    assert at[24] / at[12] == pytest.approx(1.15, abs=0.01)


def test_a_lost_quarter_is_asymmetric():
    t1, t2 = good_pair()
    x, y, _ = np.moveaxis(points_mm(t1), -1, 0)
    removed = (x < 0) & (y > 0)
    assert status_of(CheckCode.SYMMETRY, without(t1, removed), without(t2, removed)) == WARN


@pytest.mark.parametrize("axis", [0, 1])
def test_half_a_brain_has_no_brain_s_shape(axis):
    t1, t2 = good_pair()
    removed = points_mm(t1)[..., axis] < 0
    assert status_of(CheckCode.SHAPE, without(t1, removed), without(t2, removed)) == STOP


def test_a_header_with_two_axes_exchanged_has_no_brain_s_shape():
    t1, t2 = good_pair()
    turned = [sitk.Image(image) for image in (t1, t2)]
    for image in turned:
        image.SetDirection((1, 0, 0, 0, 0, -1, 0, 1, 0))
    assert status_of(CheckCode.SHAPE, *turned) == WARN


@pytest.mark.parametrize(("grown", "status"), [(0, PASS), (2, WARN), (9, STOP)])
def test_a_mask_that_reaches_into_the_air(grown, status):
    t1, _ = good_pair()
    mask = sitk.BinaryDilate(t1 > 0, (grown,) * 3)
    assert status_of(CheckCode.MASK_LEAKAGE, t1, None, mask) == status


@pytest.mark.parametrize(("radius_mm", "status"), [(4, PASS), (9, WARN)])
@pytest.mark.parametrize("scan", [0, 1])
def test_a_hole_without_signal_inside_the_brain(scan, radius_mm, status):
    pair = list(good_pair())
    x, y, z = np.moveaxis(points_mm(pair[scan]), -1, 0)
    values = sitk.GetArrayFromImage(pair[scan])
    values[x**2 + y**2 + z**2 < radius_mm**2] = 0
    pair[scan] = on_grid_of(pair[scan], values)
    assert status_of(CheckCode.HOLES, *pair) == status


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("scan", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 4])
def test_slices_without_signal_inside_the_brain(raw, scan, axis, count):
    pair = list(raw_pair() if raw else good_pair())
    mask = on_grid_of(pair[0], brain(good_pair()[0]).astype(np.uint8)) if raw else None
    values = sitk.GetArrayFromImage(pair[scan])
    middle = values.shape[axis] // 2
    np.moveaxis(values, axis, 0)[middle : middle + count] = 0
    pair[scan] = on_grid_of(pair[scan], values)
    (check,) = [check for check in check_images(*pair, mask) if check.code == CheckCode.HOLES]
    assert check.status == WARN
    assert check.found.startswith(f"{count} slice")
    assert check.found.endswith(f"without signal inside the brain on T{scan + 1}")


@pytest.mark.parametrize(("radius_mm", "status"), [(4, PASS), (9, WARN)])
def test_a_hole_in_a_whole_head_with_a_mask(radius_mm, status):
    t1, t2 = raw_pair()
    mask = good_pair()[0] > 0
    x, y, z = np.moveaxis(points_mm(t1), -1, 0)
    t1 = altered(t1, lambda values: np.where(x**2 + y**2 + z**2 < radius_mm**2, 0, values))
    assert status_of(CheckCode.HOLES, t1, t2, mask) == status
    assert status_of(CheckCode.HOLES, *raw_pair(), mask) == PASS


def test_an_eye_that_hangs_on_the_brain():
    t1, t2 = good_pair()
    x, y, z = np.moveaxis(points_mm(t1), -1, 0)
    eye = (x**2 + y**2 + (z + 48) ** 2 < 13**2) | ((x**2 + y**2 < 3**2) & (z < 0) & (z > -48))
    t1_eye, t2_eye = (image + altered(image, lambda values: eye & (values == 0)) * level for image, level in ((t1, 90.0), (t2, 200.0)))
    assert status_of(CheckCode.LOOSE_PIECES, t1_eye, t2_eye) == WARN


def test_the_table_has_a_line_for_each_check_and_its_remedy():
    checks = (Check(CheckCode.SPACING, PASS, "1 mm", "2 mm"), Check(CheckCode.CLIPPING, STOP, "40 %", "under 1 %", "export it again"))
    lines = to_table(checks).splitlines()
    assert [re.split(r"\s{2,}", line.strip()) for line in lines[1:]] == [
        ["spacing", "pass", "1 mm", "2 mm"],
        ["clipping", "stop", "40 %", "under 1 %"],
        ["export it again"],
    ]
    assert checks[1].sentence() == "Clipping: 40 %; wanted under 1 %: export it again."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wanted"), [("neonate/07/{}_brain", set()), ("neonate/09/{}_brain", {CheckCode.FIELD_OF_VIEW}), ("infant/month09_{}", set())]
)
def test_a_real_pair_has_no_stop_and_a_warning_only_where_it_is_cut(name, wanted):
    paths = [IMAGES / f"{name.format(contrast)}.nii.gz" for contrast in ("T1w", "T2w")]
    if not paths[0].exists():
        pytest.skip("../shared/data/images, with real pairs that may not be redistributed, is not here")
    checks = check_images(*map(read_image, paths))
    assert {(check.code, check.status) for check in checks if not check.passes} == {(code, WARN) for code in wanted}


def test_the_checks_need_no_torch():
    code = "import sys, InfantBrainSegLib.checks.input_checks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_oblique_brain_passes():
    grid = phantoms.grid((1.5, 1.5, 1.5), phantoms.OBLIQUE)
    t1, t2 = (phantoms.noisy(phantoms.draw(grid, levels), seed) for levels, seed in ((phantoms.T1_LEVELS, 1), (phantoms.T2_LEVELS, 2)))
    assert [check.name for check in check_images(t1, t2) if check.status == STOP] == []
