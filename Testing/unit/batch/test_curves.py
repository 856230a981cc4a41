import re

import numpy as np
import pytest

from InfantBrainSegLib.batch.curves import Measure, draw, outliers, percentiles_at


def cohort(count=200, seed=1):
    """GM that grows with age by 10 ml a month from 100 ml, with a deviation of 10 ml."""
    rng = np.random.default_rng(seed)
    ages = rng.uniform(0, 24, count)
    return ages, 100 + 10 * ages + rng.normal(0, 10, count)


def measure(ages, values, names=None):
    return Measure(
        "GM (ml)", tuple(names or [f"sub-{index:03d}" for index in range(len(values))]), np.asarray(ages, float), np.asarray(values, float)
    )


def test_percentiles_follow_the_age():
    found = percentiles_at(measure(*cohort(2000)), np.array([6.0, 12.0, 18.0]))
    assert found[:, 1] == pytest.approx([160, 220, 280], abs=6)
    assert np.all(found[:, 0] < found[:, 1])
    assert np.all(found[:, 1] < found[:, 2])


def test_without_ages_the_percentiles_are_those_of_all():
    values = np.arange(101.0)
    found = percentiles_at(measure(np.full(101, np.nan), values), np.array([0.0]))
    assert found[0] == pytest.approx([5, 50, 95], abs=1)


def test_a_scan_far_from_the_others_of_its_age_is_named_though_its_value_is_common_at_another_age():
    ages, values = cohort()
    values[7], ages[7] = 300.0, 3.0
    assert outliers(measure(ages, values))[0] == "sub-007"
    assert "sub-008" not in outliers(measure(ages, values))


def test_the_youngest_and_the_oldest_are_no_outliers_by_their_age():
    ages, values = cohort()
    ends = np.argsort(ages)[[0, 1, 2, -3, -2, -1]]
    assert not {f"sub-{index:03d}" for index in ends} & set(outliers(measure(ages, values)))


def test_unknown_values_and_few_scans_give_no_outliers():
    ages, values = cohort()
    values[3] = np.nan
    assert "sub-003" not in outliers(measure(ages, values))
    assert outliers(measure([1, 2, 3], [1.0, 1.0, 99.0])) == []
    assert outliers(measure(np.arange(20), np.full(20, 5.0))) == []


def test_the_drawing_has_a_point_a_scan_and_marks_those_that_lie_far():
    ages, values = cohort()
    values[7], ages[7] = 300.0, 3.0
    svg = draw(measure(ages, values))
    assert svg.count("<circle") == 200
    assert 'class="point far" data-scan="sub-007"' in svg
    assert svg.count("<polyline") == 3
    assert svg.rindex("<circle") < svg.index("<polyline"), "400 points would hide the lines"
    inside = [float(x) for x in re.findall(r'cx="([\d.]+)"', svg)]
    assert 52 <= min(inside) <= max(inside) <= 446


def test_names_are_escaped_and_nothing_gives_no_drawing():
    svg = draw(measure(np.arange(12), np.arange(12.0), ['<script>"'] + ["a"] * 11))
    assert "<script>" not in svg
    assert draw(measure([], [])) == ""
    assert "fewer than ten have an age" in draw(measure([np.nan, 3], [5.0, 6.0]))
