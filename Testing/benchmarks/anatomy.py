"""Anatomy of label maps and results: shares of the tissues, white matter by depth, thickness of cortex and of the blades of white matter.

    python -m Testing.benchmarks label-anatomy FILE [FILE ...]

A file holds labels 0 to 3, iSeg's, or FreeSurfer's codes, on any grid; all is measured at 1 mm. Depth is counted from the brain's hull:
gray and white matter closed by a ball of 8 mm, holes filled. Six-month-olds: 29 real ones, 13 of one scanner and 16 of three others,
labelled by a network trained on experts' labels.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from InfantBrainSegLib.core.labels import BACKGROUND, CSF, GM, TISSUES, WM, from_any
from InfantBrainSegLib.imaging.resample import bounding_box
from InfantBrainSegLib.training.simulation.labelmaps import SYNTHESIS_TO_LABEL, synthesis_classes

HULL_MM = 8
DEPTHS_MM = (1, 4, 7, 10, 14, 20)  # edges; the outermost voxels of the hull lie at 1 mm
CORTEX_MM = 8  # deeper gray matter may be a nucleus
BLADES_MM = (4, 14)  # depths at which white matter is blades
PERCENTILES = (10, 50, 90)
GM_WM, SHARES, BY_DEPTH, CORTEX, BLADES, CROWN = "gm_wm", "shares", "wm_by_depth", "cortex_mm", "blades_mm", "crown_mm"
SIX_MONTHS = {  # mean, lowest and highest
    GM_WM: (1.56, 1.39, 1.68),
    SHARES: ((0.21, 0.16, 0.26), (0.48, 0.46, 0.50), (0.31, 0.28, 0.35)),
    BY_DEPTH: ((0.10, 0.06, 0.13), (0.36, 0.30, 0.40), (0.42, 0.37, 0.44), (0.47, 0.44, 0.50), (0.54, 0.52, 0.57)),
}


def read_labels(path: Path) -> np.ndarray:
    """Labels of a file at 1 mm along its own axes, as (K, J, I) uint8; each voxel gets the label with the largest share."""
    image = sitk.ReadImage(str(path))
    codes = sitk.GetArrayFromImage(image).astype(np.int32)
    values = set(np.unique(codes).tolist())
    ours = {BACKGROUND, *(tissue.value for tissue in TISSUES)}
    iseg = {BACKGROUND, *(tissue.iseg_value for tissue in TISSUES)}
    labels = from_any(codes) if values <= ours or values <= iseg else SYNTHESIS_TO_LABEL[synthesis_classes(codes)]
    spacing_mm = np.array(image.GetSpacing())[::-1]
    if np.allclose(spacing_mm, 1, atol=0.05):
        return labels
    shares = [
        ndimage.zoom((labels == value).astype(np.float32), spacing_mm, order=1, grid_mode=True, mode="grid-constant") for value in range(4)
    ]
    return np.argmax(shares, axis=0).astype(np.uint8)


def depth_below_hull_mm(brain: np.ndarray) -> np.ndarray:
    """Distance of each voxel of 1 mm in the hull from the nearest one outside it; 0 outside.

    Parameters
    ----------
    brain : 3D bool array
        Gray and white matter, with HULL_MM + 2 voxels of air round it.
    """
    near = ndimage.distance_transform_edt(~brain) <= HULL_MM
    hull = ndimage.binary_fill_holes(ndimage.distance_transform_edt(near) > HULL_MM)
    return ndimage.distance_transform_edt(hull)


def measure_anatomy(labels: np.ndarray) -> dict:
    """Measure labels 0 to 3 of 1 mm.

    Parameters
    ----------
    labels : 3D uint8 array

    Returns
    -------
    dict
        GM_WM; SHARES of CSF, GM and WM; BY_DEPTH, WM's share of GM and WM in each shell; CORTEX, the 10th, 50th and 90th percentile of its
        thickness, two banks of a sulcus without CSF taken for one; BLADES, their mean width, twice their volume over their surface; CROWN,
        the mean distance from the gray surface of the hull to white matter.

    Raises
    ------
    ValueError
        If there is no gray or no white matter.
    """
    brain = np.isin(labels, (GM.value, WM.value))
    if not ((labels == GM.value).any() and (labels == WM.value).any()):
        raise ValueError("The labels hold no gray or no white matter.")
    labels = np.pad(labels[bounding_box(labels != BACKGROUND)], HULL_MM + 2)
    brain, gray, white = np.isin(labels, (GM.value, WM.value)), labels == GM.value, labels == WM.value
    depth_mm = depth_below_hull_mm(brain)
    to_white_mm = ndimage.distance_transform_edt(~white)
    cortex = gray & (depth_mm < CORTEX_MM)
    thickness_mm = to_white_mm + ndimage.distance_transform_edt(brain) - 1  # a layer of one voxel: 1 + 1 - 1
    blades = white & (depth_mm >= BLADES_MM[0]) & (depth_mm < BLADES_MM[1])
    counts = [np.count_nonzero(labels == tissue.value) for tissue in (CSF, GM, WM)]
    shells = [(depth_mm >= low) & (depth_mm < high) & brain for low, high in pairwise(DEPTHS_MM)]
    return {
        GM_WM: counts[1] / counts[2],
        SHARES: [count / sum(counts) for count in counts],
        BY_DEPTH: [float(white[shell].mean()) if shell.any() else float("nan") for shell in shells],
        CORTEX: [float(value) for value in np.percentile(thickness_mm[cortex], PERCENTILES)] if cortex.any() else [float("nan")] * 3,
        BLADES: 2 * np.count_nonzero(blades) / max(_surface_mm2(blades, white), 1.0),
        CROWN: float(to_white_mm[gray & (depth_mm > 0) & (depth_mm < 2)].mean()),
    }


def _surface_mm2(part: np.ndarray, tissue: np.ndarray) -> float:
    """Area of a tissue's surface on one part of it: faces of voxels, two thirds of which are left when slopes are not stairs."""
    faces = 0
    for axis in range(3):
        for shift in (-1, 1):
            faces += np.count_nonzero(part & ~np.roll(tissue, shift, axis))  # there is air all round
    return faces / 1.5


def header() -> list[str]:
    """First two lines of the table that `row` continues."""
    depths = [f"{low}-{high} mm" for low, high in pairwise(DEPTHS_MM)]
    names = ["", "GM/WM", "CSF, GM, WM %", *depths, "cortex mm", "blades mm", "crown mm"]
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def row(name: str, found: dict) -> str:
    """One line of the table: of a measured map."""
    cells = [
        f"{found[GM_WM]:.2f}",
        ", ".join(f"{100 * share:.0f}" for share in found[SHARES]),
        *(f"{share:.2f}" for share in found[BY_DEPTH]),
        "{1:.1f} ({0:.1f}-{2:.1f})".format(*found[CORTEX]),
        *(f"{found[name]:.1f}" for name in (BLADES, CROWN)),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def six_months() -> str:
    """The line of the real six-month-olds: mean and range."""
    cells = [
        "{:.2f} ({:.2f}-{:.2f})".format(*SIX_MONTHS[GM_WM]),
        ", ".join(f"{100 * mean:.0f}" for mean, _, _ in SIX_MONTHS[SHARES]),
        *(f"{mean:.2f} ({low:.2f}-{high:.2f})" for mean, low, high in SIX_MONTHS[BY_DEPTH]),
    ]
    return f"| six-month-olds | {' | '.join(cells)} | | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="+")
    print("\n".join([*header(), six_months()]))
    for path in parser.parse_args().file:
        print(row(path.name, measure_anatomy(read_labels(path))), flush=True)
