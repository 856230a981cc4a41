import gzip
import os
import stat
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import OBLIQUE, PERMUTED, SHEARED

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.files import (
    check_image,
    check_writable_folder,
    describe_geometry,
    read_image,
    same_grid,
    stated_voxels,
    write_image,
    write_text,
)


def ramp(kind=np.int16, direction=OBLIQUE):
    image = sitk.GetImageFromArray(np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(kind))
    image.SetSpacing((0.5, 1.25, 2.0))
    image.SetOrigin((-10.0, 20.0, 5.5))
    image.SetDirection(np.ravel(direction).tolist())
    return image


def refused(path):
    with pytest.raises(InputError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def patched(path, offset, layout, *values):
    """Change a field of a NIfTI file's header."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<" + layout, content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("extension", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("direction", [np.eye(3), PERMUTED, OBLIQUE], ids=["LPS", "permuted", "oblique"])
def test_what_is_written_is_read_back_on_the_same_grid(tmp_path, extension, direction):
    image = ramp(direction=direction)
    write_image(image, tmp_path / f"image{extension}")
    back = read_image(tmp_path / f"image{extension}")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(back.GetDirection(), image.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(back.GetOrigin(), image.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(back.GetSpacing(), image.GetSpacing(), atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [f"image{extension}"]


@pytest.mark.parametrize("extension", [".nhdr", ".mhd", ".hdr", ".img"])
def test_formats_of_two_files_are_read(tmp_path, extension):
    sitk.WriteImage(ramp(direction=np.eye(3)), str(tmp_path / f"image{extension}"))
    back = read_image(tmp_path / f"image{extension}")
    assert back.GetSize() == (6, 5, 4)
    np.testing.assert_allclose(back.GetSpacing(), (0.5, 1.25, 2.0))
    assert back[5, 4, 3] == 119


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_number_types_stay(tmp_path, kind):
    write_image(ramp(kind), tmp_path / "image.nrrd")
    assert sitk.GetArrayFromImage(read_image(tmp_path / "image.nrrd")).dtype == kind


def test_doubles_become_floats(tmp_path):
    write_image(ramp(np.float64), tmp_path / "image.nii")
    assert read_image(tmp_path / "image.nii").GetPixelID() == sitk.sitkFloat32


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_sheared_grid_survives_writing_and_reading(tmp_path, extension):
    image = ramp(direction=SHEARED)
    write_image(image, tmp_path / f"image{extension}")
    back = read_image(tmp_path / f"image{extension}")
    assert same_grid(image, back)
    np.testing.assert_allclose(back.TransformIndexToPhysicalPoint((5, 4, 3)), image.TransformIndexToPhysicalPoint((5, 4, 3)), atol=1e-4)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(image))


@pytest.mark.parametrize("qform_code", [0, 1])
def test_a_sheared_sform_is_followed_with_and_without_a_qform(tmp_path, qform_code):
    path = tmp_path / "sheared.nii"
    write_image(ramp(direction=np.eye(3)), path)
    patched(path, 252, "hh", qform_code, 1)
    patched(path, 280, "12f", *(0.5, 0.3, 0, 7), *(0, 1.25, 0, -8), *(0, 0, 2, 9))
    image = read_image(path)
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((2, 3, 1)), (-(1 + 0.9 + 7), -(3.75 - 8), 11), atol=1e-5)
    assert image[2, 3, 1] == 1 * 30 + 3 * 6 + 2


@pytest.mark.parametrize("qform_code", [0, 1])
@pytest.mark.parametrize("shear", [0.001, 0.1])
def test_a_sheared_sform_of_another_size_than_pixdim_is_refused(tmp_path, qform_code, shear):
    path = tmp_path / "sheared.nii"
    write_image(ramp(direction=np.eye(3)), path)
    patched(path, 252, "hh", qform_code, 1)
    patched(path, 280, "12f", *(0.6, shear, 0, 7), *(0, 1.5, 0, -8), *(0, 0, 2.4, 9))
    assert "0.5×1.25×2 mm by its pixdim and 0.6×1.5×2.4 mm by its sform" in refused(path)


def test_a_missing_file_a_folder_and_an_unknown_extension_are_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "none.nii.gz")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "scan.dcm").write_bytes(b"x")
    assert "unknown extension" in refused(tmp_path / "scan.dcm")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.hdr"])
@pytest.mark.parametrize("content", [b"", b"this is no image at all" * 40], ids=["empty", "text"])
def test_a_damaged_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "cannot be read" in refused(tmp_path / name)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha", ".img"])
def test_a_cut_off_file_is_refused(tmp_path, extension):
    noise = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32))
    path = tmp_path / f"image{extension}"
    sitk.WriteImage(noise, str(path), extension == ".nii.gz")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "cannot be read" in refused(path)


def test_a_compressed_file_damaged_near_its_start_is_refused(tmp_path):
    path = tmp_path / "image.nii.gz"
    noise = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32))
    sitk.WriteImage(noise, str(path), True)
    content = bytearray(path.read_bytes())
    content[20:60] = bytes(value ^ 0xFF for value in content[20:60])
    path.write_bytes(content)
    assert "cannot be read" in refused(path)


def test_an_sform_of_another_voxel_size_than_pixdim_is_refused(tmp_path):
    path = tmp_path / "scaled.nii"
    write_image(ramp(direction=np.eye(3)), path)
    spacing_mm = read_image(path).GetSpacing()
    patched(path, 252, "hh", 0, 2)
    patched(path, 280, "12f", *(0.8 * spacing_mm[0], 0, 0, 7), *(0, spacing_mm[1], 0, -8), *(0, 0, spacing_mm[2], 9))
    assert "by its sform; wanted one size" in refused(path)
    patched(path, 280, "12f", *(spacing_mm[0], 0, 0, 7), *(0, spacing_mm[1], 0, -8), *(0, 0, spacing_mm[2], 9))
    assert read_image(path).GetSpacing() == pytest.approx(spacing_mm)


def test_a_stack_of_three_slices_is_refused(tmp_path):
    write_image(sitk.Image(20, 20, 3, sitk.sitkInt16), tmp_path / "thin.nii")
    assert "20×20×3 voxels; wanted a 3D volume" in refused(tmp_path / "thin.nii")


def test_several_frames_are_refused_and_a_single_one_is_3d(tmp_path):
    frame = ramp(direction=np.eye(3))
    sitk.WriteImage(sitk.JoinSeries([frame, frame]), str(tmp_path / "two.nii.gz"))
    assert "4D with 2 frames" in refused(tmp_path / "two.nii.gz")
    sitk.WriteImage(sitk.JoinSeries([frame]), str(tmp_path / "one.mha"))
    assert read_image(tmp_path / "one.mha").GetSize() == (6, 5, 4)


def test_a_slice_a_color_and_a_complex_image_are_refused(tmp_path):
    sitk.WriteImage(ramp(direction=np.eye(3))[:, :, 0], str(tmp_path / "slice.nrrd"))
    assert "6×5 voxels" in refused(tmp_path / "slice.nrrd")
    gray = sitk.Cast(ramp(), sitk.sitkUInt8)
    sitk.WriteImage(sitk.Compose(gray, gray, gray), str(tmp_path / "color.nrrd"))
    assert "one number a voxel" in refused(tmp_path / "color.nrrd")
    with pytest.raises(InputError, match="one number a voxel"):
        check_image(sitk.Image((4, 4, 4), sitk.sitkComplexFloat32), "T1")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_nan_and_infinite_voxels_are_counted_and_refused(tmp_path, extension, value):
    image = ramp(np.float32)
    image[1, 2, 3] = image[2, 2, 2] = value
    write_image(image, tmp_path / f"image{extension}")
    assert "2 NaN or infinite" in refused(tmp_path / f"image{extension}")


@pytest.mark.parametrize("spacing_mm", [0.0, -1.0, 3.5, 1e6, 0.05, float("nan")])
@pytest.mark.parametrize("extension", [".nii", ".hdr"])
def test_an_absurd_spacing_is_refused_though_simpleitk_would_mend_it(tmp_path, spacing_mm, extension):
    path = tmp_path / f"image{extension}"
    sitk.WriteImage(ramp(direction=np.eye(3)), str(path))
    assert f"{spacing_mm:g}×1.25×2 mm" in refused(patched(path, 80, "f", spacing_mm))


def test_an_absurd_spacing_in_a_compressed_or_metaimage_header_is_refused(tmp_path):
    sitk.WriteImage(ramp(direction=np.eye(3)), str(tmp_path / "image.nii"))
    patched(tmp_path / "image.nii", 80, "f", 0.0)
    (tmp_path / "image.nii.gz").write_bytes(gzip.compress((tmp_path / "image.nii").read_bytes()))
    assert "0×1.25×2 mm" in refused(tmp_path / "image.nii.gz")
    sitk.WriteImage(ramp(direction=np.eye(3)), str(tmp_path / "image.mha"))
    content = (tmp_path / "image.mha").read_bytes()
    (tmp_path / "image.mha").write_bytes(content.replace(b"ElementSpacing = 0.5 ", b"ElementSpacing = -1 "))
    assert "-1×1.25×2 mm" in refused(tmp_path / "image.mha")


def test_axes_that_nearly_coincide_are_refused():
    image = ramp(direction=np.array([[1, 0.995, 0], [0, 0.0998, 0], [0, 0, 1]]))
    with pytest.raises(InputError, match="nearly coincide"):
        check_image(image, "T1")


def test_reading_bad_geometry_writes_nothing_to_stderr(tmp_path, capfd):
    path = tmp_path / "sheared.nii"
    write_image(ramp(direction=SHEARED), path)
    read_image(path)
    assert capfd.readouterr() == ("", "")


def test_the_geometry_is_described_in_plain_numbers():
    described = describe_geometry(ramp(direction=PERMUTED))
    assert described == {
        "size": [6, 5, 4],
        "spacing_mm": [0.5, 1.25, 2.0],
        "origin_mm": [-10.0, 20.0, 5.5],
        "direction": [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]],
    }


def test_grids_are_the_same_within_a_hundredth_of_a_voxel():
    image, moved, turned = ramp(), ramp(), ramp(direction=PERMUTED)
    moved.SetOrigin((-10.004, 20.0, 5.5))
    assert same_grid(image, moved)
    moved.SetOrigin((-10.02, 20.0, 5.5))
    assert not same_grid(image, moved)
    assert not same_grid(image, turned)
    assert not same_grid(image, image[:-1])


def test_an_output_that_can_not_be_written_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written"):
        write_image(ramp(), tmp_path / "absent" / "image.nii.gz")
    with pytest.raises(InputError, match=r"cannot be written"):
        write_text("x", tmp_path / "absent" / "report.json")
    with pytest.raises(InputError, match=r"no extension"):
        write_image(ramp(), tmp_path / "image.jpg")
    (tmp_path / "taken.nii.gz").mkdir()
    with pytest.raises(InputError, match=r"cannot be written"):
        write_image(ramp(), tmp_path / "taken.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.nii.gz"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_text("old", path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        write_text("new", path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["report.json"]


def test_text_is_written_as_utf8_with_its_own_line_ends(tmp_path):
    write_text("1×1 mm³\n", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == "1×1 mm³\n".encode()


def test_an_output_folder_is_made_with_its_parents_and_stays_empty(tmp_path):
    folder = check_writable_folder(tmp_path / "new" / "out")
    assert folder.is_dir()
    assert not list(folder.iterdir())


def test_an_output_folder_that_is_a_file_or_lies_under_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        check_writable_folder(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written"):
        check_writable_folder(tmp_path / "file" / "out")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_link_to_nothing_or_in_a_circle_says_how_to_get_the_file(tmp_path):
    for name, target in (("absent.nii.gz", "nowhere"), ("circle.nii.gz", "circle.nii.gz")):
        (tmp_path / name).symlink_to(target)
        assert "is a link to nothing; wanted an image file: get what it stands for, for example with datalad get" in refused(
            tmp_path / name
        )


@pytest.mark.parametrize(
    "content", [b"/annex/objects/SHA256E-s12--ab.nii.gz\n", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n"]
)
def test_a_placeholder_of_a_file_that_was_not_fetched_is_reported(tmp_path, content):
    (tmp_path / "scan.nii.gz").write_bytes(content)
    assert "is a placeholder of git-annex or Git LFS" in refused(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize(("extension", "coded"), [(".nii.gz", True), (".nii", False), (".nrrd", True), (".mha", True)])
@pytest.mark.parametrize(("name", "other"), [("T1", "T2"), ("T2", "T1")])
def test_thick_slices_of_one_scan_are_told_to_be_left_out(tmp_path, extension, coded, name, other):
    image = sitk.Image([6, 6, 6], sitk.sitkInt16)
    image.SetSpacing((1.0, 1.0, 5.0))
    path = tmp_path / f"scan{extension}"
    sitk.WriteImage(image, str(path))
    if not coded:
        patched(path, 252, "hh", 0, 0)
    with pytest.raises(InputError, match=f"1×1×5 mm; wanted .*; where both scans were given, leave {name} out and segment {other} alone"):
        read_image(path, name)
    with pytest.raises(InputError, match=r"or use a finer acquisition\.$"):
        read_image(path, "The brain mask")


MANY = 1000  # voxels along each axis, as a header says them: 8 GB of doubles
META = """ObjectType = Image
NDims = 3
BinaryData = {binary}
BinaryDataByteOrderMSB = False
CompressedData = {packed}
ElementSpacing = 1 1 1
DimSize = {n} {n} {n}
{more}ElementType = MET_DOUBLE
ElementDataFile = {data}
"""
NRRD = """NRRD0004
type: double
dimension: 3
space: left-posterior-superior
sizes: {n} {n} {n}
space directions: (1,0,0) (0,1,0) (0,0,1)
endian: little
encoding: {encoding}
{more}space origin: (0,0,0)

"""
BODY = np.arange(4**3, dtype=np.float64).tobytes()
TEXT = b"".join(b"%d\n" % i for i in range(4**3))


def meta(n, data="LOCAL", packed=False, more="", binary=True):
    return META.format(n=n, data=data, packed=packed, more=more, binary=binary).encode()


def nrrd(n, encoding="raw", more=""):
    return NRRD.format(n=n, encoding=encoding, more=more).encode()


def nifti(n, tmp_path):
    sitk.WriteImage(ramp(np.float64), str(tmp_path / "plain.nii"))
    return patched(tmp_path / "plain.nii", 42, "3h", n, n, n).read_bytes()[:352] + BODY


LAYOUTS = {
    "T1.nii": nifti,
    "T1.nii.gz": lambda n, folder: gzip.compress(nifti(n, folder)),
    "T1.mha": lambda n, folder: meta(n) + BODY,
    "packed.mha": lambda n, folder: meta(n, packed=True, more=f"CompressedDataSize = {len(zlib.compress(BODY))}\n") + zlib.compress(BODY),
    "text.mha": lambda n, folder: meta(n, binary=False) + TEXT,
    "T1.mhd": lambda n, folder: meta(n, "T1.raw"),
    "header.mhd": lambda n, folder: meta(n, "T1.raw", more="HeaderSize = 0\n"),
    "T1.nrrd": lambda n, folder: nrrd(n) + BODY,
    "packed.nrrd": lambda n, folder: nrrd(n, "gzip") + gzip.compress(BODY),
    "text.nrrd": lambda n, folder: nrrd(n, "ascii") + TEXT,
    "T1.nhdr": lambda n, folder: nrrd(n, more="data file: T1.raw\n"),
    "skip.nhdr": lambda n, folder: nrrd(n, more="byte skip: -1\ndata file: T1.raw\n"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_voxels_are_counted_by_the_header_alone(tmp_path, name):
    (tmp_path / "T1.raw").write_bytes(BODY)
    path = tmp_path / name
    path.write_bytes(LAYOUTS[name](4, tmp_path))
    assert stated_voxels(path) == 4**3
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(path)).ravel(), np.arange(4**3))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_far_too_short_for_its_header_is_refused_before_memory_is_taken(tmp_path, name, monkeypatch):
    (tmp_path / "T1.raw").write_bytes(BODY)
    path = tmp_path / name
    path.write_bytes(LAYOUTS[name](MANY, tmp_path))
    assert stated_voxels(path) == 0
    monkeypatch.setattr("InfantBrainSegLib.imaging.files.sitk.ReadImage", lambda *given: pytest.fail("SimpleITK took the memory"))
    monkeypatch.setattr("InfantBrainSegLib.imaging.nifti.np.empty", lambda *given: pytest.fail("numpy took the memory"))
    assert "wanted an intact" in refused(path)


@pytest.mark.parametrize("name", ["T1.nii.gz", "packed.mha", "packed.nrrd"])
def test_packed_voxels_are_not_unpacked_without_end(tmp_path, name, monkeypatch):
    for module in ("nifti", "headers"):
        monkeypatch.setattr(f"InfantBrainSegLib.imaging.{module}._MOST_SURPLUS_BYTES", 1 << 22)
    tail = bytes(1 << 25)
    header = {"T1.nii.gz": b"", "packed.mha": meta(4, packed=True), "packed.nrrd": nrrd(4, "gzip")}[name]
    pack = zlib.compress if name == "packed.mha" else gzip.compress
    content = nifti(4, tmp_path) if name == "T1.nii.gz" else BODY
    path = tmp_path / name
    path.write_bytes(header + pack(content + tail))
    assert "far longer than its header says" in refused(path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x1f\x8b cut off"])
@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".mha", ".nrrd", ".hdr"])
def test_a_file_that_is_no_image_counts_as_nothing(tmp_path, content, extension):
    (tmp_path / f"T1{extension}").write_bytes(content)
    assert stated_voxels(tmp_path / f"T1{extension}") == 0


def test_itk_gets_no_letters_beyond_ascii_where_the_process_runs_in_the_folder(tmp_path, monkeypatch):
    folder = tmp_path / "Jürgen" / "run"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    asked = []
    for name in ("ReadImage", "WriteImage"):
        own, place = getattr(sitk, name), 0 if name == "ReadImage" else 1

        def told(*arguments, own=own, place=place):
            asked.append(arguments[place])
            return own(*arguments)

        monkeypatch.setattr(sitk, name, told)
    image = sitk.GetImageFromArray(np.arange(125, dtype=np.uint8).reshape(5, 5, 5))
    for path in ("t1.nrrd", folder / "new" / "labels.nrrd", "labels.nii.gz"):
        (folder / path).parent.mkdir(exist_ok=True)
        write_image(image, path)
        assert np.array_equal(sitk.GetArrayFromImage(read_image(path)), sitk.GetArrayFromImage(image))
    assert len(asked) >= 5
    assert all(name.isascii() for name in asked)


@pytest.mark.parametrize("factor", [0.5, 1.2, 2.0])
def test_axes_that_are_not_of_length_1_are_refused(factor):
    image = ramp(np.float32)
    image.SetDirection((factor * np.eye(3)).ravel().tolist())
    with pytest.raises(InputError, match=r"T1 has axes of length .* in its header; wanted 1 for each"):
        check_image(image, "T1")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes there")
def test_text_for_a_pipe_goes_into_it_and_the_pipe_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / "pipe").read_text, "utf-8")
        write_text("ä\n", tmp_path / "pipe")
        assert read.result(10) == "ä\n"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="the streams of a process are files on Linux alone")
def test_text_for_a_stream_of_the_process_does_not_replace_its_name(tmp_path):
    with open(tmp_path / "stream", "wb") as stream:
        name = Path(f"/proc/self/fd/{stream.fileno()}")
        write_text("x", name)
        assert name.is_symlink()
    assert (tmp_path / "stream").read_text() == "x"
