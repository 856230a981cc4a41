import json
import statistics

import numpy as np
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.core.labels import TISSUES, to_iseg
from InfantBrainSegLib.evaluation.evaluate import cohort_table, evaluate_files, evaluate_folders, run_evaluate


def labelled(csf=0, gm=0, wm=0):
    """(Z, Y, X) with so many voxels of each tissue."""
    labels = np.zeros((4, 5, 6), np.uint8)
    labels.flat[:csf], labels.flat[40 : 40 + gm], labels.flat[80 : 80 + wm] = 1, 2, 3
    return labels


def save(array, path, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def pair(tmp_path):
    prediction = save(labelled(csf=4, gm=6, wm=3), tmp_path / "p.nii.gz")
    reference = save(labelled(csf=4, gm=2, wm=3), tmp_path / "r.nii.gz")
    return prediction, reference


def test_two_files_give_a_table_and_the_same_figures_as_json(pair, tmp_path):
    table = run_evaluate(*pair, None, tmp_path / "out.json")
    lines = table.splitlines()
    assert [line.split()[0] for line in lines][:4] == ["tissue", "CSF", "GM", "WM"]
    assert lines[2].split()[1] == "0.500"  # 2·2 / (6 + 2)
    report = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert report["tissues"]["CSF"]["dice"] == 1
    assert report["tissues"]["GM"]["dice"] == 0.5
    assert report["tissues"]["WM"]["hausdorff_mm"] == 0


def test_spacing_follows_the_axes_of_the_file(tmp_path):
    prediction, reference = labelled(), labelled()
    prediction[0, 0, 0] = reference[0, 0, 2] = 1  # two voxels along x
    prediction[0, 4, 0] = reference[3, 4, 0] = 2  # three along z
    spacing = (0.5, 1.0, 2.0)
    scores = evaluate_files(save(prediction, tmp_path / "p.nii.gz", spacing), save(reference, tmp_path / "r.nii.gz", spacing))
    assert scores["CSF"].hausdorff_mm == pytest.approx(2 * 0.5)
    assert scores["GM"].hausdorff_mm == pytest.approx(3 * 2.0)


def test_iseg_values_and_ours_compare_as_equal(pair, tmp_path):
    _, reference = pair
    prediction = save(to_iseg(labelled(csf=4, gm=2, wm=3)), tmp_path / "iseg.hdr")
    assert all(score.dice == 1 for score in evaluate_files(prediction, reference).values())


def test_other_values_are_refused_with_the_name_of_the_file(pair, tmp_path):
    odd = save(labelled(csf=3) * 7, tmp_path / "odd.nii.gz")
    with pytest.raises(InputError, match=r"odd\.nii\.gz: The labelmap holds the values 0, 7"):
        evaluate_files(odd, pair[1])


@pytest.mark.parametrize("geometry", [{"spacing": (1, 1, 1.1)}, {"origin": (0, 3, 0)}])
def test_another_geometry_is_refused_in_one_line(pair, tmp_path, geometry):
    moved = save(labelled(csf=4), tmp_path / "moved.nii.gz", **geometry)
    with pytest.raises(InputError, match="wanted one grid") as caught:
        run_evaluate(moved, pair[1], None, tmp_path / "out.json")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.json").exists()


def test_another_size_is_refused_with_both_sizes(pair, tmp_path):
    larger = save(np.zeros((4, 5, 7), np.uint8), tmp_path / "larger.nii.gz")
    with pytest.raises(InputError, match=r"7×5×4 voxels .* 6×5×4 voxels"):
        evaluate_files(larger, pair[1])


def test_a_mask_file_restricts_both_sides(pair, tmp_path):
    inside = np.zeros((4, 5, 6), np.uint8)
    inside.flat[40:43] = 1  # 3 predicted and 2 wanted voxels of GM
    scores = evaluate_files(*pair, save(inside, tmp_path / "m.nii.gz"))
    assert scores["GM"].dice == pytest.approx(2 * 2 / (3 + 2))
    assert scores["WM"].note == "absent from the prediction and the reference"


def test_an_empty_mask_is_refused(pair, tmp_path):
    with pytest.raises(InputError, match=r"mask .* is empty"):
        evaluate_files(*pair, save(np.zeros((4, 5, 6), np.uint8), tmp_path / "m.nii.gz"))


def test_a_distance_that_does_not_exist_is_null_in_json_and_said_so_in_the_table(pair, tmp_path):
    no_wm = save(labelled(csf=4, gm=2), tmp_path / "no_wm.nii.gz")
    table = run_evaluate(no_wm, pair[1], None, tmp_path / "out.json")
    assert "absent from the prediction" in table
    wm = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["tissues"]["WM"]
    assert wm["dice"] == 0
    assert wm["average_surface_distance_mm"] is None


@pytest.fixture
def cohort(tmp_path):
    for name, gm in (("a", 2), ("b", 6), ("c", 0)):
        save(labelled(csf=4, gm=2, wm=3), tmp_path / "reference" / f"{name}.nii.gz")
        save(labelled(csf=4, gm=gm, wm=3), tmp_path / "prediction" / f"{name}.nii.gz")
    return tmp_path / "prediction", tmp_path / "reference"


def test_two_folders_give_each_subject_and_the_mean_and_sd(cohort, tmp_path):
    table = run_evaluate(*cohort, None, tmp_path / "out.json")
    gm = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["summary"]["GM"]
    values = [1, 0.5, 0]
    assert gm["dice"]["mean"] == pytest.approx(statistics.mean(values))
    assert gm["dice"]["sd"] == pytest.approx(statistics.stdev(values))
    assert gm["dice"]["subjects"] == 3
    assert gm["hausdorff_mm"]["subjects"] == 2
    lines = table.splitlines()
    assert len(lines) == 1 + (3 + 1) * len(TISSUES)
    [row] = [line for line in lines[-len(TISSUES) :] if "GM" in line.split()]
    assert "0.500 (0.500)" in row
    assert "without 1 of 3 subjects" in row


def test_one_subject_has_a_mean_and_no_sd(pair, tmp_path):
    assert "1.000 (-)" in cohort_table({"only": evaluate_files(*pair)})


def test_formats_may_differ_and_folders_written_by_segment_match_by_the_subject(cohort):
    predictions, references = cohort
    (predictions / "a.nii.gz").unlink()
    save(labelled(csf=4, gm=2, wm=3), predictions / "a.hdr")  # and a.img
    (predictions / "b.nii.gz").unlink()
    save(labelled(csf=4, gm=2, wm=3), predictions / "b" / "segmentation.nii.gz")
    (predictions / "notes.txt").write_text("not an image")
    found = evaluate_folders(predictions, references)
    assert list(found) == ["a", "b", "c"]
    assert found["a"]["GM"].dice == found["b"]["GM"].dice == 1


def test_a_reference_without_prediction_is_refused(cohort):
    (cohort[0] / "b.nii.gz").unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 3 names \(b\)"):
        run_evaluate(*cohort)


def test_two_files_of_one_name_are_refused(cohort):
    save(labelled(), cohort[0] / "a.nrrd")
    with pytest.raises(InputError, match="have one name"):
        run_evaluate(*cohort)


def test_a_folder_without_images_is_refused(cohort, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        run_evaluate(cohort[0], tmp_path / "empty")


def test_a_folder_of_masks_is_matched_by_name(cohort, tmp_path):
    inside = np.zeros((4, 5, 6), np.uint8)
    inside.flat[40:43] = 1
    for name in "abc":
        save(inside, tmp_path / "masks" / f"{name}.nii.gz")
    assert evaluate_folders(*cohort, tmp_path / "masks")["b"]["GM"].dice == pytest.approx(0.8)


def test_files_and_folders_mixed_are_refused(pair, cohort):
    with pytest.raises(InputError, match="Files and folders are mixed"):
        run_evaluate(pair[0], cohort[1])


def test_a_missing_file_is_refused(pair, tmp_path):
    with pytest.raises(InputError, match=r"prediction .*nothing\.nii\.gz does not exist"):
        run_evaluate(tmp_path / "nothing.nii.gz", pair[1])
