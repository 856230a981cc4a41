"""Which device computes, in which precision, and what happens when its memory runs out."""

import contextlib
import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from ..core.errors import DeviceError, ran_out

T = TypeVar("T")


def resolve_device(name: str = "auto") -> torch.device:
    """Turn a device's name into a device that exists here.

    Parameters
    ----------
    name : str
        "auto" (a CUDA GPU, else an Apple GPU, else the CPU), "cpu", "cuda", "cuda:N" or "mps".

    Raises
    ------
    DeviceError
        If the name is unknown or the device is not here.
    """
    cuda_count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda:0" if cuda_count else "mps" if has_mps else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in name and not (kind == "cuda" and index.isascii() and index.isdigit())):
        raise DeviceError(f"Unknown device {name!r}; wanted auto, cpu, cuda, cuda:N or mps.")
    if kind == "cuda" and cuda_count <= int(index or 0):
        found = f"{cuda_count} CUDA device{'s' * (cuda_count != 1)}, numbered from 0" if cuda_count else "no CUDA device"
        raise DeviceError(f"Device {name!r} was asked for and there is {found} on this machine: use --device auto.")
    if kind == "mps" and not has_mps:
        raise DeviceError("Device 'mps' was asked for and there is no Apple GPU on this machine: use --device auto.")
    return torch.device("cuda", int(index or 0)) if kind == "cuda" else torch.device(kind)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The type for mixed precision, or None where float32 is the better choice.

    Returns
    -------
    torch.dtype or None
        float16 on GPUs with tensor cores (three more bits for the isointense contrast than bfloat16, and the normalised activations
        stay far from its largest number); bfloat16 on CPUs that compute in it (AVX512_BF16 or AMX), others only emulate it.
    """
    if device.type == "cuda":
        return torch.float16 if torch.cuda.get_device_capability(device) >= (7, 0) else None
    if device.type == "cpu" and _cpu_computes_bfloat16():
        return torch.bfloat16
    return None


def training_autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Mixed precision for training: bfloat16, whose range needs no scaling of the gradients, where the device computes in it.

    Returns
    -------
    context manager
        A null context where bfloat16 is only emulated (GPUs before compute capability 8.0, CPUs without AVX512_BF16 or AMX): a step
        on such a CPU would take hundreds of times as long.
    """
    computes = (device.type == "cpu" and _cpu_computes_bfloat16()) or (
        device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    )
    return torch.autocast(device.type, torch.bfloat16) if computes else contextlib.nullcontext()


def _cpu_computes_bfloat16() -> bool:
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe() for probe in probes if probe is not None)  # a torch without these probes gets float32


def prefers_channels_last(device: torch.device) -> bool:
    """Whether 3D convolutions run faster with the channels innermost; MPS has no such kernels."""
    return device.type in ("cpu", "cuda")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on any kind of device."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or ran_out(error)


def run_with_memory_ladder(attempt: Callable[[torch.device, int], T], device: torch.device, batch_size: int, log: list[str]) -> T:
    """Run something, and again with half the batch each time that memory runs out, at last on the CPU.

    Parameters
    ----------
    attempt : callable
        Called with a device and a batch size; must be repeatable.
    device : torch.device
    batch_size : int
        The first to try.
    log : list of str
        Gets one line for each step down, for the report.

    Returns
    -------
    What `attempt` returns.

    Raises
    ------
    DeviceError
        If memory runs out even on the CPU with a batch of 1.
    """
    while True:
        try:
            return attempt(device, batch_size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Out of the except block the traceback is gone, and with it the tensors that it held.
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if batch_size > 1:
            log.append(f"Memory ran out on {device} with a batch of {batch_size}; continued with {batch_size // 2}.")
            batch_size //= 2
        elif device.type != "cpu":
            log.append(f"Memory ran out on {device} with a batch of 1; continued with the CPU.")
            device = torch.device("cpu")
        else:
            raise DeviceError("Memory ran out on the CPU with a batch of 1: close other programs or use a machine with more memory.")
