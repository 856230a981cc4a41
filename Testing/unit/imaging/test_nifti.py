import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.files import index_to_physical, read_image, read_with_warnings, write_image
from InfantBrainSegLib.imaging.inputs import Input, read_input
from InfantBrainSegLib.imaging.resample import on_grid_of

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
VALUES = np.random.default_rng(0).integers(0, 900, (6, 7, 8)).astype(np.int16)
PLAIN = nib.affines.from_matvec(np.diag([0.9, 1.0, 1.2]), (-3.0, -5.0, 2.0))


def turned(degrees, shift=(0, 0, 0), affine=PLAIN):
    turn = nib.eulerangles.euler2mat(np.deg2rad(degrees))
    return nib.affines.from_matvec(turn, shift) @ affine


def save(path, values=VALUES, affine=PLAIN, codes=(1, 1), qform=None, kind=nib.Nifti1Image):
    """Write with nibabel; codes are the sform's and the qform's."""
    image = kind(values, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine if qform is None else qform, codes[1])
    nib.save(image, path)
    return path


def assert_read_as_nibabel_does(path):
    wanted, image = nib.load(path), read_image(path)
    np.testing.assert_allclose(sitk.GetArrayFromImage(image).T, wanted.get_fdata().reshape(wanted.shape[:3]), rtol=1e-6)
    np.testing.assert_allclose(RAS @ index_to_physical(image), wanted.affine, atol=1e-5)
    return image


def patch(path, at, layout, *values):
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, at, *values)
    path.write_bytes(content)
    return path


def test_each_of_two_files_of_one_stem_gives_its_own_voxels_and_checksum(tmp_path):
    packed = save(tmp_path / "T1.nii.gz")
    plain = save(tmp_path / "T1.nii", VALUES[::-1].copy(), turned(20))
    save(tmp_path / "T1.img", VALUES[:, ::-1].copy(), turned(40), kind=nib.Nifti1Pair)
    for path in (packed, plain, tmp_path / "T1.hdr", tmp_path / "T1.img"):
        np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(path)).T, np.asarray(nib.load(path).dataobj))
        np.testing.assert_allclose(RAS @ index_to_physical(read_image(path)), nib.load(path).affine, atol=1e-5)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image], ids=["NIfTI-1", "NIfTI-2"])
def test_a_packed_file_with_a_plain_name_and_a_plain_one_with_a_packed_name_are_read(tmp_path, kind):
    plain, packed = save(tmp_path / "plain.nii", kind=kind, affine=turned(9)), save(tmp_path / "packed.nii.gz", kind=kind, affine=turned(9))
    for source, name in ((plain, "a.nii.gz"), (packed, "b.nii"), (plain, "C.NII.GZ"), (packed, "D.NII")):
        path = tmp_path / name
        path.write_bytes(source.read_bytes())
        image = read_image(path)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, VALUES)
        np.testing.assert_allclose(RAS @ index_to_physical(image), nib.load(plain).affine, atol=1e-5)


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
def test_number_types_and_byte_orders_are_read(tmp_path, kind, order):
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(order + kind)
    nib.save(nib.Nifti1Image((VALUES % 100).astype(order + kind), turned(9), header), tmp_path / "a.nii.gz")
    assert_read_as_nibabel_does(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(("slope", "inter"), [(0.0125, -3.0), (-1.0, 900.0), (0.0, 100.0), (np.nan, np.nan), (1.0, 0.0)])
def test_a_scaled_file_is_read_as_nibabel_does(tmp_path, slope, inter):
    assert_read_as_nibabel_does(patch(save(tmp_path / "a.nii"), 112, "<2f", slope, inter))


def test_a_pair_is_read_packed_or_not_and_sheared(tmp_path):
    shear = PLAIN.copy()
    shear[0, 1] = 0.2
    save(tmp_path / "a.img", affine=shear, kind=nib.Nifti1Pair)
    image = read_image(tmp_path / "a.hdr")
    np.testing.assert_allclose(RAS @ index_to_physical(image), shear, atol=1e-5)
    (tmp_path / "a.img.gz").write_bytes(gzip.compress((tmp_path / "a.img").read_bytes()))
    (tmp_path / "a.img").unlink()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(tmp_path / "a.hdr")).T, VALUES)


def test_several_packed_parts_and_rubbish_behind_them_are_read(tmp_path):
    content = save(tmp_path / "a.nii").read_bytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content[:300]) + gzip.compress(content[300:]) + b"rubbish of an upload" * 9)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(path)).T, VALUES)


def test_a_wrong_checksum_is_refused_whatever_the_name(tmp_path):
    content = bytearray(gzip.compress(save(tmp_path / "a.nii").read_bytes(), 0))
    content[-100] ^= 1  # within a stored block: it unpacks well
    for name in ("a.nii.gz", "b.nii"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as an image"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_plain_file_that_is_cut_off_is_refused_whatever_its_name(tmp_path, name):
    content = save(tmp_path / "whole.nii").read_bytes()
    (tmp_path / name).write_bytes(content[:-1])
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(tmp_path / name)


def test_a_header_that_says_far_more_than_the_file_holds_is_refused_before_memory_is_taken(tmp_path, monkeypatch):
    path = patch(save(tmp_path / "a.nii"), 42, "<3h", 30000, 30000, 30000)
    monkeypatch.setattr(np, "empty", None)
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(path)


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (4, 2), (2, 0), (0, 1), (0, 4)])
def test_the_sform_is_followed_where_its_code_is_above_zero_and_else_the_qform(tmp_path, codes):
    path = save(tmp_path / "a.nii.gz", affine=turned(4, (1, -7, 6)), codes=codes, qform=turned(15, (12, -8, 20)))
    assert_read_as_nibabel_does(path)
    image, warnings = read_with_warnings(path, "T1")
    assert len(warnings) == (codes[0] > 0 and codes[1] > 0)
    assert all("T1 is placed in two ways, up to" in warning for warning in warnings)
    assert read_input(Input("t1", path))[1].warnings == tuple(warnings)
    assert image.GetSize() == (6, 7, 8)


def test_a_left_handed_qform_is_followed(tmp_path):
    mirrored = turned(15) @ np.diag([1, 1, -1, 1])
    assert_read_as_nibabel_does(save(tmp_path / "a.nii", affine=mirrored, codes=(0, 1)))


def test_no_codes_at_all_are_read_as_nibabel_does_with_a_warning(tmp_path):
    path = save(tmp_path / "a.nii", codes=(0, 0))
    assert_read_as_nibabel_does(path)
    (warning,) = read_with_warnings(path, "T1")[1]
    assert "does not say where left, right" in warning


def test_an_analyze_file_is_read_as_nibabel_does(tmp_path):
    image = nib.AnalyzeImage(VALUES, np.diag([-1.0, 1.0, 1.2, 1.0]))
    nib.save(image, tmp_path / "a.img")
    found = read_image(tmp_path / "a.hdr")
    wanted = nib.AnalyzeImage.from_filename(tmp_path / "a.img")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found).T, np.asarray(wanted.dataobj))
    np.testing.assert_allclose(RAS @ index_to_physical(found), wanted.affine, atol=1e-5)


def test_a_negative_pixdim_beside_a_good_sform_is_read(tmp_path):
    path = patch(save(tmp_path / "a.nii"), 80, "<f", -0.9)
    np.testing.assert_allclose(RAS @ index_to_physical(read_image(path)), PLAIN, atol=1e-5)


@pytest.mark.parametrize(("unit", "factor"), [(1, 0.001), (3, 1000.0), (2, 1.0), (0, 1.0)])
def test_lengths_in_meters_and_micrometers_become_mm(tmp_path, unit, factor):
    path = patch(save(tmp_path / "a.nii", affine=np.diag([factor, factor, factor, 1]) @ turned(9)), 123, "<B", unit)
    image, warnings = read_with_warnings(path)
    np.testing.assert_allclose(RAS @ index_to_physical(image), turned(9), atol=1e-4)
    assert warnings == []


def test_a_unit_that_can_not_be_is_not_followed(tmp_path):
    image, (warning,) = read_with_warnings(patch(save(tmp_path / "a.nii"), 123, "<B", 3))
    np.testing.assert_allclose(RAS @ index_to_physical(image), PLAIN, atol=1e-5)
    assert "micrometers, which cannot be" in warning


@pytest.mark.parametrize("codes", [(2, 1), (1, 1), (2, 0), (0, 1), (0, 0), (4, 2)])
@pytest.mark.parametrize("output", ["out.nii.gz", "out.nii"])
def test_a_result_has_both_transforms_and_codes_of_its_scan(tmp_path, codes, output):
    path = save(tmp_path / "T1.nii.gz", affine=turned(4, (1, -7, 6)), codes=codes, qform=turned(15, (12, -8, 20)))
    labels = on_grid_of(read_image(path), (VALUES.T > 400).astype(np.uint8).copy())
    write_image(labels, tmp_path / output)
    scan, found = nib.load(path), nib.load(tmp_path / output)
    np.testing.assert_array_equal(np.asarray(found.dataobj), VALUES > 400)
    np.testing.assert_array_equal(found.affine, scan.affine)
    for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d", "xyzt_units"):
        np.testing.assert_array_equal(found.header[field], scan.header[field])
    for field in ("qoffset_x", "qoffset_y", "qoffset_z"):
        assert found.header[field] == scan.header[field]
    np.testing.assert_array_equal(found.header["pixdim"][:4], scan.header["pixdim"][:4])
    np.testing.assert_allclose(index_to_physical(read_image(tmp_path / output)), index_to_physical(read_image(path)))
    assert {item.name for item in tmp_path.iterdir()} == {"T1.nii.gz", output}


def test_an_image_that_was_moved_does_not_get_the_scan_s_old_transforms(tmp_path):
    image = read_image(save(tmp_path / "T1.nii.gz", affine=turned(4)))
    image.SetOrigin((5.0, 6.0, 7.0))
    write_image(image, tmp_path / "out.nii.gz")
    np.testing.assert_allclose(RAS @ index_to_physical(image), nib.load(tmp_path / "out.nii.gz").affine, atol=1e-5)


@pytest.mark.parametrize(("given", "gone"), [("T1.hdr", "T1.img"), ("T1.img", "T1.hdr")])
def test_one_of_two_files_says_that_the_other_is_not_beside_it(tmp_path, given, gone):
    save(tmp_path / "T1.img", kind=nib.Nifti1Pair)
    (tmp_path / gone).unlink()
    with pytest.raises(InputError, match=f"T1 is one of two files, and {gone[2:]}.* is not beside it; wanted both"):
        read_image(tmp_path / given, "T1")


def test_a_quaternion_that_is_no_rotation_is_not_followed(tmp_path):
    path = patch(save(tmp_path / "T1.nii", affine=turned(20), codes=(0, 1)), 256, "<3f", 1.2, 0.3, 0.1)
    with pytest.raises(ValueError, match="positive"):
        nib.load(path)
    _, (warning,) = read_with_warnings(path, "T1")
    assert "T1's header does not say where left, right, front and back are" in warning


@pytest.mark.parametrize(("at", "layout"), [(280, "<12f"), (256, "<3f")], ids=["sform", "quaternion"])
@pytest.mark.parametrize("value", [np.nan, 9.0])
def test_a_result_does_not_repeat_a_transform_that_is_no_place(tmp_path, at, layout, value):
    codes = (1, 1) if at == 280 else (0, 1)
    numbers = [value if at == 256 else np.nan] * int(layout[1:-1])
    scan = read_image(patch(save(tmp_path / "T1.nii", affine=turned(20), codes=codes), at, layout, *numbers))
    write_image(on_grid_of(scan, np.ones(VALUES.shape[::-1], np.uint8)), tmp_path / "labels.nii.gz")
    wanted = turned(20) if at == 280 else RAS @ index_to_physical(scan)
    np.testing.assert_allclose(nib.load(tmp_path / "labels.nii.gz").affine, wanted, atol=1e-4)
