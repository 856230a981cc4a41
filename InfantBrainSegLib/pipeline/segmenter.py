"""The whole way, from T1 and T2 to tissue labels on T1's grid."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from ..checks.label_intensity import find_mislabelled
from ..checks.result_checks import FRACTION_LOOK, Outcome, judge
from ..core.contract import ROUNDS, Step
from ..core.cores import usable_cores
from ..core.labels import Tissue, tissues_of
from ..core.option import recorded
from ..core.progress import Progress, silent
from ..imaging.files import describe_geometry
from ..networks.context import ContextConfig, distance_maps_on_device
from ..networks.device import resolve_device
from ..networks.predictor import Predictor
from ..networks.weights import TRAINING_PATHS, LoadedNetwork, Networks
from ..preparation.normalisation import Prepared
from ..preparation.registration import Alignment
from .cleanup import clean
from .options import SegmentOptions
from .prepare_scans import PreparedScans, prepare_scans
from .report import Report, Steps, peak_memory_mb, versions
from .volumes import TissueVolume, measure

__all__ = ["SegmentOptions", "Segmentation", "Segmenter", "segment"]


@dataclass(frozen=True)
class Segmentation:
    """What comes out.

    Attributes
    ----------
    labels : sitk.Image of uint8
        0 background, 1 CSF, 2 GM, 3 WM on T1's grid, or on T2's when it is alone.
    t1, t2 : sitk.Image or None
        T1 as given, and T2 on its grid; None for one that was not given.
    volumes : list of TissueVolume
    report : Report
    alignment : Alignment or None
        Where T2 was found, and the transform if it was moved.
    """

    labels: sitk.Image
    t1: sitk.Image | None
    t2: sitk.Image | None
    volumes: list[TissueVolume]
    report: Report
    _probabilities: np.ndarray  # (C, X, Y, Z) float16, working space
    _prepared: Prepared
    alignment: Alignment | None = None

    @property
    def mask(self) -> sitk.Image:
        """What was segmented: uint8, 1 in the cerebrum, on T1's grid."""
        return self._prepared.space.t1_mask

    @property
    def tissues(self) -> tuple[Tissue, ...]:
        """What the networks tell apart."""
        return tissues_of(len(self._probabilities))

    def probability(self, tissue: Tissue) -> sitk.Image:
        """Give one tissue's probability before clean-up, float32 on T1's grid."""
        return self._prepared.space.map_to_scan(self._probabilities[tissue.value], self._prepared.mask)


@dataclass(frozen=True)
class TissueResult:
    """What the tissue networks say of a prepared brain."""

    first: np.ndarray | None  # (X, Y, Z) labels of the first stage; None without context
    labels: np.ndarray  # (X, Y, Z) uint8
    probabilities: np.ndarray  # (4, X, Y, Z)


@dataclass(frozen=True)
class Computed:
    """What the networks gave, and for the report what computed it."""

    tissues: TissueResult
    weights: dict[str, dict[str, Any]]
    device: dict[str, Any]
    windows: dict[str, dict[str, Any]]
    ladder: tuple[str, ...]


def segment(
    t1: sitk.Image | None,
    t2: sitk.Image | None,
    mask: sitk.Image | None = None,
    options: SegmentOptions | None = None,
    progress: Progress = silent,
) -> Segmentation:
    """Segment one infant brain.

    Parameters
    ----------
    t1, t2 : 3D sitk.Image
        Whole heads or skull-stripped, with a mask or without. T2 may be on another grid. One of them may be None: the result is less
        accurate then.
    mask : 3D sitk.Image, optional
        Above 0 in the brain, on any grid.
    options : SegmentOptions, optional
    progress : Progress
        Told each step and the share of the whole that is done.

    Raises
    ------
    InfantBrainSegError
        If the input, the device or the weights cannot be used.
    """
    options = options or SegmentOptions()
    return Segmenter(options.weights_dir, options.device)(t1, t2, mask, options, progress)


class Segmenter:
    """Segments many brains with networks that are read and hashed once, each when it is first needed.

    Parameters
    ----------
    weights_dir : path, optional
        As in `SegmentOptions`.
    device : str
        As in `SegmentOptions`.

    Attributes
    ----------
    networks : Networks

    Raises
    ------
    DeviceError
        If there is no such device.
    """

    def __init__(self, weights_dir: str | Path | None = None, device: str = "auto"):
        self._asked = device
        self._device = resolve_device(device)
        self.networks = Networks(weights_dir)

    def __call__(
        self,
        t1: sitk.Image | None,
        t2: sitk.Image | None,
        mask: sitk.Image | None = None,
        options: SegmentOptions | None = None,
        progress: Progress = silent,
    ) -> Segmentation:
        """Segment one brain as `segment` does, on this device and with these weights, whatever the options say of both."""
        return self.begin(t1, t2, mask, options, progress)(progress)

    def begin(
        self,
        t1: sitk.Image | None,
        t2: sitk.Image | None,
        mask: sitk.Image | None = None,
        options: SegmentOptions | None = None,
        progress: Progress = silent,
    ) -> Callable[[Progress], Segmentation]:
        """Segment one brain as far as the networks go; give what does the rest, in another thread if you like."""
        options = options or SegmentOptions()
        steps = Steps(progress)
        with steps(Step.LOAD):
            predictor = Predictor(self._device, self._asked, options.window, options.flip, self.networks)
            stages = [self.networks.get(stage) for stage in options.stages]
        with cpu_threads(options.threads):
            return _begin((t1, t2, mask), predictor, stages, options, steps)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use so many CPU threads in the block; 0: no more than there are physical cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or min(before, usable_cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin(
    scans: tuple[sitk.Image | None, sitk.Image | None, sitk.Image | None],
    predictor: Predictor,
    stages: list[LoadedNetwork],
    options: SegmentOptions,
    steps: Steps,
) -> Callable[[Progress], Segmentation]:
    ready = prepare_scans(scans, options, predictor, steps)
    computed = Computed(
        tissues=_tissues(predictor, stages, ready.prepared, options, steps),
        weights={stage.stage: {"sha256": stage.sha256, "training": _without_paths(stage.training)} for stage in stages},
        device=predictor.describe(),
        windows={stage.stage: asdict(predictor.window_of(stage)) for stage in stages},
        ladder=tuple(predictor.ladder),
    )
    return lambda progress: _finish(scans, ready, computed, options, steps.told_to(progress))


def _finish(
    scans: tuple[sitk.Image | None, sitk.Image | None, sitk.Image | None],
    ready: PreparedScans,
    computed: Computed,
    options: SegmentOptions,
    steps: Steps,
) -> Segmentation:
    (t1, t2, mask), prepared, found = scans, ready.prepared, computed.tissues
    labels, probabilities = found.labels, found.probabilities
    with steps(Step.CLEAN_UP):
        cleaned = clean(labels, probabilities, prepared.mask, (1.0, 1.0, 1.0), options.cleanup)
    with steps(Step.RESTORE):
        probabilities = torch.from_numpy(probabilities).half().numpy()  # half the memory from here on, 0.4 s faster than numpy
        result = prepared.space.labels_to_scan(cleaned.labels, probabilities, prepared.mask)
        confidence = np.take_along_axis(probabilities, cleaned.labels[None].astype(np.intp), 0)[0]  # (X, Y, Z)
        volumes = measure(result, prepared.space.map_to_scan(confidence, prepared.mask), tissues_of(len(probabilities)))
        islands = sum(cleaned.islands_removed.values())
        fractions = {volume.tissue: volume.fraction for volume in volumes}
        given = prepared.images[[scan is not None for scan in (ready.pair.t1, ready.pair.t2)]]  # (C, X, Y, Z)
        odd = find_mislabelled(given, cleaned.labels)
        outcome = Outcome(found.first, labels, confidence, prepared.mask, prepared.space, fractions, islands, odd, options.age_months)
        verdict = judge(outcome, ready.checks)
    report = Report(
        versions=versions(),
        weights=computed.weights,
        device=computed.device,
        options={**{name: value for name, value in recorded(options).items() if name != "window"}, "windows": computed.windows},
        alignment=ready.alignment.report,
        extraction=ready.extraction.report.as_dict(),
        bias_corrected=ready.bias_corrected,
        geometry=_geometry({"t1": t1, "t2": t2, "mask": mask, "segmentation": result}, prepared),
        volumes=tuple(volumes),
        cleanup={name: value for name, value in vars(cleaned).items() if name != "labels"},
        checks=ready.checks,
        verdict=verdict,
        notes=(*ready.mask_warnings, *computed.ladder, *_collapse_warnings(volumes)),
        memory_ladder=computed.ladder,
        seconds=steps.seconds,
        peak_memory_mb=peak_memory_mb(),
    )
    return Segmentation(result, t1, ready.pair.t2, volumes, report, probabilities, prepared, ready.alignment)


def _tissues(predictor: Predictor, stages: list[LoadedNetwork], prepared: Prepared, options: SegmentOptions, steps: Steps) -> TissueResult:
    """Both stages; the second one in rounds guided by its own result, every second one on the mirrored brain; the last two are averaged.

    Images, probabilities, labels and distance maps stay on the device.
    """
    images, brain = predictor.to_device(prepared.images), torch.from_numpy(prepared.mask)
    with steps(Step.STAGE_1) as inside:
        probabilities = predictor.predict(stages[0], images, prepared.mask, partial(inside, Step.STAGE_1))  # (4, X, Y, Z)
        labels = most_likely(probabilities, brain)
    first = labels if options.use_context else None
    last = None
    for index, (context, stage_2) in enumerate(ROUNDS[: options.rounds if options.use_context else 0]):
        with steps(context):
            inputs = with_distance_maps(images, labels, stages[1].context or ContextConfig(), len(probabilities))  # (5, X, Y, Z)
        with steps(stage_2) as inside:
            run = predictor.predict_mirrored if index % 2 else predictor.predict
            found = run(stages[1], inputs, prepared.mask, partial(inside, stage_2))
            probabilities = found if last is None else (last + found) / 2
            last = found
            labels = most_likely(probabilities, brain)
    return TissueResult(None if first is None else first.cpu().numpy(), labels.cpu().numpy(), probabilities.cpu().numpy())


def with_distance_maps(images: torch.Tensor, labels: torch.Tensor, config: ContextConfig, classes: int) -> torch.Tensor:
    """(2, X, Y, Z) images and (X, Y, Z) labels of so many classes to what the second stage sees, there: (1 + classes, X, Y, Z)."""
    return torch.cat([images.to(labels.device), distance_maps_on_device(labels, config)[: classes - 1]])


def most_likely(probabilities: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """(4, X, Y, Z) probabilities to (X, Y, Z) uint8 labels, background outside the (X, Y, Z) bool brain."""
    best, labels = probabilities[0], torch.zeros(probabilities.shape[1:], dtype=torch.uint8, device=probabilities.device)
    for value in range(1, len(probabilities)):  # a tenth of the time of argmax
        labels[probabilities[value] > best] = value
        best = torch.maximum(best, probabilities[value])
    return labels.mul_(brain.to(labels.device))


def _without_paths(training: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in training.items() if name not in TRAINING_PATHS}


def _collapse_warnings(volumes: list[TissueVolume]) -> list[str]:
    return [
        f"Only {100 * volume.fraction:.1f} % of the result is {volume.tissue}; wanted {100 * FRACTION_LOOK:.0f} % or more: "
        "look at the overview, and check T1, T2 and mask."
        for volume in volumes
        if volume.fraction < FRACTION_LOOK
    ]


def _geometry(images: dict[str, sitk.Image | None], prepared: Prepared) -> dict[str, Any]:
    described: dict[str, Any] = {name: describe_geometry(image) for name, image in images.items() if image is not None}
    described["prepared"] = {
        "size": list(prepared.mask.shape),
        "spacing_mm": [1.0, 1.0, 1.0],
        "origin_ras_mm": list(prepared.space.origin_mm),
    }
    return described
