"""The loss of the paper, Eq. 1 to 3: cross-entropy at three scales. Its L2 term lies in the optimiser, on weights only."""

import torch
import torch.nn.functional as F

LOSS_WEIGHTS = (1.0, 0.67, 0.33)  # paper, section 4.1: main, 1/2, 1/4


def downsample_labels(labels: torch.Tensor, factor: int, classes: int) -> torch.Tensor:
    """Labels of a coarser scale by majority vote in each cube (S_m of Eq. 1).

    The authors' code takes the maximum, which favours white matter; ties go to the lower label.

    Parameters
    ----------
    labels : (B, X, Y, Z) int64 torch.Tensor
    factor : int
    classes : int
        That vote, background included.

    Returns
    -------
    (B, ceil(X / factor), ...) int64 torch.Tensor
    """
    if factor == 1:
        return labels
    votes = [F.avg_pool3d((labels == value).float(), factor, ceil_mode=True) for value in range(classes)]  # each (B, X / m, ...)
    return torch.stack(votes, 1).argmax(1)


def deep_supervision_loss(logits, labels: torch.Tensor, weights=LOSS_WEIGHTS) -> torch.Tensor:
    """Weighted sum of the mean cross-entropy of each classifier (Eq. 1 and 2).

    Parameters
    ----------
    logits : sequence of (B, K, X / 2^m, Y / 2^m, Z / 2^m) torch.Tensor
    labels : (B, X, Y, Z) int64 torch.Tensor
    weights : sequence of float
        α of Eq. 1, one for each scale.

    Returns
    -------
    () float32 torch.Tensor
    """
    terms = [
        w * F.cross_entropy(scale.float(), downsample_labels(labels, 2**m, scale.shape[1]))
        for m, (scale, w) in enumerate(zip(logits, weights, strict=True))
    ]
    return torch.stack(terms).sum()


def parameter_groups(network: torch.nn.Module, weight_decay: float) -> list[dict]:
    """Parameters for an optimiser, with the L2 term of Eq. 3 on weights and none on biases and normalisation."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
