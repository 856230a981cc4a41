import json

import pytest

from Testing.benchmarks import compare_weights
from Testing.benchmarks.measure_accuracy import NAMES
from Testing.benchmarks.study import Data


def scores(dice, volume=1.0):
    return {name: {"dice": dice, "volume_ratio": volume} for name in NAMES}


def test_the_table_has_the_mean_change_and_the_worst_of_each_group():
    known = {
        "adult adult_15_1": {"old": scores(0.9), "new": scores(0.92, 1.1)},
        "adult adult_15_2": {"old": scores(0.9), "new": scores(0.89, 0.9)},
        "wide wide_adult_15_04": {"old": scores(0.8), "new": scores(0.8)},
    }
    lines = compare_weights.table(known).splitlines()
    assert len(lines) == 2 + 2 * len(NAMES)
    assert lines[2] == "| adult (2) | CSF | 0.9000 | 0.9050 | +0.0050 | -0.0100 | 1.000 | 1.000 |"


def test_each_subject_is_measured_with_both_weights_once(tmp_path, monkeypatch, capsys):
    for name in ("subjects/adult_15_1", "subjects/wide_adult_15_04", "images/neonate/01"):
        (tmp_path / name).mkdir(parents=True)
    assert list(compare_weights.subjects_of(Data(tmp_path))) == ["newborns 01", "adult adult_15_1", "wide wide_adult_15_04"]
    asked = []

    def measured(case, variant, weights):
        asked.append(weights.name)
        return scores(0.9 if weights.name == "a" else 0.8)

    monkeypatch.setattr(compare_weights, "measure", measured)
    monkeypatch.setattr(compare_weights, "newborn_case", lambda folder: folder)
    monkeypatch.setattr(compare_weights, "synthetic_case", lambda folder: folder)
    words = ["compare-weights", "a", "b", "--data", str(tmp_path), "--out", str(tmp_path / "kept.json")]
    monkeypatch.setattr("sys.argv", words)
    compare_weights.main()
    compare_weights.main()
    assert asked == ["a", "b"] * 3
    assert "| adult (1) | GM | 0.9000 | 0.8000 | -0.1000 | -0.1000 |" in capsys.readouterr().out
    assert json.loads((tmp_path / "kept.json").read_text())["newborns 01"]["old"]["GM"]["dice"] == pytest.approx(0.9)
