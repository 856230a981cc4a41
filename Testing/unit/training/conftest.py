import struct

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from label_maps import folded_codes

from InfantBrainSegLib.core.labels import to_iseg
from InfantBrainSegLib.imaging.space import centered_image
from InfantBrainSegLib.training.experiments.train import run_synthesize
from InfantBrainSegLib.training.simulation.labelmaps import read_label_map


@pytest.fixture(scope="session")
def label_map_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelmaps")
    for name in ("adult_01", "adult_15"):
        sitk.WriteImage(centered_image(folded_codes()), str(folder / f"{name}.nii.gz"))
    return folder


@pytest.fixture(scope="session")
def label_map(label_map_folder):
    return read_label_map(label_map_folder / "adult_01.nii.gz")


@pytest.fixture(scope="session")
def labelled_folder(tmp_path_factory):
    """Three subjects of the simulator, in the layout that `synthesize` writes: small, but over 100 ml."""
    folder = tmp_path_factory.mktemp("labelled")
    sitk.WriteImage(sitk.DICOMOrient(phantoms.draw(phantoms.grid((1.0, 1.0, 1.0))), "RAS"), str(folder / "map.nii.gz"))
    run_synthesize(folder / "subjects", 3, seed=4, label_maps=folder / "map.nii.gz")
    return folder / "subjects"


def write_analyze(array, path):
    """Write an (X, Y, Z) array as Analyze 7.5, four-dimensional with one frame, as iSeg-2017's files are."""
    codes = {"uint8": (2, 8), "int16": (4, 16), "float32": (16, 32)}
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<i", header, 32, 16384)
    header[38] = ord("r")
    struct.pack_into("<8h", header, 40, 4, *array.shape, 1, 0, 0, 0)
    struct.pack_into("<2h", header, 70, *codes[array.dtype.name])
    struct.pack_into("<8f", header, 76, 0, 1, 1, 1, 0, 0, 0, 0)
    path.with_suffix(".hdr").write_bytes(header)
    path.with_suffix(".img").write_bytes(array.tobytes(order="F"))


@pytest.fixture(scope="session")
def iseg_folder(tmp_path_factory, labelled_folder):
    """The same three as iSeg-2017 is distributed, and one of them again as a test subject without a label."""
    folder = tmp_path_factory.mktemp("iseg")
    for number, subject in enumerate([*sorted(labelled_folder.iterdir()), labelled_folder / "subject-01"], start=1):
        part = folder / ("iSeg-2017-Training" if number <= 3 else "iSeg-2017-Testing")
        part.mkdir(exist_ok=True)
        arrays = {name: sitk.GetArrayFromImage(sitk.ReadImage(str(subject / f"{name}.nii.gz"))).T for name in ("T1", "T2", "label")}
        for name in ("T1", "T2"):
            write_analyze(arrays[name].astype(np.int16), part / f"subject-{number}-{name}")
        if number <= 3:
            write_analyze(to_iseg(arrays["label"]), part / f"subject-{number}-label")
    return folder
