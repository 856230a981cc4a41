import gzip
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.files import read_image, read_with_warnings

VALUES = np.random.default_rng(0).integers(0, 40, (20, 20, 20)).astype(np.int16)


def written(path, packed=True):
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(path), packed)
    return path


def voxels_of(path):
    """Give the file with the voxels and where they begin."""
    beside = [other for other in path.parent.iterdir() if other != path]
    if beside:
        return beside[0], 0
    content = path.read_bytes()
    end = b"ElementDataFile = LOCAL\n" if path.suffix == ".mha" else b"\n\n"
    return path, content.index(end) + len(end)


def assert_refused_in_silence(path, capfd, said="cannot be read as an image"):
    with pytest.raises(InputError, match=said) as refused:
        read_image(path, "T1")
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("place", [0, 1, 0.2, 0.5, 0.9, -1, -3, -6])
def test_a_packed_stream_with_a_changed_byte_is_refused_in_silence(tmp_path, name, place, capfd):
    path = written(tmp_path / name)
    data, start = voxels_of(path)
    content = bytearray(data.read_bytes())
    at = start + int(place * (len(content) - start)) if 0 < place < 1 else start + place if place >= 0 else len(content) + place
    content[at] ^= 0x55
    data.write_bytes(content)
    assert_refused_in_silence(path, capfd)


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_voxels_that_are_cut_off_are_refused_in_silence(tmp_path, name, packed, share, capfd):
    path = written(tmp_path / name, packed)
    data, start = voxels_of(path)
    content = data.read_bytes()
    data.write_bytes(content[: start + int(share * (len(content) - start))])
    assert_refused_in_silence(path, capfd)


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
def test_a_header_without_its_voxels_is_refused_in_silence(tmp_path, name, capfd):
    path = written(tmp_path / name)
    voxels_of(path)[0].unlink()
    assert_refused_in_silence(path, capfd, "T1 is a header without the file of its voxels; wanted both")


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4"])
def test_whole_files_of_each_number_type_are_read(tmp_path, name, packed, kind):
    values = VALUES.astype(kind)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / name), packed)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(tmp_path / name)), values)


def test_a_metaimage_packed_as_gzip_is_whole_too(tmp_path):
    path = written(tmp_path / "a.mhd")
    data, _ = voxels_of(path)
    data.write_bytes(gzip.compress(zlib.decompress(data.read_bytes()))[:-8] + bytes(8))
    with pytest.raises(InputError, match="cannot be read"):
        read_image(path)


@pytest.mark.parametrize(("name", "line"), [("a.mha", b"ElementSpacing"), ("a.nrrd", b"space directions")])
def test_a_file_without_a_voxel_size_is_refused(tmp_path, name, line):
    path = written(tmp_path / name, packed=False)
    content = path.read_bytes()
    start = content.index(line)
    path.write_bytes(content[:start] + content[content.index(b"\n", start) + 1 :])
    with pytest.raises(InputError, match=r"T1 (has no voxel size|cannot be read)"):
        read_image(path, "T1")


def test_an_nrrd_file_in_other_units_is_refused(tmp_path):
    path = written(tmp_path / "a.nrrd", packed=False)
    path.write_bytes(path.read_bytes().replace(b"encoding:", b'space units: "cm" "cm" "cm"\nencoding:'))
    with pytest.raises(InputError, match="has no voxel size in mm"):
        read_image(path)


def changed(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return path


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_metaimage_that_states_fewer_packed_bytes_than_it_has_is_refused(tmp_path, share, capfd):
    path = written(tmp_path / "a.mha")
    size = path.read_bytes().partition(b"CompressedDataSize = ")[2].split(b"\n")[0]
    changed(path, b"CompressedDataSize = " + size, b"CompressedDataSize = %d" % int(share * int(size)))
    assert_refused_in_silence(path, capfd)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("a.mhd", b"ElementDataFile = a.raw", b"ElementDataFile = LIST\nslice0.raw\nslice1.raw"),
        ("a.mhd", b"ElementDataFile = a.raw", b"ElementDataFile = slice%d.raw 0 19 1"),
        ("a.nhdr", b"data file: a.raw", b"data file: slice%d.raw 0 19 1"),
        ("a.nhdr", b"data file: a.raw", b"data file: LIST\nslice0.raw"),
    ],
)
def test_voxels_in_several_files_are_refused_because_missing_ones_would_be_read_as_anything(tmp_path, name, old, new, capfd):
    path = changed(written(tmp_path / name, packed=False), old, new)
    assert_refused_in_silence(path, capfd, "T1 has its voxels in several files; wanted them in one")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("a.mha", b"DimSize = 20 20 20", b"DimSize = 20 20"),
        ("a.mha", b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 1"),
        ("a.mha", b"TransformMatrix = 1 0 0 0 1 0 0 0 1", b"TransformMatrix = 1 0 0 0 1 0"),
        ("a.mha", b"Offset = 0 0 0", b"Offset = 0"),
    ],
)
def test_a_metaimage_with_too_few_numbers_is_refused_in_silence(tmp_path, name, old, new, capfd):
    assert_refused_in_silence(changed(written(tmp_path / name, packed=False), old, new), capfd)


@pytest.mark.parametrize("third", [b"none", b"(nan,nan,nan)"])
def test_an_nrrd_axis_without_a_length_is_refused(tmp_path, third):
    path = changed(written(tmp_path / "a.nrrd", packed=False), b"(0,1,0) (0,0,1)", b"(0,1,0) " + third)
    with pytest.raises(InputError, match="T1 has no voxel size in mm"):
        read_image(path, "T1")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("a.nrrd", b"space: left-posterior-superior", b"space dimension: 3"),
        ("a.nrrd", b"space: left-posterior-superior", b"space: scanner-xyz"),
        ("a.nrrd", b"space: left-posterior-superior", b"space: 3D-left-handed"),
        ("a.mha", b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n", b""),
    ],
)
def test_a_header_that_does_not_say_how_the_head_lies_is_warned_of(tmp_path, name, old, new):
    path = written(tmp_path / name, packed=False)
    assert read_with_warnings(path, "T1")[1] == []
    (warning,) = read_with_warnings(changed(path, old, new), "T1")[1]
    assert "T1's header does not say where left, right, front and back are" in warning


TEXTS = {
    ".mha": "ObjectType = Image\nNDims = 3\nBinaryData = False\nElementSpacing = 1 1 1\nDimSize = 4 4 4\nElementType = MET_FLOAT\n"
    "ElementDataFile = LOCAL\n",
    ".nrrd": "NRRD0004\ntype: float\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 4 4\n"
    "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: ascii\nspace origin: (0,0,0)\n\n",
}
NUMBERS = "".join(f"{number}.5\n" for number in range(4**3))


def text_file(folder, extension, numbers):
    path = folder / f"scan{extension}"
    path.write_bytes((TEXTS[extension] + numbers).encode("latin-1"))
    return path


@pytest.mark.parametrize("extension", TEXTS)
@pytest.mark.parametrize("chunk", [1, 7, 1 << 22])
def test_numbers_written_as_text_are_read(tmp_path, extension, chunk, monkeypatch):
    monkeypatch.setattr("InfantBrainSegLib.imaging.headers._CHUNK_BYTES", chunk)
    image = read_image(text_file(tmp_path, extension, NUMBERS + "7 8 9\n"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).ravel(), np.arange(4**3) + 0.5)


@pytest.mark.parametrize("extension", TEXTS)
@pytest.mark.parametrize(
    "numbers",
    ["", NUMBERS[:100], NUMBERS.replace("7.5", "x", 1) + "7 8", NUMBERS.replace("7.5", "nan", 1), "\xff\0" * 200],
    ids=["none", "cut off", "a letter", "not a number", "bytes"],
)
def test_a_damaged_text_of_numbers_is_refused_in_silence(tmp_path, extension, numbers, capfd):
    assert_refused_in_silence(text_file(tmp_path, extension, numbers), capfd)


OF_TYPE = {
    "beyond a byte": ("uchar", "".join(f"{number * 5}\n" for number in range(4**3))),
    "below 0": ("ushort", "-500\n" + "7\n" * 63),
    "too large": ("short", "32768\n" + "7\n" * 63),
    "a fraction": ("short", "1.5\n" * 64),
    "an exponent": ("short", "1.500000e+02\n" * 64),
    "an underscore": ("ushort", "5_00\n" + "7\n" * 63),
    "a long word": ("short", " ".join("0" * 5000 + str(number) for number in range(64)) + "\n"),
    "commas without spaces": ("short", ",".join(map(str, range(64))) + "\n"),
}


@pytest.mark.parametrize("extension", TEXTS)
@pytest.mark.parametrize("case", OF_TYPE)
def test_numbers_that_are_not_of_the_type_are_refused_in_silence(tmp_path, extension, case, capfd):
    kind, numbers = OF_TYPE[case]
    path = text_file(tmp_path, extension, numbers)
    content = path.read_bytes().replace(b"MET_FLOAT", f"MET_{kind.upper()}".encode()).replace(b"type: float", f"type: {kind}".encode())
    path.write_bytes(content)
    assert_refused_in_silence(path, capfd)


@pytest.mark.parametrize(
    ("kind", "values"), [("uchar", (0, 255)), ("int", (-(2**31), 2**31 - 1)), ("ushort", (0, 65535)), ("short", (-32768, 32767))]
)
@pytest.mark.parametrize("extension", TEXTS)
def test_whole_numbers_at_the_limits_of_their_type_are_read(tmp_path, extension, kind, values):
    path = text_file(tmp_path, extension, "".join(f"{values[number % 2]}\n" for number in range(4**3)))
    path.write_bytes(
        path.read_bytes().replace(b"MET_FLOAT", f"MET_{kind.upper()}".encode()).replace(b"type: float", f"type: {kind}".encode())
    )
    assert set(np.unique(sitk.GetArrayFromImage(read_image(path)))) == set(values)


@pytest.mark.parametrize("between", [", ", ",\n"])
def test_commas_in_the_text_of_a_nrrd_are_read(tmp_path, between):
    path = text_file(tmp_path, ".nrrd", between.join(map(str, range(4**3))) + "\n")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(path)).ravel(), np.arange(4**3))


@pytest.mark.parametrize("skip", ["byte skip: 4", "line skip: 1"])
def test_packed_voxels_that_do_not_begin_where_the_header_ends_are_refused(tmp_path, skip, capfd):
    path = written(tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"encoding: gzip", f"{skip}\nencoding: gzip".encode()))
    assert_refused_in_silence(path, capfd)


def test_a_list_of_one_number_a_voxel_is_an_image_of_numbers(tmp_path):
    header = (
        "NRRD0005\ntype: short\ndimension: 4\nsizes: 1 20 20 20\nkinds: list domain domain domain\nencoding: raw\nendian: little\n"
        "space: LPS\nspace directions: none (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n\n"
    )
    path = tmp_path / "list.nrrd"
    path.write_bytes(header.encode() + VALUES.tobytes())
    image = read_image(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.Cast(image, sitk.sitkFloat32)), VALUES)


def test_a_metaimage_whose_last_number_may_be_cut_is_refused_in_silence(tmp_path, capfd):
    assert_refused_in_silence(text_file(tmp_path, ".mha", NUMBERS[:-1]), capfd)
    read_image(text_file(tmp_path, ".nrrd", NUMBERS[:-1]))
