"""Spatial context for the second stage: one distance map per tissue, from the first stage's label map (paper, section 3)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ..core.labels import TISSUES

MOST_MM = 1000.0  # no head is as large


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

    def __post_init__(self):
        if type(self.signed) is not bool:
            raise ValueError(f"signed is {self.signed!r:.40}; wanted true or false.")
        for name, value in {"clip_mm": self.clip_mm, "divisor_mm": 1.0 if self.divisor_mm is None else self.divisor_mm}.items():
            if type(value) not in (int, float) or not 0 < value <= MOST_MM:
                raise ValueError(f"{name} is {value!r:.40}; wanted a number above 0, at most {MOST_MM:g}.")


def distance_maps(labels: np.ndarray, config: ContextConfig | None = None) -> np.ndarray:
    """As `distance_maps_on_device`, from an (X, Y, Z) uint8 array to a (3, X, Y, Z) float32 array."""
    return distance_maps_on_device(torch.from_numpy(labels), config).numpy()


def distance_maps_on_device(labels: torch.Tensor, config: ContextConfig | None = None) -> torch.Tensor:
    """Distance maps of CSF, GM and WM, of labels on a grid of 1 mm, on the labels' device.

    A signed distance is d(outside) - d(inside) between voxel centres, so that the two sides of a border are at +1 and -1 voxel.

    Parameters
    ----------
    labels : (X, Y, Z) uint8 torch.Tensor
        Label map of the first stage.
    config : ContextConfig, optional

    Returns
    -------
    (3, X, Y, Z) float32 torch.Tensor
        In [-1, 1] for signed distances (units of `clip_mm`), in [0, 1] for the paper's, 0 or more with `divisor_mm`. A tissue that is
        absent is at 1 everywhere.
    """
    config = config or ContextConfig()
    if config.signed:
        return signed_distance_maps(labels[None], config.clip_mm)[0]
    array = labels.cpu().numpy()
    maps = np.ones((len(TISSUES), *array.shape), np.float32)
    for channel, tissue in enumerate(TISSUES):
        inside = array == tissue.value
        if inside.any():
            distance_mm = ndimage.distance_transform_edt(~inside)
            maps[channel] = distance_mm / (config.divisor_mm or max(distance_mm.max(), 1e-6))
    return torch.from_numpy(maps).to(labels.device)


def signed_distance_maps(labels: torch.Tensor, clip_mm: float) -> torch.Tensor:
    """The signed maps of `distance_maps_on_device`, of many label maps of 1 mm at once and on any device.

    The nearest voxel is sought as far as `clip_mm`, along one axis after the other: squared distances add up.

    Parameters
    ----------
    labels : (B, X, Y, Z) uint8 torch.Tensor
    clip_mm : float

    Returns
    -------
    (B, 3, X, Y, Z) float32 torch.Tensor
        In [-1, 1].
    """
    inside = torch.stack([labels == tissue.value for tissue in TISSUES], 1)
    to_tissue_mm, to_others_mm = (_distances_mm(target, math.ceil(clip_mm)) for target in (inside, ~inside))
    return (to_tissue_mm - to_others_mm).clamp(-clip_mm, clip_mm) / clip_mm


def _distances_mm(target: torch.Tensor, reach: int) -> torch.Tensor:
    """(B, C, X, Y, Z) distance to the nearest voxel that is True, exact up to `reach` voxels and more than that beyond."""
    small = 2 * reach**2 < 255  # then squares that count, and those of steps beyond them, fit a byte: half the memory, twice the speed
    far = 255 - reach**2 if small else 4 * reach**2
    square = torch.where(target, 0, far).to(torch.uint8 if small else torch.int16 if far + reach**2 < 2**15 else torch.int32)
    for axis in range(2, 5):
        pad = [0] * 6
        pad[2 * (4 - axis)] = pad[2 * (4 - axis) + 1] = reach
        padded, length = F.pad(square, pad, value=far), square.shape[axis]
        for step in range(1, reach + 1):
            beside = torch.minimum(padded.narrow(axis, reach - step, length), padded.narrow(axis, reach + step, length))
            square = torch.minimum(square, beside.add_(step**2))
    return square.float().sqrt_()
