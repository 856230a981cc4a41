import csv
import hashlib
import json
import re
import sys

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from command_line import terminate_at
from dicom_files import write_series
from stand_ins import of_arrays

from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.core.contract import STEP_ENDS
from InfantBrainSegLib.core.labels import TISSUES
from InfantBrainSegLib.networks import predictor as runner_module

STEPS = [step for step in STEP_ENDS if not step.endswith("round 3") and step != "refine"]  # which run only where they are asked for
OUTPUTS = ["brain_mask.nii.gz", "overview.png", "report.json", "segmentation.nii.gz", "volumes.csv"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def arguments(scan_files, weights_dir, output_dir, *more):
    t1, t2 = scan_files
    given = [
        "segment",
        "--t1",
        t1,
        "--t2",
        t2,
        "--output-dir",
        output_dir,
        "--weights",
        weights_dir,
        "--device",
        "cpu",
        "--extract",
        "off",
        *more,
    ]
    return [str(word) for word in given]


def save(image, path, **tags):
    for name, value in tags.items():
        getattr(image, f"Set{name}")(value)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def quick(monkeypatch):
    """A network that knows only that everything is GM, at once."""

    def all_gray(network, inputs, mask, config, device, progress=None):
        probabilities = np.full((4, *mask.shape), 0.1, np.float32)
        probabilities[2] = 0.7
        return probabilities

    monkeypatch.setattr(runner_module, "predict", of_arrays(all_gray))


def refused(argv, capsys):
    """Run a command that must fail; give its one line."""
    try:
        code = main(argv)
    except SystemExit as exit_:  # argparse
        code = exit_.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def test_segment_writes_exactly_five_files(scan_files, weights_dir, tmp_path, capsys):
    output_dir = tmp_path / "new" / "out"
    assert main(arguments(scan_files, weights_dir, output_dir)) == 0
    assert names(output_dir) == OUTPUTS
    assert names(tmp_path) == ["new"]
    labels, t1 = sitk.ReadImage(str(output_dir / "segmentation.nii.gz")), sitk.ReadImage(str(scan_files[0]))
    assert labels.GetPixelID() == sitk.sitkUInt8
    assert (labels.GetSize(), labels.GetSpacing(), labels.GetOrigin(), labels.GetDirection()) == (
        t1.GetSize(),
        t1.GetSpacing(),
        t1.GetOrigin(),
        t1.GetDirection(),
    )
    mask = sitk.ReadImage(str(output_dir / "brain_mask.nii.gz"))
    assert (mask.GetPixelID(), mask.GetSize(), mask.GetOrigin()) == (sitk.sitkUInt8, t1.GetSize(), labels.GetOrigin())
    assert set(np.unique(sitk.GetArrayFromImage(mask)).tolist()) == {0, 1}
    assert (sitk.GetArrayFromImage(labels)[sitk.GetArrayFromImage(mask) == 0] == 0).all()
    values = set(np.unique(sitk.GetArrayFromImage(labels)).tolist())
    assert values <= {0, 1, 2, 3}
    rows = list(csv.DictReader((output_dir / "volumes.csv").open(encoding="utf-8")))
    assert list(rows[0]) == ["tissue", "voxels", "volume_mm3", "volume_ml", "fraction", "mean_confidence"]
    assert [row["tissue"] for row in rows] == ["CSF", "GM", "WM"]
    report = json.loads((output_dir / "report.json").read_text(encoding="utf-8"))
    assert report["inputs"]["t1"] == {"kind": "image file", "sha256": hashlib.sha256(scan_files[0].read_bytes()).hexdigest()}
    assert list(report["seconds"]) == [*STEPS, "total"]
    assert "GM" in capsys.readouterr().out


def test_probability_files_are_written_when_asked_and_go_with_the_next_run(scan_files, weights_dir, tmp_path, quick):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(arguments(scan_files, weights_dir, tmp_path, "--save-probabilities")) == 0
    probabilities = [f"probability_{tissue}.nii.gz" for tissue in ("csf", "gm", "wm")]
    assert names(tmp_path) == sorted([*OUTPUTS, *probabilities, "notes.txt"])
    gray = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "probability_gm.nii.gz")))
    assert gray.max() == pytest.approx(0.7, abs=1e-3)
    assert main(arguments(scan_files, weights_dir, tmp_path)) == 0
    assert names(tmp_path) == sorted([*OUTPUTS, "notes.txt"])


def test_the_page_is_written_when_asked_and_goes_with_the_next_run(scan_files, weights_dir, tmp_path, quick):
    assert main(arguments(scan_files, weights_dir, tmp_path, "--html", "--age-months", "6")) == 0
    assert names(tmp_path) == sorted([*OUTPUTS, "report.html"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["outputs"]["report.html"] == hashlib.sha256(page.encode()).hexdigest()
    assert all(f"{volume['volume_ml']:.1f}</td>" in page for volume in report["volumes"])
    assert "age 6 months" in page
    assert page.count("data:image/png;base64,") == 1
    assert [word for word in (str(tmp_path), *map(str, scan_files), scan_files[0].name) if word in page] == []
    assert main(arguments(scan_files, weights_dir, tmp_path)) == 0
    assert names(tmp_path) == OUTPUTS


def test_an_edited_page_is_kept_by_the_next_run(scan_files, weights_dir, tmp_path, quick):
    assert main(arguments(scan_files, weights_dir, tmp_path, "--html")) == 0
    (tmp_path / "report.html").write_text("mine", encoding="utf-8")
    assert main(arguments(scan_files, weights_dir, tmp_path)) == 0
    (kept,) = tmp_path.glob("report.edited-*.html")
    assert kept.read_text(encoding="utf-8") == "mine"


def test_iseg_labels_are_0_10_150_250(scan_files, weights_dir, tmp_path, quick):
    assert main(arguments(scan_files, weights_dir, tmp_path, "--iseg-labels")) == 0
    assert np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "segmentation.nii.gz")))).tolist() == [0, 150]


def test_no_context_runs_the_first_stage_alone(scan_files, weights_dir, tmp_path, quick):
    assert main(arguments(scan_files, weights_dir, tmp_path, "--no-context")) == 0
    assert list(json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["weights"]) == ["fcn1"]


def test_progress_lines_are_one_json_object_a_line_and_nothing_else(scan_files, weights_dir, tmp_path, capsys, quick):
    assert main(arguments(scan_files, weights_dir, tmp_path, "--progress", "lines")) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(set(line) == {"step", "progress"} for line in lines)
    steps = list(dict.fromkeys(line["step"] for line in lines))
    assert steps == [*STEPS, "done"]
    assert lines[-1] == {"step": "done", "progress": 1.0}


def test_a_mask_on_another_grid_is_resampled(scan_files, weights_dir, tmp_path, quick):
    mask = phantoms.draw(phantoms.grid((2.0, 1.0, 1.7), phantoms.OBLIQUE)) > 0
    path = save(mask, tmp_path / "mask.nii.gz")
    assert main(arguments(scan_files, weights_dir, tmp_path / "out", "--mask", path)) == 0
    labelled = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "segmentation.nii.gz"))) > 0
    truth = sitk.GetArrayFromImage(phantoms.draw(phantoms.grid((1.5, 1.5, 1.5)))) > 0
    assert 2 * (labelled & truth).sum() / (labelled.sum() + truth.sum()) > 0.97


@pytest.mark.parametrize("extension", [".nrrd", ".mha", ".hdr"])
def test_other_formats_and_integer_voxels_are_read(phantom_scans, weights_dir, tmp_path, extension, quick):
    paths = [save(sitk.Cast(image, sitk.sitkInt16), tmp_path / f"{i}{extension}") for i, image in enumerate(phantom_scans)]
    assert main(arguments(paths, weights_dir, tmp_path / "out")) == 0
    assert names(tmp_path / "out") == OUTPUTS


def test_the_same_file_given_twice_is_warned_of(scan_files, weights_dir, tmp_path, capsys, quick):
    assert main(arguments([scan_files[0]] * 2, weights_dir, tmp_path)) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert "same_image" in [reason["code"] for reason in report["verdict"]["reasons"]]
    assert f"Warning: {report['warnings'][0]}" in capsys.readouterr().err.splitlines()


def test_swapped_t1_and_t2_are_warned_of(scan_files, weights_dir, tmp_path, capsys, quick):
    assert main(arguments(scan_files[::-1], weights_dir, tmp_path)) == 0
    assert "Warning: Contrasts: swapped" in capsys.readouterr().err


def edited_file(path, folder):
    """A copy of a segmentation in which a block of GM became WM; and where."""
    labels = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(labels)
    middle = tuple(slice(length // 2 - 2, length // 2 + 3) for length in values.shape)
    values[middle] = 3
    edited = sitk.GetImageFromArray(values)
    edited.CopyInformation(labels)
    return save(edited, folder / "edited.nii.gz"), middle


@pytest.mark.parametrize("given", [True, False])
def test_edited_labels_stay_and_the_report_tells_of_them(given, scan_files, weights_dir, tmp_path, capsys, quick):
    assert main(arguments(scan_files, weights_dir, tmp_path / "first")) == 0
    automatic = tmp_path / "first" / "segmentation.nii.gz"
    path, middle = edited_file(automatic, tmp_path)
    more = ["--automatic-labels", automatic] if given else []
    capsys.readouterr()
    assert main(arguments(scan_files, weights_dir, tmp_path / "out", "--edited-labels", path, *more)) == 0
    after = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "segmentation.nii.gz")))
    assert (after[middle] == 3).all()
    assert names(tmp_path / "out") == OUTPUTS
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["edits"]["fixed_voxels"], report["edits"]["automatic_labels"]) == (125, "given" if given else "computed again")
    assert report["inputs"]["edited_labels"] == {"kind": "image file", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert ("automatic_labels" in report["inputs"]) == given
    assert ("stage 1" in report["seconds"]) != given
    assert "125 edited voxels kept; " in capsys.readouterr().out


@pytest.mark.slow
def test_the_progress_of_a_refinement_never_falls(scan_files, weights_dir, tmp_path, capsys, quick):
    assert main(arguments(scan_files, weights_dir, tmp_path / "first")) == 0
    automatic = tmp_path / "first" / "segmentation.nii.gz"
    path, _ = edited_file(automatic, tmp_path)
    for more in ([], ["--automatic-labels", automatic]):
        capsys.readouterr()
        argv = arguments(scan_files, weights_dir, tmp_path / "out", "--edited-labels", path, "--progress", "lines", *more)
        assert main(argv) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        shares = [line["progress"] for line in lines]
        assert shares == sorted(shares)
        assert "refine" in [line["step"] for line in lines]


BAD_EDITED = {
    "another grid": (lambda labels: labels[:-1], "The edited labelmap lies on another grid"),
    "no labels": (lambda labels: labels * 7, "The edited labelmap holds the values 0, 14; wanted"),
    "not edited": (lambda labels: labels, "No voxel of the edited labelmap differs"),
}


@pytest.mark.parametrize("kind", BAD_EDITED)
def test_edited_labels_that_cannot_be_used_are_refused(kind, scan_files, weights_dir, tmp_path, capsys, quick):
    change, said = BAD_EDITED[kind]
    assert main(arguments(scan_files, weights_dir, tmp_path / "first")) == 0
    capsys.readouterr()
    path = save(change(sitk.ReadImage(str(tmp_path / "first" / "segmentation.nii.gz"))), tmp_path / "edited.nii.gz")
    assert said in refused(arguments(scan_files, weights_dir, tmp_path / "out", "--edited-labels", path), capsys)
    assert names(tmp_path) == ["edited.nii.gz", "first"]


def test_edited_labels_are_not_written_over(scan_files, weights_dir, tmp_path, capsys, quick):
    assert main(arguments(scan_files, weights_dir, tmp_path)) == 0
    before = (tmp_path / "segmentation.nii.gz").read_bytes()
    capsys.readouterr()
    said = refused(arguments(scan_files, weights_dir, tmp_path, "--edited-labels", tmp_path / "segmentation.nii.gz"), capsys)
    assert "The edited labelmap" in said
    assert (tmp_path / "segmentation.nii.gz").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--automatic-labels", "a.nii.gz"], "goes with --edited-labels"),
        (["--edited-labels", "a.nii.gz", "--no-context"], "leave one of them out"),
        (["--edited-labels", "a.nii.gz", "--check-only"], "leave --edited-labels out"),
    ],
)
def test_options_that_do_not_go_with_edited_labels_are_refused(more, said, scan_files, weights_dir, tmp_path, capsys):
    assert said in refused(arguments(scan_files, weights_dir, tmp_path / "out", *more), capsys)


def with_value(image, value):
    changed = sitk.Image(image)
    changed[5, 5, 5] = value
    return changed


BAD_T1 = {
    "empty": (lambda t1: t1 * 0, "empty"),
    "constant": (lambda t1: t1 * 0 + 7, "every voxel is 7"),
    "NaN": (lambda t1: with_value(t1, float("nan")), "NaN"),
    "infinite": (lambda t1: with_value(t1, float("inf")), "infinite"),
    "one slice": (lambda t1: t1[:, :, 10], "3D"),
    "several frames": (lambda t1: sitk.JoinSeries([t1, t1]), "2 frames"),
    "colour": (lambda t1: sitk.Compose(t1, t1, t1), "one number a voxel"),
    "little brain": (lambda t1: t1 * sitk.Cast(t1 > 115, t1.GetPixelID()), "ml of brain"),
}


@pytest.mark.parametrize("kind", BAD_T1)
def test_an_unusable_t1_gets_one_line_and_writes_nothing(kind, phantom_scans, scan_files, weights_dir, tmp_path, capsys):
    change, said = BAD_T1[kind]
    path = save(change(phantom_scans[0]), tmp_path / "bad.nii.gz")
    assert said in refused(arguments([path, scan_files[1]], weights_dir, tmp_path / "out"), capsys)
    assert names(tmp_path) == ["bad.nii.gz"]


@pytest.mark.parametrize("spacing_mm", [3.5, 1e6, 0.001])
def test_an_absurd_spacing_is_refused(spacing_mm, phantom_scans, scan_files, weights_dir, tmp_path, capsys):
    path = save(sitk.Image(phantom_scans[0]), tmp_path / "bad.nii.gz", Spacing=(1.0, 1.0, spacing_mm))
    assert "mm" in refused(arguments([path, scan_files[1]], weights_dir, tmp_path / "out"), capsys)
    assert names(tmp_path) == ["bad.nii.gz"]


@pytest.mark.parametrize("spacing_mm", ["0", "-1"])
def test_a_zero_or_negative_spacing_is_refused(spacing_mm, phantom_scans, scan_files, weights_dir, tmp_path, capsys):
    path = save(phantom_scans[0], tmp_path / "bad.mha")
    path.write_bytes(re.sub(rb"ElementSpacing = \S+", b"ElementSpacing = " + spacing_mm.encode(), path.read_bytes(), count=1))
    refused(arguments([path, scan_files[1]], weights_dir, tmp_path / "out"), capsys)
    assert names(tmp_path) == ["bad.mha"]


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_file_that_is_no_image_is_refused(content, scan_files, weights_dir, tmp_path, capsys):
    path = tmp_path / "bad.nii.gz"
    path.write_bytes(content)
    assert "T1 cannot be read as an image; wanted" in refused(arguments([path, scan_files[1]], weights_dir, tmp_path / "out"), capsys)
    assert names(tmp_path) == ["bad.nii.gz"]


def test_a_missing_file_is_refused(scan_files, weights_dir, tmp_path, capsys):
    assert "T2 does not exist" in refused(arguments([scan_files[0], tmp_path / "none.nii.gz"], weights_dir, tmp_path / "out"), capsys)
    assert names(tmp_path) == []


@pytest.mark.parametrize("more", [[], ["--check-only"]])
def test_a_terminal_shows_the_path_as_it_was_typed_and_a_program_that_listens_does_not(
    more, scan_files, weights_dir, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = ["segment", "--t1", str(scan_files[0]), "--t2", "./none.nii.gz", "--weights", str(weights_dir), "--output-dir", "out", *more]
    assert refused(given, capsys).endswith("check the path. (--t2 ./none.nii.gz)\n")
    assert main([*given, "--progress", "lines"]) == 2
    assert "none.nii.gz" not in "".join(capsys.readouterr())
    assert names(tmp_path) == []


def test_scans_that_do_not_overlap_are_refused(phantom_scans, scan_files, weights_dir, tmp_path, capsys):
    path = save(sitk.Image(phantom_scans[1]), tmp_path / "far.nii.gz", Origin=(900.0, 0.0, 0.0))
    assert "do not overlap" in refused(arguments([scan_files[0], path], weights_dir, tmp_path / "out"), capsys)
    assert names(tmp_path) == ["far.nii.gz"]


def test_an_empty_mask_is_refused(phantom_scans, scan_files, weights_dir, tmp_path, capsys):
    path = save(phantom_scans[0] > 1e6, tmp_path / "mask.nii.gz")
    assert "mask is empty" in refused(arguments(scan_files, weights_dir, tmp_path / "out", "--mask", path), capsys)
    assert names(tmp_path) == ["mask.nii.gz"]


def test_an_output_folder_that_is_a_file_or_lies_under_one_is_refused(scan_files, weights_dir, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    assert "is a file" in refused(arguments(scan_files, weights_dir, tmp_path / "taken"), capsys)
    assert "cannot be made" in refused(arguments(scan_files, weights_dir, tmp_path / "taken" / "out"), capsys)
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"
    assert names(tmp_path) == ["taken"]


@pytest.mark.parametrize(("device", "said"), [("tpu", "Unknown device"), ("cuda:99", "cuda:99"), ("cuda:-1", "Unknown device")])
def test_a_device_that_is_not_here_is_refused(device, said, scan_files, weights_dir, tmp_path, capsys):
    assert said in refused([*arguments(scan_files, weights_dir, tmp_path / "out"), "--device", device], capsys)
    assert names(tmp_path) == []


def test_damaged_weights_are_refused(scan_files, weights_dir, tmp_path, capsys):
    for path in weights_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "fcn2.pt").write_bytes((tmp_path / "fcn2.pt").read_bytes()[:-1])
    assert "damaged" in refused(arguments(scan_files, tmp_path, tmp_path / "out"), capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["segment"],
        ["segment", "--t1", "a"],
        ["dance"],
        ["segment", "--progress", "loud"],
        ["segment", "--t1", ""],
        ["segment", "--age-months", "nan"],
    ],
)
def test_wrong_arguments_get_one_line(argv, capsys):
    assert "--help" in refused(argv, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), KeyboardInterrupt()])
def test_a_run_that_breaks_off_late_leaves_the_former_result_alone(error, scan_files, weights_dir, tmp_path, capsys, monkeypatch, quick):
    assert main(arguments(scan_files, weights_dir, tmp_path)) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    capsys.readouterr()

    def break_off(*_):
        raise error

    monkeypatch.setattr("InfantBrainSegLib.outputs.overview.draw_overview", break_off)
    assert main(arguments(scan_files, weights_dir, tmp_path)) == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert capsys.readouterr().err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_a_terminated_process_tidies_up_and_exits_with_130(scan_files, weights_dir, tmp_path):
    argv = [*arguments(scan_files, weights_dir, tmp_path / "out"), "--progress", "lines"]
    assert terminate_at("stage 1", argv) == (130, "Error: Stopped; no result was written.\n")
    assert names(tmp_path) == []


def test_evaluate_prints_a_table_and_writes_json(tmp_path, capsys):
    path = save(phantoms.draw(phantoms.grid((2.0, 2.0, 2.0))), tmp_path / "a.nii.gz")
    argv = ["evaluate", "--prediction", path, "--reference", path, "--json", tmp_path / "scores.json"]
    assert main([str(word) for word in argv]) == 0
    assert capsys.readouterr().out.count("1.000") == 2 * len(TISSUES)  # Dice and volume ratio
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["tissues"]["WM"]["dice"] == 1.0


def test_evaluating_a_missing_file_is_refused(tmp_path, capsys):
    missing = str(tmp_path / "none.nii.gz")
    assert "does not exist" in refused(["evaluate", "--prediction", missing, "--reference", missing], capsys)


def test_synthesize_without_subjects_and_train_without_a_recipe_are_refused(tmp_path, capsys):
    assert "wanted 1 or more" in refused(["synthesize", "--output-dir", str(tmp_path / "out"), "--subjects", "0"], capsys)
    assert "none.json" in refused(["train", "--config", str(tmp_path / "none.json")], capsys)
    assert names(tmp_path) == []


@pytest.mark.parametrize("given", ["dicom", "dicom/1.dcm"])
@pytest.mark.parametrize("target", ["2.dcm", "slice.json"])
def test_json_never_replaces_a_slice_of_a_series(scan_files, tmp_path, capsys, given, target):
    series = write_series(tmp_path / "dicom", sitk.ReadImage(str(scan_files[0])))
    for path, name in zip(sorted(series.iterdir()), ("1.dcm", "2.dcm", "slice.json"), strict=False):
        path.rename(series / name)
    before = (series / target).read_bytes()
    t2 = str(scan_files[1])
    check = ["segment", "--check-only", "--t1", str(tmp_path / given), "--t2", t2, "--json", str(series / target)]
    assert "is an input" in refused(check, capsys)
    assert (series / target).read_bytes() == before


def test_json_never_replaces_an_input(scan_files, tmp_path, capsys):
    label = save(phantoms.draw(phantoms.grid((2.0, 2.0, 2.0))), tmp_path / "a.nii.gz")
    before = label.read_bytes()
    evaluate = ["evaluate", "--prediction", str(label), "--reference", str(label), "--json", str(label)]
    assert "is an input" in refused(evaluate, capsys)
    (tmp_path / "link.json").symlink_to(label)
    check = ["segment", "--check-only", "--t1", str(label), "--t2", str(scan_files[1]), "--json", str(tmp_path / "link.json")]
    assert "is an input" in refused(check, capsys)
    assert label.read_bytes() == before


def test_json_may_replace_an_earlier_one_in_the_folder_it_tells_of(tmp_path, capsys):
    save(phantoms.draw(phantoms.grid((2.8, 2.8, 2.8))), tmp_path / "a.nii.gz")
    argv = ["evaluate", "--prediction", str(tmp_path), "--reference", str(tmp_path), "--json", str(tmp_path / "scores.json")]
    assert [main(argv), main(argv)] == [0, 0]


def test_a_scan_at_the_place_of_a_result_is_refused(scan_files, weights_dir, tmp_path, capsys):
    t1 = tmp_path / "segmentation.nii.gz"
    t1.write_bytes(scan_files[0].read_bytes())
    assert "T1 lies in the output folder" in refused(arguments([t1, scan_files[1]], weights_dir, tmp_path), capsys)
    assert names(tmp_path) == [t1.name]


@pytest.mark.slow
def test_labels_that_someone_edited_are_kept_when_the_scan_is_segmented_again(scan_files, weights_dir, tmp_path, capsys, quick):
    assert main(arguments(scan_files, weights_dir, tmp_path)) == 0
    assert main(arguments(scan_files, weights_dir, tmp_path)) == 0
    assert names(tmp_path) == OUTPUTS
    edited = sitk.ReadImage(str(tmp_path / "segmentation.nii.gz"))
    edited[3, 3, 3] = 1
    content = save(edited, tmp_path / "segmentation.nii.gz").read_bytes()
    assert main(arguments(scan_files, weights_dir, tmp_path)) == 0
    (aside,) = tmp_path.glob("segmentation.edited-*.nii.gz")
    assert aside.read_bytes() == content
    assert aside.name in capsys.readouterr().err
    assert main(arguments(scan_files, weights_dir, tmp_path)) == 0
    assert names(tmp_path) == sorted([*OUTPUTS, aside.name])


@pytest.mark.parametrize("option", ["--output-dir", "--json"])
def test_an_empty_output_path_is_refused(option, capsys):
    assert "the path is empty" in refused(["segment", "--t1", "a.nii", option, ""], capsys)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name themselves")
@pytest.mark.parametrize("place", ["scan", "DICOM folder", "output"])
def test_a_path_that_is_not_utf_8_is_refused_in_one_line(place, scan_files, weights_dir, tmp_path, capsys):
    strange = tmp_path / "\udcff.nii.gz"
    scans, output_dir = list(scan_files), tmp_path / "out"
    if place == "output":
        output_dir = strange
    elif place == "scan":
        strange.write_bytes(scan_files[0].read_bytes())
        scans[0] = strange
    else:
        strange.write_bytes(bytes(128) + b"DICM")
        scans[0] = tmp_path
    assert "not UTF-8" in refused(arguments(scans, weights_dir, output_dir), capsys)


def test_without_vtk_all_but_the_picture_is_written_with_a_warning(scan_files, weights_dir, tmp_path, capsys, monkeypatch, quick):
    monkeypatch.setitem(sys.modules, "vtkmodules.vtkRenderingFreeType", None)
    assert main(arguments(scan_files, weights_dir, tmp_path)) == 0
    assert names(tmp_path) == [name for name in OUTPUTS if name != "overview.png"]
    assert "VTK cannot be loaded" in capsys.readouterr().err
    assert "VTK" in json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["warnings"][-1]
