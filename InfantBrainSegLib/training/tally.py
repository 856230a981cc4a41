"""What a training run counts from one line of its log to the next."""

import time

import numpy as np
import torch

from ..core.labels import CLASS_COUNT, TISSUES


class Tally:
    """Means since the last line of the log."""

    def __init__(self):
        self.losses: list[float] = []
        self.counts = np.zeros((2, len(TISSUES)))
        self.left_out = 0
        self.start = time.monotonic()

    def add(self, loss: float, counts: np.ndarray, left_out: bool) -> None:
        """Count one step: its loss, its `overlap_counts`, and whether it was left out."""
        self.losses.append(loss)
        self.left_out += left_out
        self.counts += counts

    @property
    def loss(self) -> float:
        """Mean of the steps; not a number before the first."""
        return float(np.mean(self.losses)) if self.losses else float("nan")

    @property
    def dice(self) -> np.ndarray:
        """DOC of CSF, GM and WM over all steps: (3,)."""
        return dice_of(self.counts)

    @property
    def seconds(self) -> float:
        """Since this tally was begun."""
        return time.monotonic() - self.start


def overlap_counts(predicted: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Voxels in both, and in one plus in the other, per tissue.

    Parameters
    ----------
    predicted, labels : (B, X, Y, Z) int64 torch.Tensor

    Returns
    -------
    (2, 3) float array
    """
    pairs = torch.bincount((predicted * CLASS_COUNT + labels).flatten(), minlength=CLASS_COUNT**2).cpu().numpy()
    table = pairs.reshape(CLASS_COUNT, CLASS_COUNT).astype(float)
    return np.stack([np.diag(table), table.sum(0) + table.sum(1)])[:, 1:]


def dice_of(counts: np.ndarray) -> np.ndarray:
    """DOC of CSF, GM and WM, (3,), from sums of `overlap_counts`."""
    return 2 * counts[0] / np.maximum(counts[1], 1)
