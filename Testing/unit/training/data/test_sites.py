import shutil

import pytest

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.training.data.sites import find_in_folders, read_table


def table(path, text):
    (path / "subjects.csv").write_text(text, encoding="utf-8")
    return path / "subjects.csv"


def test_folders_as_synthesize_writes_them_are_found(labelled_folder):
    assert [files.name for files in find_in_folders(labelled_folder)] == ["subject-01", "subject-02", "subject-03"]


def test_a_csv_names_files_relative_to_itself(labelled_folder, tmp_path):
    shutil.copytree(labelled_folder, tmp_path / "scans")
    text = "subject;T1;T2;label;mask\nanna;scans/subject-01/T1.nii.gz;scans/subject-01/T2.nii.gz;scans/subject-01/label.nii.gz;\n"
    (files,) = read_table(table(tmp_path, text))
    assert (files.name, files.t2, files.mask) == ("anna", tmp_path / "scans/subject-01/T2.nii.gz", None)


def test_an_unlabelled_folder_is_refused_by_name(labelled_folder, tmp_path):
    shutil.copytree(labelled_folder, tmp_path / "scans")
    (tmp_path / "scans" / "subject-02" / "label.nii.gz").unlink()
    with pytest.raises(InputError, match=r"subject-02 has no label"):
        find_in_folders(tmp_path / "scans")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject,t1,t2\na,b,c\n", "no column label"),
        ("subject,t1,t2,label\n", "no line"),
        ("subject,t1,t2,label\nanna,a.nii,,\n", "Line 2 of .* has no t2 and no label"),
        ("subject,t1,t2,label\nanna,a.nii,b.nii,c.nii\n", "a.nii, which does not exist"),
    ],
)
def test_a_csv_that_can_not_be_used_says_which_line(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_table(table(tmp_path, text))


def test_a_subject_listed_twice_is_refused(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(InputError, match="anna twice"):
        read_table(table(tmp_path, "subject,t1,t2,label\nanna,a.nii,a.nii,a.nii\nanna,a.nii,a.nii,a.nii\n"))


def test_a_fingerprint_changes_with_a_voxel(labelled_folder, tmp_path):
    shutil.copytree(labelled_folder, tmp_path / "scans")
    first = find_in_folders(tmp_path / "scans")[0]
    before = first.fingerprint()
    shutil.copy(tmp_path / "scans" / "subject-02" / "label.nii.gz", first.label)
    assert before.startswith("subject-01 ")
    assert first.fingerprint() != before
