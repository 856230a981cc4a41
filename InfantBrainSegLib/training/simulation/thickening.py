"""Cortex made thicker, or thinner, as growth does it: tissue moves, and none turns into another.

Infants' cortex is thicker than that of an adult's brain shrunk to their size: iSeg-2017 has 1.5 times as much gray as white matter,
the adult label maps 1.1 to 1.2. Turning white matter into cortex eats the thin blades of the gyri; a displacement that gives way does not.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import fft

from .labelmaps import CORTEX, WHITE

_STEPS = 3  # of the fixed-point iteration; each brings what is left down to a third or less
_LARGEST = 0.3  # amount; beyond, white matter would lose more than a third
MARGIN_VOXELS = 5  # no voxel of a brain moves further by the largest amount


def thickening_field(classes: np.ndarray) -> np.ndarray:
    """Displacement in voxels that lets cortex gain, and white matter lose, one and the same volume.

    It is the gradient of the potential φ with Δφ = f, where f is 1 in cortex, -r in white matter and 0 elsewhere, and r the ratio of their
    volumes. Moved by it times a small amount a, cortex grows by the share a and white matter shrinks by a·r.

    Parameters
    ----------
    classes : (X, Y, Z) uint8 array
        Synthesis classes, with some air round the brain.

    Returns
    -------
    (3, X, Y, Z) float16 array
    """
    cortex, white = classes == CORTEX, classes == WHITE
    source = cortex - white * np.float32(cortex.sum() / white.sum())
    waves = [2 * np.pi * frequencies(n) for n, frequencies in zip(classes.shape, (fft.fftfreq, fft.fftfreq, fft.rfftfreq), strict=True)]
    axes = np.meshgrid(*(wave.astype(np.float32) for wave in waves), indexing="ij", sparse=True)
    square = axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2
    square[0, 0, 0] = 1  # the source's mean is 0
    potential = -fft.rfftn(source) / square
    return np.stack([fft.irfftn(1j * axis * potential, classes.shape) for axis in axes]).astype(np.float16)


def amount_for(cortex: float, white: float, cortex_to_white: float) -> float:
    """Times which the field brings these volumes of cortex and white matter to a ratio, as far as 0.3 either way goes."""
    ratio = cortex / white
    return float(np.clip((cortex_to_white - ratio) / (ratio * (1 + cortex_to_white)), -_LARGEST, _LARGEST))


def moved_volumes(cortex: float, white: float, amount: float) -> tuple[float, float]:
    """Volumes of cortex and white matter after `amount` times the field."""
    return cortex * (1 + amount), white - cortex * amount


def pull_back(positions: torch.Tensor, field: torch.Tensor, amount: float | torch.Tensor, low) -> torch.Tensor:
    """Where in the map that comes from which lies at `positions` once the map was moved by `amount` times the field.

    Parameters
    ----------
    positions : (3, X, Y, Z) float torch.Tensor
        Voxels of the map.
    field : (3, X', Y', Z') float torch.Tensor
        A block of `thickening_field`.
    amount : float, or (X, Y, Z) float torch.Tensor that changes slowly
    low : sequence of int
        The block's first voxel.

    Returns
    -------
    (3, X, Y, Z) float torch.Tensor
        x with x + amount · field(x) = position.
    """
    found = positions
    for _ in range(_STEPS):
        found = positions - amount * sample(field, found, low)
    return found


def sample(stacked: torch.Tensor, positions: torch.Tensor, low) -> torch.Tensor:
    """(C, X', Y', Z') block sampled linearly at (3, X, Y, Z) voxel positions of the whole map; 0 beyond the block."""
    shape = torch.tensor(stacked.shape[1:], device=stacked.device, dtype=torch.float32)
    start = torch.tensor(low, device=stacked.device, dtype=torch.float32).view(3, 1, 1, 1)
    unit = 2 * (positions - start + 0.5) / shape.view(3, 1, 1, 1) - 1
    grid = unit.flip(0).permute(1, 2, 3, 0)[None]  # grid_sample wants the last axis first: (1, X, Y, Z, 3)
    return F.grid_sample(stacked[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
