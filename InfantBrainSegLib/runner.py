"""Runs the networks of one segmentation on one device; where memory ran out once, the next network starts with what then worked."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from .device import autocast_dtype, run_with_memory_ladder
from .sliding_window import SlidingWindowConfig, predict
from .weights import LoadedNetwork


class Runner:
    """One device and what was learned of its memory.

    Parameters
    ----------
    device : torch.device
    asked : str
        What the user asked for, for the report.
    window : SlidingWindowConfig
        Of the tissue networks.
    flip : bool
        Average with the left-right mirrored brain.

    Attributes
    ----------
    ladder : list of str
        What had to be given up for memory.
    """

    def __init__(self, device: torch.device, asked: str, window: SlidingWindowConfig, flip: bool):
        self._device = device
        self._asked = asked
        self._window = window
        self._flip = flip
        self._largest_batch = window.batch_size
        self.ladder: list[str] = []

    def predict(self, stage: LoadedNetwork, inputs: np.ndarray, mask: np.ndarray | None, told: Callable[[float], None]) -> np.ndarray:
        """Tissue probabilities of a prepared brain.

        Parameters
        ----------
        stage : LoadedNetwork
        inputs : (C, X, Y, Z) float array
        mask : (X, Y, Z) bool array
        told : callable
            Takes the share that is done.

        Returns
        -------
        (4, X, Y, Z) float32 array
        """
        if not self._flip:
            return self.predict_once(stage, inputs, mask, self._window, told)
        straight = self.predict_once(stage, inputs, mask, self._window, lambda share: told(share / 2))
        return (straight + self._of_mirrored(stage, inputs, mask, lambda share: told((1 + share) / 2))) / 2

    def predict_mirrored(
        self, stage: LoadedNetwork, inputs: np.ndarray, mask: np.ndarray | None, told: Callable[[float], None]
    ) -> np.ndarray:
        """As `predict`, but the network sees left and right exchanged; the result lies as the inputs do."""
        return (self.predict if self._flip else self._of_mirrored)(stage, inputs, mask, told)

    def _of_mirrored(self, stage, inputs, mask, told) -> np.ndarray:
        flipped_mask = None if mask is None else mask[::-1]
        return self.predict_once(stage, inputs[:, ::-1], flipped_mask, self._window, told)[:, ::-1]

    def predict_once(
        self,
        stage: LoadedNetwork,
        inputs: np.ndarray,
        mask: np.ndarray | None,
        window: SlidingWindowConfig,
        told: Callable[[float], None],
    ) -> np.ndarray:
        """Class probabilities with windows of one's own, and without the mirror.

        Parameters
        ----------
        stage : LoadedNetwork
        inputs : (C, X, Y, Z) float array
        mask : (X, Y, Z) bool array or None for everywhere
        window : SlidingWindowConfig
        told : callable

        Returns
        -------
        (4, X, Y, Z) float32 array
        """

        first = min(window.batch_size, self._largest_batch)

        def attempt(device: torch.device, batch_size: int) -> np.ndarray:
            self._device = device
            if batch_size < first:
                self._largest_batch = batch_size
            return predict(stage.network, inputs, mask, replace(window, batch_size=batch_size), device, told)

        probabilities = run_with_memory_ladder(attempt, self._device, first, self.ladder)
        stage.network.to("cpu")
        return probabilities

    def describe(self) -> dict[str, Any]:
        """What computed, for the report."""
        device = self._device
        dtype = autocast_dtype(device) if self._window.amp else None
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
