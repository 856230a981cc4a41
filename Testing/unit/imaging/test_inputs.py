import hashlib
import os

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from dicom_files import write_series

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.files import same_grid
from InfantBrainSegLib.imaging.inputs import Input, find_input, is_same_input, parts_of, read_found, read_input, sha256_of


@pytest.fixture
def scan():
    return phantoms.draw(phantoms.grid((2.5, 2.5, 3.0)), phantoms.T1_LEVELS)


def recorded(given):
    return vars(read_input(given)[1])


def test_a_file_is_known_by_the_checksum_that_sha256sum_gives(scan, tmp_path):
    sitk.WriteImage(scan, str(tmp_path / "T1.nii.gz"))
    image, record = read_input(Input("t1", tmp_path / "T1.nii.gz"))
    assert image.GetSize() == scan.GetSize()
    assert record.for_report() == {"kind": "image file", "sha256": hashlib.sha256((tmp_path / "T1.nii.gz").read_bytes()).hexdigest()}


def test_several_files_are_known_by_the_checksum_of_their_sorted_checksums(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    lines = sorted(hashlib.sha256(name.encode()).hexdigest() for name in "abc")
    wanted = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert sha256_of([tmp_path / name for name in "cab"]) == sha256_of([tmp_path / name for name in "abc"]) == wanted


def test_an_input_is_the_same_when_copied_again_and_another_when_a_byte_changed(scan, tmp_path):
    path = tmp_path / "T1.nii"
    sitk.WriteImage(scan, str(path))
    given = Input("t1", path)
    record = recorded(given)
    os.utime(path, (0, 0))
    assert is_same_input(given, record)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert not is_same_input(given, record)
    path.unlink()
    assert not is_same_input(given, record)
    assert not is_same_input(given, {})


def test_two_files_of_one_size_and_date_are_told_apart(scan, tmp_path):
    for name, image in (("T1", scan), ("T2", scan + 1)):
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii"))
        os.utime(tmp_path / f"{name}.nii", (0, 0))
    record = recorded(Input("t1", tmp_path / "T1.nii"))
    assert is_same_input(Input("t1", tmp_path / "T1.nii"), record)
    assert not is_same_input(Input("t1", tmp_path / "T2.nii"), record)


@pytest.mark.parametrize("extension", [".mhd", ".hdr"])
def test_voxels_in_a_file_beside_the_header_count(scan, tmp_path, extension):
    sitk.WriteImage(scan, str(tmp_path / f"T1{extension}"))
    given = Input("t1", tmp_path / f"T1{extension}")
    record = recorded(given)
    header, voxels = sorted(parts_of(given.path), key=lambda path: path != given.path)
    assert header == given.path
    content = bytearray(voxels.read_bytes())
    content[-1] ^= 1
    voxels.write_bytes(content)
    assert not is_same_input(given, record)


@pytest.mark.parametrize("extension", [".mhd", ".nhdr"])
def test_voxels_in_a_file_of_another_name_count(scan, tmp_path, extension):
    sitk.WriteImage(scan, str(tmp_path / f"T1{extension}"))
    header = tmp_path / f"T1{extension}"
    (voxels,) = set(parts_of(header)) - {header}
    other = voxels.rename(tmp_path / "voxels.bin")
    header.write_bytes(header.read_bytes().replace(voxels.name.encode(), b"voxels.bin"))
    assert set(parts_of(header)) == {header, other}
    record = recorded(Input("t1", header))
    other.write_bytes(other.read_bytes()[:-1] + b"\1")
    assert not is_same_input(Input("t1", header), record)


def test_of_a_dicom_folder_the_chosen_series_counts_alone(scan, tmp_path):
    for number in (1, 2):
        write_series(tmp_path / "exam", scan, f"1.2.3.4.{number}")
    first, second = (Input("t1", tmp_path / "exam", f"1.2.3.4.{number}") for number in (1, 2))
    record = recorded(first)
    assert record["kind"] == "DICOM series"
    assert record["sha256"] != recorded(second)["sha256"]
    write_series(tmp_path / "exam", scan, "1.2.3.4.3")
    assert is_same_input(first, record)
    assert not is_same_input(second, record)
    assert not is_same_input(Input("t1", tmp_path / "exam"), record)  # now one has to be chosen
    slice_ = next((tmp_path / "exam").glob("1.2.3.4.1-*"))
    slice_.write_bytes(slice_.read_bytes()[:-2] + b"\1\1")
    assert not is_same_input(first, record)


def test_a_series_named_for_an_image_file_is_refused(scan, tmp_path):
    sitk.WriteImage(scan, str(tmp_path / "T1.nii"))
    with pytest.raises(InputError, match="leave --t1-series out"):
        read_input(Input("t1", tmp_path / "T1.nii", "1.2"))


def unknown_extension(path):
    path.write_bytes(b"")
    return path


def no_image(path):
    path.with_suffix(".nii").write_bytes(b"no image")
    return path.with_suffix(".nii")


def half_image(path):
    image = phantoms.draw(phantoms.grid((2.5, 2.5, 3.0)), phantoms.T1_LEVELS)
    sitk.WriteImage(image, str(path.with_suffix(".hdr")))
    path.with_suffix(".img").unlink()
    return path.with_suffix(".hdr")


def empty_folder(path):
    path.mkdir()
    return path


def thick(path):
    image = phantoms.draw(phantoms.grid((2.5, 2.5, 3.0)))
    image.SetSpacing((9.0, 9.0, 9.0))
    sitk.WriteImage(image, str(path.with_suffix(".nii")))
    return path.with_suffix(".nii")


@pytest.mark.parametrize("make", [unknown_extension, no_image, half_image, empty_folder, thick, lambda path: path / "absent.nii"])
@pytest.mark.parametrize("role", ["t1", "t2", "mask"])
def test_what_can_not_be_read_is_named_by_its_role_and_never_by_its_path(make, role, tmp_path):
    folder = tmp_path / "Wunderlich Anna Mathilda"
    folder.mkdir()
    given = Input(role, make(folder / "Mathilda"))
    with pytest.raises(InputError, match={"t1": "T1", "t2": "T2", "mask": "The brain mask"}[role]) as refused:
        read_input(given)
    assert not any(word in str(refused.value) for word in ("Wunderlich", "Anna", "Mathilda", tmp_path.name))


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "/scans/Wunderlich.nii"), OSError("/scans/Wunderlich.nii")])
def test_a_machine_s_error_is_reported_without_the_file(error, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("InfantBrainSegLib.imaging.inputs.read_with_warnings", fail)
    with pytest.raises(InputError, match="T1 cannot be read") as refused:
        read_input(Input("t1", tmp_path / "Wunderlich.nii"))
    assert "Wunderlich" not in str(refused.value)


def test_an_image_is_found_by_its_header_and_read_afterwards(tmp_path, scan):
    sitk.WriteImage(scan, str(tmp_path / "T1.nii.gz"))
    found = find_input(Input("t1", tmp_path / "T1.nii.gz"))
    assert found.voxels == scan.GetNumberOfPixels()
    assert read_found(found)[0].GetSize() == scan.GetSize()


def test_a_dicom_series_is_counted_by_its_headers_and_not_searched_twice(tmp_path, scan, monkeypatch):
    found = find_input(Input("t1", write_series(tmp_path / "dicom", scan)))
    assert found.voxels == scan.GetNumberOfPixels()
    monkeypatch.setattr("InfantBrainSegLib.imaging.inputs.find_series", lambda *given: pytest.fail("the folder was searched again"))
    assert read_found(found)[0].GetNumberOfPixels() == found.voxels


@pytest.mark.parametrize("role", ["edited_labels", "automatic_labels"])
def test_labels_are_read_in_our_numbers_on_their_own_grid(role, tmp_path):
    labels = phantoms.draw(phantoms.grid((2.5, 2.5, 3.0), phantoms.OBLIQUE))
    in_iseg = sitk.GetImageFromArray(np.array([0.0, 10.0, 150.0, 250.0])[sitk.GetArrayFromImage(labels)])
    in_iseg.CopyInformation(labels)
    sitk.WriteImage(in_iseg, str(tmp_path / "labels.nrrd"))
    image, record = read_input(Input(role, tmp_path / "labels.nrrd"))
    assert image.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(labels))
    assert same_grid(image, labels)
    assert record.warnings == ()


def test_labels_of_something_else_are_refused_by_their_name(scan, tmp_path):
    sitk.WriteImage(scan, str(tmp_path / "T1.nrrd"))
    with pytest.raises(InputError, match=r"The edited labelmap holds the values 0, 40, 100, 130; wanted \[0, 1, 2, 3"):
        read_input(Input("edited_labels", tmp_path / "T1.nrrd"))
