"""The paper's augmentation (section 4.1): quarter turns about z and a mirror along y."""

import numpy as np
import torch


def rotate_and_flip(images: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn a patch by 0, 90, 180 or 270 degrees about z, and mirror it along y in half of the cases.

    Parameters
    ----------
    images : (C, X, Y, Z) torch.Tensor
    labels : (X, Y, Z) torch.Tensor
    rng : numpy.random.Generator

    Returns
    -------
    images, labels : torch.Tensor
        X and Y change places at odd quarter turns.
    """
    turns = int(rng.integers(4))
    images, labels = torch.rot90(images, turns, (1, 2)), torch.rot90(labels, turns, (0, 1))
    if rng.random() < 0.5:
        images, labels = images.flip(2), labels.flip(1)
    return images.contiguous(), labels.contiguous()
