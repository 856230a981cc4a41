"""Start one network from others' weights: a whole state dict, or the paper's partial transfer (section 3.3).

`init_t1` gives the T1 encoder, the decoder and the classifiers; `init_t2` the T2 encoder from C3D (Tran et al., ICCV 2015). C3D's
convolutions go by these names in the checkpoints that are about:

=========================================  ======================================
layout                                     conv1a, conv2a, conv3a, ... conv4b
=========================================  ======================================
PyTorch ports (c3d.pickle)                 conv1, conv2, conv3a, conv3b, conv4a, conv4b
one nn.Sequential, as torchvision's VGG    features.0, .3, .6, .8, .11, .13
MMAction2                                  conv1a.conv, conv2a.conv, ... conv4b.conv
converted from Caffe                       conv1a, conv2a, ... conv4b
=========================================  ======================================

each with `.weight` and `.bias`, and perhaps `module.`, `model.` or `backbone.` before. Files are read without unpickling objects.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..core.errors import TrainingError, WeightsError
from ..networks.fcn import MultiStreamFCN
from ..networks.saved import UnreadableError, read_saved
from ..networks.weights import restored

_C3D = ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b")
_C3D_PLACES = ("levels.0.0", "levels.1.0", "levels.2.0", "levels.2.1", "levels.3.0", "levels.3.1")
_C3D_LAYOUTS = (
    ("conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b"),
    ("features.0", "features.3", "features.6", "features.8", "features.11", "features.13"),
    tuple(f"{name}.conv" for name in _C3D),
    _C3D,
)
_PREFIXES = ("module.", "model.", "backbone.")
_WRAPPERS = ("state_dict", "network", "model_state_dict")  # weights files, our checkpoints, others' checkpoints
_T1_PATH = ("encoders.0.", "decoder.", "classifiers.")
_FIRST = "encoders.0.levels.0.0.conv.weight"  # (base width, channels, 3, 3, 3)


@dataclass(frozen=True)
class Transferred:
    """What became of one tensor.

    Attributes
    ----------
    tensor : str
        Its name in this network, or in the file where it has none here.
    action : str
        "taken" as it is, "adapted", or "skipped".
    reason : str
    """

    tensor: str
    action: str
    reason: str


def start_from(network: MultiStreamFCN, source: dict[str, torch.Tensor]) -> dict[str, str]:
    """Copy the weights that fit; FCN-2 so begins as the FCN-1 it extends.

    A tensor that is wider in one dimension (FCN-2's fusion and merging layers see one more stream, last in order) takes the
    smaller one as its leading part and zeros for the rest, so that the new stream has no say until it is trained. Weights of a
    smaller base width are widened first, see `widen.widen`.

    Parameters
    ----------
    network : MultiStreamFCN
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
        If nothing was copied, or the weights are of a larger base width.
    """
    source = widen(source, network.config.base_width)
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
            _lead_with(tensor, given)
            report[name] = "extended"
        else:
            report[name] = "kept"
    if "copied" not in report.values():
        raise TrainingError("No tensor of the given weights fits this network: start from weights of the same width and levels.")
    return report


def partial_transfer(network: nn.Module, init_t1: str = "", init_t2: str = "") -> list[Transferred]:
    """The paper's partial transfer learning (section 3.3) from files.

    Parameters
    ----------
    network : nn.Module
        A `MultiStreamFCN`, changed in place.
    init_t1 : str
        Weights file, checkpoint or state dict of a `MultiStreamFCN` with one stream or more: the authors' femur model, or an own one.
    init_t2 : str
        A C3D checkpoint.

    Returns
    -------
    list of Transferred
        Every tensor of the files, and every tensor of the network that none of them gave.

    Raises
    ------
    WeightsError
        If a file cannot be read, lacks what is wanted of it, or has a tensor of a shape that cannot match.
    """
    report = [*(_take_t1_path(network, init_t1) if init_t1 else ()), *(_take_t2_encoder(network, init_t2) if init_t2 else ())]
    if report:
        given = {line.tensor for line in report if line.action != "skipped"}
        report += [Transferred(name, "skipped", "in no file: starts at random") for name in network.state_dict() if name not in given]
    return report


def transfer_table(report: list[Transferred]) -> str:
    """Lay out a report of `partial_transfer`, one line a tensor, with the counts at the end."""
    width = max(len(line.tensor) for line in report)
    lines = [f"{line.action:<8} {line.tensor:<{width}}  {line.reason}" for line in report]
    counts = {action: sum(line.action == action for line in report) for action in ("taken", "adapted", "skipped")}
    return "\n".join([*lines, ", ".join(f"{count} {action}" for action, count in counts.items())])


def _take_t1_path(network: nn.Module, path: str) -> list[Transferred]:
    source = _read_state(path)
    if not any(name.startswith(_T1_PATH[0]) for name in source):
        raise WeightsError(
            f"{path} holds no tensor {_T1_PATH[0]}*, the T1 encoder; wanted weights of this project's network for --init-t1."
        )
    state = network.state_dict()
    report = []
    for name, given in source.items():
        if not name.startswith(_T1_PATH):
            report.append(Transferred(name, "skipped", f"not of the T1 path ({path})"))
            continue
        if name not in state:
            raise WeightsError(f"{path} has the tensor {name}, which this network lacks; wanted a network with the same levels.")
        tensor = state[name]
        grows = 0 if name == "decoder.0.up.weight" else 1 if name.endswith(".merge.conv.weight") else None
        if given.shape == tensor.shape:
            tensor.copy_(given)
            report.append(Transferred(name, "taken", f"as it is ({path})"))
        elif grows is not None and _smaller_along(given, tensor, grows):
            _lead_with(tensor, given)
            more = tensor.shape[grows] - given.shape[grows]
            report.append(Transferred(name, "adapted", f"{more} input channels of further streams start at 0 ({path})"))
        else:
            raise _misfit(path, name, given, tensor)
    return report


def _take_t2_encoder(network: nn.Module, path: str) -> list[Transferred]:
    source = _read_state(path)
    layout = next((names for names in _C3D_LAYOUTS if all(f"{name}.weight" in source for name in names)), None)
    if layout is None:
        found = ", ".join(list(source)[:4])
        raise WeightsError(
            f"{path} names its tensors {found} ...; wanted C3D's, as conv1.weight and conv3a.weight, "
            "features.0.weight and features.3.weight, or conv1a.conv.weight and conv2a.conv.weight: convert it for --init-t2."
        )
    state = network.state_dict()
    report = []
    places = dict(zip((f"{name}.weight" for name in layout), _C3D_PLACES, strict=True))
    biases = {f"{name}.bias" for name in layout}
    for name in source:
        if name in biases:
            report.append(Transferred(name, "skipped", f"the normalisation that follows takes any constant out ({path})"))
        elif name not in places:
            report.append(Transferred(name, "skipped", f"beyond conv4b, where this encoder ends ({path})"))
    for name, place in places.items():
        target = f"encoders.1.{place}.conv.weight"
        if target not in state:
            raise WeightsError(
                f"This network lacks {target}, where {name} of {path} goes; wanted levels of 1, 1, 2, 2 convolutions, as C3D's."
            )
        given, reason = source[name], "time, height and width become z, y and x"
        if place == _C3D_PLACES[0] and given.ndim == 5:
            given = given.sum(1, keepdim=True)  # what a gray video, alike in red, green and blue, gives
            reason += "; summed over red, green and blue"
        if given.ndim != 5 or given.shape != state[target].shape:
            raise _misfit(path, name, source[name], state[target])
        state[target].copy_(given.permute(0, 1, 4, 3, 2))  # (out, in, T, H, W) to (out, in, X, Y, Z)
        report.append(Transferred(target, "adapted", f"{reason} ({name} of {path})"))
    return report


def _misfit(path: str, name: str, given: torch.Tensor, tensor: torch.Tensor) -> WeightsError:
    return WeightsError(
        f"{name} of {path} has the shape {tuple(given.shape)}, which cannot become {tuple(tensor.shape)}: "
        "use weights of the same base width and levels (C3D's width is 64)."
    )


def _smaller_along(given: torch.Tensor, tensor: torch.Tensor, axis: int) -> bool:
    same = [a == b for k, (a, b) in enumerate(zip(given.shape, tensor.shape, strict=False)) if k != axis]
    return given.ndim == tensor.ndim and all(same) and given.shape[axis] < tensor.shape[axis]


def _lead_with(tensor: torch.Tensor, given: torch.Tensor) -> None:
    tensor.zero_()
    tensor[tuple(slice(n) for n in given.shape)] = given.to(tensor.dtype)


def _read_state(path: str) -> dict[str, torch.Tensor]:
    if not Path(path).is_file():
        raise WeightsError(f"The weights file {path} does not exist: check the path.")
    try:
        content = read_saved(Path(path))
    except UnreadableError as error:
        raise WeightsError(
            f"{path} cannot be read as weights ({error}): it is none of torch's files, is damaged, or holds Python objects, which could "
            "run code and are not read; wanted tensors alone: save its state dict."
        ) from error
    scales = content.get("scales") if isinstance(content, dict) else None  # of a weights file of ours
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    state = {_bare(str(name)): tensor for name, tensor in content.items() if torch.is_tensor(tensor)} if isinstance(content, dict) else {}
    if not state:
        raise WeightsError(f"{path} holds no named tensors; wanted a state dict.")
    return restored(state, scales) if isinstance(scales, dict) else state


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def widen(source: dict[str, torch.Tensor], base_width: int) -> dict[str, torch.Tensor]:
    """Give the weights of a `MultiStreamFCN` of a larger base width that computes the same at first; its new channels learn to differ.

    After Chen, Goodfellow and Shlens, "Net2Net" (ICLR 2016): each new channel repeats an old one, and whatever reads the old one divides
    its weight among the copies. The shares are random, or the copies would get like gradients and stay alike.

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
