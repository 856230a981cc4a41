"""What a weights file may hold: checked by its directory, its list of types, its shapes and its numbers, before anything is built of it.

A manifest tells that a file is the one that was published, not that it means well: whoever makes weights makes the manifest too.
"""

import io
import math
import pickletools
import zipfile
from collections.abc import Mapping
from typing import Any

import torch

from .fcn import NetworkConfig, expected_shapes

MOST_BYTES = 1 << 30  # of a file; the paper's larger network takes 0.15 GB
MOST_PARAMETERS = 200_000_000  # 0.8 GB; the paper's larger network has 71 million
LARGEST_PATCH = 512  # voxels along an edge of what a network was trained on
LARGEST_BIAS = 4.0  # of a logit: e^4 is 55 times as likely
_MOST_UNPACKED = 16  # times the file's size; the bundled weights take 1.2 times theirs
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MOST_ENTRIES, _MOST_PICKLE_BYTES = 10_000, 1 << 20
_MOST_VALUES, _DEEPEST, _LONGEST_TEXT, _MOST_DIGITS_BITS = 10_000, 8, 10_000, 64  # of a training record
_TYPES = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in ("Half", "BFloat16", "Float", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")),
}
_GLOBAL, _OTHER_GLOBALS = "GLOBAL", ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")  # torch writes the first kind alone
_CHANNELS = {"fcn1": 2, "locate": 2, "fcn2": 5, "refine": 5}  # T1 and T2, and three maps beside them


def check_archive(raw: bytes) -> None:
    """Make sure that a file unpacks to no more than it holds, and names no types but those of weights.

    Parameters
    ----------
    raw : bytes
        The whole file.

    Raises
    ------
    ValueError
        If it does not.
    zipfile.BadZipFile
        If it is no archive.
    """
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        entries = archive.infolist()
        if len(entries) > _MOST_ENTRIES:
            raise ValueError(f"it holds {len(entries)} parts; wanted {_MOST_ENTRIES} at most")
        unpacked = sum(entry.file_size for entry in entries)
        most = min(_MOST_UNPACKED * len(raw), MOST_BYTES)
        if unpacked > most or any(entry.compress_type not in _COMPRESSIONS for entry in entries):
            raise ValueError(f"its {len(raw)} bytes unpack to {unpacked}; wanted {most} at most, deflated or stored")
        names = [entry for entry in entries if entry.filename.lower().endswith(".pkl")]
        if any(entry.file_size > _MOST_PICKLE_BYTES for entry in names):
            raise ValueError(f"its list of content is longer than {_MOST_PICKLE_BYTES} bytes")
        for entry in names:
            _check_types(archive.read(entry))


def _check_types(content: bytes) -> None:
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in _OTHER_GLOBALS or (operation.name == _GLOBAL and argument not in _TYPES):
            raise ValueError(f"it holds the type {argument!r:.80}; wanted tensors and plain values alone")


def check_state(config: NetworkConfig, stage: str, state: Mapping[str, torch.Tensor]) -> None:
    """Make sure that the tensors are those of a network of this shape and stage, and not too many.

    Parameters
    ----------
    config : NetworkConfig
    stage : str
    state : mapping of str to torch.Tensor

    Raises
    ------
    ValueError
        If they are not.
    """
    wanted = expected_shapes(config)
    count = sum(map(math.prod, wanted.values()))
    if count > MOST_PARAMETERS:
        raise ValueError(f"it has {count} parameters; wanted {MOST_PARAMETERS} at most")
    channels = sum(config.stream_channels)
    if channels != _CHANNELS.get(stage, channels):
        raise ValueError(f"its streams have {channels} channels; wanted {_CHANNELS[stage]} for the stage {stage}")
    if state.keys() != wanted.keys():
        odd = sorted(map(str, state.keys() ^ wanted.keys()))
        raise ValueError(f"{len(odd)} tensors are missing or too many, {odd[0]:.60} among them")
    for name, shape in wanted.items():
        tensor = state[name]
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_complex():
            raise ValueError(f"{name} is no plain tensor")
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)}; wanted {shape}")


def check_training(training: Mapping[str, Any]) -> None:
    """Make sure that a training record can be written into a report.

    Raises
    ------
    ValueError
        If it holds anything but plain finite values, or too many.
    """
    left = [_MOST_VALUES]
    _check_plain(training, left, _DEEPEST)
    patch = training.get("patch_voxels", 1)
    if type(patch) is not int or not 1 <= patch <= LARGEST_PATCH:
        raise ValueError(f"its training had patches of {patch!r:.40} voxels; wanted a whole number of 1 to {LARGEST_PATCH}")


def check_bias(bias: float) -> None:
    """Make sure that what is added to a logit leaves the other tissues a chance.

    Raises
    ------
    ValueError
        If it does not.
    """
    if not abs(bias) <= LARGEST_BIAS:
        raise ValueError(f"its newborn_wm_bias is {bias}; wanted {-LARGEST_BIAS:g} to {LARGEST_BIAS:g}")


def _check_plain(value: object, left: list[int], levels: int) -> None:
    left[0] -= 1
    if left[0] < 0 or levels < 0:
        raise ValueError("its training record is too long")
    if isinstance(value, dict):
        for name, part in value.items():
            if not isinstance(name, str):
                raise ValueError(f"its training record has {name!r:.40} for a name; wanted text")
            _check_plain(name, left, levels)
            _check_plain(part, left, levels - 1)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_plain(part, left, levels - 1)
    elif isinstance(value, str):
        if len(value) > _LONGEST_TEXT:
            raise ValueError("its training record is too long")
    elif type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"its training record holds {value}; wanted finite numbers")
    elif type(value) is int:
        if value.bit_length() > _MOST_DIGITS_BITS:
            raise ValueError("its training record holds a number of too many digits")
    elif not (value is None or isinstance(value, bool)):
        raise ValueError(f"its training record holds a {type(value).__name__}; wanted plain values")
