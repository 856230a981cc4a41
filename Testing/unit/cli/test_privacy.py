"""What names a patient, in headers, folders or files, is in no output, no message and no log line."""

import gzip
import json

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from command_line import cohort
from dicom_files import PATIENT, PATIENT_ID, SECRETS, write_series
from stand_ins import of_arrays

from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.networks import predictor as runner_module

GRID = (2.0, 2.0, 2.0)
NIFTI_TEXTS = {14: 18, 148: 80, 228: 24, 328: 16}  # db_name, descrip, aux_file, intent_name: where they begin, their bytes


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A network that knows only that everything is GM, at once."""

    def all_gray(network, inputs, mask, config, device, progress=None):
        probabilities = np.full((4, *mask.shape), 0.1, np.float32)
        probabilities[2] = 0.7
        return probabilities

    monkeypatch.setattr(runner_module, "predict", of_arrays(all_gray))


def scan(levels):
    return phantoms.noisy(phantoms.draw(phantoms.grid(GRID, phantoms.OBLIQUE), levels), deviation=2.0)


@pytest.fixture
def exam(tmp_path):
    """Two series in folders that are called after the patient, with descriptions that name her."""
    folder = tmp_path / PATIENT / PATIENT_ID
    for number, (name, levels) in enumerate((("T1", phantoms.T1_LEVELS), ("T2", phantoms.T2_LEVELS)), 1):
        write_series(folder / name, scan(levels), f"1.2.3.4.{number}", f"{name} {PATIENT_ID}")
    return folder


@pytest.fixture
def files(tmp_path):
    """T1, T2 and mask whose names, folders and headers name the patient."""
    folder = tmp_path / "Wunderlich Mathilda"
    folder.mkdir()
    paths = []
    for name, image in (("T1", scan(phantoms.T1_LEVELS)), ("T2", scan(phantoms.T2_LEVELS)), ("mask", scan(phantoms.T1_LEVELS) > 0)):
        path = folder / f"Mathilda_{name}.nii"
        sitk.WriteImage(image, str(path))
        content = bytearray(path.read_bytes())
        for start, length in NIFTI_TEXTS.items():
            content[start : start + length] = PATIENT.encode()[: length - 1].ljust(length, b"\0")
        path.write_bytes(content)
        paths.append(path)
    return paths


def common(weights_dir, output_dir):
    return ["--output-dir", str(output_dir), "--weights", str(weights_dir), "--device", "cpu", "--extract", "off", "--progress", "lines"]


def assert_silent(output_dir, said):
    """Look for the patient in all that was written, names included, and in all that was printed."""
    written = sorted(path for path in output_dir.rglob("*") if path.is_file())
    assert written
    texts = [said]
    for path in written:
        content = path.read_bytes()
        texts.append((gzip.decompress(content) if path.suffix == ".gz" else content).decode("latin-1"))
        texts.append(path.relative_to(output_dir).as_posix())
    for secret in SECRETS:
        assert not [text for text in texts if secret.lower() in text.lower()], secret


@pytest.mark.parametrize(
    "more", [[], ["--save-probabilities", "--html", "--align", "auto", "--bias-correction", "on"]], ids=["plain", "all"]
)
def test_of_a_dicom_folder_nothing_reaches_outputs_or_terminal(exam, weights_dir, tmp_path, capfd, more):
    given = ["--t1", str(exam / "T1"), "--t2", str(exam / "T2"), *more]
    assert main(["segment", *given, *common(weights_dir, tmp_path / "out")]) == 0
    assert_silent(tmp_path / "out", "".join(capfd.readouterr()))
    report = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
    assert report["inputs"]["t1"]["kind"] == "DICOM series"
    assert len(report["inputs"]["t2"]["sha256"]) == 64


def test_of_image_files_neither_path_nor_name_nor_header_reaches_outputs_or_terminal(files, weights_dir, tmp_path, capfd):
    t1, t2, mask = files
    assert sitk.ReadImage(str(t1)).GetMetaData("descrip") == PATIENT
    given = ["--t1", str(t1), "--t2", str(t2), "--mask", str(mask), "--save-probabilities", "--html"]
    assert main(["segment", *given, *common(weights_dir, tmp_path / "out")]) == 0
    assert_silent(tmp_path / "out", "".join(capfd.readouterr()))
    assert list(json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))["inputs"]) == ["t1", "t2", "mask"]


@pytest.mark.slow
def test_of_a_batch_nothing_reaches_outputs_or_terminal(exam, files, weights_dir, tmp_path, capfd):
    t1, t2, mask = files
    (exam / "T1 cut").mkdir()
    slices = sorted((exam / "T1").iterdir())
    for path in slices[:5] + slices[7:]:
        (exam / "T1 cut" / path.name).write_bytes(path.read_bytes())
    rows = [
        f"ok,{exam / 'T1'},{exam / 'T2'},",
        f"files,{t1},{t2},{mask}",
        f"cut,{exam / 'T1 cut'},{exam / 'T2'},",
        f"absent,{exam / 'T3'},{exam / 'T2'},",
        f"broken,{t1},{mask.parent / 'Mathilda.hdr'},",
        f"maskless,{t1},{t2},{exam}",
    ]
    (mask.parent / "Mathilda.hdr").write_bytes(b"none")
    (tmp_path / "list.csv").write_text("\n".join(["subject,t1,t2,mask", *rows]))
    assert main(["batch", "--input", str(tmp_path / "list.csv"), *common(weights_dir, tmp_path / "out")]) == 3
    assert [row["status"] for row in cohort(tmp_path / "out").values()] == ["ok", "ok", "failed", "failed", "failed", "failed"]
    assert_silent(tmp_path / "out", "".join(capfd.readouterr()))


def whole_exam(exam):
    return exam, "has 2 series"


def other_files(exam):
    (exam / "letters").mkdir()
    (exam / "letters" / f"{PATIENT}.txt").write_text(PATIENT)
    return exam / "letters", "no DICOM image among its 1 files"


def damaged(exam):
    for path in (exam / "T1").iterdir():
        path.write_bytes(path.read_bytes()[:2000])
    return exam / "T1", "DICOM files of T1 can be read as an image|cannot be read"


def missing(exam):
    return exam / "T9", "does not exist"


def no_image(exam):
    (exam / "T1/SR000001").write_bytes(bytes(128) + b"DICM")
    return exam / "T1/SR000001", "holds no image"


def list_of_a_disc(exam):
    (exam / "T1/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    return exam / "T1/DICOMDIR", "is a DICOMDIR"


def file_of_another_kind(exam):
    return (exam / "T1/report.pdf"), "unknown extension"


@pytest.mark.parametrize("make", [whole_exam, other_files, damaged, missing, no_image, list_of_a_disc, file_of_another_kind])
@pytest.mark.parametrize("command", ["segment", "check"])
def test_a_refusal_does_not_name_the_patient(make, command, exam, weights_dir, tmp_path, capfd):
    (exam / "T1/report.pdf").write_bytes(b"%PDF")
    path, wanted = make(exam)
    more = ["--check-only"] if command == "check" else []
    assert main(["segment", "--t1", str(path), "--t2", str(exam / "T2"), *common(weights_dir, tmp_path / "out"), *more]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert any(words in said for words in wanted.split("|"))
    for secret in SECRETS[:-1]:  # a series' UID is told where one has to be chosen
        assert secret.lower() not in said.lower()
    assert not (tmp_path / "out").exists()
