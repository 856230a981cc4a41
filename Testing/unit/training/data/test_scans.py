from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.core.labels import CLASS_COUNT
from InfantBrainSegLib.extraction.extract import Extraction, ExtractionReport
from InfantBrainSegLib.imaging.files import same_grid
from InfantBrainSegLib.imaging.resample import on_grid_of
from InfantBrainSegLib.networks.context import ContextConfig, distance_maps
from InfantBrainSegLib.networks.predictor import Predictor
from InfantBrainSegLib.networks.sliding_window import SlidingWindowConfig
from InfantBrainSegLib.training.config import TrainingConfig
from InfantBrainSegLib.training.data.scans import ScanPatches, alone, read_label, read_scan, segmentation, with_context
from InfantBrainSegLib.training.data.sites import find_in_folders

CPU = torch.device("cpu")


def patches_of(scan, recipe, size=24):
    return ScanPatches([scan], TrainingConfig(recipe=recipe, patch_voxels=size), CPU)


@pytest.fixture(scope="module")
def files(labelled_folder):
    return find_in_folders(labelled_folder)[0]


@pytest.fixture(scope="module")
def scan(files):
    return read_scan(files, 4)


@pytest.fixture
def relabelled(files, tmp_path):
    """The subject with its labels changed by a function of the array."""

    def change(function):
        image = sitk.ReadImage(str(files.label))
        changed = sitk.GetImageFromArray(function(sitk.GetArrayFromImage(image)))
        changed.CopyInformation(image)
        sitk.WriteImage(changed, str(tmp_path / "label.nii.gz"))
        return replace(files, label=tmp_path / "label.nii.gz")

    return change


def test_labels_and_images_lie_on_one_grid(scan, files):
    label = sitk.ReadImage(str(files.label))
    nearest = sitk.Resample(
        label, scan.prepared.space.to_image(np.zeros(scan.labels.shape, np.uint8)), sitk.Transform(), sitk.sitkNearestNeighbor
    )
    assert np.array_equal(scan.labels, sitk.GetArrayFromImage(nearest).T)
    assert scan.images.shape == (2, *scan.labels.shape)
    assert (scan.images[:, ~scan.prepared.mask] == 0).all()


def test_for_fine_tuning_the_cerebrum_is_taken_out_and_set_upright_as_segment_does(files, scan, monkeypatch):
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.0, 0.0, np.radians(90))

    def upper_part_turned(t1, t2, *rest):
        mask = sitk.GetArrayFromImage(scan.mask_image)  # (K, J, I)
        mask[: mask.shape[0] * 2 // 5] = 0
        return Extraction(t1, t2, on_grid_of(t1, mask), turn, ExtractionReport("", rotation_degrees=90.0, rotated=True))

    monkeypatch.setattr("InfantBrainSegLib.pipeline.prepare_scans.extract", upper_part_turned)
    upper = read_scan(files, 4, predictor=Predictor(CPU, "cpu", SlidingWindowConfig(), False))
    label = sitk.ReadImage(str(files.label))
    target = upper.prepared.space.to_image(np.zeros(upper.labels.shape, np.uint8))
    turned = sitk.GetArrayFromImage(sitk.Resample(label, target, sitk.Transform(), sitk.sitkNearestNeighbor)).T
    assert np.array_equal(upper.labels, np.where(upper.prepared.mask, turned, 0))
    assert 0.3 < np.count_nonzero(upper.labels) / np.count_nonzero(scan.labels) < 0.7
    assert same_grid(upper.mask_image, scan.mask_image)


def test_t2_that_lies_elsewhere_is_moved_onto_t1_for_fine_tuning_alone(files, scan, tmp_path):
    t2 = sitk.ReadImage(str(files.t2))
    t2.SetOrigin([t2.GetOrigin()[0], t2.GetOrigin()[1] + 4.0, t2.GetOrigin()[2]])
    sitk.WriteImage(t2, str(tmp_path / "T2.nii.gz"))
    off = replace(files, t2=tmp_path / "T2.nii.gz")
    aligned = read_scan(off, 4)
    assert "moved by 4.0 mm onto T1" in aligned.warnings[0]
    assert np.count_nonzero(aligned.prepared.mask) == pytest.approx(np.count_nonzero(scan.prepared.mask), rel=0.01)
    assert not any("onto T1" in warning for warning in read_scan(off, 4, standardised=False).warnings)


def test_intensities_for_the_papers_network_differ_from_the_file_by_one_factor(files):
    raw = read_scan(files, 4, standardised=False)
    t1 = sitk.ReadImage(str(files.t1), sitk.sitkFloat32)
    wanted = sitk.GetArrayFromImage(sitk.Resample(t1, raw.prepared.space.to_image(np.zeros(raw.labels.shape, np.uint8)))).T
    inside = raw.prepared.mask & (wanted > 0)
    ratio = raw.images[0][inside] / wanted[inside]
    assert inside.sum() > 100_000
    assert np.ptp(ratio) < 1e-4 * ratio.mean()
    assert (raw.images[0][~raw.prepared.mask] == 0).all()


@pytest.mark.parametrize("recipe", ["paper", "bundled"])
def test_the_same_numbers_give_the_same_patches(scan, recipe):
    patches = patches_of(scan, recipe)
    (images, labels), again = (patches.batch(np.random.default_rng([1, 2]), 2) for _ in range(2))
    assert images.shape == (2, 2, 24, 24, 24)
    assert labels.shape == (2, 24, 24, 24)
    assert labels.dtype == torch.int64
    assert torch.equal(images, again[0])
    assert torch.equal(labels, again[1])


@pytest.mark.parametrize("recipe", ["paper", "bundled"])
def test_images_and_labels_turn_together(scan, recipe):
    marked = replace(scan, images=np.concatenate([scan.images, scan.labels[None].astype(np.float32)]))
    for seed in range(6):
        images, labels = patches_of(marked, recipe).batch(np.random.default_rng(seed), 1)
        assert torch.equal(images[0, 2].long(), labels[0])


def test_the_asked_share_of_patches_lacks_t1_or_t2_and_then_all_of_it(scan):
    patches = ScanPatches([scan], TrainingConfig(patch_voxels=16, stream_dropout=0.5), CPU, [alone(scan)])
    images, _ = patches.batch(np.random.default_rng(0), 60)
    absent = (images.flatten(2) == 0).all(2)
    assert 20 <= int(absent.any(1).sum()) <= 40
    assert absent[:, 0].any()
    assert absent[:, 1].any()
    assert not absent.all(1).any()
    assert not (patches.batch(np.random.default_rng(0), 20, augment=False)[0].flatten(2) == 0).all(2).any()


def test_a_scan_smaller_than_a_patch_is_centred_in_zeros(scan):
    size = 128
    images, labels = patches_of(scan, "paper", size).batch(np.random.default_rng(0), 1, augment=False)
    assert int((labels > 0).sum()) == int((scan.labels > 0).sum())
    low = (size - scan.labels.shape[0] + 1) // 2
    assert (images[0, :, :low] == 0).all()
    assert torch.equal(labels[0, low : low + scan.labels.shape[0]].amax((1, 2)), torch.from_numpy(scan.labels.max((1, 2))).long())


def test_context_is_that_of_the_labels_a_first_stage_gave(scan):
    probabilities = np.stack([scan.labels == value for value in range(CLASS_COUNT)]).astype(np.float32)
    both = with_context(scan, probabilities, ContextConfig(signed=False))
    hard = np.where(scan.prepared.mask, scan.labels, 0).astype(np.uint8)
    assert np.array_equal(both.images[2:], distance_maps(hard, ContextConfig(signed=False)))


def test_a_perfect_network_gives_the_reference_back_on_its_grid(scan):
    probabilities = np.stack([scan.labels == value for value in range(4)]).astype(np.float32)
    labels = segmentation(scan, probabilities)
    assert same_grid(labels, scan.reference)
    found, wanted = sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(scan.reference)
    assert np.mean(found[wanted > 0] == wanted[wanted > 0]) > 0.97  # but for what the clean-up and the mask take


def test_an_unknown_label_value_is_refused_with_the_file(relabelled):
    with pytest.raises(InputError, match=r"label.nii.gz: .*0, 1, 2, 3, 7"):
        read_scan(
            relabelled(
                lambda labels: np.where(labels == labels.max(), np.where(np.indices(labels.shape)[0] % 2, 7, 3), labels).astype(np.uint8)
            ),
            4,
        )


def test_a_label_without_one_tissue_is_refused(relabelled):
    with pytest.raises(InputError, match="lacks WM; wanted each of CSF, GM, WM"):
        read_scan(relabelled(lambda labels: np.where(labels == 3, 2, labels).astype(np.uint8)), 4)


def test_a_label_of_another_brain_is_refused(relabelled):
    with pytest.raises(InputError, match="overlap by"):
        read_scan(relabelled(lambda labels: np.roll(labels, labels.shape[2] // 2, 2)), 4)


def test_a_label_on_another_grid_is_refused(files, tmp_path):
    coarse = sitk.Shrink(sitk.ReadImage(str(files.label)), (2, 2, 2))
    sitk.WriteImage(coarse, str(tmp_path / "label.nii.gz"))
    with pytest.raises(InputError, match="not on T1's grid"):
        read_label(tmp_path / "label.nii.gz", sitk.ReadImage(str(files.t1)), 4)
