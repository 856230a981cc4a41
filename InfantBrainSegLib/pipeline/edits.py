"""A result that a person edited: which voxels stay as they are, and how those round them follow."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..core.errors import InputError
from ..core.labels import CLASS_COUNT, from_any
from ..imaging.files import check_image, describe_geometry, same_grid
from ..imaging.inputs import AUTOMATIC, EDITED, NAMES
from ..imaging.resample import bounding_box, on_grid_of, voxel_mm3
from ..imaging.space import WorkingSpace
from .options import SegmentOptions

DOUBTFUL_SHARE = 0.2  # of the brain: nobody edits so much by hand; another run's scans, mask or options differ as much
FAR_MM = 1e4  # further than any reach
LEAST_PROBABILITY = 1e-4  # so that what a network excludes can be pulled up


@dataclass(frozen=True)
class RefineConfig:
    """How the surroundings of edits follow; docs/results.md has what each part mends.

    A stroke in one slice is an edit that is one voxel thick along one axis of the scan and more along both others. Its neighbours in that
    slice were seen when it was painted, and stay; those in the slices beside it were not.

    Attributes
    ----------
    rounds : int
        How often the second stage runs, each time with distance maps of the edited labels and of what it found near the edits.
    reach_mm : float
        How far from an edited voxel labels may change.
    spread_mm : float
        How far what the network missed in a stroke in one slice counts in the slices beside it: the SD of a Gaussian.
    pull : float
        How much it counts there; 0: not at all.
    """

    rounds: int = 2
    reach_mm: float = 5.0
    spread_mm: float = 1.5
    pull: float = 20.0


@dataclass(frozen=True)
class Edits:
    """A result with a person's edits.

    Attributes
    ----------
    labels : 3D sitk.Image
        All labels after the edits, on the grid of T1, or of T2 when it is alone: 0, 1, 2, 3, or iSeg's numbers.
    automatic : 3D sitk.Image or None
        The result as it was before them. None: it is computed again, which takes the scans, the mask and the options that it was made of.
    config : RefineConfig
    """

    labels: sitk.Image
    automatic: sitk.Image | None = None
    config: RefineConfig = field(default_factory=RefineConfig)

    def checked(self, scan: sitk.Image, options: SegmentOptions) -> "Edits":
        """Give labels in our numbers on a scan's exact grid.

        Raises
        ------
        InputError
            If an image is not on this grid, holds other values or is empty, or if the options leave the second stage out.
        """
        if not options.use_context:
            raise InputError("Edits take the second stage, which was left out (use_context is False): leave them out, or let it run.")
        scan = check_image(scan, "The scan")
        automatic = None if self.automatic is None else _on_grid(self.automatic, scan, NAMES[AUTOMATIC])
        return replace(self, labels=_on_grid(self.labels, scan, NAMES[EDITED]), automatic=automatic)


def _on_grid(labels: sitk.Image, scan: sitk.Image, name: str) -> sitk.Image:
    labels = check_image(labels, name)
    if not same_grid(scan, labels):
        found, wanted = (_grid_in_words(image) for image in (labels, scan))
        raise InputError(
            f"{name} lies on another grid ({found}) than the scan ({wanted}); wanted one label for each voxel of T1, or of T2 when it is "
            "alone: edit segmentation.nii.gz itself, or export the labels with the scan as the reference."
        )
    values = from_any(sitk.GetArrayViewFromImage(labels), name)
    if not values.any():
        raise InputError(f"{name} is empty; wanted the whole result with the edits: check the file.")
    return on_grid_of(scan, values)


def _grid_in_words(image: sitk.Image) -> str:
    grid = describe_geometry(image)
    size, spacing, origin = (" × ".join(f"{value:.4g}" for value in grid[part]) for part in ("size", "spacing_mm", "origin_mm"))
    return f"{size} voxels of {spacing} mm from {origin.replace(' × ', ', ')} mm"


@dataclass(frozen=True, eq=False)
class Kept:
    """What of an edited result stays as it is, on the scan's grid.

    Attributes
    ----------
    labels : sitk.Image of uint8
        After the edits.
    edited : (K, J, I) bool array
        The voxels that a person labelled otherwise than the automatic result.
    near : (K, J, I) bool array
        The others that lie near one of these and may follow.
    flat : (K, J, I) bool array
        The edited voxels of strokes in one slice.
    """

    labels: sitk.Image
    edited: np.ndarray
    near: np.ndarray
    flat: np.ndarray

    @classmethod
    def of(cls, edits: Edits, automatic: sitk.Image) -> "Kept":
        """Compare an edited result with what it was before.

        Raises
        ------
        InputError
            If there is no difference.
        """
        labels, reach_mm = edits.labels, edits.config.reach_mm
        edited = sitk.GetArrayViewFromImage(labels) != sitk.GetArrayViewFromImage(automatic)
        if not edited.any():
            raise InputError("No voxel of the edited labelmap differs from the automatic result: edit it first, and save it on its grid.")
        spacing_mm = labels.GetSpacing()[::-1]
        near = _round(edited, spacing_mm, reach_mm) & ~edited
        flat = np.zeros(edited.shape, bool)
        for axis, strokes in enumerate(_strokes_in_one_slice(edited)):
            flat |= strokes
            near &= ~_round(strokes, [math.inf if other == axis else step for other, step in enumerate(spacing_mm)], reach_mm)
        return cls(labels, edited, near, flat)

    def in_space(self, space: WorkingSpace) -> "KeptThere":
        """Bring it to the working grid."""
        edited, near = (space.share_from_scan(part) >= 0.5 for part in (self.edited, self.near))
        values = sitk.GetArrayViewFromImage(self.labels)
        painted = [space.share_from_scan(self.flat & (values == value)) for value in range(CLASS_COUNT)]
        return KeptThere(space.labels_from_scan(self.labels), edited, near & ~edited, np.stack(painted))

    def filled(self, found: sitk.Image) -> sitk.Image:
        """Give the edited result with what was found anew near the edits, and nowhere else."""
        values = sitk.GetArrayFromImage(self.labels)
        values[self.near] = sitk.GetArrayViewFromImage(found)[self.near]
        return on_grid_of(self.labels, values)

    def told(self, result: sitk.Image, edits: Edits) -> dict[str, Any]:
        """Give what a report says of it."""
        voxel_ml = voxel_mm3(self.labels) / 1000
        changed = int(np.count_nonzero(sitk.GetArrayViewFromImage(result) != sitk.GetArrayViewFromImage(self.labels)))
        fixed = int(np.count_nonzero(self.edited))
        return {
            "fixed_voxels": fixed,
            "fixed_ml": round(fixed * voxel_ml, 3),
            "changed_voxels": changed,
            "changed_ml": round(changed * voxel_ml, 3),
            "automatic_labels": "computed again" if edits.automatic is None else "given",
            **asdict(edits.config),
        }

    @property
    def doubts(self) -> tuple[str, ...]:
        """Say that more was edited than a hand can."""
        share = np.count_nonzero(self.edited) / np.count_nonzero(sitk.GetArrayViewFromImage(self.labels))
        if share < DOUBTFUL_SHARE:
            return ()
        return (
            f"{100 * share:.0f} % of the brain differ from the automatic result and count as edited; wanted less than "
            f"{100 * DOUBTFUL_SHARE:.0f} %: give the scans, the mask and the options that the result was made of, or that result itself "
            "(--automatic-labels).",
        )


@dataclass(frozen=True, eq=False)
class KeptThere:
    """As `Kept`, in the working space.

    Attributes
    ----------
    labels : (X, Y, Z) uint8 array
    edited, near : (X, Y, Z) bool arrays
    painted : (C, X, Y, Z) float array
        How much of each voxel strokes in one slice gave to each label.
    """

    labels: np.ndarray
    edited: np.ndarray
    near: np.ndarray
    painted: np.ndarray

    def filled(self, found: np.ndarray) -> np.ndarray:
        """Give the edited labels with those that were found anew near the edits, (X, Y, Z), and nowhere else."""
        return np.where(self.near, found, self.labels)

    def pulled(self, probabilities: np.ndarray, config: RefineConfig) -> np.ndarray:
        """Move probabilities, (C, X, Y, Z), beside strokes in one slice towards what the network missed in these."""
        painted = self.painted[: len(probabilities)]
        missed = painted - painted.sum(0) * probabilities
        pull = config.pull * np.stack([ndimage.gaussian_filter(one, config.spread_mm) for one in missed])  # voxels of 1 mm
        moved = (probabilities + LEAST_PROBABILITY) * np.exp(pull)
        return (moved / moved.sum(0)).astype(probabilities.dtype)

    def known(self, probabilities: np.ndarray, automatic: np.ndarray | None) -> np.ndarray:
        """Give probabilities (C, X, Y, Z) that are certain of the edits, and far from them those of the automatic result if known."""
        result = probabilities if automatic is None else np.where(self.near, probabilities, automatic)
        values = np.arange(len(result), dtype=np.uint8)[:, None, None, None]
        return np.where(self.edited, (self.labels == values).astype(result.dtype), result)  # (C, X, Y, Z)


def _strokes_in_one_slice(edited: np.ndarray) -> Iterator[np.ndarray]:
    """Of the edited voxels, (K, J, I) bool, give for each axis those of the pieces that are one voxel thick along this axis alone."""
    pieces, _ = ndimage.label(edited, np.ones((3, 3, 3), bool))
    thick = np.array([[part.stop - part.start > 1 for part in box] for box in ndimage.find_objects(pieces)])  # (N, 3)
    for axis in range(3):
        flat = (thick.sum(1) == 2) & ~thick[:, axis]
        yield np.concatenate([[False], flat])[pieces]


def _round(places: np.ndarray, spacing_mm: Sequence[float], reach_mm: float) -> np.ndarray:
    """Tell what lies no further than that from some places, a 3D bool array.

    The spacing is in the order of its axes; one that is infinite keeps to the slices.
    """
    result = np.zeros(places.shape, bool)
    found = bounding_box(places)
    if found is not None:
        steps = [0 if math.isinf(step) else math.ceil(reach_mm / step) for step in spacing_mm]
        box = tuple(slice(max(part.start - step, 0), part.stop + step) for part, step in zip(found, steps, strict=True))
        sampling = [FAR_MM if math.isinf(step) else step for step in spacing_mm]
        result[box] = ndimage.distance_transform_edt(~places[box], sampling=sampling) <= reach_mm
    return result
