"""The lopsided brain at 1.2 times its size (309 ml, so that half of it is still a brain), and ways to spoil it."""

import numpy as np
import phantoms
import SimpleITK as sitk

from InfantBrainSegLib.checks.input_checks import check_images

SCALE = 1.2


def good_pair():
    """T1 and T2 at 1.8 mm, stripped."""
    grid = phantoms.grid((1.5, 1.5, 1.5))
    pair = [phantoms.noisy(phantoms.draw(grid, levels), seed) for levels, seed in ((phantoms.T1_LEVELS, 1), (phantoms.T2_LEVELS, 2))]
    for image in pair:
        image.SetSpacing([SCALE * value for value in image.GetSpacing()])
        image.SetOrigin([SCALE * value for value in image.GetOrigin()])
    return pair


def raw_pair():
    """The same with a shell of scalp and noise in the air."""
    pair = []
    for image, level, seed in zip(good_pair(), (80, 250), (5, 6), strict=True):
        shell = np.linalg.norm(points_mm(image) / [1, 1.1, 1], axis=-1) < 52
        air = np.abs(np.random.default_rng(seed).normal(0, 2, shell.shape)) + 0.1
        pair.append(altered(image, lambda values, s=shell, a=air, v=level: np.where(values > 0, values, np.where(s, v, 0) + a)))
    return pair


def altered(image, change):
    """Change an image's (K, J, I) values."""
    result = sitk.GetImageFromArray(np.asarray(change(sitk.GetArrayFromImage(image)), np.float32))
    result.CopyInformation(image)
    return result


def brain(image):
    return sitk.GetArrayViewFromImage(image) > 0


def points_mm(image):
    """RAS position of each voxel, (K, J, I, 3)."""
    return phantoms.points_mm(image)


def status_of(code, t1, t2, mask=None, age_months=None):
    """Status of one check."""
    (status,) = [check.status for check in check_images(t1, t2, mask, age_months) if check.code == code]
    return status
