"""Predicts with the networks of one brain on one device; where memory ran out once, the next network starts with what then worked."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from .device import autocast_dtype, run_with_memory_ladder
from .sliding_window import SlidingWindowConfig, predict
from .weights import LoadedNetwork, Networks

_LARGEST_WINDOW = 80  # voxels: measured with a second network trained on 96: as good on synthetic subjects as 96, and better on newborns
_CPU_BATCH = 1  # a window of 80³ alone stays in the caches: a sixth less time than two at once, and less memory


def trained_window(stage: LoadedNetwork) -> SlidingWindowConfig:
    """Windows as large as the patches that a network was trained on, 80³ voxels at most, and as many at a time as memory holds alike."""
    usual = SlidingWindowConfig()
    patch = min(int(stage.training.get("patch_voxels", usual.patch_voxels)), _LARGEST_WINDOW)
    batch = round(usual.batch_size * min(usual.patch_voxels / patch, 1) ** 3)
    return replace(usual, patch_voxels=patch, batch_size=max(batch, 1))


class Predictor:
    """One device and what was learned of its memory.

    Parameters
    ----------
    device : torch.device
    asked : str
        What the user asked for, for the report.
    window : SlidingWindowConfig or None
        Of the tissue networks; None for `trained_window` of each.
    flip : bool
        Average with the left-right mirrored brain.
    networks : Networks, optional
        What may be shared with other predictors; the bundled ones by default.

    Attributes
    ----------
    networks : Networks
    ladder : list of str
        What had to be given up for memory.
    """

    def __init__(self, device: torch.device, asked: str, window: SlidingWindowConfig | None, flip: bool, networks: Networks | None = None):
        self.networks = networks or Networks()
        self._device = device
        self._asked = asked
        self._window = window
        self._flip = flip
        self._largest_batch = window.batch_size if window else _CPU_BATCH if device.type == "cpu" else SlidingWindowConfig().batch_size
        self.ladder: list[str] = []

    def to_device(self, array: np.ndarray) -> torch.Tensor:
        """Bring an array to where the networks compute."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def predict(
        self, stage: LoadedNetwork, inputs: torch.Tensor, mask: np.ndarray | None, on_progress: Callable[[float], None]
    ) -> torch.Tensor:
        """Tissue probabilities of a prepared brain, on the device.

        Parameters
        ----------
        stage : LoadedNetwork
        inputs : (C, X, Y, Z) float32 torch.Tensor
        mask : (X, Y, Z) bool array
            Decides where the windows go.
        on_progress : callable
            Takes the share that is done.

        Returns
        -------
        (K, X, Y, Z) float32 torch.Tensor
        """
        if not self._flip:
            return self.predict_once(stage, inputs, mask, self.window_of(stage), on_progress)
        straight = self.predict_once(stage, inputs, mask, self.window_of(stage), lambda share: on_progress(share / 2))
        return (straight + self._of_mirrored(stage, inputs, mask, lambda share: on_progress((1 + share) / 2))) / 2

    def predict_mirrored(
        self, stage: LoadedNetwork, inputs: torch.Tensor, mask: np.ndarray | None, on_progress: Callable[[float], None]
    ) -> torch.Tensor:
        """As `predict`, but the network sees left and right exchanged; the result lies as the inputs do."""
        return (self.predict if self._flip else self._of_mirrored)(stage, inputs, mask, on_progress)

    def _of_mirrored(self, stage, inputs, mask, on_progress) -> torch.Tensor:
        flipped_mask = None if mask is None else mask[::-1]
        return self.predict_once(stage, inputs.flip(1), flipped_mask, self.window_of(stage), on_progress).flip(1)

    def window_of(self, stage: LoadedNetwork) -> SlidingWindowConfig:
        """The windows of a tissue network."""
        return self._window or trained_window(stage)

    def predict_array(
        self,
        stage: LoadedNetwork,
        inputs: np.ndarray,
        mask: np.ndarray | None,
        window: SlidingWindowConfig,
        on_progress: Callable[[float], None],
    ) -> np.ndarray:
        """As `predict_once`, from an array to an array."""
        return self.predict_once(stage, self.to_device(inputs), mask, window, on_progress).cpu().numpy()

    def predict_once(
        self,
        stage: LoadedNetwork,
        inputs: torch.Tensor,
        mask: np.ndarray | None,
        window: SlidingWindowConfig,
        on_progress: Callable[[float], None],
    ) -> torch.Tensor:
        """Class probabilities with windows of one's own, and without the mirror.

        Parameters
        ----------
        stage : LoadedNetwork
        inputs : (C, X, Y, Z) float32 torch.Tensor
        mask : (X, Y, Z) bool array or None for everywhere
        window : SlidingWindowConfig
        on_progress : callable

        Returns
        -------
        (K, X, Y, Z) float32 torch.Tensor, on the device that computed it
        """
        first = min(window.batch_size, self._largest_batch)

        def attempt(device: torch.device, batch_size: int) -> torch.Tensor:
            self._device = device
            if batch_size < first:
                self._largest_batch = batch_size
            return predict(stage.network, inputs, mask, replace(window, batch_size=batch_size), device, on_progress)

        return run_with_memory_ladder(attempt, self._device, first, self.ladder)

    def describe(self) -> dict[str, Any]:
        """What computed, for the report."""
        device = self._device
        dtype = autocast_dtype(device) if self._window is None or self._window.amp else None
        described = {
            "asked": self._asked,
            "used": str(device),
            "precision": str(dtype or torch.float32).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "batch_size": self._largest_batch,
        }
        if device.type == "cuda":
            described["name"] = torch.cuda.get_device_name(device)
            described["peak_memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
        return described
