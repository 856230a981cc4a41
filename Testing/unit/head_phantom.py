"""A lopsided head of ellipsoids: two hemispheres, what lies below them, and a scalp; and a network that knows it by its levels."""

import numpy as np
import phantoms
import SimpleITK as sitk

from InfantBrainSegLib.core.labels import INFRATENTORIAL, LEFT_CEREBRUM, PART_COUNT, RIGHT_CEREBRUM
from InfantBrainSegLib.extraction.head import Head

SCALP = 4
T1_LEVELS = np.array([0, 120, 128, 136, 40], np.float32)  # air, left, right, infratentorial, scalp: at borders little looks like a part
T2_LEVELS = np.array([0, 300, 300, 300, 300], np.float32)


def parts_at(points_mm):
    """Parts of the head at RAS points (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(points_mm, float), -1, 0)
    cerebrum = (x / 34) ** 2 + (y / 42) ** 2 + ((z - 5) / 30) ** 2 <= 1
    below = (x / 20) ** 2 + ((y + 16) / 18) ** 2 + ((z + 38) / 16) ** 2 <= 1
    head = (x / 46) ** 2 + (y / 54) ** 2 + ((z + 8) / 58) ** 2 <= 1
    parts = np.where(head, SCALP, 0)
    parts[below] = INFRATENTORIAL
    parts[cerebrum] = np.where(x[cerebrum] < 0, LEFT_CEREBRUM, RIGHT_CEREBRUM)
    return parts


def parts_on(grid, turn=None):
    """Parts at a grid's voxels, (K, J, I); a turn (3, 3) takes the upright head to how it lies."""
    points = phantoms.points_mm(grid)
    return parts_at(points if turn is None else points @ turn)


def scans(grid, turn=None, kept=(1, 2, 3, SCALP), noise=2.0):
    """T1 and T2 of the parts that are kept; noise in the air tells a raw head."""
    parts = parts_on(grid, turn)
    parts[~np.isin(parts, kept)] = 0
    pair = []
    for seed, levels in enumerate((T1_LEVELS, T2_LEVELS)):
        values = levels[parts] + noise * np.abs(np.random.default_rng(seed).normal(size=parts.shape)) * (parts == 0)
        image = sitk.GetImageFromArray(values.astype(np.float32))
        image.CopyInformation(grid)
        pair.append(image)
    return pair


class KnowingNetwork:
    """A predictor that tells each voxel's part by its level on T1 (on T2 alone: nothing).

    It may be sure of upright heads alone. Left and right it exchanges in the mirror of what it has seen, as one does who goes by shape.
    """

    def __init__(self, t1, upright_only=False):
        self.mean = Head(t1, "T1").mean
        self.upright_only = upright_only
        self.calls = []
        self.seen = []

    def __call__(self, stage, inputs, mask, window, told):
        self.calls.append(stage.stage)
        level = inputs[0] * self.mean  # (X, Y, Z)
        parts = np.abs(level[None] - T1_LEVELS[:, None, None, None]).argmin(0)
        parts[(parts == SCALP) | (level < 112)] = 0
        if any(np.array_equal(inputs[:, ::-1], one) for one in self.seen):
            parts = np.array([0, 2, 1, 3, 0])[parts]
        self.seen.append(inputs)
        sure = 0.97
        if self.upright_only:
            left, right, below = (np.argwhere(parts == part).mean(axis=0) for part in (1, 2, 3))
            upright = right[0] - left[0] > 10 and below[2] < (left[2] + right[2]) / 2 - 10 and below[1] < (left[1] + right[1]) / 2
            sure = 0.97 if upright else 0.4
        probabilities = np.full((PART_COUNT, *parts.shape), (1 - sure) / 3, np.float32)
        np.put_along_axis(probabilities, parts[None], sure, 0)
        told(1.0)
        return probabilities
