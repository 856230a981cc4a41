"""New individuals out of two: one label map in some parts of the brain, another in the others, and a shape between both.

One map is registered onto the other (demons on painted classes). Each is then warped towards the other by a share, so that the seams,
which wander smoothly through the brain, join cortex to cortex and white matter to white matter.
"""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from ...core.cores import usable_cores
from ...core.errors import TrainingError
from ...core.lock import sole_owner
from .artefacts import smooth_noise
from .labelmaps import FIELD_MAX, SYNTHESIS_CLASSES, VENTRICLE, LabelMap, arrays_of, is_made_of, load_pack, with_fields, write_pack
from .thickening import sample

_LEVELS = (0.0, 1.0, 0.6, 2.0, 2.4, 2.4, 3.0)  # what registration sees of the classes
_SHRINKS, _ITERATIONS = (4, 2, 1), (60, 40, 20)
_BLUR_VOXELS, _FIELD_SIGMA = 1.5, 2.0
_STEPS = 6  # of the fixed-point iteration
_SEAM_VOXELS, _SEAM_SHARPNESS = 45.0, 6.0  # how far apart seams lie, and how soon one map gives way to the other
_SHAPE_SHARES = (0.2, 0.8)
_SEED = 1  # both stages learn from the same individuals


@dataclass(frozen=True)
class Registered:
    """Two label maps, and where each voxel of the first lies in the second.

    Attributes
    ----------
    first, second : LabelMap
    way : (3, X, Y, Z) float32 torch.Tensor
        On the first map's grid: what is to be added to a voxel's index, with the offset, to come to the second map's.
    offset : (3,) float array
        Between the middles of both brains.
    """

    first: LabelMap
    second: LabelMap
    way: torch.Tensor
    offset: np.ndarray


def register(first: LabelMap, second: LabelMap) -> Registered:
    """Register the second of two label maps onto the first: box onto box, then demons from coarse to fine."""
    fixed, moving = (_painted(label_map) for label_map in (first, second))
    (low, high), (low_2, high_2) = _ends(first), _ends(second)
    stretch = (high_2 - low_2) / (high - low)
    affine = sitk.AffineTransform(np.diag(stretch).ravel().tolist(), (low_2 - stretch * low).tolist())
    moving = sitk.Resample(moving, fixed, affine, sitk.sitkLinear)
    field = sitk.Image(fixed.GetSize(), sitk.sitkVectorFloat64, 3)
    for shrink, iterations in zip(_SHRINKS, _ITERATIONS, strict=True):
        field = _demons(_coarser(fixed, shrink), _coarser(moving, shrink), iterations, field)
    moved = sitk.GetArrayFromImage(sitk.Resample(field, fixed)).transpose(3, 2, 1, 0)  # (3, X, Y, Z)
    voxels = np.stack(np.meshgrid(*map(np.arange, first.classes.shape), indexing="ij"))
    after = _column(low_2) + _column(stretch) * (voxels + moved - _column(low))
    offset = (low_2 + high_2 - low - high) / 2
    return Registered(first, second, torch.from_numpy((after - voxels - _column(offset)).astype(np.float32)), offset)


def _painted(label_map: LabelMap) -> sitk.Image:
    return sitk.GetImageFromArray(np.array(_LEVELS, np.float32)[label_map.classes].transpose(2, 1, 0))


def _ends(label_map: LabelMap) -> tuple[np.ndarray, np.ndarray]:
    """First and last voxel of the brain: (3,) each."""
    places = ndimage.find_objects((label_map.classes >= VENTRICLE).astype(np.uint8))[0]
    return np.array([place.start for place in places], float), np.array([place.stop - 1 for place in places], float)


def _coarser(image: sitk.Image, shrink: int) -> sitk.Image:
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, _BLUR_VOXELS * shrink / 2), [shrink] * 3)


def _demons(fixed: sitk.Image, moving: sitk.Image, iterations: int, start: sitk.Image) -> sitk.Image:
    """Displacement of each voxel of `fixed`, in voxels of the full grid."""
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfIterations(iterations)
    demons.SmoothDisplacementFieldOn()
    demons.SetStandardDeviations(_FIELD_SIGMA)
    return demons.Execute(fixed, moving, sitk.Resample(start, fixed))


def _column(three: np.ndarray) -> np.ndarray:
    return three[:, None, None, None]


def mix(registered: Registered, name: str, rng: np.random.Generator) -> LabelMap:
    """Draw an individual out of two registered ones.

    Parameters
    ----------
    registered : Registered
    name : str
        Of the new map.
    rng : numpy.random.Generator
    """
    first, second, way = registered.first, registered.second, registered.way
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    size = np.maximum(first.classes.shape, second.classes.shape)
    axes = [torch.arange(n, dtype=torch.float32) - (n - m) // 2 for n, m in zip(size, first.classes.shape, strict=True)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    share, at_first = rng.uniform(*_SHAPE_SHARES), grid
    for _ in range(_STEPS):  # to x with x + share · way(x) = the new map's voxel
        at_first = grid - share * _way_at(way, at_first)
    at_second = at_first + _way_at(way, at_first) + torch.as_tensor(_column(registered.offset), dtype=torch.float32)
    later = torch.sigmoid(_SEAM_SHARPNESS * smooth_noise((1, *size.tolist()), _SEAM_VOXELS, generator)[0])

    def blended(of: Callable[[LabelMap], np.ndarray]) -> torch.Tensor:
        one, other = (
            sample(torch.from_numpy(of(label_map)[None].astype(np.float32)), places, (0, 0, 0))[0]
            for label_map, places in ((first, at_first), (second, at_second))
        )
        return torch.lerp(one, other, later)

    found = [blended(partial(_are, value)) for value in range(SYNTHESIS_CLASSES)]
    best, classes = torch.zeros_like(later), torch.zeros(later.shape, dtype=torch.uint8)
    for value, likely in enumerate(found):
        classes[likely > best] = value
        best = torch.maximum(best, likely)
    elsewhere = blended(lambda label_map: label_map.outside == FIELD_MAX) > 0.5
    mixed = classes.numpy()
    return with_fields(name, mixed, elsewhere.numpy() & (mixed < VENTRICLE))


def _are(value: int, label_map: LabelMap) -> np.ndarray:
    return label_map.classes == value


def _way_at(way: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    last = torch.tensor(way.shape[1:]).view(3, 1, 1, 1) - 1
    return sample(way, torch.minimum(positions.clamp(min=0), last), (0, 0, 0))


def mixed_maps(maps: Sequence[LabelMap], count: int, pack: Path) -> list[LabelMap]:
    """Draw individuals out of pairs of maps, of adults and of infants in turn, and keep them in a pack; one made of just this serves again.

    Parameters
    ----------
    maps : sequence of LabelMap
    count : int
    pack : Path
        The `.npz` to keep them in.

    Raises
    ------
    TrainingError
        If there are no two maps of one kind, or the pack cannot be written.
    """
    rng = np.random.default_rng(_SEED)
    kinds = [[label_map for label_map in maps if label_map.kind == kind] for kind in sorted({label_map.kind for label_map in maps})]
    pairs = [_shuffled(list(itertools.permutations(kind, 2)), rng) for kind in kinds if len(kind) > 1]
    if not pairs:
        raise TrainingError("There are no two label maps of one kind, adults or infants, to mix; wanted more maps, or mixed_maps 0.")
    made_of = {label_map.name: hashlib.sha256(label_map.classes.tobytes()).hexdigest() for label_map in maps}
    made_of["count"] = str(count)
    if not is_made_of(pack, made_of):
        turns = itertools.chain.from_iterable(zip(*map(itertools.cycle, pairs), strict=True))
        numbered = [(first, second, number) for number, (first, second) in enumerate(itertools.islice(turns, count))]
        with sole_owner(pack), ThreadPoolExecutor(usable_cores()) as threads:
            write_pack(arrays_of(threads.map(_numbered, numbered)), made_of, pack)
    return load_pack(pack)


def _shuffled(given: list, rng: np.random.Generator) -> list:
    return [given[index] for index in rng.permutation(len(given))]


def _numbered(job: tuple[LabelMap, LabelMap, int]) -> LabelMap:
    first, second, number = job
    return mix(register(first, second), f"{first.name}+{second.name} {number + 1}", np.random.default_rng([_SEED, number]))
