"""A lopsided brain defined in mm, so that it can be drawn on any grid: no flip or transpose maps it onto itself."""

import numpy as np
import SimpleITK as sitk

CSF, GM, WM = 1, 2, 3
T1_LEVELS = np.array([0, 40, 100, 130], np.float32)
T2_LEVELS = np.array([0, 400, 160, 120], np.float32)


def labels_at(points_mm):
    """Give the tissue at RAS points (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(points_mm, float), -1, 0)
    brain = (x / 34) ** 2 + (y / 42) ** 2 + (z / 30) ** 2 <= 1  # 179 ml
    white = ((x - 7) / 18) ** 2 + ((y - 10) / 22) ** 2 + ((z - 5) / 14) ** 2 <= 1  # right, anterior, superior
    fluid = (x + 12) ** 2 + (y + 20) ** 2 + (z + 8) ** 2 <= 9**2  # left, posterior, inferior
    labels = np.where(brain, GM, 0)
    labels[brain & white] = WM
    labels[brain & fluid] = CSF
    return labels.astype(np.uint8)


def rotation(degrees, axis):
    angle = np.deg2rad(degrees)
    turned = np.eye(3)
    first, second = [a for a in range(3) if a != axis]
    turned[first, first] = turned[second, second] = np.cos(angle)
    turned[first, second], turned[second, first] = -np.sin(angle), np.sin(angle)
    return turned


OBLIQUE = rotation(20, 0) @ rotation(-13, 1) @ rotation(31, 2)
LPS = np.eye(3)
RAS = np.diag([-1.0, -1.0, 1.0])
PERMUTED = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
SHEARED = np.array([[1.0, 0.2, 0.0], [0.0, np.sqrt(1 - 0.04), 0.0], [0.0, 0.0, 1.0]])


def grid(spacing_mm=(1.0, 1.0, 1.0), direction=LPS, span_mm=100.0, shift_mm=(0.37, -0.61, 0.23)):
    """Give an empty image whose middle lies at the brain's, off by a shift."""
    size = [int(np.ceil(span_mm / s)) for s in spacing_mm]
    image = sitk.Image(size, sitk.sitkUInt8)
    image.SetSpacing(spacing_mm)
    image.SetDirection(np.ravel(direction).tolist())
    middle = direction @ (np.asarray(spacing_mm) * (np.asarray(size) - 1) / 2)
    image.SetOrigin((np.asarray(shift_mm) - middle).tolist())
    return image


def points_mm(image):
    """Give the RAS position of each voxel, (K, J, I, 3), from SimpleITK's definition of its header."""
    i, j, k = np.meshgrid(*[np.arange(n) for n in image.GetSize()], indexing="ij")
    index = np.stack([i, j, k], -1).transpose(2, 1, 0, 3)  # (K, J, I, 3)
    lps = (index * image.GetSpacing()) @ np.reshape(image.GetDirection(), (3, 3)).T + image.GetOrigin()
    return lps * [-1, -1, 1]


def draw(image, levels=None):
    """Draw the brain on a grid: labels, or the levels of a contrast."""
    labels = labels_at(points_mm(image))
    drawn = sitk.GetImageFromArray(labels if levels is None else levels[labels])
    drawn.CopyInformation(image)
    return drawn


def noisy(image, seed=1, deviation=3.0):
    """Add noise inside the brain."""
    values = sitk.GetArrayFromImage(image)
    values[values > 0] += np.random.default_rng(seed).normal(0, deviation, np.count_nonzero(values)).astype(np.float32)
    changed = sitk.GetImageFromArray(values)
    changed.CopyInformation(image)
    return changed
