"""Spatial context for the second stage: one distance map per tissue, from the first stage's label map (paper, section 3)."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .labels import TISSUES


@dataclass(frozen=True)
class ContextConfig:
    """How distance maps are made.

    Attributes
    ----------
    signed : bool
        True: distance to the tissue's border, positive outside and negative inside, clipped and divided by the clip.
        False: distance to the nearest voxel of the tissue.
    clip_mm : float
        Signed distances stop here. Beyond a few gyral widths (10 mm) a distance tells nothing local, and a map cut off
        there looks alike in a patch and in a whole volume.
    divisor_mm : float or None
        Unsigned distances are divided by this; None: by their maximum in the array, as in the paper's code. The maximum of a patch is
        not that of its volume: train on such maps only where they are cut out of whole volumes, as `scans` does.
    """

    signed: bool = True
    clip_mm: float = 10.0
    divisor_mm: float | None = None


def distance_maps(labels: np.ndarray, config: ContextConfig | None = None, spacing_mm=(1.0, 1.0, 1.0)) -> np.ndarray:
    """Distance maps of CSF, GM and WM.

    A signed distance is d(outside) - d(inside) between voxel centres, so that the two sides of a border are at +1 and -1 voxel.

    Parameters
    ----------
    labels : (X, Y, Z) uint8 array
        Label map of the first stage.
    config : ContextConfig, optional
    spacing_mm : sequence of 3 float
        Voxel size along X, Y, Z.

    Returns
    -------
    (3, X, Y, Z) float32 array
        In [-1, 1] for signed distances (units of `clip_mm`), in [0, 1] for the paper's, 0 or more with `divisor_mm`. A tissue that is
        absent is at 1 everywhere.
    """
    config = config or ContextConfig()
    maps = np.empty((len(TISSUES), *labels.shape), np.float32)
    for channel, tissue in enumerate(TISSUES):
        inside = labels == tissue.value
        if not inside.any():
            maps[channel] = 1.0
        elif config.signed:
            maps[channel] = _signed_mm(inside, spacing_mm, config.clip_mm) / config.clip_mm
        else:
            distance_mm = ndimage.distance_transform_edt(~inside, spacing_mm)
            maps[channel] = distance_mm / (config.divisor_mm or max(distance_mm.max(), 1e-6))
    return maps


def _signed_mm(inside: np.ndarray, spacing_mm, clip_mm: float) -> np.ndarray:
    signed_mm = ndimage.distance_transform_edt(~inside, spacing_mm).astype(np.float32)
    if inside.all():
        return np.full(inside.shape, -clip_mm, np.float32)
    signed_mm -= ndimage.distance_transform_edt(inside, spacing_mm).astype(np.float32)
    return np.clip(signed_mm, -clip_mm, clip_mm)
