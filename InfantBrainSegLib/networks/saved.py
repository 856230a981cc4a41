"""What torch saved, read without running anything of it."""

import warnings
from pathlib import Path
from typing import IO, Any

import torch


class UnreadableError(ValueError):
    """A file that torch did not save, or that is damaged."""


def read_saved(file: Path | IO[bytes]) -> Any:
    """Read what `torch.save` wrote: tensors and plain values alone, on the CPU.

    Parameters
    ----------
    file : Path or binary file

    Returns
    -------
    object

    Raises
    ------
    UnreadableError
        If it cannot be read, with the reason in one line.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that are none of torch's it wonders about their version
            return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise UnreadableError(f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__) from error
