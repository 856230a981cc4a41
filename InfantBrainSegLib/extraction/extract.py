"""Stage 0: the cerebrum with its CSF, out of a whole head or of a stripped brain with cerebellum and brainstem.

A network finds left cerebrum, right cerebrum and what lies below the tentorium at 3 mm; a second one, guided by what the first found,
draws the border at 1 mm. The head's pose follows from where the parts lie. Intensities are in units of the head's mean, air 0.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from scipy import ndimage

from ..core.errors import ErrorCode, InputError
from ..core.labels import BACKGROUND, INFRATENTORIAL, LEFT_CEREBRUM, PART_COUNT, RIGHT_CEREBRUM
from ..imaging.files import check_image, index_to_physical
from ..imaging.resample import on_grid_of, resample_linearly, voxel_mm3
from ..imaging.space import ras_grid, to_kji, to_xyz
from ..networks.predictor import Predictor
from ..networks.sliding_window import SlidingWindowConfig
from ..networks.weights import EXTRACTION_STAGES
from ..preparation import foreground as quality
from .border import refine_border
from .head import Head, as_image, images_on
from .locate import Located, is_stripped, largest_piece, locate, volume_ml

AUTO, OFF = "auto", "off"
CHOICES = (AUTO, OFF)
REFINE_MM = 1.0
REFINE_WINDOW = SlidingWindowConfig(patch_voxels=64)
MIN_REMOVED_ML, MIN_REMOVED_SHARE = 5.0, 0.04  # less cerebellum and brainstem than this in a stripped brain is left: stumps, errors
MIN_CEREBRUM_ML = 100.0  # a preterm brain of 25 weeks
_CLEARLY_LESS = 0.5  # of these limits at 3 mm: then the second network need not look
_NOTHING_BELOW = "The scans were stripped already, cerebellum and brainstem too: they are taken as they are."
_REACH_MM = 12.0  # the second network is believed no further than this from what the first one found


@dataclass(frozen=True)
class ExtractionReport:
    """What was found; None where it was not looked for.

    Attributes
    ----------
    message : str
        All of it, for a person.
    found : str or None
        What was taken out.
    stripped : bool or None
        Whether the scans were stripped already.
    confidence : float or None
        Mean probability of the parts that were located.
    brain_share_of_signal : float or None
    rotation_degrees : float or None
        How far the head lies from upright; None also where that cannot be determined.
    rotated : bool or None
        Whether it was set upright.
    front_is_back, upside_down : bool or None
        Whether a stripped brain was turned by half a turn about the vertical, or about another axis.
    orientation_told : bool or None
        Whether a stripped brain tells which way it lies.
    weights : dict or None
        sha256 by network.
    """

    message: str
    found: str | None = None
    stripped: bool | None = None
    confidence: float | None = None
    brain_share_of_signal: float | None = None
    rotation_degrees: float | None = None
    rotated: bool | None = None
    front_is_back: bool | None = None
    upside_down: bool | None = None
    orientation_told: bool | None = None
    weights: dict[str, str] | None = None

    @property
    def has_pose(self) -> bool:
        """Whether it was looked how the head lies."""
        return self.rotated is not None

    def as_dict(self) -> dict[str, Any]:
        """Give plain values that JSON takes, without what was not looked for."""
        return {name: value for name, value in asdict(self).items() if value is not None or (name == "rotation_degrees" and self.has_pose)}


@dataclass(frozen=True)
class Extraction:
    """What is to be segmented.

    Attributes
    ----------
    t1, t2 : sitk.Image or None
        As given.
    mask : sitk.Image of uint8 or None
        1 in the cerebrum, on the grid of T1 (of T2 when it is alone); None where the scans are to be taken as they are.
    rotation : sitk.Euler3DTransform or None
        From a point of the upright head to its point in the head as given.
    report : ExtractionReport
    """

    t1: sitk.Image | None
    t2: sitk.Image | None
    mask: sitk.Image | None
    rotation: sitk.Euler3DTransform | None
    report: ExtractionReport


def left_as_given(t1: sitk.Image | None, t2: sitk.Image | None, mask: sitk.Image | None, message: str) -> Extraction:
    """Give the scans and the mask as they came.

    Parameters
    ----------
    t1, t2, mask : sitk.Image or None
    message : why
    """
    return Extraction(t1, t2, mask, None, ExtractionReport(message))


def extract(t1: sitk.Image | None, t2: sitk.Image | None, predictor: Predictor, on_progress: Callable[[float], None]) -> Extraction:
    """Find the cerebrum.

    Parameters
    ----------
    t1, t2 : 3D sitk.Image or None
        Whole heads or stripped brains; T2 lies on T1 by their headers. One may be None.
    predictor : Predictor
    on_progress : callable
        Takes the share that is done.

    Raises
    ------
    InputError
        If no scan is given, one is empty, or no cerebrum is found.
    """
    heads = _heads(t1, t2)
    reference = next(iter(heads.values()))
    located = locate(heads, reference, predictor, lambda share: on_progress(0.4 * share))
    parts, pose = located.parts, located.pose
    located_ml = volume_ml(parts)
    if located_ml < MIN_CEREBRUM_ML:
        if reference.stripped:
            return left_as_given(t1, t2, None, "No whole brain was recognised in the stripped scans: they are taken as they are.")
        raise InputError(
            f"Only {located_ml:.0f} ml of brain were found in the scans; wanted a head with {MIN_CEREBRUM_ML:.0f} ml or more: look at the "
            "scans, give a brain mask (--mask), or say that they are to be taken as they are (--extract off).",
            ErrorCode.NO_CEREBRUM,
        )
    stripped = is_stripped(reference, parts)
    if stripped and not (pose.plausible or pose.half_turned):
        message = "The scans were stripped already; how the brain lies cannot be determined, and they are taken as they are."
        report = ExtractionReport(message, found=message, stripped=True, confidence=round(located.confidence, 3), rotated=False)
        return Extraction(t1, t2, None, None, report)
    looked: tuple[str, ...] = EXTRACTION_STAGES
    if stripped and _below_ml(parts) < _CLEARLY_LESS * max(MIN_REMOVED_ML, MIN_REMOVED_SHARE * located_ml):
        mask, message, looked = None, _NOTHING_BELOW, ("locate",)
    else:
        found = _refine(heads, located, predictor, lambda share: on_progress(0.4 + 0.6 * share))
        mask, message = found.without_cerebellum() if stripped else found.cerebrum()
    used_t1, used_t2 = (heads[name].scan if name in heads else None for name in ("T1", "T2"))
    report = ExtractionReport(
        message=f"{message} {pose.message}",
        found=message,
        stripped=stripped,
        confidence=round(located.confidence, 3),
        brain_share_of_signal=round(min(located_ml / max(reference.signal_ml(), 1e-6), 1.0), 3),
        rotation_degrees=None if pose.degrees is None else round(pose.degrees, 1),
        rotated=pose.rotation is not None,
        front_is_back=pose.front_is_back,
        upside_down=pose.upside_down,
        orientation_told=pose.told,
        weights=predictor.networks.sha256(looked),
    )
    return Extraction(used_t1, used_t2, mask, pose.rotation, report)


def set_upright(
    t1: sitk.Image | None, t2: sitk.Image | None, mask: sitk.Image, predictor: Predictor, on_progress: Callable[[float], None]
) -> Extraction:
    """Keep the mask that was given, and only tell how the head lies.

    Parameters
    ----------
    t1, t2, predictor, on_progress
        As for `extract`.
    mask : 3D sitk.Image
        Above 0 in what is to be segmented, on any grid.

    Raises
    ------
    InputError
        If no scan is given, or one is empty.
    """
    heads = _heads(t1, t2)
    reference = next(iter(heads.values()))
    located = locate(heads, reference, predictor, on_progress)
    parts, pose = located.parts, located.pose
    message = "A mask was given: nothing was extracted."
    doubtful = pose.degrees is None or (is_stripped(reference, parts) and not (pose.plausible or pose.half_turned))
    if doubtful or volume_ml(parts) < MIN_CEREBRUM_ML:
        return left_as_given(t1, t2, mask, message)
    report = ExtractionReport(
        message=f"{message} {pose.message}",
        rotation_degrees=round(pose.degrees or 0.0, 1),
        rotated=pose.rotation is not None,
        front_is_back=pose.front_is_back,
        upside_down=pose.upside_down,
        orientation_told=pose.told,
        weights=predictor.networks.sha256(("locate",)),
    )
    return Extraction(t1, t2, mask, pose.rotation, report)


def _heads(t1: sitk.Image | None, t2: sitk.Image | None) -> dict[str, Head]:
    heads = {name: Head(check_image(scan, name), name) for name, scan in (("T1", t1), ("T2", t2)) if scan is not None}
    if not heads:
        raise InputError("Neither T1 nor T2 was given; wanted both, or one of them: name the files.", ErrorCode.NO_SCAN)
    return heads


def context_of(parts: torch.Tensor) -> torch.Tensor:
    """Smooth maps of what the 3 mm network found, as the 1 mm network takes them.

    Parameters
    ----------
    parts : (X, Y, Z) int64 torch.Tensor
        Left cerebrum, right cerebrum, infratentorial; 0 elsewhere.

    Returns
    -------
    (3, X, Y, Z) float32 torch.Tensor
    """
    maps = F.one_hot(parts, PART_COUNT).permute(3, 0, 1, 2)[1:].float()  # (3, X, Y, Z)
    return F.avg_pool3d(maps[None], 3, 1, 1, count_include_pad=False)[0]


def _below_ml(parts: sitk.Image) -> float:
    """Volume of cerebellum and brainstem."""
    return float(np.count_nonzero(sitk.GetArrayViewFromImage(parts) == INFRATENTORIAL)) * voxel_mm3(parts) / 1000


def _refine(heads: dict[str, Head], located: Located, predictor: Predictor, on_progress: Callable[[float], None]) -> "_RefinedParts":
    """What the second network says at 1 mm round what was located."""
    parts = located.parts
    array = sitk.GetArrayFromImage(parts)
    index = np.argwhere(array > 0)[:, ::-1]  # (N, 3): i, j, k
    affine = index_to_physical(parts)
    grid = ras_grid(affine[:3, :3] @ index.T + affine[:3, 3:], REFINE_MM, _REACH_MM, located.pose.rotation)
    context = context_of(torch.as_tensor(to_xyz(array)).long()).numpy()  # (3, X, Y, Z) on the grid of `parts`
    maps = [to_xyz(resample_linearly(as_image(one, parts), grid)) for one in context]
    near = ndimage.binary_dilation(np.max(maps, axis=0) > 0.05, iterations=6)
    inputs = np.concatenate([images_on(heads, grid), np.stack(maps)])  # (5, X, Y, Z)
    probabilities = predictor.predict_array(predictor.networks.get("refine"), inputs, near, REFINE_WINDOW, on_progress)
    far = ndimage.distance_transform_edt(np.max(maps, axis=0) <= 0.5) > _REACH_MM / REFINE_MM
    probabilities[:, far] = np.eye(PART_COUNT, dtype=np.float32)[:, BACKGROUND, None]
    return _RefinedParts(heads, probabilities, grid)


@dataclass(frozen=True)
class _RefinedParts:
    """What the second network says, and how it becomes a mask on the scan's own grid."""

    heads: dict[str, Head]
    probabilities: np.ndarray  # (4, X, Y, Z)
    grid: sitk.Image

    @property
    def reference(self) -> Head:
        """The one whose grid the mask gets."""
        return next(iter(self.heads.values()))

    def cerebrum(self) -> tuple[sitk.Image, str]:
        """The mask of a raw head, its border where this head's intensities change."""
        scan = self.reference.scan
        probability = self._on_scan(self.probabilities[LEFT_CEREBRUM] + self.probabilities[RIGHT_CEREBRUM])
        images = [to_kji(head.on(scan)) for head in self.heads.values()]  # (K, J, I)
        probability = refine_border(probability, self._on_scan(self.probabilities[INFRATENTORIAL]), images, scan.GetSpacing()[::-1])
        mask = ndimage.binary_fill_holes(largest_piece(probability > 0.5))
        found_ml = np.count_nonzero(mask) * voxel_mm3(scan) / 1000
        return on_grid_of(scan, mask.astype(np.uint8)), f"The cerebrum was taken out of a whole head: {found_ml:.0f} ml."

    def without_cerebellum(self) -> tuple[sitk.Image | None, str]:
        """The mask of a stripped brain; None where there is nothing to take away."""
        scan = self.reference.scan
        below = self.probabilities[INFRATENTORIAL]
        pieces, count = ndimage.label(below > self.probabilities[LEFT_CEREBRUM] + self.probabilities[RIGHT_CEREBRUM])
        sizes_ml = np.bincount(pieces.ravel(), minlength=count + 1) * REFINE_MM**3 / 1000
        sizes_ml[0] = 0
        kept = np.where((sizes_ml >= MIN_REMOVED_ML)[pieces], np.maximum(below, 0.51), np.minimum(below, 0.49))
        brain = quality.solid_brain(self.reference.signal())
        removed = brain & (self._on_scan(kept) > 0.5)
        removed_ml = np.count_nonzero(removed) * voxel_mm3(scan) / 1000
        if removed_ml < max(MIN_REMOVED_ML, MIN_REMOVED_SHARE * np.count_nonzero(brain) * voxel_mm3(scan) / 1000):
            return None, _NOTHING_BELOW
        mask = quality.solid_brain(brain & ~removed)
        message = f"The scans were stripped already; {removed_ml:.0f} ml of cerebellum and brainstem were taken out."
        return on_grid_of(scan, mask.astype(np.uint8)), message

    def _on_scan(self, probability: np.ndarray) -> np.ndarray:
        """A probability (X, Y, Z) on the scan's grid: (K, J, I)."""
        return resample_linearly(as_image(probability.astype(np.float32), self.grid), self.reference.scan)
