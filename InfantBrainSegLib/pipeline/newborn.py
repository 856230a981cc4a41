"""White matter of newborns, drawn as far out as manual raters draw it.

The networks learned from labels in which a voxel counts as white matter from half of its volume on. Raters of newborns draw its border
further out. Other contrasts have no manual labels to measure this on, so they keep the networks' border.
"""

import math

import numpy as np
import torch

from ..core.labels import GM, WM

# Contrast from which on a brain counts as a newborn's, none of it and all of it. Ten newborns have 0.41 to 0.93; the 43 synthetic
# isointense subjects 0.11 at most, and infants of four months and more less than 0.
_NONE, _ALL = 0.2, 0.4


def newborn_share(images: np.ndarray, labels: np.ndarray) -> float:
    """How far a brain has the contrast of a newborn: WM darker than GM on T1 and brighter on T2.

    Parameters
    ----------
    images : (2, X, Y, Z) float array
        T1 and T2, z-scores of the brain; 0 everywhere where a scan was not given.
    labels : (X, Y, Z) uint8 array

    Returns
    -------
    float
        0 to 1, without a step between; 0 where GM, WM or a scan is absent.
    """
    white, gray = labels == WM.value, labels == GM.value
    if not (white.any() and gray.any()):
        return 0.0
    t1, t2 = (float(np.median(image[white]) - np.median(image[gray])) for image in images)
    return float(np.clip((min(-t1, t2) - _NONE) / (_ALL - _NONE), 0, 1))


def with_wm_bias(probabilities: torch.Tensor, bias: float) -> torch.Tensor:
    """(C, X, Y, Z) probabilities after so much was added to the logit of WM."""
    if not bias:
        return probabilities
    biased = probabilities / (1 + probabilities[WM.value] * math.expm1(bias))
    biased[WM.value] *= math.exp(bias)
    return biased
