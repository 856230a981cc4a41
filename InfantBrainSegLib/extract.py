"""Stage 0: the cerebrum with its CSF, out of a whole head or of a stripped brain with cerebellum and brainstem.

A network finds left cerebrum, right cerebrum and what lies below the tentorium at 2 mm; a second one, guided by what the first found,
draws the border at 1 mm. The head's pose follows from where the parts lie. Intensities are in units of the head's mean, air 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from scipy import ndimage

from . import quality
from .align import move_grid
from .errors import InputError
from .grid import to_xyz
from .images import check_image, index_to_physical
from .labels import CLASS_COUNT, INFRATENTORIAL, LEFT_CEREBRUM, RIGHT_CEREBRUM
from .pose import find_pose
from .resample import crop, on_grid_of, resample_inside, resample_linearly, voxel_mm3, widen
from .sliding_window import SlidingWindowConfig
from .weights import LoadedNetwork, load_network

AUTO, OFF = "auto", "off"
CHOICES = (AUTO, OFF)
LOCATE_MM, REFINE_MM = 2.0, 1.0
LOCATE_WINDOW = SlidingWindowConfig(patch_voxels=96, overlap=0.25, batch_size=1)  # 19 cm: most of a head at once
REFINE_WINDOW = SlidingWindowConfig(patch_voxels=64, overlap=0.25)
STRIPPED_SHARE = 0.75  # of the signal is brain: the image was stripped; whole heads have less than 0.6
MIN_REMOVED_ML, MIN_REMOVED_SHARE = 5.0, 0.02  # less cerebellum and brainstem than this in a stripped brain is left: stumps, errors
MIN_CEREBRUM_ML = 100.0  # a preterm brain of 25 weeks
LEVEL_LIMITS = (0.0, 4.0)  # units of the head's mean
_MARGIN_MM = 12.0  # round what the first network found
_RAS_IN_LPS = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


class Predictor(Protocol):
    """What runs a network: `runner.Runner.predict_once`."""

    def __call__(
        self,
        stage: LoadedNetwork,
        inputs: np.ndarray,
        mask: np.ndarray | None,
        window: SlidingWindowConfig,
        told: Callable[[float], None],
    ) -> np.ndarray:
        """Class probabilities (4, X, Y, Z) of (C, X, Y, Z) inputs."""


@dataclass(frozen=True)
class Extraction:
    """What is to be segmented.

    Attributes
    ----------
    t1, t2 : sitk.Image or None
        As given, or with their grids turned so that the head is upright.
    mask : sitk.Image of uint8 or None
        1 in the cerebrum, on the grid of T1 (of T2 when it is alone); None where the scans are to be taken as they are.
    turn : sitk.Euler3DTransform or None
        From a point of the upright head to its point in the head as given.
    report : dict
        Plain values that JSON takes.
    """

    t1: sitk.Image | None
    t2: sitk.Image | None
    mask: sitk.Image | None
    turn: sitk.Euler3DTransform | None
    report: dict[str, Any]


def left_as_given(t1: sitk.Image | None, t2: sitk.Image | None, mask: sitk.Image | None, words: str) -> Extraction:
    """Give the scans and the mask as they came.

    Parameters
    ----------
    t1, t2, mask : sitk.Image or None
    words : why

    Returns
    -------
    Extraction
    """
    return Extraction(t1, t2, mask, None, {"words": words})


def extract(t1: sitk.Image | None, t2: sitk.Image | None, predictor: Predictor, told: Callable[[float], None]) -> Extraction:
    """Find the cerebrum.

    Parameters
    ----------
    t1, t2 : 3D sitk.Image or None
        Whole heads or stripped brains; T2 lies on T1 by their headers. One may be None.
    predictor : Predictor
    told : callable
        Takes the share that is done.

    Returns
    -------
    Extraction

    Raises
    ------
    InputError
        If no scan is given, one is empty, or no cerebrum is found.
    """
    heads = {name: _Head(check_image(scan, name)) for name, scan in (("T1", t1), ("T2", t2)) if scan is not None}
    if not heads:
        raise InputError("Neither T1 nor T2 was given; wanted both, or one of them: name the files.")
    reference = next(iter(heads.values()))
    parts = _locate(heads, reference, predictor, lambda share: told(0.4 * share))
    pose = find_pose(parts)
    if pose.turn is not None:
        parts = move_grid(parts, pose.turn)
        heads = {name: head.turned(pose.turn) for name, head in heads.items()}
        reference = next(iter(heads.values()))
    brain_ml = np.count_nonzero(sitk.GetArrayViewFromImage(parts)) * voxel_mm3(parts) / 1000
    probabilities, grid = _refine(heads, parts, predictor, lambda share: told(0.4 + 0.6 * share))
    share = brain_ml / max(reference.signal_ml(), 1e-6)
    found = _Found(reference, probabilities, grid)
    stripped = reference.stripped and share >= STRIPPED_SHARE
    mask, words = found.without_cerebellum() if stripped else found.cerebrum()
    turned_t1, turned_t2 = (heads[name].scan if name in heads else None for name in ("T1", "T2"))
    report = {
        "words": f"{words} {pose.words}",
        "stripped": stripped,
        "brain_share_of_signal": round(min(share, 1.0), 3),
        "turned_degrees": None if pose.degrees is None else round(pose.degrees, 1),
        "turned": pose.turn is not None,
        "weights": found_by(),
    }
    return Extraction(turned_t1, turned_t2, mask, pose.turn, report)


def found_by() -> dict[str, str]:
    """Give the sha256 of both networks' weights."""
    return {stage: load_network(stage).sha256 for stage in ("locate", "refine")}


def context_of(parts: torch.Tensor) -> torch.Tensor:
    """Smooth maps of what the 2 mm network found, as the 1 mm network takes them.

    Parameters
    ----------
    parts : (X, Y, Z) int64 torch.Tensor
        Left cerebrum, right cerebrum, infratentorial; 0 elsewhere.

    Returns
    -------
    (3, X, Y, Z) float32 torch.Tensor
    """
    maps = F.one_hot(parts, CLASS_COUNT).permute(3, 0, 1, 2)[1:].float()  # (3, X, Y, Z)
    return F.avg_pool3d(maps[None], 3, 1, 1, count_include_pad=False)[0]


class _Head:
    """One scan: where it has signal, and how bright that is."""

    def __init__(self, scan: sitk.Image):
        self.scan = scan
        array = sitk.GetArrayViewFromImage(scan)  # (K, J, I)
        background = quality.background_value(array)
        self.stripped = background is not None
        if background is None:
            threshold = _otsu(array)
            self._air = float(np.median(array[array <= threshold]))
            self._signal = array > threshold
        else:
            self._air = background
            self._signal = quality.foreground(array, background)
        box = quality.bounding_box(self._signal)
        if box is None:
            raise InputError("A scan is empty; wanted an image of the head: check the file.")
        self.box = widen(box, 3, scan)
        values = array[self._signal].astype(np.float32)
        self.mean = float(np.minimum(values, np.percentile(values, 99.5)).mean()) - self._air

    def turned(self, turn: sitk.Euler3DTransform) -> "_Head":
        """The same head on a grid that was turned."""
        other = object.__new__(_Head)
        other.__dict__.update(self.__dict__, scan=move_grid(self.scan, turn))
        return other

    def signal(self) -> np.ndarray:
        """Where the scan has signal: (K, J, I) bool."""
        return self._signal

    def signal_ml(self) -> float:
        """Volume of the signal's solid, inner air with it."""
        return float(np.count_nonzero(ndimage.binary_fill_holes(self._signal[self.box]))) * voxel_mm3(self.scan) / 1000

    def on(self, grid: sitk.Image) -> np.ndarray:
        """The scan in units of the head's mean on another grid, 0 beyond it: (X, Y, Z) float32."""
        part = crop(self.scan, self.box)
        values = (sitk.GetArrayFromImage(part).astype(np.float32) - self._air) / (self.mean if self.mean > 0 else 1.0)
        everywhere = on_grid_of(part, np.ones(values.shape, np.uint8))
        (resampled,), _ = resample_inside([on_grid_of(part, values)], everywhere, grid)
        return np.clip(to_xyz(resampled), *LEVEL_LIMITS)

    def corners_mm(self) -> np.ndarray:
        """LPS positions of the box's corners: (3, 8)."""
        ends = [(part.start, part.stop - 1) for part in reversed(self.box)]  # i, j, k
        corners = np.array(np.meshgrid(*ends)).reshape(3, -1)
        affine = index_to_physical(self.scan)
        return affine[:3, :3] @ corners + affine[:3, 3:]


def _otsu(array: np.ndarray) -> float:
    """Threshold between air and head, from intensities whose long bright tail was cut and compressed."""
    sample = array[::2, ::2, ::2].astype(np.float32).ravel()
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.0)))
    if high <= low:
        raise InputError("A scan is empty: nearly all voxels are alike; wanted an image of the head: check the file.")
    root = np.sqrt(np.clip(sample - low, 0, high - low))
    counts, edges = np.histogram(root, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sums[-1] * below / below[-1] - sums) ** 2 / (below * (below[-1] - below))
    return float(low + middles[int(np.nanargmax(between[:-1]))] ** 2)


def _ras_grid(points_mm: np.ndarray, spacing_mm: float, margin_mm: float) -> sitk.Image:
    """Give an empty grid along RAS round some LPS points (3, N)."""
    low, high = points_mm.min(axis=1) - margin_mm, points_mm.max(axis=1) + margin_mm
    size = [int(n) for n in np.ceil((high - low) / spacing_mm) + 1]
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing([spacing_mm] * 3)
    grid.SetDirection(_RAS_IN_LPS)
    grid.SetOrigin((float(high[0]), float(high[1]), float(low[2])))  # x and y run against LPS
    return grid


def _inputs(heads: dict[str, _Head], grid: sitk.Image) -> np.ndarray:
    """T1 and T2 on a grid, 0 for an absent one: (2, X, Y, Z)."""
    empty = np.zeros(grid.GetSize(), np.float32)
    return np.stack([heads[name].on(grid) if name in heads else empty for name in ("T1", "T2")])


def _locate(heads: dict[str, _Head], reference: _Head, predictor: Predictor, told: Callable[[float], None]) -> sitk.Image:
    """Parts of the brain at 2 mm: an image of uint8."""
    grid = _ras_grid(reference.corners_mm(), LOCATE_MM, 0.0)
    network = load_network("locate")
    parts = predictor(network, _inputs(heads, grid), None, LOCATE_WINDOW, told).argmax(0).astype(np.uint8)  # (X, Y, Z)
    cerebrum = _largest((parts == LEFT_CEREBRUM) | (parts == RIGHT_CEREBRUM))
    found_ml = np.count_nonzero(cerebrum) * LOCATE_MM**3 / 1000
    if found_ml < MIN_CEREBRUM_ML:
        raise InputError(
            f"Only {found_ml:.0f} ml of cerebrum were found in the scans; wanted a head with {MIN_CEREBRUM_ML:.0f} ml or more: look at "
            "the scans, or give a brain mask (--mask), or say that they are stripped (--extract off)."
        )
    below = _largest(parts == INFRATENTORIAL)
    return on_grid_of(grid, np.ascontiguousarray(np.where(cerebrum | below, parts, 0).astype(np.uint8).transpose(2, 1, 0)))


def _refine(
    heads: dict[str, _Head], parts: sitk.Image, predictor: Predictor, told: Callable[[float], None]
) -> tuple[np.ndarray, sitk.Image]:
    """Probabilities (4, X, Y, Z) at 1 mm round what was located, and their grid."""
    array = sitk.GetArrayFromImage(parts)
    index = np.argwhere(array > 0)[:, ::-1]  # (N, 3): i, j, k
    affine = index_to_physical(parts)
    grid = _ras_grid(affine[:3, :3] @ index.T + affine[:3, 3:], REFINE_MM, _MARGIN_MM)
    context = context_of(torch.as_tensor(to_xyz(array)).long()).numpy()  # (3, X, Y, Z) on the grid of `parts`
    maps = [to_xyz(resample_linearly(on_grid_of(parts, np.ascontiguousarray(one.transpose(2, 1, 0))), grid)) for one in context]
    near = ndimage.binary_dilation(np.max(maps, axis=0) > 0.05, iterations=6)
    inputs = np.concatenate([_inputs(heads, grid), np.stack(maps)])  # (5, X, Y, Z)
    return predictor(load_network("refine"), inputs, near, REFINE_WINDOW, told), grid


@dataclass(frozen=True)
class _Found:
    """What the second network says, and how it becomes a mask on the scan's own grid."""

    reference: _Head
    probabilities: np.ndarray  # (4, X, Y, Z)
    grid: sitk.Image

    def cerebrum(self) -> tuple[sitk.Image, str]:
        """The mask of a raw head."""
        chance = self.probabilities[LEFT_CEREBRUM] + self.probabilities[RIGHT_CEREBRUM]
        solid = ndimage.binary_fill_holes(_largest(chance > 0.5))
        mask = self._on_scan(np.where(solid, np.maximum(chance, 0.51), np.minimum(chance, 0.49)))
        found_ml = np.count_nonzero(mask) * voxel_mm3(self.reference.scan) / 1000
        return on_grid_of(self.reference.scan, mask.astype(np.uint8)), f"The cerebrum was taken out of a whole head: {found_ml:.0f} ml."

    def without_cerebellum(self) -> tuple[sitk.Image | None, str]:
        """The mask of a stripped brain; None where there is nothing to take away."""
        scan = self.reference.scan
        below = self.probabilities[INFRATENTORIAL]
        pieces, count = ndimage.label(below > self.probabilities[LEFT_CEREBRUM] + self.probabilities[RIGHT_CEREBRUM])
        sizes_ml = np.bincount(pieces.ravel(), minlength=count + 1) * REFINE_MM**3 / 1000
        sizes_ml[0] = 0
        kept = np.where((sizes_ml >= MIN_REMOVED_ML)[pieces], np.maximum(below, 0.51), np.minimum(below, 0.49))
        brain = quality.solid_brain(self.reference.signal())
        removed = brain & self._on_scan(kept)
        removed_ml = np.count_nonzero(removed) * voxel_mm3(scan) / 1000
        if removed_ml < max(MIN_REMOVED_ML, MIN_REMOVED_SHARE * np.count_nonzero(brain) * voxel_mm3(scan) / 1000):
            return None, "The scans were stripped already, cerebellum and brainstem too: they are taken as they are."
        mask = quality.solid_brain(brain & ~removed)
        words = f"The scans were stripped already; {removed_ml:.0f} ml of cerebellum and brainstem were taken out."
        return on_grid_of(scan, mask.astype(np.uint8)), words

    def _on_scan(self, chance: np.ndarray) -> np.ndarray:
        """Where a probability (X, Y, Z) exceeds one half on the scan's grid: (K, J, I) bool."""
        image = on_grid_of(self.grid, np.ascontiguousarray(chance.astype(np.float32).transpose(2, 1, 0)))
        return resample_linearly(image, self.reference.scan) > 0.5


def _largest(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    if count <= 1:
        return mask
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
