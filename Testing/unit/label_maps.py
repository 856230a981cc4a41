"""Small label maps for tests of training."""

from pathlib import Path

import numpy as np

SHARED_LABEL_MAPS = Path(__file__).parents[3] / "shared" / "data" / "labelmaps"


def folded_codes(size=48):
    """A small folded brain in FreeSurfer codes, with everything that the simulator tells apart; no symmetry."""
    x, y, z = np.meshgrid(*[np.arange(size) - (size - 1) / 2] * 3, indexing="ij")
    angle = np.arctan2(y, x)
    radius = np.sqrt(x**2 + (y / 1.1) ** 2 + z**2) + 1.5 * np.cos(7 * angle) * np.cos(z / 4)
    codes = np.zeros((size,) * 3, np.int32)
    codes[radius < 20] = 24
    codes[radius < 18] = 3
    codes[radius < 14] = 2
    codes[(x**2 + (y - 2) ** 2 + z**2) < 30] = 10
    codes[((x - 4) ** 2 + y**2 + (z - 3) ** 2) < 9] = 11
    codes[((x + 4) ** 2 + (y / 2) ** 2 + z**2) < 6] = 4
    codes[(radius < 20) & (z < -13) & (y < -2)] = 8
    return codes
