"""Start one network from another's weights."""

import torch
from torch import nn

from ..errors import TrainingError


def start_from(network: nn.Module, source: dict[str, torch.Tensor]) -> dict[str, str]:
    """Copy the weights that fit; FCN-2 so begins as the FCN-1 it extends.

    A tensor that is wider in one dimension (FCN-2's fusion and merging layers see one more stream, last in order) takes the
    smaller one as its leading part and zeros for the rest, so that the new stream has no say until it is trained.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    source : dict of torch.Tensor
        A state dict.

    Returns
    -------
    dict
        For each tensor of `network`: "copied", "extended" or "kept".

    Raises
    ------
    TrainingError
        If nothing was copied.
    """
    report = {}
    state = network.state_dict()
    for name, tensor in state.items():
        given = source.get(name)
        if given is None or given.ndim != tensor.ndim:
            report[name] = "kept"
        elif given.shape == tensor.shape:
            tensor.copy_(given)
            report[name] = "copied"
        elif all(a <= b for a, b in zip(given.shape, tensor.shape, strict=True)):
            tensor.zero_()
            tensor[tuple(slice(n) for n in given.shape)] = given.to(tensor.dtype)
            report[name] = "extended"
        else:
            report[name] = "kept"
    if "copied" not in report.values():
        raise TrainingError("No tensor of the given weights fits this network: start from weights of the same width and levels.")
    return report
