import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from label_maps import folded_codes

from InfantBrainSegLib.core.errors import InputError, TrainingError
from InfantBrainSegLib.imaging.space import centered_image
from InfantBrainSegLib.training.simulation.labelmaps import (
    AIR,
    CORTEX,
    EARLY_DEEP_GM,
    OUTER_CSF,
    VENTRICLE,
    WHITE,
    build_pack,
    checksums,
    is_made_of,
    load_pack,
    read_label_map,
)


def test_codes_become_synthesis_classes_without_the_cerebellum(label_map):
    counts = np.bincount(label_map.classes.ravel(), minlength=7)
    codes = folded_codes()
    assert counts[WHITE] == (codes == 2).sum()
    assert counts[CORTEX] == (codes == 3).sum()
    assert counts[EARLY_DEEP_GM] == (codes == 10).sum()
    assert counts[VENTRICLE] == (codes == 4).sum()
    assert counts[OUTER_CSF] > 0


def test_a_map_in_another_orientation_gives_the_same_classes(label_map, tmp_path):
    turned = sitk.DICOMOrient(centered_image(folded_codes()), "PIR")
    sitk.WriteImage(turned, str(tmp_path / "turned.nii.gz"))
    assert np.array_equal(read_label_map(tmp_path / "turned.nii.gz").classes, label_map.classes)


def test_csf_is_grown_where_the_map_has_none(tmp_path):
    codes = folded_codes()
    codes[codes == 24] = 0
    sitk.WriteImage(centered_image(codes), str(tmp_path / "infant.nii.gz"))
    label_map = read_label_map(tmp_path / "infant.nii.gz")
    assert (label_map.classes == OUTER_CSF).sum() > 5000
    assert label_map.gap[label_map.classes == OUTER_CSF].min() > 0


def test_depth_and_gap_are_in_tenths_of_a_mm(label_map):
    assert label_map.depth[label_map.classes == WHITE].min() == 10
    assert label_map.depth[label_map.classes != WHITE].max() == 0
    assert label_map.gap[label_map.classes >= VENTRICLE].max() == 0


def test_our_own_labels_are_read_too(tmp_path):
    codes = folded_codes()
    labels = np.select([codes == 2, np.isin(codes, (3, 10, 11)), np.isin(codes, (24, 4))], [3, 2, 1], 0)
    sitk.WriteImage(centered_image(labels.astype(np.uint8)), str(tmp_path / "label.nii.gz"))
    classes = read_label_map(tmp_path / "label.nii.gz").classes
    assert set(np.unique(classes)) == {AIR, OUTER_CSF, CORTEX, WHITE}


def test_a_pack_holds_what_was_read(label_map, label_map_folder, tmp_path):
    assert build_pack(label_map_folder, tmp_path / "pack.npz") == ["adult_01", "adult_15"]
    loaded = load_pack(tmp_path / "pack.npz", lambda name: name == "adult_01")
    assert [m.name for m in loaded] == ["adult_01"]
    for field in ("classes", "outside", "depth", "gap"):
        assert np.array_equal(getattr(loaded[0], field), getattr(label_map, field))


def test_an_image_that_is_no_label_map_is_refused(tmp_path):
    sitk.WriteImage(centered_image(np.full((8, 8, 8), 77, np.int32)), str(tmp_path / "noise.nii.gz"))
    with pytest.raises(TrainingError, match="noise"):
        read_label_map(tmp_path / "noise.nii.gz")


def test_nothing_wanted_in_a_pack_is_an_error(label_map_folder, tmp_path):
    build_pack(label_map_folder, tmp_path / "pack.npz")
    with pytest.raises(TrainingError, match="adult_01"):
        load_pack(tmp_path / "pack.npz", lambda name: False)


def test_a_pack_knows_the_maps_that_it_was_made_of(label_map_folder, tmp_path):
    folder, pack = tmp_path / "maps", tmp_path / "pack.npz"
    shutil.copytree(label_map_folder, folder)
    assert not is_made_of(pack, checksums(folder))
    build_pack(folder, pack)
    assert is_made_of(pack, checksums(folder))
    assert is_made_of(pack, checksums(label_map_folder))
    shutil.copy(folder / "adult_01.nii.gz", folder / "adult_02.nii.gz")
    assert not is_made_of(pack, checksums(folder))
    (folder / "adult_02.nii.gz").unlink()
    sitk.WriteImage(centered_image(folded_codes(50)), str(folder / "adult_01.nii.gz"))
    assert not is_made_of(pack, checksums(folder))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "one array", "of heads", "of large codes", "text"])
def test_a_damaged_pack_or_one_of_another_kind_is_refused_in_one_line(label_map_folder, tmp_path, damage):
    pack = tmp_path / "pack.npz"
    build_pack(label_map_folder, pack)
    whole = pack.read_bytes()
    if damage == "truncated":
        pack.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        pack.write_bytes(whole[:2000] + bytes(200) + whole[2200:])
    elif damage == "text":
        pack.write_bytes(b"adult_01 adult_15")
    else:
        cube = np.full((4, 4, 4), 99 if damage == "of large codes" else 1, np.uint8)
        fields = ("classes", "target") if damage == "of heads" else ("classes", "outside", "depth", "gap")
        with pack.open("wb") as file:
            np.save(file, cube) if damage == "one array" else np.savez(file, **{f"adult_01.{field}": cube for field in fields})
    with pytest.raises(TrainingError, match=r"pack.npz is damaged or of another kind.*remove it, and name the folder") as error:
        load_pack(pack)
    assert "\n" not in str(error.value)


def test_a_truncated_pack_is_made_anew_where_its_maps_are_named(label_map_folder, tmp_path):
    pack = tmp_path / "pack.npz"
    build_pack(label_map_folder, pack)
    assert is_made_of(pack, checksums(label_map_folder))
    pack.write_bytes(pack.read_bytes()[:-100])
    assert not is_made_of(pack, checksums(label_map_folder))


def test_a_damaged_label_map_is_refused_by_name(label_map_folder, tmp_path):
    (tmp_path / "adult_01.nii.gz").write_bytes((label_map_folder / "adult_01.nii.gz").read_bytes()[:500])
    with pytest.raises(InputError, match=r"adult_01.nii.gz .*"):
        read_label_map(tmp_path / "adult_01.nii.gz")
