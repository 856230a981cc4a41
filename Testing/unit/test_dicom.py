import json

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.__main__ import main
from InfantBrainSegLib.dicom import label_of, read_scan
from InfantBrainSegLib.errors import InputError

PATIENT, PATIENT_ID, BIRTH = "Wunderlich^Mathilda", "PID-778899", "20250102"
FLIPPED = np.diag([-1.0, 1.0, -1.0])


def write_series(folder, image, uid="1.2.3.4.1", description="T1w", skip=()):
    """Write an image's slices as DICOM files whose names and numbers tell nothing of their order."""
    folder.mkdir(parents=True, exist_ok=True)
    direction = np.reshape(image.GetDirection(), (3, 3))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    scaled = sitk.Cast(sitk.Clamp(image, sitk.sitkFloat32, 0, 4000), sitk.sitkUInt16)
    for k in range(image.GetSize()[2]):
        if k in skip:
            continue
        part = scaled[:, :, k]
        tags = {
            "0008|0060": "MR",
            "0008|103e": description,
            "0010|0010": PATIENT,
            "0010|0020": PATIENT_ID,
            "0010|0030": BIRTH,
            "0018|0050": f"{image.GetSpacing()[2]:g}",
            "0020|000d": "1.2.3.4",
            "0020|000e": uid,
            "0020|0032": "\\".join(f"{v:.8g}" for v in image.TransformIndexToPhysicalPoint((0, 0, k))),
            "0020|0037": "\\".join(f"{v:.8g}" for v in [*direction[:, 0], *direction[:, 1]]),
            "0008|0018": f"{uid}.{k + 1}",
        }
        for key, value in tags.items():
            part.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{uid}-{(k * 7919) % 10007:05d}.dcm"))
        writer.Execute(part)
    return folder


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
    with pytest.raises(InputError, match="several slices at one place"):
        read_scan(folder, "T1")


def test_a_folder_without_dicom_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="no DICOM image among its 1 files"):
        read_scan(tmp_path, "T1")


def test_a_report_names_image_files_but_no_dicom_path(tmp_path):
    assert label_of("scans/T1.nii.gz") == "scans/T1.nii.gz"
    assert label_of(str(tmp_path)) == "DICOM series"
    assert label_of(None) is None


def test_nothing_of_the_patient_reaches_outputs_or_the_terminal(weights_dir, tmp_path, capfd):
    grid = (1.5, 1.5, 1.5)
    folders = [
        write_series(tmp_path / PATIENT / name, scan_on(phantoms.OBLIQUE, grid, levels), f"1.2.3.4.{number}", f"{name} {PATIENT_ID}")
        for number, (name, levels) in enumerate((("T1", phantoms.T1_LEVELS), ("T2", phantoms.T2_LEVELS)), 1)
    ]
    output_dir = tmp_path / "out"
    given = ["--t1", str(folders[0]), "--t2", str(folders[1]), "--output-dir", str(output_dir), "--weights", str(weights_dir)]
    assert main(["segment", *given, "--device", "cpu", "--no-context", "--align", "off"]) == 0
    said = "".join(capfd.readouterr())
    files = sorted(output_dir.iterdir())
    assert [file.name for file in files] == ["overview.png", "report.json", "segmentation.nii.gz", "volumes.csv"]
    labels = sitk.ReadImage(str(output_dir / "segmentation.nii.gz"))
    texts = [said, *(file.read_bytes().decode("latin-1") for file in files), *(labels.GetMetaData(key) for key in labels.GetMetaDataKeys())]
    for secret in ("Wunderlich", "Mathilda", PATIENT_ID, BIRTH, "1.2.3.4."):
        assert not any(secret in text for text in texts), secret
    assert json.loads((output_dir / "report.json").read_text(encoding="utf-8"))["inputs"]["t1"] == "DICOM series"
