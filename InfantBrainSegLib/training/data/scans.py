"""Real labelled scans: read onto one 1 mm grid, cut into training patches, segmented as whole volumes."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ...core.errors import InputError
from ...core.labels import BACKGROUND, from_any, tissues_of
from ...core.progress import Progress, silent
from ...evaluation.metrics import dice
from ...imaging.files import read_image, same_grid
from ...imaging.resample import on_grid_of, resample_linearly
from ...imaging.space import to_xyz
from ...networks.context import ContextConfig, distance_maps
from ...networks.predictor import Predictor
from ...networks.weights import LoadedNetwork
from ...pipeline.cleanup import CleanupConfig, clean
from ...pipeline.options import SegmentOptions
from ...pipeline.prepare_scans import prepare_scans
from ...pipeline.report import Steps
from ...pipeline.segmenter import tissue_labels
from ...preparation.normalisation import Prepared, ScanPair, pair_scans, prepare
from ...preparation.registration import AUTO, OFF, Alignment, align_pair
from ..config import TrainingConfig
from .batches import rotate_and_flip
from .sites import LabelledFiles

MIN_OVERLAP = 0.5  # Dice of labels and brain: below it they are of different brains


@dataclass(frozen=True)
class LabelledScan:
    """A labelled scan, ready for training.

    Attributes
    ----------
    name : str
    images : (C, X, Y, Z) float32 array
        T1, T2 and, for the second stage, three distance maps.
    labels : (X, Y, Z) uint8 array
    prepared : Prepared
        With the way back to T1's grid.
    reference : sitk.Image of uint8
        The labels on T1's grid.
    mask_image : sitk.Image of uint8
        The brain on T1's grid.
    warnings : tuple of str
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    prepared: Prepared
    reference: sitk.Image
    mask_image: sitk.Image
    warnings: tuple[str, ...]


def read_label(path: Path, like: sitk.Image, classes: int) -> sitk.Image:
    """Read a labelmap in our numbers or iSeg's that lies on another image's grid and holds each tissue of a network of so many classes.

    Raises
    ------
    InputError
        If it is on another grid, holds a value of neither scheme, or lacks a tissue.
    """
    image = read_image(path)
    if not same_grid(image, like):
        raise InputError(f"The label {path} is not on T1's grid; wanted the same size, spacing and place: resample it (nearest neighbour).")
    try:
        labels = from_any(sitk.GetArrayViewFromImage(image))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    wanted, counts = tissues_of(classes), np.bincount(labels.ravel(), minlength=classes)
    if missing := [tissue.short_name for tissue in wanted if not counts[tissue.value]]:
        listed = ", ".join(tissue.short_name for tissue in wanted)
        raise InputError(f"{path} lacks {', '.join(missing)}; wanted each of {listed}: label the whole brain.")
    return on_grid_of(like, labels)


def read_scan(files: LabelledFiles, classes: int, standardised: bool = True, predictor: Predictor | None = None) -> LabelledScan:
    """Read one subject.

    Parameters
    ----------
    files : LabelledFiles
    classes : int
        Of the network that learns from it, background included.
    standardised : bool
        True: T2 moved onto T1 where it lies elsewhere, and z-scored by the brain, as `segment` does. False: taken as
        aligned, and intensities as they are, but for one factor; the paper's network standardises each patch by itself.
    predictor : Predictor, optional
        With one, the scans are made ready as `segment` does it by default: without a mask the cerebrum is taken out, heads are set
        upright, the bias of raw scans is corrected. Without one they are taken as they are, cerebrum alone.

    Raises
    ------
    InputError
        If a file cannot be used, T2 cannot be brought onto T1, or the labels are not of this brain.
    """
    t1, t2 = read_image(files.t1), read_image(files.t2)
    reference = read_label(files.label, t1, classes)
    try:
        mask = None if files.mask is None else read_image(files.mask)
        alignment, pair, prepared = _make_ready((t1, t2, mask), standardised, predictor)
    except InputError as error:
        raise InputError(f"{files.name}: {error}") from error
    overlap = dice(sitk.GetArrayViewFromImage(reference) > 0, sitk.GetArrayViewFromImage(pair.mask) > 0)
    if overlap < MIN_OVERLAP:
        raise InputError(
            f"The label of {files.name} and its brain overlap by {overlap:.2f} (Dice); wanted {MIN_OVERLAP} or more: check that "
            f"{files.label} is of this scan."
        )
    target = prepared.space.to_image(np.zeros(prepared.mask.shape, np.uint8))
    shares = [to_xyz(resample_linearly(sitk.Cast(reference == value, sitk.sitkFloat32), target)) for value in range(classes)]
    shares[BACKGROUND] = 1 - np.sum(shares[1:], 0)  # beyond T1's grid nothing is labelled
    labels = np.where(prepared.mask, np.argmax(shares, 0), BACKGROUND).astype(np.uint8)
    images = (
        prepared.images
        if standardised
        else np.stack([_intensities(image, prepared, target) for image in (pair.t1, pair.t2) if image is not None])
    )
    moved = (alignment.report["message"],) if alignment.report["moved"] else ()
    return LabelledScan(files.name, images, labels, prepared, reference, pair.mask, moved + pair.warnings)


def _make_ready(
    scans: tuple[sitk.Image, sitk.Image, sitk.Image | None], standardised: bool, predictor: Predictor | None
) -> tuple[Alignment, ScanPair, Prepared]:
    if predictor is not None:
        ready = prepare_scans(scans, SegmentOptions(), predictor, Steps(silent))
        return ready.alignment, ready.pair, ready.prepared
    t1, t2, mask = scans
    alignment = align_pair(t1, t2, mask, AUTO if standardised else OFF)
    pair = pair_scans(t1, alignment.t2, mask)
    return alignment, pair, prepare(pair)


def _intensities(image: sitk.Image, prepared: Prepared, target: sitk.Image) -> np.ndarray:
    values = to_xyz(resample_linearly(image, target)) * prepared.mask
    return (values / values[prepared.mask].mean()).astype(np.float32)


class ScanPatches:
    """Patches of labelled scans.

    Parameters
    ----------
    scans : list of LabelledScan
    config : TrainingConfig
        Its recipe: "paper": cropped anywhere, quarter turns about z and mirroring along y. "bundled": round a voxel of the brain,
        mirrored left to right, with a random gain and offset of T1 and T2, and T1 or T2 missing from a share `stream_dropout`.
    device : torch.device
    alone : list of pairs of LabelledScan, optional
        Each scan with T1 alone and with T2 alone, for `stream_dropout`.
    """

    def __init__(
        self,
        scans: list[LabelledScan],
        config: TrainingConfig,
        device: torch.device,
        alone: list[tuple[LabelledScan, LabelledScan]] | None = None,
    ):
        self.scans = scans
        self.recipe = config.recipe_facts
        self.patch_voxels = config.patch_voxels
        self.stream_dropout = config.stream_dropout if alone else 0.0
        self.alone = alone or []
        self.device = device

    def batch(self, rng: np.random.Generator, size: int, augment: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, C, X, Y, Z) float32 and labels (B, X, Y, Z) int64."""
        images, labels = zip(*(self._patch(rng, augment) for _ in range(size)), strict=True)
        return torch.stack(images).to(self.device), torch.stack(labels).to(self.device)

    def _patch(self, rng, augment):
        index = int(rng.integers(len(self.scans)))
        scan = self.scans[index]
        if augment and self.stream_dropout and rng.random() < self.stream_dropout:
            scan = self.alone[index][rng.integers(2)]
        starts = self._starts(scan, rng)
        images = _cut(scan.images, starts, self.patch_voxels)  # (C, P, P, P), a copy
        labels = torch.from_numpy(_cut(scan.labels, starts, self.patch_voxels)).long()
        if augment and not self.recipe.quarter_turns:
            inside = _cut(scan.prepared.mask, starts, self.patch_voxels)
            for channel in range(2):  # T1 and T2, as `batches.normalise_like_a_volume`
                gain, offset = np.exp(rng.normal(0, 0.15)), rng.normal(0, 0.2)
                if images[channel].any():  # an absent one stays 0
                    images[channel][inside] = images[channel][inside] * gain + offset
            if rng.random() < 0.5:
                return torch.from_numpy(images).flip(1), labels.flip(0)
        if augment and self.recipe.quarter_turns:
            return rotate_and_flip(torch.from_numpy(images), labels, rng)
        return torch.from_numpy(images), labels

    def _starts(self, scan: LabelledScan, rng) -> list[int]:
        rooms = [n - self.patch_voxels for n in scan.labels.shape]
        if self.recipe.quarter_turns:
            starts = [int(rng.integers(max(room, 0) + 1)) for room in rooms]
        else:
            voxels = np.flatnonzero(scan.prepared.mask)
            centre = np.unravel_index(voxels[rng.integers(voxels.size)], scan.labels.shape)
            starts = [int(np.clip(c - self.patch_voxels // 2, 0, max(room, 0))) for c, room in zip(centre, rooms, strict=True)]
        return [start if room >= 0 else room // 2 for start, room in zip(starts, rooms, strict=True)]  # a short axis is centred


def _cut(array: np.ndarray, starts: list[int], size: int) -> np.ndarray:
    """(..., X, Y, Z) to a copy of (..., P, P, P); 0 beyond the array."""
    patch = np.zeros((*array.shape[:-3], size, size, size), array.dtype)
    pairs = list(zip(starts, array.shape[-3:], strict=True))
    x, y, z = (slice(max(start, 0), min(start + size, n)) for start, n in pairs)
    u, v, w = (slice(max(-start, 0), min(n - start, size)) for start, n in pairs)
    patch[..., u, v, w] = array[..., x, y, z]
    return patch


def alone(scan: LabelledScan) -> tuple[LabelledScan, LabelledScan]:
    """The scan with T1 alone and with T2 alone: the absent image is 0 everywhere, as `prepare` gives it."""
    t1, t2 = scan.images[:2]
    return replace(scan, images=np.stack([t1, np.zeros_like(t1)])), replace(scan, images=np.stack([np.zeros_like(t2), t2]))


def probabilities_of(scan: LabelledScan, network: LoadedNetwork, predictor: Predictor, progress: Progress = silent) -> np.ndarray:
    """(4, X, Y, Z) class probabilities of a scan."""
    mask = scan.prepared.mask
    return predictor.predict(network, predictor.to_device(scan.images), mask, partial(progress, network.stage)).cpu().numpy()


def with_context(scan: LabelledScan, probabilities: np.ndarray, config: ContextConfig) -> LabelledScan:
    """The scan with the distance maps of the first stage's labels."""
    return replace(
        scan, images=np.concatenate([scan.images, distance_maps(_labels(scan, probabilities), config)[: len(probabilities) - 1]])
    )


def _labels(scan: LabelledScan, probabilities: np.ndarray) -> np.ndarray:
    """(X, Y, Z) uint8 labels."""
    return tissue_labels(torch.from_numpy(probabilities), scan.prepared)[0].numpy()


def segmentation(scan: LabelledScan, probabilities: np.ndarray) -> sitk.Image:
    """Cleaned labels on T1's grid."""
    mask = scan.prepared.mask
    cleaned = clean(_labels(scan, probabilities), probabilities, mask, (1.0, 1.0, 1.0), CleanupConfig())
    return scan.prepared.space.labels_to_scan(cleaned.labels, probabilities, mask)
