"""One loop measures every study: what is true is kept, what is missing or stale is measured, and no stale figure stands unmarked."""

import argparse
import json

import numpy as np
import pytest

from Testing.benchmarks import __main__ as entry
from Testing.benchmarks import card, measure_edits, study
from Testing.benchmarks.study import STALE, TODAY, UNKNOWN, Key, Study, placed

KEY = Key({"fcn1": "a"}, {"rounds": 3}, "c0de")
CASES = ("one", "two", "three")


class Measured:
    """Counts what is measured; stops, as a machine does, at one case."""

    def __init__(self, stops_at=None):
        self.calls = []
        self.stops_at = stops_at

    def jobs(self):
        for name in CASES:
            yield ("subjects", name), lambda name=name: self(name)

    def __call__(self, name):
        if name == self.stops_at:
            raise KeyboardInterrupt
        self.calls.append(name)
        return {"dice": 0.9}


def open_study(path, key=KEY):
    return Study("fake", lambda figure: key, lambda results: f"| {len(results['subjects'])} subjects |", path)


def measured(path, key=KEY, again=False):
    fake = Measured()
    opened = open_study(path, key)
    opened.run(fake.jobs(), again, report=lambda line: None)
    return fake.calls


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fake.json"


def test_a_stopped_study_goes_on_where_it_stopped(path):
    with pytest.raises(KeyboardInterrupt):
        open_study(path).run(Measured(stops_at="two").jobs(), report=lambda line: None)
    assert measured(path) == ["two", "three"]
    assert measured(path) == []
    assert open_study(path).text() == ("| 3 subjects |\n\nAll 3 figures were measured with today's weights, configuration and code.")


@pytest.mark.parametrize(
    ("today", "reason"),
    [
        (Key({"fcn1": "b"}, KEY.configuration, KEY.code), "fcn1 weights"),
        (Key(KEY.weights, {"rounds": 1}, KEY.code), "configuration (rounds)"),
        (Key(KEY.weights, KEY.configuration, "new"), "code"),
    ],
)
def test_a_figure_of_other_weights_configuration_or_code_is_marked_and_measured_anew(path, today, reason):
    measured(path)
    assert open_study(path, today).state(("subjects", "one")) == STALE
    assert open_study(path, today).line() == f"**Stale**: 3 of 3 figures were measured with other {reason} than today's."
    assert measured(path, today) == list(CASES)
    assert open_study(path, today).state(("subjects", "one")) == TODAY
    assert len(json.loads(path.read_text())["keys"]) == 1


def test_a_figure_of_unknown_code_is_kept_and_marked_and_measured_anew_when_asked(path):
    measured(path, Key(KEY.weights, KEY.configuration))
    assert open_study(path).state(("subjects", "one")) == UNKNOWN
    assert open_study(path).line() == "3 of 3 figures are of unknown code: stored before that was recorded."
    assert measured(path) == []
    assert measured(path, again=True) == list(CASES)


def test_a_figure_of_unknown_code_is_stale_where_its_weights_are_known_to_be_others(path):
    measured(path, Key({"fcn1": "b"}))
    assert open_study(path).state(("subjects", "one")) == STALE


def test_the_code_of_a_study_changes_with_its_source_files_and_with_no_others(tmp_path, monkeypatch):
    for name in ("core/labels.py", "checks/check.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("a = 1\n")
    monkeypatch.setattr(study, "LIBRARY", tmp_path)
    monkeypatch.setattr(study, "ROOT", tmp_path)

    def code():
        return study.code_of.__wrapped__(("core",))

    before = code()
    (tmp_path / "checks/check.py").write_text("a = 2\n")
    assert code() == before
    (tmp_path / "core/labels.py").write_bytes(b"a = 1\r\n")
    assert code() == before
    (tmp_path / "core/labels.py").write_text("a = 2\n")
    assert code() != before


def test_text_goes_between_its_markers_alone():
    page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n"
    assert placed(page, "x", "new") == "a\n<!-- x: begin -->\nnew\n<!-- x: end -->\nb\n"
    with pytest.raises(ValueError, match="y: begin"):
        placed(page, "y", "new")


def between(page, name):
    return page.split(f"<!-- {name}: begin -->")[1].split(f"<!-- {name}: end -->")[0]


@pytest.mark.parametrize("module", card.STUDIES, ids=lambda module: module.study().name)
def test_no_stored_figure_stands_in_the_pages_unmarked_where_its_key_differs_from_todays(module):
    opened = module.study()
    states = {opened.state(figure) for figure in opened.figures()}
    for page in (card.PAGE, card.MODEL_CARD)[: 1 + (module in card.SUMMARY)]:
        text = between(page.read_text(encoding="utf-8"), opened.name)
        assert ("**Stale**" in text) == (STALE in states)
        assert ("of unknown" in text) == (UNKNOWN in states)


def test_the_pages_hold_what_the_stored_figures_make_today():
    """If not: `python -m Testing.benchmarks card --write`."""
    for page, text in card.pages().items():
        assert page.read_text(encoding="utf-8") == text, page.name


@pytest.mark.parametrize("module", card.STUDIES, ids=lambda module: module.study().name)
def test_every_stored_figure_has_a_key_and_a_value(module):
    opened = module.study()
    assert opened.figures()
    for figure in opened.figures():
        value = opened.results
        for part in figure:
            value = value[part]
        assert opened.key_stored(figure)


def test_the_help_lists_every_name_and_every_study_stands_in_the_card(capsys):
    with pytest.raises(SystemExit):
        entry.main(["--help"])
    shown = capsys.readouterr().out
    assert [name for name in {**entry.STUDIES, **entry.OTHERS} if f"  {name} " not in shown] == []
    assert {entry.study_module(name) for name in entry.STUDIES} == set(card.STUDIES)
    assert [name for name in entry.STUDIES if entry.study_module(name).study().name != name] == []


def test_the_card_is_printed_without_data(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["card"])
    entry.main(["card"])
    shown = capsys.readouterr().out
    for _, _, text in card.parts():
        assert text in shown


def test_a_study_asks_for_its_data(tmp_path, capsys):
    with pytest.raises(SystemExit):
        entry.main(["accuracy", "--data", str(tmp_path / "missing")])
    assert "wanted a folder" in capsys.readouterr().err


def folder_like(stored, tmp_path):
    """Empty folders of the subjects that are stored."""
    data = study.Data(tmp_path)
    for folder in (data.newborns, data.synthetic, data.raw_heads):
        folder.mkdir(parents=True)
    for kind, name in {figure[:2] for figure in stored}:
        if kind == "newborns" or name.startswith("newborn"):
            (data.newborns / name.removeprefix("newborn ")).mkdir()
        elif kind in ("synthetic", "subjects"):
            (data.synthetic / name).mkdir()
            (data.raw_heads / name).mkdir()
    return data


def test_each_stored_time_belongs_to_a_row_that_can_be_measured(tmp_path):
    """Not all rows are stored: an old version, and a machine with nothing else to do, are not always at hand."""
    jobs = entry.study_module("compare-speed").jobs(study.Data(tmp_path), argparse.Namespace(old=tmp_path, repeats=1, only=None))
    assert set(entry.study_module("compare-speed").study().figures()) <= {figure for figure, _ in jobs}


@pytest.mark.parametrize("name", [name for name in entry.STUDIES if name not in ("axes", "compare-speed")])
def test_a_command_asks_for_the_stored_figures_by_their_names(name, tmp_path):
    module = entry.study_module(name)
    stored = module.study().figures()
    jobs = module.jobs(folder_like(stored, tmp_path), argparse.Namespace(flip=False))
    assert {figure for figure, _ in jobs} == set(stored)


def slab_of_errors():
    """GM called CSF in a slab of 12 slices, and a few voxels elsewhere."""
    reference = np.full((20, 24, 24), 2, np.uint8)
    labels = reference.copy()
    labels[4:16, 8:16, 8:16] = 1
    labels[1, 1:3, 1:3] = 1
    return labels, reference, np.ones(reference.shape, bool)


def test_strokes_are_one_slice_thick_with_slices_between_them_and_end_at_their_share():
    hand = measure_edits.Hand(*slab_of_errors(), spacing_mm=1.0)
    hand.mend(0.2, measure_edits.SLICES)
    assert hand.edited.sum() == hand.strokes * 64 >= 0.2 * hand.wrong.sum() > (hand.strokes - 1) * 64
    assert not (hand.edited & ~hand.wrong).any()
    painted = np.flatnonzero(hand.edited.any((1, 2)))
    assert len(painted) == hand.strokes
    assert (np.diff(painted) > measure_edits.GAP_SLICES).all()


def test_blobs_reach_in_all_directions_and_mend_one_tissue_each():
    labels, reference, inside = slab_of_errors()
    reference[:, :12] = 3
    hand = measure_edits.Hand(labels, reference, inside, spacing_mm=1.0)
    hand.mend(0.001, measure_edits.BLOBS)
    assert hand.strokes == 1
    assert all(np.count_nonzero(hand.edited.any(axes)) > 1 for axes in ((1, 2), (0, 2), (0, 1)))
    assert len(np.unique(reference[hand.edited])) == 1
    hand.mend(1.0, measure_edits.BLOBS)
    assert np.array_equal(hand.edited, hand.wrong)
