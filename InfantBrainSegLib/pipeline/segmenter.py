"""The whole way, from T1 and T2 to tissue labels on T1's grid."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from ..checks.label_intensity import find_mislabelled, fluid_in_tissue
from ..checks.result_checks import FRACTION_LOOK, Outcome, judge
from ..core.contract import ROUNDS, Step
from ..core.cores import usable_cores
from ..core.labels import CSF, Tissue, tissues_of
from ..core.option import recorded
from ..core.progress import Progress, silent
from ..imaging.files import describe_geometry
from ..networks.context import ContextConfig, distance_maps_on_device
from ..networks.device import resolve_device
from ..networks.predictor import Predictor
from ..networks.weights import TRAINING_PATHS, LoadedNetwork, Networks
from ..preparation.normalisation import Prepared
from ..preparation.registration import Alignment
from .cleanup import CleanedLabels, clean
from .edits import Edits, Kept, KeptThere, RefineConfig
from .newborn import newborn_share, with_wm_bias
from .options import SegmentOptions
from .prepare_scans import PreparedScans, prepare_scans
from .report import Report, Steps, peak_memory_mb, versions
from .volumes import TissueVolume, measure

__all__ = ["Edits", "SegmentOptions", "Segmentation", "Segmenter", "segment"]

LATER_ROUND_SHARE = 0.7  # of the last two rounds' mean: the later one had the better distance maps; measured on synthetic subjects


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
    fluid: np.ndarray  # (X, Y, Z) bool: what the networks call GM or WM, and its intensities CSF
    newborn_wm_bias: float  # what was added to WM's logit


@dataclass(frozen=True)
class Labelled:
    """A prepared brain with its labels.

    Attributes
    ----------
    found : TissueResult
        Its probabilities in float16.
    cleaned : CleanedLabels
    kept : Kept or None
        What of a person's edits stays.
    """

    found: TissueResult
    cleaned: CleanedLabels
    kept: Kept | None = None

    def on_scan(self, prepared: Prepared) -> sitk.Image:
        """Bring the labels to the scan's exact grid."""
        labels = prepared.space.labels_to_scan(self.cleaned.labels, self.found.probabilities, prepared.mask)
        return labels if self.kept is None else self.kept.filled(labels)


@dataclass(frozen=True)
class _Means:
    """What a run has."""

    predictor: Predictor
    stages: list[LoadedNetwork]
    options: SegmentOptions
    steps: Steps


def segment(
    t1: sitk.Image | None,
    t2: sitk.Image | None,
    mask: sitk.Image | None = None,
    options: SegmentOptions | None = None,
    progress: Progress = silent,
    edits: Edits | None = None,
) -> Segmentation:
    """Segment one infant brain, or label what lies near a person's edits of its result again.

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
    edits : Edits, optional
        A result of these scans, this mask and these options that was edited: the edited voxels keep their labels, those near them may
        change, all others stay.

    Raises
    ------
    InfantBrainSegError
        If the input, the device or the weights cannot be used.
    """
    options = options or SegmentOptions()
    return Segmenter(options.weights_dir, options.device)(t1, t2, mask, options, progress, edits)


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
        edits: Edits | None = None,
    ) -> Segmentation:
        """Segment one brain as `segment` does, on this device and with these weights, whatever the options say of both."""
        return self.begin(t1, t2, mask, options, progress, edits)(progress)

    def begin(
        self,
        t1: sitk.Image | None,
        t2: sitk.Image | None,
        mask: sitk.Image | None = None,
        options: SegmentOptions | None = None,
        progress: Progress = silent,
        edits: Edits | None = None,
    ) -> Callable[[Progress], Segmentation]:
        """Segment one brain as far as the networks go; give what does the rest, in another thread if you like."""
        options = options or SegmentOptions()
        scan = t2 if t1 is None else t1
        if edits is not None and scan is not None:
            edits = edits.checked(scan, options)
        steps = Steps(progress)
        with steps(Step.LOAD):
            predictor = Predictor(self._device, self._asked, options.window, options.flip, self.networks)
            stages = [self.networks.get(stage) for stage in options.stages]
        with cpu_threads(options.threads):
            return _begin((t1, t2, mask), _Means(predictor, stages, options, steps), edits)


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
    scans: tuple[sitk.Image | None, sitk.Image | None, sitk.Image | None], means: _Means, edits: Edits | None
) -> Callable[[Progress], Segmentation]:
    ready = prepare_scans(scans, means.options, means.predictor, means.steps)
    labelled = _automatic(means, ready.prepared) if edits is None else _with_edits(means, ready.prepared, edits)
    return lambda progress: _finish(scans, replace(means, steps=means.steps.told_to(progress)), ready, labelled, edits)


def _finish(
    scans: tuple[sitk.Image | None, sitk.Image | None, sitk.Image | None],
    means: _Means,
    ready: PreparedScans,
    labelled: Labelled,
    edits: Edits | None,
) -> Segmentation:
    t1, t2, mask = scans
    predictor, options, steps, prepared = means.predictor, means.options, means.steps, ready.prepared
    found, cleaned, kept = labelled.found, labelled.cleaned, labelled.kept
    with steps(Step.RESTORE):
        result, probabilities = labelled.on_scan(prepared), found.probabilities
        confidence = np.take_along_axis(probabilities, cleaned.labels[None].astype(np.intp), 0)[0]  # (X, Y, Z)
        volumes = measure(result, prepared.space.map_to_scan(confidence, prepared.mask), tissues_of(len(probabilities)))
        islands = sum(cleaned.islands_removed.values())
        fractions = {volume.tissue: volume.fraction for volume in volumes}
        shown = prepared.images[[scan is not None for scan in (ready.pair.t1, ready.pair.t2)]]  # (C, X, Y, Z)
        odd = find_mislabelled(shown, cleaned.labels)
        signs = (fractions, islands, odd, found.fluid, options.age_months)
        outcome = Outcome(found.first, found.labels, confidence, prepared.mask, prepared.space, *signs)
        verdict = judge(outcome, ready.checks)
    report = Report(
        versions=versions(),
        weights={stage.stage: {"sha256": stage.sha256, "training": _without_paths(stage.training)} for stage in means.stages},
        device=predictor.describe(),
        options={
            **{name: value for name, value in recorded(options).items() if name != "window"},
            "windows": {stage.stage: asdict(predictor.window_of(stage)) for stage in means.stages},
        },
        alignment=ready.alignment.report,
        extraction=ready.extraction.report.as_dict(),
        bias_corrected=ready.bias_corrected,
        geometry=_geometry({"t1": t1, "t2": t2, "mask": mask, "segmentation": result}, prepared),
        volumes=tuple(volumes),
        cleanup={name: value for name, value in vars(cleaned).items() if name != "labels"},
        checks=ready.checks,
        verdict=verdict,
        notes=(*ready.mask_warnings, *predictor.ladder, *_collapse_warnings(volumes), *(kept.doubts if kept else ())),
        memory_ladder=tuple(predictor.ladder),
        seconds=steps.seconds,
        peak_memory_mb=peak_memory_mb(),
        edits=kept.told(result, edits) if kept and edits else None,
        newborn_wm_bias=round(found.newborn_wm_bias, 4),
    )
    return Segmentation(result, t1, ready.pair.t2, volumes, report, probabilities, prepared, ready.alignment)


def _automatic(means: _Means, prepared: Prepared) -> Labelled:
    """What the networks find, cleaned up."""
    found = _tissues(means, prepared)
    with means.steps(Step.CLEAN_UP):
        cleaned = _cleaned(found, means, prepared)
        return Labelled(_halved(found), cleaned)


def _cleaned(found: TissueResult, means: _Means, prepared: Prepared) -> CleanedLabels:
    return clean(found.labels, found.probabilities, prepared.mask, (1.0, 1.0, 1.0), means.options.cleanup)


def _halved(found: TissueResult) -> TissueResult:
    """The same in half the memory; torch takes a tenth of numpy's time."""
    return replace(found, probabilities=torch.from_numpy(found.probabilities).half().numpy())


def _tissues(means: _Means, prepared: Prepared) -> TissueResult:
    """Both stages; the second one in rounds guided by its own result, every second one on the mirrored brain; the last two are blended.

    Images, probabilities, labels and distance maps stay on the device.
    """
    predictor, stages, options, steps = means.predictor, means.stages, means.options, means.steps
    images = predictor.to_device(prepared.images)
    with steps(Step.STAGE_1) as inside:
        probabilities = predictor.predict(stages[0], images, prepared.mask, partial(inside, Step.STAGE_1))  # (4, X, Y, Z)
        labels, fluid = tissue_labels(probabilities, prepared)
    first = labels if options.use_context else None
    last, bias = None, 0.0
    for index, (context, stage_2) in enumerate(ROUNDS[: options.rounds if options.use_context else 0]):
        with steps(context):
            inputs = with_distance_maps(images, labels, stages[1].context or ContextConfig(), len(probabilities))  # (5, X, Y, Z)
        with steps(stage_2) as inside:
            run = predictor.predict_mirrored if index % 2 else predictor.predict
            found = run(stages[1], inputs, prepared.mask, partial(inside, stage_2))
            probabilities = found if last is None else torch.lerp(last, found, LATER_ROUND_SHARE)
            last = found
            labels, fluid = tissue_labels(probabilities, prepared)
    if last is not None and (bias := newborn_wm_bias(stages[1], prepared, labels)):
        probabilities = with_wm_bias(probabilities, bias)
        labels, fluid = tissue_labels(probabilities, prepared)
    first_labels = None if first is None else first.cpu().numpy()
    return TissueResult(first_labels, labels.cpu().numpy(), probabilities.cpu().numpy(), fluid, bias)


def _with_edits(means: _Means, prepared: Prepared, edits: Edits) -> Labelled:
    """A person's labels where they are edits, those that the second stage finds anew near there, and elsewhere the result as it was."""
    if edits.automatic is None:
        automatic = _automatic(means, prepared)
        before, known, last = automatic.on_scan(prepared), automatic.found.probabilities, Step.CLEAN_UP
    else:
        before, known, last = edits.automatic, None, Step.PREPARE
    with means.steps(Step.REFINE, after=last) as inside:
        kept = Kept.of(edits, before)
        there = kept.in_space(prepared.space)
        probabilities, bias = _looked_again(means, prepared, there, edits.config, partial(inside, Step.REFINE))
        again, fluid = tissue_labels(torch.from_numpy(probabilities), prepared)
        labels = there.filled(again.numpy())
        found = TissueResult(None, labels, there.known(probabilities, known), fluid & (labels == CSF.value), bias)
        cleaned = _cleaned(found, means, prepared)
        return Labelled(_halved(found), replace(cleaned, labels=there.filled(cleaned.labels)), kept)


def _looked_again(
    means: _Means, prepared: Prepared, kept: KeptThere, config: RefineConfig, on_progress: Callable[[float], None]
) -> tuple[np.ndarray, float]:
    """(4, X, Y, Z) probabilities of the second stage in rounds that are guided by the edits and by what the rounds before found near them.

    Every second round is on the mirrored brain; all are averaged, and pulled towards what they missed in the edited voxels. Also tells what
    was added to WM's logit.
    """
    predictor, stage = means.predictor, means.stages[1]
    images, labels, total = predictor.to_device(prepared.images), kept.labels, torch.zeros(())
    for index in range(config.rounds):
        context, classes = stage.context or ContextConfig(), stage.network.config.classes
        inputs = with_distance_maps(images, predictor.to_device(labels), context, classes)  # (5, X, Y, Z)
        run = predictor.predict_mirrored if index % 2 else predictor.predict
        found = run(stage, inputs, prepared.mask, partial(_tell_part, on_progress, index, config.rounds))
        total = total.to(found.device) + found
        labels = kept.filled(tissue_labels(total, prepared)[0].cpu().numpy())
    bias = newborn_wm_bias(stage, prepared, torch.from_numpy(labels))
    return kept.pulled(with_wm_bias(total / config.rounds, bias).cpu().numpy(), config), bias


def _tell_part(on_progress: Callable[[float], None], index: int, parts: int, share: float) -> None:
    on_progress((index + share) / parts)


def with_distance_maps(images: torch.Tensor, labels: torch.Tensor, config: ContextConfig, classes: int) -> torch.Tensor:
    """(2, X, Y, Z) images and (X, Y, Z) labels of so many classes to what the second stage sees, there: (1 + classes, X, Y, Z)."""
    return torch.cat([images.to(labels.device), distance_maps_on_device(labels, config)[: classes - 1]])


def newborn_wm_bias(stage: LoadedNetwork, prepared: Prepared, labels: torch.Tensor) -> float:
    """What is to be added to WM's logit of a prepared brain with these (X, Y, Z) labels, so that its border is that of manual raters."""
    return stage.newborn_wm_bias * newborn_share(prepared.images, labels.cpu().numpy()) if stage.newborn_wm_bias else 0.0


def tissue_labels(probabilities: torch.Tensor, prepared: Prepared) -> tuple[torch.Tensor, np.ndarray]:
    """The most likely labels, CSF where tissue has the intensities of fluid; and (X, Y, Z) bool: where that is."""
    labels = most_likely(probabilities, torch.from_numpy(prepared.mask))
    fluid = fluid_in_tissue(prepared.images, labels.cpu().numpy())
    if fluid.any():
        labels[torch.from_numpy(fluid).to(labels.device)] = CSF.value
    return labels, fluid


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
