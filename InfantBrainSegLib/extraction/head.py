"""A scan of a head as the networks of cerebrum extraction see it: in units of the head's mean, air 0, on grids along RAS."""

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..core.errors import InputError
from ..imaging.files import index_to_physical
from ..imaging.resample import bounding_box, crop, on_grid_of, resample_inside, voxel_mm3, widen
from ..imaging.space import to_kji, to_xyz
from ..preparation import foreground as quality

LEVEL_LIMITS = (0.0, 4.0)  # units of the head's mean


class Head:
    """One scan: where it has signal, and how bright that is."""

    def __init__(self, scan: sitk.Image, name: str):
        self.scan = scan
        array = sitk.GetArrayViewFromImage(scan)  # (K, J, I)
        background = quality.background_value(array)
        self.stripped = background is not None
        if background is None:
            threshold = _otsu(array, name)
            self._air = float(np.median(array[array <= threshold]))
            self._signal = array > threshold
        else:
            self._air = background
            self._signal = quality.foreground(array, background)
        box = bounding_box(self._signal)
        if box is None:
            raise InputError(f"{name} is empty; wanted an image of the head: check the file.")
        self.box = widen(box, 3, scan)
        values = array[self._signal].astype(np.float32)
        self.mean = float(np.minimum(values, np.percentile(values, 99.5)).mean()) - self._air

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


def _otsu(array: np.ndarray, name: str) -> float:
    """Threshold between air and head, from intensities whose long bright tail was cut and compressed."""
    sample = array[::2, ::2, ::2].astype(np.float32).ravel()
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.0)))
    if high <= low:
        raise InputError(f"{name} is empty: nearly all voxels are alike; wanted an image of the head: check the file.")
    root = np.sqrt(np.clip(sample - low, 0, high - low))
    counts, edges = np.histogram(root, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sums[-1] * below / below[-1] - sums) ** 2 / (below * (below[-1] - below))
    return float(low + middles[int(np.nanargmax(between[:-1]))] ** 2)


def images_on(heads: dict[str, Head], grid: sitk.Image) -> np.ndarray:
    """T1 and T2 on a grid, 0 for an absent one: (2, X, Y, Z)."""
    empty = np.zeros(grid.GetSize(), np.float32)
    return np.stack([heads[name].on(grid) if name in heads else empty for name in ("T1", "T2")])


def as_image(values: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """Wrap an (X, Y, Z) array as an image of a grid."""
    return on_grid_of(grid, to_kji(values))
