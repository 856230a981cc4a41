import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.training.data.iseg import find_iseg
from InfantBrainSegLib.training.data.scans import read_scan


@pytest.fixture
def own_copy(iseg_folder, tmp_path):
    return shutil.copytree(iseg_folder, tmp_path / "iseg")


def test_the_challenge_folder_gives_labelled_and_unlabelled_subjects_in_the_order_of_their_numbers(own_copy):
    for path in list((own_copy / "iSeg-2017-Training").glob("subject-1-*")):
        path.rename(path.with_name(path.name.replace("subject-1-", "subject-10-")))
    labelled, unlabelled = find_iseg(own_copy)
    assert [files.name for files in labelled] == ["subject-2", "subject-3", "subject-10"]
    assert labelled[0].t1.name == "subject-2-T1.hdr"
    assert unlabelled == ["subject-4"]


def test_an_analyze_subject_is_read_as_the_nifti_it_was_made_from(iseg_folder, labelled_folder):
    scan = read_scan(find_iseg(iseg_folder)[0][0], 4)
    wanted = sitk.GetArrayFromImage(sitk.ReadImage(str(labelled_folder / "subject-01" / "label.nii.gz")))
    assert np.array_equal(sitk.GetArrayFromImage(scan.reference), wanted)
    assert np.bincount(scan.labels.ravel())[1:].tolist() == np.bincount(wanted.ravel())[1:].tolist()


def test_the_layout_of_2019_and_nifti_are_read_too(labelled_folder, tmp_path):
    for number, subject in enumerate(sorted(labelled_folder.iterdir()), start=1):
        part = tmp_path / ("iSeg-2019-Training" if number < 3 else "iSeg-2019-Validation")
        part.mkdir(exist_ok=True)
        for name in ("T1", "T2", "label") if number < 3 else ("T1", "T2"):
            shutil.copy(subject / f"{name}.nii.gz", part / f"subject-{number}-{name}.nii.gz")
    (tmp_path / "iSeg-2019-Training" / "._subject-9-T1.nii.gz").write_bytes(b"what a Mac's archive leaves")
    labelled, unlabelled = find_iseg(tmp_path)
    assert [files.name for files in labelled] == ["subject-1", "subject-2"]
    assert unlabelled == ["subject-3"]


@pytest.mark.parametrize(
    ("gone", "said"),
    [("subject-2-T2.*", r"subject-2 in .* has no T2"), ("subject-3-T1.img", r"subject-3-T1.hdr has no .img beside it")],
)
def test_an_unpaired_subject_is_refused_by_name(own_copy, gone, said):
    for path in list(own_copy.rglob(gone)):
        path.unlink()
    with pytest.raises(InputError, match=said):
        find_iseg(own_copy)


def test_two_challenges_in_one_folder_are_refused(own_copy):
    shutil.copytree(own_copy / "iSeg-2017-Training", own_copy / "iSeg-2019-Training")
    with pytest.raises(InputError, match="one subject and kind"):
        find_iseg(own_copy)


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_a_folder_without_subjects_is_refused(tmp_path, place):
    with pytest.raises(InputError, match="subject-1-T1"):
        find_iseg(tmp_path / place)
