import gzip
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.files import read_image

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


def assert_refused_in_silence(path, capfd):
    with pytest.raises(InputError, match="cannot be read as an image") as refused:
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
    assert_refused_in_silence(path, capfd)


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
