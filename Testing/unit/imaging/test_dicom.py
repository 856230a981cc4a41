import contextlib
import os
import re
import sys

import numpy as np
import phantoms
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import BIRTH, PATIENT, PATIENT_ID, write_series

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging import dicom_header
from InfantBrainSegLib.imaging.dicom import find_series, is_dicom, read_series

FLIPPED = np.diag([-1.0, 1.0, -1.0])


def read_scan(path, name, series=None):
    return read_series(find_series(path, name, series), name)


def scan_on(direction, spacing_mm=(2.0, 2.0, 2.5), levels=phantoms.T1_LEVELS):
    return phantoms.noisy(phantoms.draw(phantoms.grid(spacing_mm, direction), levels), deviation=2.0)


@pytest.mark.parametrize(
    "direction", [phantoms.LPS, phantoms.OBLIQUE, phantoms.PERMUTED, FLIPPED], ids=["axial", "oblique", "sagittal", "flipped"]
)
def test_a_series_is_read_with_its_geometry_and_values_and_no_header(direction, tmp_path):
    given = scan_on(direction)
    read = read_scan(write_series(tmp_path / "dicom", given), "T1")
    order = read.TransformPhysicalPointToIndex(given.TransformIndexToPhysicalPoint((20, 30, 10)))
    assert read[order] == pytest.approx(max(given[20, 30, 10], 0), abs=1.0)
    assert read.GetSize() == given.GetSize()
    assert read.GetSpacing() == pytest.approx(given.GetSpacing(), abs=1e-4)
    assert read.GetOrigin() == pytest.approx(given.GetOrigin(), abs=1e-3)
    assert read.GetDirection() == pytest.approx(given.GetDirection(), abs=1e-5)
    assert list(read.GetMetaDataKeys()) == ["0018|0050"]


def test_a_single_file_of_a_series_stands_for_all_of_it(tmp_path):
    given = scan_on(phantoms.LPS)
    folder = write_series(tmp_path / "dicom", given)
    assert read_scan(sorted(folder.iterdir())[3], "T1").GetSize() == given.GetSize()


def test_a_multi_frame_file_is_read(tmp_path):
    given = sitk.Cast(scan_on(phantoms.LPS), sitk.sitkUInt16)
    given.SetMetaData("0010|0010", PATIENT)
    given.SetMetaData("0008|0060", "MR")
    sitk.WriteImage(given, str(tmp_path / "volume.dcm"))
    read = read_scan(tmp_path / "volume.dcm", "T1")
    assert (sitk.GetArrayViewFromImage(read) == sitk.GetArrayViewFromImage(given)).all()
    assert PATIENT not in [read.GetMetaData(key) for key in read.GetMetaDataKeys()]


def test_two_series_are_listed_without_the_patient_and_one_is_taken_by_its_uid(tmp_path):
    folder = write_series(tmp_path / PATIENT / "dicom", scan_on(phantoms.LPS), "1.2.3.4.1", "T1 mprage")
    write_series(folder, scan_on(phantoms.LPS, (2.0, 2.0, 2.94), phantoms.T2_LEVELS), "1.2.3.4.2", "T2 of Mathilda")
    with pytest.raises(InputError) as refused:
        read_scan(folder, "T2")
    assert "1.2.3.4.1 (T1 mprage, 40 slices, 2×2×2.5 mm)" in str(refused.value)
    assert "1.2.3.4.2 ((no description), 35 slices, 2×2×2.94 mm)" in str(refused.value)
    assert "--t2-series" in str(refused.value)
    assert not any(word in str(refused.value) for word in ("Wunderlich", "Mathilda", PATIENT_ID, BIRTH))
    assert read_scan(folder, "T2", "1.2.3.4.2").GetSize()[2] == 35
    with pytest.raises(InputError, match=r"no series 9\.9"):
        read_scan(folder, "T2", "9.9")


def test_a_missing_slice_is_refused_and_named(tmp_path):
    folder = write_series(tmp_path / "dicom", scan_on(phantoms.OBLIQUE), skip=(17,))
    with pytest.raises(InputError, match=r"Slices 17 and 18 of 39 .* 5\.00 mm apart and the others 2\.50 mm \(1 seems to be missing\)"):
        read_scan(folder, "T1")


def test_two_slices_at_one_place_are_refused(tmp_path):
    given = scan_on(phantoms.LPS)
    folder = write_series(tmp_path / "dicom", given)
    twin = sorted(folder.iterdir())[0]
    twin.with_name("again.dcm").write_bytes(twin.read_bytes())
    with pytest.raises(InputError, match="several slices at one place; wanted one: some slices are there twice, so remove the copies"):
        read_scan(folder, "T1")


@pytest.mark.parametrize(
    ("tag", "values", "said"),
    [
        ("0018|0081", ("12", "96"), r"several echo times, in ms \(12 and 96\)"),
        ("0008|0008", ("ORIGINAL\\PRIMARY\\M\\ND", "ORIGINAL\\PRIMARY\\M\\NORM"), r"several kinds of image \(ND and NORM\)"),
        ("0020|0012", ("1", "2"), r"several acquisitions \(1 and 2\)"),
        ("0018|0082", ("1", "2"), "several echoes or times"),
    ],
)
def test_of_two_slices_at_one_place_it_is_reported_by_what_they_differ(tmp_path, tag, values, said):
    given = scan_on(phantoms.LPS)
    for name, image, value in zip("ab", (given, given * 0.5), values, strict=True):
        for path in write_series(tmp_path / "dicom" / name, image).iterdir():
            part = sitk.ReadImage(str(path))
            part.SetMetaData(tag, value)
            writer = sitk.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetFileName(str(path))
            writer.Execute(part)
    with pytest.raises(InputError, match=f"{said}.*, so put the slices of one of them in a folder of their own"):
        read_scan(tmp_path / "dicom", "T1")


def tiny(slices):
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 900, (slices, 6, 7)).astype(np.float32))
    image.SetSpacing((2.0, 2.0, 2.5))
    return image


def test_of_many_series_ten_are_listed_those_of_most_slices_first(tmp_path):
    for number in range(14):
        write_series(tmp_path / str(number), tiny(5 + number), f"1.2.3.4.{number + 10}")
    with pytest.raises(InputError, match=r"has 14 series; wanted one.*; and 4 more\.$") as refused:
        read_scan(tmp_path, "T1")
    told = [int(count) for count in re.findall(r"(\d+) slices", str(refused.value))]
    assert told == list(range(18, 8, -1))
    with pytest.raises(InputError, match=r"has no series 9; it has .*; and 4 more: name one"):
        read_scan(tmp_path, "T1", "9")


def test_slices_that_each_are_a_series_are_reported_as_that(tmp_path):
    for number in range(12):
        write_series(tmp_path, tiny(12), f"1.2.3.4.{number + 10}", skip=set(range(12)) - {number})
    with pytest.raises(InputError, match="12 series of one slice each; wanted one series: its export gave each slice"):
        read_scan(tmp_path, "T1")


def test_thick_slices_of_t2_are_told_to_be_left_out(tmp_path):
    folder = write_series(tmp_path / "dicom", scan_on(phantoms.LPS, (1.5, 1.5, 5.0)))
    with pytest.raises(InputError, match="or use a finer acquisition; where both scans were given, leave T2 out and segment T1 alone"):
        read_scan(folder, "T2")


def test_a_folder_without_dicom_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="no DICOM image among its 1 files"):
        read_scan(tmp_path, "T1")


def test_a_dicom_file_without_an_image_is_refused(tmp_path):
    folder = write_series(tmp_path / "dicom", scan_on(phantoms.LPS))
    (folder / "SR000001").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(InputError, match="holds no image"):
        read_scan(folder / "SR000001", "T1")


@pytest.mark.parametrize("content", [bytes(128) + b"DICM", b"an old one without a preamble"])
def test_the_list_of_a_disc_is_told_to_be_one(tmp_path, content):
    (tmp_path / "DICOMDIR").write_bytes(content)
    assert is_dicom(tmp_path / "DICOMDIR")
    with pytest.raises(InputError, match="T1 is a DICOMDIR, the list of what a disc holds; wanted the images: give the folder"):
        read_scan(tmp_path / "DICOMDIR", "T1")


def test_a_damaged_volume_is_refused_without_its_path(tmp_path):
    sitk.WriteImage(sitk.Cast(scan_on(phantoms.LPS), sitk.sitkUInt16), str(tmp_path / "Wunderlich.dcm"))
    parts = find_series(tmp_path / "Wunderlich.dcm", "T1")
    (tmp_path / "Wunderlich.dcm").write_bytes(b"gone")
    with pytest.raises(InputError, match="The voxels of the DICOM series of T1 cannot be read") as refused:
        read_series(parts, "T1")
    assert "Wunderlich" not in str(refused.value)


@pytest.mark.parametrize(
    ("description", "told"),
    [
        ("T1 of Mathilda", "(no description)"),
        ("MATHILDA_T1", "(no description)"),
        ("T1 pid-778899", "(no description)"),
        ("T1 born 2.1.25", "T1 born 2.1.25"),  # too few digits to be told from others
        ("T1 born 02.01.2025", "(no description)"),
        ("T1 250102", "(no description)"),
        ("T1 Sch\udce4del", "T1 Sch?del"),
        ("T1 mprage 1mm", "T1 mprage 1mm"),
    ],
)
def test_a_description_that_names_the_patient_is_not_reported(description, told):
    tags = {"0008|103e": description, "0010|0010": PATIENT, "0010|0020": PATIENT_ID, "0010|0030": BIRTH}
    assert dicom_header._anonymous(tags) == told


def test_a_short_name_is_found_as_a_word_alone():
    tags = {"0010|0010": "Li^An"}
    assert dicom_header._anonymous({**tags, "0008|103e": "T1 Li"}) == "(no description)"
    assert dicom_header._anonymous({**tags, "0008|103e": "T1 sagittal thin flip"}) == "T1 sagittal thin flip"


def altered(folder, change):
    """Change each file's header with pydicom."""
    for path in folder.iterdir():
        file = pydicom.dcmread(path)
        change(file)
        file.save_as(path)
    return folder


def as_mr(file, spacing="0.8\\0.8"):
    """Make a file what a scanner writes: an MR image with its pixels' spacing."""
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    file.PixelSpacing = spacing.split("\\")
    for tag in ("NominalScannedPixelSpacing", "ImagerPixelSpacing"):
        if tag in file:
            delattr(file, tag)


@pytest.mark.parametrize("tag", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_series_without_its_geometry_is_refused_and_says_what_it_lacks(tag, empty, tmp_path):
    def forget(file):
        as_mr(file)
        setattr(file, tag, None) if empty else delattr(file, tag)

    folder = altered(write_series(tmp_path / "dicom", scan_on(phantoms.LPS)), forget)
    with pytest.raises(InputError, match=f"T1 has no {tag} in its headers"):
        read_scan(folder, "T1")


def test_a_spacing_that_is_no_number_is_refused(tmp_path):
    folder = altered(write_series(tmp_path / "dicom", scan_on(phantoms.LPS)), as_mr)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"0.8\\0.8", b"0,8\\0,8"))
    with pytest.raises(InputError, match="has no PixelSpacing"):
        read_scan(folder, "T1")


@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"], ids=["MR", "capture"])
def test_the_spacing_in_the_header_counts_whatever_the_kind_of_object(kind, tmp_path):
    def turn_into(file):
        as_mr(file, "0.7\\0.9")
        file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = kind

    given = scan_on(phantoms.OBLIQUE)
    read = read_scan(altered(write_series(tmp_path / "dicom", given), turn_into), "T1")
    assert read.GetSpacing() == pytest.approx((0.9, 0.7, 2.5), abs=1e-4)  # columns lie 0.9 mm apart
    assert read.GetOrigin() == pytest.approx(given.GetOrigin(), abs=1e-3)
    assert read.GetDirection() == pytest.approx(given.GetDirection(), abs=1e-5)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_folder_with_links_to_nothing_is_refused_because_the_series_is_not_whole(tmp_path):
    folder = write_series(tmp_path / "dicom", scan_on(phantoms.LPS))
    (folder / "last.dcm").symlink_to("nowhere")
    with pytest.raises(InputError, match="The folder of T1 holds 1 link to nothing"):
        read_scan(folder, "T1")


@pytest.mark.parametrize("spacing", ["0\\0", "0.8\\-2", "0.8"])
def test_a_spacing_that_can_not_be_is_refused(spacing, tmp_path):
    folder = altered(write_series(tmp_path / "dicom", scan_on(phantoms.LPS)), as_mr)
    for path in folder.iterdir():
        content = path.read_bytes()
        assert b"0.8\\0.8 " in content
        path.write_bytes(content.replace(b"0.8\\0.8 ", spacing.encode().ljust(8)))
    with pytest.raises(InputError, match="T1 has no PixelSpacing in its headers"):
        read_scan(folder, "T1")


@pytest.mark.parametrize("axes", [(0, 0, 0, 0, 0, 0), (2, 0, 0, 0, 2, 0), (1, 0, 0, 1, 0, 0), (1, 0, 0, 0.5, 0.866, 0)])
def test_axes_that_are_not_of_length_1_and_at_right_angles_are_refused(axes, tmp_path):
    folder = altered(
        write_series(tmp_path / "dicom", scan_on(phantoms.LPS)), lambda file: setattr(file, "ImageOrientationPatient", list(axes))
    )
    with pytest.raises(InputError, match="T1 has no ImageOrientationPatient in its headers"):
        read_scan(folder, "T1")


def test_slices_that_all_lie_at_one_place_are_reported_as_that(tmp_path):
    folder = altered(write_series(tmp_path / "dicom", scan_on(phantoms.LPS)), lambda file: setattr(file, "ImagePositionPatient", [0, 0, 0]))
    with pytest.raises(InputError, match=r"slices of the DICOM series of T1 lie at one place by their headers"):
        read_scan(folder, "T1")


@pytest.mark.parametrize("kept", [0.5, 0.999])
@pytest.mark.parametrize("some", [True, False])
def test_slices_with_fewer_voxels_than_their_headers_say_are_refused(kept, some, tmp_path):
    folder = write_series(tmp_path / "dicom", scan_on(phantoms.LPS))
    paths = sorted(folder.iterdir())
    for path in paths[9:11] if some else paths:
        file = pydicom.dcmread(path)
        file.PixelData = file.PixelData[: 2 * int(kept * len(file.PixelData) / 2)]
        file.save_as(path)
        with pytest.raises(ValueError, match="pixel data"):
            _ = pydicom.dcmread(path).pixel_array
    count = f"{2 if some else len(paths)} of {len(paths)}"
    with pytest.raises(InputError, match=f"The voxels of {count} slices in the DICOM series of T1 are fewer than their headers say"):
        read_scan(folder, "T1")


@pytest.mark.parametrize("fails", [True, False])
def test_what_a_decoder_prints_stays_off_stderr(tmp_path, monkeypatch, capfd, fails):
    folder = write_series(tmp_path / "dicom", scan_on(phantoms.LPS))
    read = sitk.ImageSeriesReader.Execute

    def noisy(self):
        os.write(2, b"tile part length size inconsistent")
        if fails:
            raise RuntimeError("damaged")
        return read(self)

    monkeypatch.setattr(sitk.ImageSeriesReader, "Execute", noisy)
    with pytest.raises(InputError, match="cannot be read; wanted intact files") if fails else contextlib.nullcontext():
        read_scan(folder, "T1")
    print("words of ours", file=sys.stderr)
    assert capfd.readouterr() == ("", "words of ours\n")


def test_a_series_in_color_is_refused(tmp_path):
    folder = write_series(tmp_path / "dicom", scan_on(phantoms.LPS))
    for path in folder.iterdir():
        file = pydicom.dcmread(path)
        gray = (file.pixel_array / 16).astype(np.uint8)
        file.PixelData = np.stack([gray, 255 - gray, gray // 2], axis=-1).tobytes()
        file.PhotometricInterpretation, file.SamplesPerPixel, file.PlanarConfiguration = "RGB", 3, 0
        file.BitsAllocated, file.BitsStored, file.HighBit = 8, 8, 7
        file.save_as(path)
    with pytest.raises(InputError, match="T1 has color voxels; wanted one number a voxel: export a grayscale image"):
        read_scan(folder, "T1")


def test_a_series_of_which_some_slices_are_negatives_is_refused(tmp_path):
    folder = write_series(tmp_path / "dicom", scan_on(phantoms.LPS))
    for path in sorted(folder.iterdir())[5:9]:
        file = pydicom.dcmread(path)
        file.PhotometricInterpretation = "MONOCHROME1"
        file.PixelData = (4000 - file.pixel_array).tobytes()
        file.save_as(path)
    with pytest.raises(InputError, match=r"T1 has slices in which .* \(MONOCHROME1\); wanted one kind: export it again"):
        read_scan(folder, "T1")


def test_dicom_files_of_which_none_can_be_read_are_not_said_to_be_none(tmp_path):
    folder = write_series(tmp_path / "dicom", scan_on(phantoms.LPS))
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"None of the \d+ DICOM files of T1 can be read as an image"):
        read_scan(folder, "T1")


@pytest.mark.parametrize("syntax", [pydicom.uid.HTJ2KLossless, pydicom.uid.MPEG4HP41])
def test_voxels_packed_in_an_unknown_way_are_refused_in_silence_with_the_remedy(syntax, tmp_path, capfd):
    def pack(file):
        file.file_meta.TransferSyntaxUID = syntax
        file.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(200)])
        file["PixelData"].is_undefined_length = True

    folder = altered(write_series(tmp_path / "dicom", scan_on(phantoms.LPS)), pack)
    with pytest.raises(InputError, match=rf"of T1 is packed in a way that is not read here \(transfer syntax {syntax}\); .* without compr"):
        read_scan(folder, "T1")
    assert capfd.readouterr() == ("", "")
