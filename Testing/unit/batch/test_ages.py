import json
from pathlib import Path

import pytest

from InfantBrainSegLib.batch.subjects import find_scans


def dataset(root, *sessions, participants=None, units=None):
    """A BIDS dataset of sub-01 with empty files."""
    for session in sessions or ("",):
        folder = root / "sub-01" / session / "anat"
        folder.mkdir(parents=True)
        for suffix in ("T1w", "T2w"):
            (folder / f"{'_'.join(filter(None, ('sub-01', session, suffix)))}.nii.gz").touch()
    if participants is not None:
        (root / "participants.tsv").write_text(participants, encoding="utf-8")
    if units is not None:
        (root / "participants.json").write_text(json.dumps({"age": {"Units": units}}))
    return root


def ages(source):
    return [scan.age for scan in find_scans(source)]


@pytest.mark.parametrize(
    ("units", "age", "months"),
    [("months", "6", 6), ("Month", "6.5", 6.5), ("weeks", "26", 5.979), ("days", "183", 6.012), ("years", "0.5", 6), ("year", "1", 12)],
)
def test_an_age_is_turned_to_months_by_the_units_that_the_dataset_tells(tmp_path, units, age, months):
    (found,) = ages(dataset(tmp_path, participants=f"participant_id\tsex\tage\nsub-02\tF\t99\nsub-01\tF\t{age}\n", units=units))
    assert found.months == pytest.approx(months, abs=1e-3)
    assert found.note == ""


def test_a_column_in_months_needs_no_units_and_goes_first(tmp_path):
    (found,) = ages(dataset(tmp_path, participants="\ufeffparticipant_id\tage\tage_months\n01\t0.5\t5\n"))
    assert (found.months, found.note) == (5, "")


@pytest.mark.parametrize(
    ("participants", "units", "said"),
    [
        ("participant_id\tage\nsub-01\t6\n", None, "has no units and was not used"),
        ("participant_id\tage\nsub-01\t6\n", "moons", "has unknown units"),
        ("participant_id\tage_months\nsub-01\tsix\n", None, "holds no number"),
        ("participant_id\tage_months\nsub-01\tinf\n", None, "holds no number"),
        ("participant_id\tage_months\nsub-01\t5\nsub-01\t6\n", None, "several ages for sub-01"),
    ],
)
def test_an_age_that_would_have_to_be_guessed_is_not_used_and_told_of(tmp_path, participants, units, said):
    (found,) = ages(dataset(tmp_path, participants=participants, units=units))
    assert found.months is None
    assert said in found.note


@pytest.mark.parametrize("participants", [None, "", "participant_id\tsex\nsub-01\tF\n", "participant_id\tage\nsub-01\tn/a\nsub-02\t3\n"])
def test_nothing_is_said_where_there_is_no_age(tmp_path, participants):
    (found,) = ages(dataset(tmp_path, participants=participants))
    assert (found.months, found.note) == (None, "")


def test_tables_that_can_not_be_read_are_told_of_and_stop_nothing(tmp_path):
    root = dataset(tmp_path, participants="participant_id\tage\nsub-01\t6\n")
    (root / "participants.json").write_text("{")
    assert "cannot be read" in ages(root)[0].note
    (root / "participants.tsv").write_bytes("participant_id\tage\nsub-01\tJürgen\n".encode("cp1252"))
    assert "cannot be read" in ages(root)[0].note


def test_each_session_has_its_own_age_and_the_subject_s_is_for_an_only_session(tmp_path):
    root = dataset(tmp_path, "ses-a", "ses-b", "ses-c", participants="participant_id\tage_months\nsub-01\t6\n")
    (root / "sub-01/sub-01_sessions.tsv").write_text("session_id\tage\nses-a\t91\nb\t183\n")
    (root / "sub-01/sub-01_sessions.json").write_text('{"age": {"Units": "days"}}')
    first, second, third = ages(root)
    assert (first.months, second.months) == (pytest.approx(2.99, abs=0.01), pytest.approx(6.01, abs=0.01))
    assert third.months is None
    assert "one age for several sessions" in third.note
    (only,) = ages(dataset(tmp_path / "other", "ses-a", participants="participant_id\tage_months\nsub-01\t6\n"))
    assert only.months == 6


def test_a_csv_gives_the_age_in_months_and_no_other_units(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("subject;t1;t2;age_months\n1;a;b;5,5\n2;a;b;\n3;a;b;old\n")
    first, second, third = ages(path)
    assert (first.months, second.months, second.note) == (5.5, None, "")
    assert "line 4 holds no number" in third.note
    path.write_text("subject,t1,t2,age\n1,a,b,5\n")
    assert ages(path)[0].months is None
    assert "wanted a column age_months in place of age" in ages(path)[0].note


def test_a_table_that_cannot_be_looked_at_gives_no_age_and_a_note(tmp_path, monkeypatch):
    root = dataset(tmp_path, participants="participant_id\tage_months\nsub-01\t6\n")
    is_file = Path.is_file

    def locked(path):
        if path.name == "participants.tsv":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", locked)
    (found,) = ages(root)
    assert found.months is None
    assert "cannot be read, so no age was used" in found.note
