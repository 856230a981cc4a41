import json

import pytest

from InfantBrainSegLib.batch.review import made_of, read_review, with_decision
from InfantBrainSegLib.batch.run import run_batch, write_group
from InfantBrainSegLib.core.errors import InputError


def save(out, scans, **more):
    (out / "cohort_review.json").write_text(json.dumps({"format": 1, "scans": scans} | more))


def test_decisions_of_the_page_come_into_the_table(bids, tmp_path, options, stand_in):
    out = tmp_path / "out"
    first, *_ = run_batch(bids, out, options, segmenter=stand_in)
    save(out, {"sub-01": {"decision": "reject", "note": "moved\n a lot", "made": made_of(first)}})
    rows = {row["scan"]: row for row in write_group(bids, out, options)}
    assert (rows["sub-01"]["review"], rows["sub-01"]["review_note"]) == ("reject", "moved a lot")
    assert "review" not in rows["sub-02_ses-1"]
    assert run_batch(bids, out, options, segmenter=stand_in)[0]["review"] == "reject"
    assert len(stand_in.calls) == 3


def test_a_note_without_a_decision_comes_into_the_table_too(bids, tmp_path, options, stand_in):
    first, *_ = run_batch(bids, tmp_path / "out", options, segmenter=stand_in)
    save(tmp_path / "out", {"sub-01": {"decision": "", "note": "ask Ann", "made": made_of(first)}})
    row, *_ = write_group(bids, tmp_path / "out", options)
    assert (row["review"], row["review_note"]) == ("", "ask Ann")


def test_a_decision_on_former_labels_does_not_count_and_the_row_says_so(bids, tmp_path, options, stand_in):
    first, *_ = run_batch(bids, tmp_path, options, segmenter=stand_in)
    save(tmp_path, {"sub-01": {"decision": "accept", "made": "other"}})
    row = with_decision(first, read_review(tmp_path))
    assert "review" not in row
    assert "It was reviewed (accept) before it was segmented again: look at it again." in row["warnings"]


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"format": 2, "scans": {}}', '{"format": 1, "scans": {"a": {"decision": "perhaps"}}}', '{"format": 1, "scans": []}'],
)
def test_a_file_that_is_no_review_stops_the_run_before_any_work(bids, tmp_path, options, stand_in, content):
    out = tmp_path / "out"
    out.mkdir()
    (out / "cohort_review.json").write_text(content)
    with pytest.raises(InputError, match=r"cohort_review\.json (cannot be read|is no review of ours).*again"):
        run_batch(bids, out, options, segmenter=stand_in)
    assert stand_in.calls == []
