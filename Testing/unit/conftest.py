import shutil

import phantoms
import programs
import pytest
import SimpleITK as sitk
import torch
from stand_ins import StandIn

from InfantBrainSegLib.batch.job import BatchOptions
from InfantBrainSegLib.imaging.files import write_image
from InfantBrainSegLib.networks.context import ContextConfig
from InfantBrainSegLib.networks.fcn import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.networks.weights import save_weights
from InfantBrainSegLib.pipeline.segmenter import SegmentOptions


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory):
    """Both stages, tiny and random: enough to walk the whole way."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_weights(MultiStreamFCN(NetworkConfig((1, 1), base_width=2)), "fcn1", {"training": {"seed": 0}}, folder / "fcn1.pt")
    save_weights(MultiStreamFCN(NetworkConfig((1, 1, 3), base_width=2)), "fcn2", {"context": ContextConfig()}, folder / "fcn2.pt")
    return folder


@pytest.fixture(scope="session")
def phantom_scans():
    """T1 and T2 of the lopsided brain at 1.5 mm."""
    grid = phantoms.grid((1.5, 1.5, 1.5))
    return phantoms.noisy(phantoms.draw(grid, phantoms.T1_LEVELS)), phantoms.noisy(phantoms.draw(grid, phantoms.T2_LEVELS), seed=2)


@pytest.fixture(scope="session")
def scan_files(tmp_path_factory, phantom_scans):
    """Paths of that T1 and T2."""
    folder = tmp_path_factory.mktemp("scans")
    paths = []
    for name, image in zip(("T1", "T2"), phantom_scans, strict=True):
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
        paths.append(folder / f"{name}.nii.gz")
    return paths


@pytest.fixture
def browser():
    """The path of Chromium or Chrome."""
    return programs.needed("apt-get install chromium", *programs.BROWSERS)


@pytest.fixture
def stand_in():
    return StandIn()


@pytest.fixture
def options(weights_dir):
    return BatchOptions(SegmentOptions("cpu", weights_dir, extract="off"))


@pytest.fixture(scope="session")
def small_scans(tmp_path_factory):
    """Files of a T1 and a T2 with few voxels."""
    folder = tmp_path_factory.mktemp("small")
    grid = phantoms.grid((2.8, 2.5, 2.9), phantoms.PERMUTED)
    for name, levels in (("T1w", phantoms.T1_LEVELS), ("T2w", phantoms.T2_LEVELS)):
        write_image(phantoms.draw(grid, levels), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def bids(tmp_path, small_scans):
    """A dataset of three scans: sub-01, and two sessions of sub-02."""
    root = tmp_path / "bids"
    for place, name in (("sub-01", "sub-01"), ("sub-02/ses-1", "sub-02_ses-1"), ("sub-02/ses-2", "sub-02_ses-2")):
        (root / place / "anat").mkdir(parents=True)
        for suffix in ("T1w", "T2w"):
            shutil.copyfile(small_scans / f"{suffix}.nii.gz", root / place / "anat" / f"{name}_{suffix}.nii.gz")
    return root
