"""The bundled weights on a raw head: the demo subject in a skull, a scalp and noisy air, made here."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from InfantBrainSegLib.cli.main import main
from InfantBrainSegLib.evaluation.metrics import dice
from InfantBrainSegLib.imaging.files import read_image, same_grid

DEMO = Path(__file__).parents[3] / "InfantBrainSeg" / "Resources" / "SampleData"
PAD = 24
SKULL_MM, SCALP_MM = 4.0, 9.0


def raw_demo():
    """T1, T2 and the true mask: skull dark, scalp bright on T1, a neck below, noise in the air."""
    images = [sitk.ConstantPad(sitk.ReadImage(str(DEMO / f"{name}.nii.gz")), [PAD] * 3, [PAD] * 3, 0) for name in ("T1", "T2")]
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(sitk.GetArrayFromImage(images[0]) > 0, iterations=2))
    away_mm = ndimage.distance_transform_edt(~brain)
    low = np.flatnonzero(brain.any((1, 2)))[:30]  # the lowest slices: DICOM's z grows upward
    assert images[0].GetDirection()[8] > 0
    neck = np.zeros_like(brain)
    _, j, i = ndimage.center_of_mass(brain)
    neck[: low[-1]] = np.hypot(*np.meshgrid(np.arange(brain.shape[1]) - j, np.arange(brain.shape[2]) - i, indexing="ij"))[None] < 32
    pair = []
    for seed, (image, scalp, muscle) in enumerate(zip(images, (1.5, 0.9), (0.8, 0.5), strict=True)):
        values = sitk.GetArrayFromImage(image).astype(np.float32)
        level = np.median(values[values > 0])
        outside = ~(values > 0)
        air = np.abs(np.random.default_rng(seed).normal(0, 0.02 * level, values.shape))
        shell = np.where(away_mm < SKULL_MM, 0.1, np.where(away_mm < SCALP_MM, scalp, np.where(neck, muscle, 0))) * level
        raw = sitk.GetImageFromArray(np.where(outside, shell + air, values).astype(np.float32))
        raw.CopyInformation(image)
        pair.append(raw)
    return *pair, brain


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_a_raw_head_is_segmented_inside_its_cerebrum(tmp_path):
    t1, t2, brain = raw_demo()
    for name, image in (("T1", t1), ("T2", t2)):
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    files = ["--t1", tmp_path / "T1.nii.gz", "--t2", tmp_path / "T2.nii.gz", "--output-dir", tmp_path / "out", "--no-context"]
    assert main(["segment", *map(str, files), "--align", "off"]) == 0
    mask, labels = (read_image(tmp_path / "out" / f"{name}.nii.gz") for name in ("brain_mask", "segmentation"))
    assert same_grid(mask, t1)
    found = sitk.GetArrayFromImage(mask) > 0
    assert dice(found, brain) > 0.93
    assert not (sitk.GetArrayFromImage(labels)[~found] > 0).any()
