import sys
from pathlib import Path

import pytest

from InfantBrainSegLib.batch.subjects import find_scans
from InfantBrainSegLib.core.errors import InputError


def dataset(root, *paths):
    """Empty files: nothing is read here."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def pair(stem):
    return [f"{stem}_T1w.nii.gz", f"{stem}_T2w.nii.gz"]


def table(folder, text, encoding="utf-8"):
    path = folder / "subjects.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_pairs_are_found_with_and_without_sessions_and_compression(tmp_path):
    dataset(tmp_path, *pair("sub-01/anat/sub-01"), *pair("sub-02/ses-b/anat/sub-02_ses-b"), *pair("sub-02/ses-a/anat/sub-02_ses-a"))
    dataset(tmp_path, "sub-03/anat/sub-03_T1w.nii", "sub-03/anat/sub-03_T2w.nii")
    scans = find_scans(tmp_path)
    assert [(scan.subject, scan.session, scan.reason) for scan in scans] == [
        ("sub-01", "", ""),
        ("sub-02", "ses-a", ""),
        ("sub-02", "ses-b", ""),
        ("sub-03", "", ""),
    ]
    assert [scan.stem for scan in scans][:2] == ["sub-01_space-T1w", "sub-02_ses-a_space-T1w"]
    assert scans[1].t2 == tmp_path / "sub-02/ses-a/anat/sub-02_ses-a_T2w.nii.gz"
    assert scans[1].folder.as_posix() == "sub-02/ses-a/anat"


def test_files_have_absolute_paths_because_a_worker_works_elsewhere(tmp_path, monkeypatch):
    dataset(tmp_path, *pair("bids/sub-01/anat/sub-01"))
    table(tmp_path, "subject,t1,t2\n01,bids/sub-01/anat/sub-01_T1w.nii.gz,bids/sub-01/anat/sub-01_T2w.nii.gz\n")
    monkeypatch.chdir(tmp_path)
    for source in ("bids", "subjects.csv"):
        (scan,) = find_scans(source)
        assert [scan.t1, scan.t2] == [tmp_path / f"bids/sub-01/anat/sub-01_{suffix}.nii.gz" for suffix in ("T1w", "T2w")]


def test_the_only_t1_goes_with_the_only_t2_whatever_their_acquisition(tmp_path):
    dataset(tmp_path, "sub-01/anat/sub-01_acq-mprage_T1w.nii.gz", "sub-01/anat/sub-01_acq-space_T2w.nii.gz")
    (scan,) = find_scans(tmp_path)
    assert (scan.t1.name, scan.t2.name) == ("sub-01_acq-mprage_T1w.nii.gz", "sub-01_acq-space_T2w.nii.gz")
    assert scan.stem == "sub-01_acq-mprage_space-T1w"


def test_several_runs_are_paired_by_the_same_entities_and_the_rest_gets_a_reason(tmp_path):
    dataset(tmp_path, *pair("sub-01/anat/sub-01_run-1"), *pair("sub-01/anat/sub-01_run-2"), "sub-01/anat/sub-01_run-3_T1w.nii.gz")
    first, second, third = find_scans(tmp_path)
    assert [scan.t2 and scan.t2.name for scan in (first, second, third)] == ["sub-01_run-1_T2w.nii.gz", "sub-01_run-2_T2w.nii.gz", None]
    assert [scan.name for scan in (first, second, third)] == ["sub-01_run-1", "sub-01_run-2", "sub-01_run-3"]
    assert "no T2w of its own" in third.reason


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["sub-01/anat/sub-01_T1w.nii.gz"], "No T2w image in sub-01/anat; wanted sub-01_T2w.nii.gz: add it, or segment T1w alone"),
        (["sub-01/anat/sub-01_T2w.nii.gz"], "No T1w image"),
        (["sub-01/anat/sub-02_T1w.nii.gz", "sub-01/anat/._sub-01_T1w.nii.gz"], "No T1w image"),
        (["sub-01/func/sub-01_bold.nii.gz"], "no folder anat"),
        ([*pair("sub-01/anat/sub-01")[1:], *[f"sub-01/anat/sub-01_run-{n}_T1w.nii.gz" for n in (1, 2)]], "list the pair in a CSV"),
        ([*pair("sub-01/anat/sub-01"), "sub-01/anat/sub-01_T1w.nii"], "list the pair in a CSV"),
        ([*pair("sub-01/anat/sub-01"), *pair("sub-01/anat/sub-01_desc-brain")], "differ only in how they were processed"),
    ],
)
def test_what_can_not_be_paired_without_guessing_is_one_scan_with_a_reason(tmp_path, files, said):
    (scan,) = find_scans(dataset(tmp_path, *files))
    assert said in scan.reason
    assert scan.name == "sub-01"


def test_a_scan_without_partner_is_taken_when_asked_for(tmp_path):
    dataset(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_space-T1w_desc-brain_mask.nii.gz")
    dataset(tmp_path, "sub-02/ses-1/anat/sub-02_ses-1_T2w.nii.gz", "sub-02/ses-1/anat/sub-02_ses-1_space-T1w_desc-brain_mask.nii.gz")
    dataset(tmp_path, *pair("sub-03/anat/sub-03_run-1"), "sub-03/anat/sub-03_run-2_T1w.nii.gz")
    dataset(tmp_path, *pair("sub-04/anat/sub-04")[1:], *[f"sub-04/anat/sub-04_run-{n}_T1w.nii.gz" for n in (1, 2)])
    assert [bool(scan.reason) for scan in find_scans(tmp_path)] == [True, True, False, True, True]
    first, second, third, fourth, fifth = find_scans(tmp_path, single_scan=True)
    assert (first.t1.name, first.t2, first.mask.name) == ("sub-01_T1w.nii.gz", None, "sub-01_space-T1w_desc-brain_mask.nii.gz")
    assert (second.t1, second.t2.name, second.stem, second.mask) == (None, "sub-02_ses-1_T2w.nii.gz", "sub-02_ses-1_space-T2w", None)
    assert (third.t2.name, fourth.t1.name, fourth.t2) == ("sub-03_run-1_T2w.nii.gz", "sub-03_run-2_T1w.nii.gz", None)
    assert "list the pair in a CSV" in fifth.reason  # two T1 and a T2: that is no lone scan


def test_a_row_with_one_scan_is_taken_when_asked_for(tmp_path):
    path = table(tmp_path, "subject,t1,t2\n1,a.nii,\n2,,b.nii\n3,,\n")
    assert [scan.reason.split("; ")[0] for scan in find_scans(path)] == [
        "Line 2 has no t2: fill it in, or segment T1 alone with --single-scan, which is less accurate.",
        "Line 3 has no t1: fill it in, or segment T2 alone with --single-scan, which is less accurate.",
        "Line 4 has neither t1 nor t2: fill them in.",
    ]
    first, second, third = find_scans(path, single_scan=True)
    assert [scan.reason == "" for scan in (first, second, third)] == [True, True, False]
    assert [list(scan.inputs) for scan in (first, second)] == [["t1"], ["t2"]]
    assert [scan.stem for scan in (first, second)] == ["sub-1_space-T1w", "sub-2_space-T2w"]
    (alone,) = find_scans(table(tmp_path, "subject,t2\n1,b.nii\n"), single_scan=True)
    assert list(alone.inputs) == ["t2"]


def test_a_row_may_name_series_of_dicom_folders(tmp_path):
    (scan,) = find_scans(table(tmp_path, "subject,t1,t2,t1_series,T2_series\n1,exam,exam,1.2.3,1.2.4\n"))
    assert [(given.path, given.series) for given in scan.inputs.values()] == [(tmp_path / "exam", "1.2.3"), (tmp_path / "exam", "1.2.4")]


def test_a_brain_mask_lies_in_anat_or_in_a_derivative(tmp_path):
    dataset(tmp_path, *pair("sub-01/anat/sub-01"), "sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    dataset(tmp_path, *pair("sub-02/ses-1/anat/sub-02_ses-1_acq-x"))
    dataset(tmp_path, "derivatives/bet/sub-02/ses-1/anat/sub-02_ses-1_space-T1w_desc-brain_mask.nii.gz")
    dataset(tmp_path, "derivatives/bet/sub-02/ses-1/anat/sub-02_ses-1_space-MNI152_desc-brain_mask.nii.gz")
    dataset(tmp_path, *pair("sub-03/anat/sub-03"), "sub-03/anat/sub-03_desc-lesion_mask.nii.gz")
    assert [scan.mask and scan.mask.name for scan in find_scans(tmp_path)] == [
        "sub-01_desc-brain_mask.nii.gz",
        "sub-02_ses-1_space-T1w_desc-brain_mask.nii.gz",
        None,
    ]


def test_two_masks_for_one_scan_are_not_guessed_between(tmp_path):
    masks = [f"derivatives/{tool}/sub-01/anat/sub-01_desc-brain_mask.nii.gz" for tool in ("bet", "hd-bet")]
    (scan,) = find_scans(dataset(tmp_path, *pair("sub-01/anat/sub-01"), *masks))
    assert "2 brain masks fit" in scan.reason
    assert f"({', '.join(masks)})" in scan.reason  # as seen from the dataset


def test_a_mask_of_no_run_is_not_taken_for_each_of_several_runs(tmp_path):
    dataset(tmp_path, *pair("sub-01/anat/sub-01_run-1"), *pair("sub-01/anat/sub-01_run-2"), "sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    assert [scan.mask for scan in find_scans(tmp_path)] == [None, None]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_gives_paths_beside_it(tmp_path, separator):
    text = "\ufeffSubject,T1,t2,mask,session\n01, a.nii ,sub/b.nii,m.nii,1\n\nsub-x2,/abs/a.nii,b.nii,,\n,,,,\n".replace(",", separator)
    first, second = find_scans(table(tmp_path, text))
    assert (first.subject, first.session, first.stem) == ("sub-01", "ses-1", "sub-01_ses-1_space-T1w")
    assert (first.t1, first.t2, first.mask) == (tmp_path / "a.nii", tmp_path / "sub/b.nii", tmp_path / "m.nii")
    assert (second.name, second.t1.as_posix(), second.mask, second.reason) == ("sub-x2", "/abs/a.nii", None, "")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (",a.nii,b.nii", "no subject"),
        ("01,a.nii", "no t2"),
        ("BABY-07,a.nii,b.nii", "write BABY07"),
        ("../../etc,a.nii,b.nii", "letters and digits"),
    ],
)
def test_a_row_that_can_not_be_used_is_a_scan_with_its_line_and_reason(tmp_path, row, said):
    good, bad = find_scans(table(tmp_path, f"subject,t1,t2\ngood,a.nii,b.nii\n{row}\n"))
    assert good.reason == ""
    assert bad.reason.startswith("Line 3")
    assert said in bad.reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column subject, t1, t2"),
        ("subject,T1w,t2\n01,a,b\n", "no column t1; found subject, t1w, t2"),
        ("subject,t1,t2\n", "lists no subject"),
        ("subject,t1,t2\n01,a,b\nsub-01,c,d\n", "lists sub-01 twice, in lines 2 and 3"),
        ("subject,t1,t2\na,a,b\nA,c,d\n", "lists sub-A twice"),
        ('subject,t1,t2\n01,"a,b\n', "cannot be read as a table"),
    ],
)
def test_a_csv_that_can_not_be_understood_is_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        find_scans(table(tmp_path, text))


def test_a_table_in_another_encoding_or_an_image_is_refused(tmp_path):
    with pytest.raises(InputError, match="save it as CSV UTF-8"):
        find_scans(table(tmp_path, "subject,t1,t2\n01,Jürgen.nii,b.nii\n", "cp1252"))


def test_a_folder_without_subjects_is_reported_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"looked for sub-\*/anat"):
        find_scans(dataset(tmp_path, *pair("anat/sub-01")))
    with pytest.raises(InputError, match="does not exist"):
        find_scans(tmp_path / "none")


@pytest.mark.parametrize(
    ("folder", "shown", "wanted"),
    [
        ("sub-baby_12", "sub-baby_12", "sub-baby12"),
        ("sub-13 copy", "sub-13 copy", "sub-13copy"),
        ("SUB-14", "SUB-14", "sub-14"),
        ("sub15", "sub15", "sub-15"),
        ("sub-", "sub-", "sub-01"),
        ("sub-a\nb", "sub-a\\nb", "sub-ab"),
    ],
)
def test_a_subject_s_folder_without_a_bids_name_is_a_row_that_says_how_to_rename_it(tmp_path, folder, shown, wanted):
    dataset(tmp_path, *pair("sub-01/anat/sub-01"), *pair(f"{folder}/anat/{folder}"))
    (odd,) = [scan for scan in find_scans(tmp_path) if scan.name != "sub-01"]
    assert odd.name == shown
    assert f"for example {wanted}." in odd.reason
    assert odd.inputs == {}


def test_a_session_s_folder_without_a_bids_name_is_a_row(tmp_path):
    dataset(
        tmp_path, *pair("sub-01/ses-1/anat/sub-01_ses-1"), *pair("sub-01/ses-2 old/anat/sub-01_ses-2 old"), "sub-01/sub-01_sessions.tsv"
    )
    assert [(scan.name, scan.reason == "") for scan in find_scans(tmp_path)] == [("sub-01_ses-1", True), ("sub-01_ses-2 old", False)]


def test_a_session_without_scans_is_a_row_beside_one_that_has_some(tmp_path):
    dataset(tmp_path, *pair("sub-01/ses-1/anat/sub-01_ses-1"), "sub-01/ses-2/Anat/sub-01_ses-2_T1w.nii.gz", "sub-01/ses-3/notes.txt")
    scans = find_scans(tmp_path)
    assert [scan.session for scan in scans] == ["ses-1", "ses-2", "ses-3"]
    assert [scan.reason for scan in scans[1:]] == [
        f"sub-01/{name} has no folder anat with a T1w and a T2w image: add them." for name in ("ses-2", "ses-3")
    ]


@pytest.mark.parametrize("single_scan", [False, True])
def test_a_t2_left_over_is_a_row_as_a_t1_is(tmp_path, single_scan):
    runs = [f"sub-01/anat/sub-01_run-{run}" for run in (1, 2, 3)]
    dataset(tmp_path, *pair(runs[0]), f"{runs[1]}_T1w.nii.gz", f"{runs[2]}_T2w.nii.gz")
    paired, first, second = find_scans(tmp_path, single_scan)
    assert paired.t1 == tmp_path / f"{runs[0]}_T1w.nii.gz"
    assert not paired.reason
    assert (first.t2, second.t1) == (None, None)
    assert second.t2 == tmp_path / f"{runs[2]}_T2w.nii.gz"
    if single_scan:
        assert (first.reason, second.reason) == ("", "")
    else:
        assert "run-2_T1w.nii.gz has no T2w of its own" in first.reason
        assert "run-3_T2w.nii.gz has no T1w of its own" in second.reason


def test_a_line_with_more_cells_than_columns_is_a_row_with_its_reason(tmp_path):
    first, second = find_scans(table(tmp_path, "subject,t1,t2,age_months\n1,a.nii,b.nii,3,5\n2,c.nii,d.nii,3.5,\n"))
    assert "line 2 has 5 cells and the first line 4; wanted as many: write 3.5 and not 3,5" in first.reason
    assert not second.reason


def test_two_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="several columns called t1; wanted one of each"):
        find_scans(table(tmp_path, "subject,t1,T1,t2\n1,a.nii,b.nii,c.nii\n"))


def test_files_and_other_folders_are_no_rows(tmp_path):
    dataset(tmp_path, *pair("sub-01/anat/sub-01"), "sub-02.zip", "code/sub-03/x.py", "Submitted.txt")
    assert [scan.name for scan in find_scans(tmp_path)] == ["sub-01"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
@pytest.mark.parametrize("place", ["sub-02", "sub-02/ses-1", "sub-02/anat", "sub-02/ses-1/anat"])
def test_a_link_to_nothing_in_place_of_a_folder_is_a_row(tmp_path, place):
    dataset(tmp_path, *pair("sub-01/anat/sub-01"))
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).symlink_to("../nowhere")
    good, bad = find_scans(tmp_path)
    assert good.reason == ""
    assert bad.reason.startswith(f"{place} is a link to nothing; wanted")
    assert "datalad get" in bad.reason


@pytest.mark.parametrize("place", ["sub-02", "sub-02/ses-1", "sub-02/ses-1/anat", "derivatives/bet/sub-02/ses-1/anat"])
def test_a_folder_that_cannot_be_read_fails_its_own_subject_alone(tmp_path, monkeypatch, place):
    dataset(tmp_path, *pair("sub-01/anat/sub-01"), *pair("sub-02/ses-1/anat/sub-02_ses-1"), *pair("sub-02/ses-2/anat/sub-02_ses-2"))
    dataset(tmp_path, "derivatives/bet/sub-02/ses-1/anat/sub-02_ses-1_desc-brain_mask.nii.gz")
    listed = Path.iterdir

    def locked(path):
        if path == tmp_path / place:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", locked)
    reasons = {scan.name: scan.reason for scan in find_scans(tmp_path)}
    bad = "sub-02" if place == "sub-02" else "sub-02_ses-1"
    assert reasons.pop(bad) == f"{place} cannot be read (Permission denied): check its permissions and the disk."
    assert set(reasons.values()) == {""}


def test_a_folder_that_cannot_even_be_looked_at_is_a_row(tmp_path, monkeypatch):
    dataset(tmp_path, *pair("sub-01/anat/sub-01"), *pair("sub-02/anat/sub-02"))
    told, listed = Path.stat, Path.iterdir

    def stale(call):
        def failing(path, *more, **options):
            if path == tmp_path / "sub-02":
                raise OSError(116, "Stale file handle", str(path))
            return call(path, *more, **options)

        return failing

    monkeypatch.setattr(Path, "stat", stale(told))
    monkeypatch.setattr(Path, "iterdir", stale(listed))
    good, bad = find_scans(tmp_path)
    assert (good.reason, "sub-02 cannot be read (Stale file handle)" in bad.reason) == ("", True)


def test_a_file_that_is_named_otherwise_is_counted_where_one_is_missing(tmp_path):
    dataset(tmp_path, "sub-10/anat/sub-10_T1w (1).nii.gz", "sub-10/anat/sub-10_T2w.nii.gz")
    (scan,) = find_scans(tmp_path)
    assert scan.reason.startswith("No T1w image in sub-10/anat (1 named otherwise); wanted sub-10_T1w.nii.gz: add it")
