from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from InfantBrainSegLib.training.commands import as_image
from InfantBrainSegLib.training.labelmaps import read_label_map

SHARED_LABEL_MAPS = Path(__file__).parents[3].parent / "shared" / "data" / "labelmaps"


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


@pytest.fixture(scope="session")
def label_map_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelmaps")
    for name in ("adult_01", "adult_15"):
        sitk.WriteImage(as_image(folded_codes()), str(folder / f"{name}.nii.gz"))
    return folder


@pytest.fixture(scope="session")
def label_map(label_map_folder):
    return read_label_map(label_map_folder / "adult_01.nii.gz")
