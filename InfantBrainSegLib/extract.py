"""Stage 0."""

import torch
import torch.nn.functional as F

from .labels import CLASS_COUNT


def context_of(parts: torch.Tensor) -> torch.Tensor:
    """Smooth maps of what the 2 mm network found, as the 1 mm network takes them.

    Parameters
    ----------
    parts : (X, Y, Z) int64 torch.Tensor
        Left cerebrum, right cerebrum, infratentorial; 0 elsewhere.

    Returns
    -------
    (3, X, Y, Z) float32 torch.Tensor
    """
    maps = F.one_hot(parts, CLASS_COUNT).permute(3, 0, 1, 2)[1:].float()  # (3, X, Y, Z)
    return F.avg_pool3d(maps[None], 3, 1, 1, count_include_pad=False)[0]
