"""The whole way, from T1 and T2 to tissue labels on T1's grid."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from .align import OFF, Alignment, align_pair
from .bias import AUTO, correct_pair, wants_correction
from .checks import new_warnings
from .context import ContextConfig, distance_maps
from .device import autocast_dtype, resolve_device, run_with_memory_ladder
from .gatekeeper import Scans, inspect
from .images import describe_geometry
from .labels import BACKGROUND, Tissue
from .postprocess import CleanupConfig, clean
from .prepare import Prepared, pair_scans, prepare, restore, restore_probability
from .progress import Progress, silent
from .report import Steps, peak_memory_mb, versions
from .sliding_window import SlidingWindowConfig, predict
from .verdict import FRACTION_LOOK, Outcome, judge
from .volumes import TissueVolume, measure
from .weights import LoadedNetwork, load_network


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment.

    Attributes
    ----------
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    weights_dir : str, path or None
        A folder with fcn1.pt, fcn2.pt and manifest.json, or one of these files; None for the bundled ones.
    use_context : bool
        Both stages; False stops after the first, without spatial context.
    flip : bool
        Average each stage's probabilities with those of the left-right mirrored brain: twice the time.
    window : SlidingWindowConfig
    cleanup : CleanupConfig
    age_months : float or None
        From birth at term; the brain's volume is then checked against that age.
    align : str
        "off" takes the headers' word; "auto" moves T2 onto T1 where it does not lie there. Off by default: too few pairs were
        measured to move scans unasked.
    bias_correction : str
        "auto" corrects raw scans with a mask, "on" all, "off" none.
    extract : str
        "auto" takes the cerebrum out of whole heads, and cerebellum and brainstem out of stripped ones, unless there is a mask;
        "off" takes the scans as they are.
    """

    device: str = "auto"
    weights_dir: str | Path | None = None
    use_context: bool = True
    flip: bool = False
    window: SlidingWindowConfig = field(default_factory=SlidingWindowConfig)
    cleanup: CleanupConfig = field(default_factory=CleanupConfig)
    age_months: float | None = None
    align: str = OFF
    bias_correction: str = AUTO
    extract: str = "auto"


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
    report : dict
        Versions, weights, device, geometry, seconds, warnings, checks, verdict; plain values that JSON takes.
    alignment : Alignment or None
        Where T2 was found, and the transform if it was moved.
    """

    labels: sitk.Image
    t1: sitk.Image | None
    t2: sitk.Image | None
    volumes: list[TissueVolume]
    report: dict[str, Any]
    _probabilities: np.ndarray  # (4, X, Y, Z) float16, prepared space
    _prepared: Prepared
    alignment: Alignment | None = None

    @property
    def mask(self) -> sitk.Image:
        """What was segmented: uint8, 1 in the cerebrum, on T1's grid."""
        return self._prepared.grid.t1_mask

    def probability(self, tissue: Tissue) -> sitk.Image:
        """Give one tissue's probability before clean-up, float32 on T1's grid."""
        return restore_probability(self._probabilities[tissue.value], self._prepared, self.labels)


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
        Skull-stripped with background 0, or with a mask. T2 may be on another grid. One of them may be None: the result is less
        accurate then.
    mask : 3D sitk.Image, optional
        Above 0 in the brain, on any grid.
    options : SegmentOptions, optional
    progress : Progress
        Told each step and the share of the whole that is done.

    Returns
    -------
    Segmentation

    Raises
    ------
    InfantBrainSegError
        If the input, the device or the weights can not be used.
    """
    options = options or SegmentOptions()
    steps = Steps(progress)
    with steps("prepare"):
        runner = _Runner(options, resolve_device(options.device))
        stages = [load_network(stage, options.weights_dir) for stage in ("fcn1", "fcn2")[: 1 + options.use_context]]
        alignment = align_pair(t1, t2, mask, options.align)
        pair = pair_scans(t1, alignment.t2, mask)
        corrected = wants_correction(options.bias_correction, t1, t2, mask)
        prepared = prepare(correct_pair(pair) if corrected else pair)
        checks = inspect(Scans(t1, alignment.t2, pair, prepared), options.age_months)
    first = None
    with steps("stage 1") as inside:
        probabilities = runner.predict(stages[0], prepared.images, prepared.mask, inside)  # (4, X, Y, Z)
    if options.use_context:
        with steps("context"):
            first = _most_likely(probabilities, prepared.mask)
            maps = distance_maps(first, stages[1].context or ContextConfig())  # (3, X, Y, Z)
            inputs = np.concatenate([prepared.images, maps])  # (5, X, Y, Z)
        with steps("stage 2") as inside:
            probabilities = runner.predict(stages[1], inputs, prepared.mask, inside)
    with steps("clean up"):
        labels = _most_likely(probabilities, prepared.mask)
        cleaned = clean(labels, probabilities, prepared.mask, (1.0, 1.0, 1.0), options.cleanup)
    with steps("restore"):
        probabilities = probabilities.astype(np.float16)  # half the memory from here on
        result = restore(cleaned.labels, probabilities, prepared, pair.mask)
        confidence = np.take_along_axis(probabilities, cleaned.labels[None].astype(np.intp), 0)[0]  # (X, Y, Z)
        volumes = measure(result, restore_probability(confidence, prepared, pair.mask))
        islands = sum(cleaned.islands_removed.values())
        verdict = judge(Outcome(first, labels, confidence, prepared.mask, prepared.grid, volumes, islands), checks)
    report = {
        "versions": versions(),
        "weights": {stage.stage: {"sha256": stage.sha256, "training": stage.training} for stage in stages},
        "device": runner.describe(),
        "options": {
            "use_context": options.use_context,
            "flip": options.flip,
            "window": asdict(options.window),
            "cleanup": asdict(options.cleanup),
            "age_months": options.age_months,
            "align": options.align,
            "bias_correction": options.bias_correction,
        },
        "alignment": alignment.report,
        "bias_corrected": corrected,
        "geometry": _geometry({"t1": t1, "t2": t2, "mask": mask, "segmentation": result}, prepared),
        "volumes": [asdict(volume) for volume in volumes],
        "cleanup": {name: value for name, value in vars(cleaned).items() if name != "labels"},
        "checks": [asdict(check) for check in checks],
        "verdict": verdict.as_dict(),
        "warnings": [*pair.warnings, *new_warnings(checks), *runner.ladder, *_collapse_warnings(volumes)],
        "memory_ladder": runner.ladder,
        "seconds": steps.seconds,
        "peak_memory_mb": peak_memory_mb(),
    }
    return Segmentation(result, t1, pair.t2, volumes, report, probabilities, prepared, alignment)


class _Runner:
    """Runs the networks; where memory ran out once, the next stage starts with what then worked."""

    def __init__(self, options: SegmentOptions, device: torch.device):
        self._options = options
        self._device = device
        self._batch_size = options.window.batch_size
        self.ladder: list[str] = []

    def predict(self, stage: LoadedNetwork, inputs: np.ndarray, mask: np.ndarray, progress: Progress) -> np.ndarray:
        """(C, X, Y, Z) images to (4, X, Y, Z) probabilities."""
        name = "stage 1" if stage.stage == "fcn1" else "stage 2"

        def attempt(device: torch.device, batch_size: int) -> np.ndarray:
            self._device, self._batch_size = device, batch_size
            window = replace(self._options.window, batch_size=batch_size)
            passes = 1 + self._options.flip
            straight = predict(stage.network, inputs, mask, window, device, lambda share: progress(name, share / passes))
            if not self._options.flip:
                return straight
            mirrored = predict(
                stage.network, inputs[:, ::-1], mask[::-1], window, device, lambda share: progress(name, (1 + share) / passes)
            )
            return (straight + mirrored[:, ::-1]) / 2

        probabilities = run_with_memory_ladder(attempt, self._device, self._batch_size, self.ladder)
        stage.network.to("cpu")
        return probabilities

    def describe(self) -> dict[str, Any]:
        """What computed, for the report."""
        device = self._device
        dtype = autocast_dtype(device) if self._options.window.amp else None
        described = {
            "asked": self._options.device,
            "used": str(device),
            "precision": str(dtype or torch.float32).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "batch_size": self._batch_size,
        }
        if device.type == "cuda":
            described["name"] = torch.cuda.get_device_name(device)
            described["peak_memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
        return described


def _most_likely(probabilities: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(4, X, Y, Z) probabilities to (X, Y, Z) uint8 labels, background outside the mask."""
    return np.where(mask, probabilities.argmax(0), BACKGROUND).astype(np.uint8)


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
        "origin_ras_mm": list(prepared.grid.origin_mm),
    }
    return described
