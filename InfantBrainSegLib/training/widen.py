"""Start a wider network as a narrower one that is trained: it computes the same at first, and its new channels learn to differ.

After Chen, Goodfellow and Shlens, "Net2Net" (ICLR 2016): each new channel repeats an old one, and whatever reads the old one divides its
weight among the copies. The shares are random, or the copies would get like gradients and stay alike.
"""

import torch

from ..core.errors import TrainingError

_FIRST = "encoders.0.levels.0.0.conv.weight"  # (base width, channels, 3, 3, 3)


def widen(source: dict[str, torch.Tensor], base_width: int) -> dict[str, torch.Tensor]:
    """Give the weights of a `MultiStreamFCN` of a larger base width that computes the same.

    Parameters
    ----------
    source : dict of torch.Tensor
        A state dict.
    base_width : int

    Returns
    -------
    dict of torch.Tensor
        `source` itself where it has that width already, or is of another network.

    Raises
    ------
    TrainingError
        If the weights are wider than that.
    """
    if _FIRST not in source or (narrow := source[_FIRST].shape[0]) == base_width:
        return source
    if narrow > base_width:
        raise TrainingError(
            f"The given weights have the base width {narrow}; wanted at most this network's, {base_width}: raise base_width."
        )
    deepest = max(len(tensor) for name, tensor in source.items() if name.startswith("encoders.0.") and tensor.ndim)
    return {name: _widen_tensor(name, tensor, base_width / narrow, deepest) for name, tensor in source.items()}


def _widen_tensor(name: str, given: torch.Tensor, factor: float, deepest: int) -> torch.Tensor:
    if given.ndim == 0:
        return given
    if given.ndim == 1:
        return given if name.startswith("classifiers.") else given[_copies(len(given), len(given), factor)]
    weight = given.transpose(0, 1) if name.endswith(".up.weight") else given  # (out, in, ...)
    segment = deepest if name == "decoder.0.up.weight" else weight.shape[0] if name.endswith(".merge.conv.weight") else weight.shape[1]
    if not name.startswith("classifiers."):
        weight = weight[_copies(len(weight), len(weight), factor)]
    if not name.endswith(".levels.0.0.conv.weight"):  # that one reads the images
        read = _copies(weight.shape[1], segment, factor)
        weight = weight[:, read] * _shares(len(weight), read)[(..., *[None] * (weight.ndim - 2))]
    return weight.transpose(0, 1) if name.endswith(".up.weight") else weight


def _copies(channels: int, segment: int, factor: float) -> torch.Tensor:
    """Which old channel each new one repeats, where `channels` are segments that were widened one by one."""
    wide = torch.arange(round(segment * factor)) % segment
    return torch.cat([start + wide for start in range(0, channels, segment)])


def _shares(out: int, read: torch.Tensor) -> torch.Tensor:
    """Random shares (out, len(read)) that add up to 1 over the copies of each old channel."""
    shares = torch.rand(out, len(read)) + 0.5
    totals = torch.zeros(out, int(read.max()) + 1).index_add_(1, read, shares)
    return shares / totals[:, read]
