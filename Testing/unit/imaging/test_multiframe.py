import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, EnhancedMRImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.dicom import find_series, read_series
from InfantBrainSegLib.imaging.files import index_to_physical
from InfantBrainSegLib.imaging.inputs import Input, read_input, sha256_of
from InfantBrainSegLib.imaging.multiframe import read_frames

VALUES = np.random.default_rng(0).integers(1, 900, (7, 6, 5)).astype(np.uint16)  # (slices, rows, columns)
TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])  # LPS
PIXEL_MM, STEP_MM = (1.1, 0.9), 2.0  # of rows, of columns
UID = "1.2.3.4.5"


def item(**values):
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def enhanced(path, slices, volume=VALUES, syntax=ExplicitVRLittleEndian, tweak=None, **per_frame):
    """Write an enhanced MR file with these slices as its frames; `per_frame` has a list of stacks, echoes or slopes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = EnhancedMRImageStorage, "1.2.3", syntax
    file = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID, file.SeriesInstanceUID, file.Modality = EnhancedMRImageStorage, "1.2.3", UID, "MR"
    file.SeriesDescription, file.PatientName = "T1w", "Doe^Sample"
    file.Rows, file.Columns, file.NumberOfFrames = *volume.shape[1:], len(slices)
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
    shared = item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=list(PIXEL_MM), SliceThickness=1.5, SpacingBetweenSlices=STEP_MM)]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[*TURN[:, 0], *TURN[:, 1]])]),
    )
    file.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for number, k in enumerate(slices):
        position = [f"{value:.6f}" for value in np.array([-10, 20, 5]) + TURN[:, 2] * STEP_MM * k]
        content = item(StackID=str(per_frame.get("stacks", ["1"] * len(slices))[number]), InStackPositionNumber=int(k) + 1)
        group = item(FrameContentSequence=Sequence([content]), PlanePositionSequence=Sequence([item(ImagePositionPatient=position)]))
        if "echoes" in per_frame:
            group.MREchoSequence = Sequence([item(EffectiveEchoTime=float(per_frame["echoes"][number]))])
        if "slopes" in per_frame:
            scale = item(RescaleSlope=per_frame["slopes"][number], RescaleIntercept="0", RescaleType="US")
            group.PixelValueTransformationSequence = Sequence([scale])
        groups.append(group)
    file.PerFrameFunctionalGroupsSequence = Sequence(groups)
    file.PixelData = np.ascontiguousarray(volume[list(slices)]).tobytes()
    if tweak is not None:
        tweak(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def by_pydicom(path):
    """Give the volume in the order of places, and each voxel's LPS place as an affine, as another reader finds them."""
    file = pydicom.dcmread(path)
    shared = file.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(*axes)
    places = np.array(
        [group.PlanePositionSequence[0].ImagePositionPatient for group in file.PerFrameFunctionalGroupsSequence], float
    )  # (F, 3)
    order = np.argsort(places @ normal)
    rows_mm, columns_mm = shared.PixelMeasuresSequence[0].PixelSpacing
    step = (places[order[-1]] - places[order[0]]) / (len(order) - 1)
    affine = np.eye(4)
    affine[:3] = np.column_stack([axes[0] * columns_mm, axes[1] * rows_mm, step, places[order[0]]])
    return file.pixel_array[order], affine


def read(path, series=None):
    return read_series(find_series(path, "T1", series), "T1")


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [0, 2, 4, 6, 1, 3, 5], [3, 6, 0, 5, 1, 4, 2]])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_frames_are_ordered_by_where_they_lie(tmp_path, order, syntax):
    path = enhanced(tmp_path / "a.dcm", list(order), syntax=syntax)
    image, (values, affine) = read(path), by_pydicom(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), values)
    np.testing.assert_array_equal(values, VALUES)
    np.testing.assert_allclose(index_to_physical(image), affine, atol=1e-5)
    assert list(image.GetMetaDataKeys()) == ["0018|0050"]
    assert image.GetMetaData("0018|0050") == "1.5"


def test_missing_frames_are_refused_as_missing_slices_are(tmp_path):
    path = enhanced(tmp_path / "a.dcm", [0, 1, 2, 4, 5, 6])
    with pytest.raises(InputError, match=r"Slices 3 and 4 of 6 .* \(1 seems to be missing\)"):
        read(path)


def test_the_order_of_frames_does_not_hide_a_missing_one(tmp_path):
    path = enhanced(tmp_path / "a.dcm", [6, 2, 0, 5, 1])
    with pytest.raises(InputError, match=r"\(2 seem to be missing\)"):
        read(path)


@pytest.mark.parametrize("blocks", [True, False], ids=["one echo after the other", "side by side"])
def test_of_two_echoes_one_is_asked_for(tmp_path, blocks):
    both = np.concatenate([VALUES, VALUES[::-1] // 2])  # of 14: the second echo's frames
    slices, echoes = [*range(7)] * 2, [12] * 7 + [96] * 7
    order = range(14) if blocks else [n + 7 * echo for n in range(7) for echo in (0, 1)]

    def voxels(file):
        file.PixelData = both[list(order)].tobytes()

    path = enhanced(tmp_path / "dicom" / "a.dcm", [slices[n] for n in order], tweak=voxels, echoes=[echoes[n] for n in order])
    for given in (path, path.parent, path.parent):
        with pytest.raises(InputError, match=r"2 stacks or echoes; .* --t1-series .*1\.2\.3\.4\.5/echo-12 .*/echo-96"):
            read(given)
        with pytest.raises(InputError, match="2 stacks or echoes"):
            read(given, UID)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read(path, f"{UID}/echo-12")), VALUES)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read(path.parent, f"{UID}/echo-96")), VALUES[::-1] // 2)
    record = read_input(Input("t1", path, f"{UID}/echo-96"))[1]
    assert record.sha256 == sha256_of([path])


def test_of_two_stacks_one_is_asked_for(tmp_path):
    path = enhanced(tmp_path / "a.dcm", [*range(7)] * 2, stacks=["1"] * 7 + ["2"] * 7)
    with pytest.raises(InputError, match=r"1\.2\.3\.4\.5/stack-1 .*7 slices.*/stack-2"):
        read(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read(path, f"{UID}/stack-2")), VALUES)


def test_frames_twice_at_one_place_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"slices at one place; wanted one: one file holds them all, .*: export one of these alone"):
        read(enhanced(tmp_path / "a.dcm", [*range(7)] * 2))


def test_one_frame_a_file_is_read_as_one_volume(tmp_path):
    for k in (3, 0, 6, 2, 5, 1, 4):
        enhanced(tmp_path / f"{(k * 5) % 7}.dcm", [k])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read(tmp_path)), VALUES)


def test_frames_of_different_scales_are_refused(tmp_path):
    with pytest.raises(InputError, match="different scales of brightness"):
        read(enhanced(tmp_path / "a.dcm", range(7), slopes=["1", "2", "1", "1", "1", "1", "1"]))


def test_frames_without_pixel_spacing_are_refused(tmp_path):
    def forget(file):
        del file.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence

    with pytest.raises(InputError, match="T1 has no PixelSpacing in its headers"):
        read(enhanced(tmp_path / "a.dcm", range(7), tweak=forget))


def test_frames_without_a_place_are_refused(tmp_path):
    def forget(file):
        del file.PerFrameFunctionalGroupsSequence

    with pytest.raises(InputError, match="no position of each frame in its headers"):
        read(enhanced(tmp_path / "a.dcm", range(7), tweak=forget))


def test_frames_with_fewer_voxels_than_the_header_says_are_refused(tmp_path):
    def cut(file):
        file.PixelData = file.PixelData[: len(file.PixelData) * 2 // 3]

    with pytest.raises(InputError, match="The voxels of 7 of 7 slices in the DICOM series of T1 are fewer than their headers say"):
        read(enhanced(tmp_path / "a.dcm", range(7), tweak=cut))


def test_frames_without_an_orientation_are_not_said_to_be_no_dicom(tmp_path):
    def forget(file):
        del file.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence

    with pytest.raises(InputError, match=r"None of the 1 DICOM files of T1 can be read as an image|has no ImageOrientationPatient"):
        read(enhanced(tmp_path / "a.dcm", range(7), tweak=forget))


def test_a_damaged_header_is_no_image_and_no_crash(tmp_path):
    path = enhanced(tmp_path / "a.dcm", range(7))
    content = path.read_bytes()
    for end in range(140, len(content) - VALUES.nbytes, 37):
        (tmp_path / "b.dcm").write_bytes(content[:end])
        try:
            read_frames(tmp_path / "b.dcm")
        except ValueError as error:
            assert "damaged" in str(error)  # noqa: PT017
