import phantoms
import pytest
import SimpleITK as sitk
import torch

from InfantBrainSegLib.context import ContextConfig
from InfantBrainSegLib.network import MultiStreamFCN, NetworkConfig
from InfantBrainSegLib.weights import save_weights


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
