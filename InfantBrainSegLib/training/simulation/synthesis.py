"""The simulator: label maps synthesized as T1 and T2 of an infant's brain.

The approach of SynthSeg and BabySeg (random deformation, random contrast), with white matter as a spatial mixture driven by
myelination. Everything runs in torch on any device; low-resolution noise is upsampled, labels are sampled with `grid_sample`.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ...core.labels import BACKGROUND, CSF, GM, WM
from .artefacts import ArtefactConfig, blur, degrade, smooth_noise
from .contrast import NEWBORN, Channel, Contrast, ContrastConfig, draw_contrast
from .labelmaps import AIR, CORTEX, EARLY_DEEP_GM, FIELD_UNIT_MM, LATE_DEEP_GM, OUTER_CSF, SYNTHESIS_CLASSES, VENTRICLE, WHITE, LabelMap
from .thickening import MARGIN_VOXELS, amount_for, moved_volumes, pull_back, sample, thickening_field
from .widening import flow_back, widened_counts, widening_field

_LARGEST_AMOUNT = 0.4  # of the thickening field at any place; beyond, it would fold
_CLUSTERS_MM = (4.0, 20.0)
_GRADUAL_MM = (0.7, 1.8)
_MIDDLE_DEPTH_MM = 9.0  # below the hull: there `deep_cortex` changes nothing, at the surface and at twice the depth most


@dataclass(frozen=True)
class SimulatorConfig:
    """Ranges of the simulator.

    Attributes
    ----------
    adult_scale, infant_scale : tuple of float
        Size of the synthesized brain relative to the map: adult maps shrink to 0 to 12 months, infant maps vary a little.
    rotation_degrees, shear, warp_mm, warp_scale_mm
        Affine and smooth deformation.
    adult_share : float
        Of adult maps among the patches.
    rim_mm : tuple of float
        Thickness of CSF kept outside the brain's hull; below 0 the rim is missing.
    wide_rim_share, wide_rim_mm
        Share of subjects with much fluid round the brain, and how much.
    dura_share : float
        Share of subjects with remnants of dura beyond the rim (imperfect skull stripping).
    newborn_cortex, cortex : tuple of float
        Volume of cortex over that of white matter, in newborns and later (see `thickening`): adults have 1.0 to 1.1, iSeg-2017 about 1.4.
    infant_cortex : tuple of float or None
        The same for infant maps, whose cortex is drawn too thick; None for the ranges above.
    deep_cortex : tuple of float
        By how much of its volume cortex is thinner at the brain's surface and thicker in the depth than that: blades of white matter reach
        further out and white matter below is less, as in real six-month-olds.
    uneven_cortex : tuple of float
        SD of a smooth change of cortex's volume over the brain: thick here, with thin blades of white matter inside, and thin there.
    wide_share, wide_mm, one_sided_share
        Share of subjects whose ventricles are widened (see `widening`), by how much, and how many of these on one side more than the other.
    close_share, close_mm
        Share of subjects whose cortex grows into sulcal CSF, and how far: infants' sulci are tighter than adults'.
    contrast, artefacts
        See `ContrastConfig`, `ArtefactConfig`.
    """

    adult_scale: tuple[float, float] = (0.7, 0.98)
    infant_scale: tuple[float, float] = (0.85, 1.1)
    adult_share: float = 0.88  # infant maps have too thick a cortex
    rotation_degrees: float = 15.0
    shear: float = 0.06
    warp_mm: float = 4.0
    warp_scale_mm: tuple[float, float] = (20.0, 45.0)
    rim_mm: tuple[float, float] = (-0.2, 3.0)
    wide_rim_share: float = 0.0
    wide_rim_mm: tuple[float, float] = (3.0, 6.0)
    dura_share: float = 0.4
    newborn_cortex: tuple[float, float] = (0.9, 1.5)
    cortex: tuple[float, float] = (0.9, 1.9)
    infant_cortex: tuple[float, float] | None = None
    deep_cortex: tuple[float, float] = (0.0, 0.0)
    uneven_cortex: tuple[float, float] = (0.0, 0.0)
    wide_share: float = 0.0
    wide_mm: tuple[float, float] = (0.0, 12.0)
    one_sided_share: float = 0.3
    close_share: float = 0.6
    close_mm: tuple[float, float] = (0.2, 1.3)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    artefacts: ArtefactConfig = field(default_factory=ArtefactConfig)

    @property
    def cortex_changes(self) -> bool:
        """Whether cortex is thicker in one place than in another."""
        return any((*self.deep_cortex, *self.uneven_cortex))


# What the bundled weights were trained on; and what encloses the anatomy and the contrast of real six-month-olds (see docs/training.md).
SHRUNKEN = SimulatorConfig()
SIX_MONTHS = SimulatorConfig(
    adult_scale=(0.66, 1.0),
    adult_share=0.8,
    wide_rim_share=0.12,
    cortex=(1.15, 1.8),
    infant_cortex=(1.05, 1.65),
    deep_cortex=(0.0, 0.22),
    uneven_cortex=(0.0, 0.1),
    wide_share=0.3,
    contrast=ContrastConfig(wide_share=0.65, gain_variation=0.5, clusters=0.03, gradual=0.7),
    artefacts=ArtefactConfig(noise=(0.01, 0.06)),
)
SIMULATIONS = {"shrunken": SHRUNKEN, "six months": SIX_MONTHS}


@dataclass(frozen=True)
class Synthesized:
    """A synthesized block.

    Attributes
    ----------
    images : (2, X, Y, Z) float32 torch.Tensor
        T1 and T2, positive inside `mask`, 0 outside.
    labels : (X, Y, Z) int64 torch.Tensor
    mask : (X, Y, Z) bool torch.Tensor
        What skull stripping left: may hold remnants of dura, labelled background.
    whole_brain : (2, 2) float array
        Expected mean and SD of T1 and of T2 over the whole brain, for normalising a patch as a whole volume would be.
    phase : str
    """

    images: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor
    whole_brain: np.ndarray
    phase: str


@dataclass(frozen=True)
class _Anatomy:
    fractions: torch.Tensor  # (7, X, Y, Z): share of each synthesis class
    outside_mm: torch.Tensor  # (X, Y, Z)
    depth_mm: torch.Tensor  # (X, Y, Z): inside white matter
    gap_mm: torch.Tensor  # (X, Y, Z): from the brain
    central: torch.Tensor  # (X, Y, Z): 1 at the thalami, falling to 0
    posterior: torch.Tensor  # (X, Y, Z): 1 at the occipital pole, -1 at the frontal


class Simulator:
    """Synthesizes patches and whole subjects from a set of label maps.

    Parameters
    ----------
    maps : list of LabelMap
    config : SimulatorConfig, optional
    device : torch.device, optional
    """

    def __init__(self, maps: list[LabelMap], config: SimulatorConfig | None = None, device: torch.device | None = None):
        self.maps = maps
        self.config = config or SimulatorConfig()
        self.device = device or torch.device("cpu")
        adult = np.array([self.config.adult_share if _is_adult(m) else 1 - self.config.adult_share for m in maps])
        counts = {True: max(sum(map(_is_adult, maps)), 1), False: max(sum(not _is_adult(m) for m in maps), 1)}
        weights = adult / [counts[_is_adult(m)] for m in maps]
        self._shares = weights / weights.sum()
        self._voxels = [np.argwhere(m.classes > AIR).astype(np.int16) for m in maps]
        self._made: dict[tuple[str, str], np.ndarray] = {}  # fields of the maps that were asked for: up to 20 MB each

    def patch(self, rng: np.random.Generator, size: int = 64) -> Synthesized:
        """A patch round a random brain voxel of a random map.

        Parameters
        ----------
        rng : numpy.random.Generator
        size : int
            Voxels an edge, 1 mm each.
        """
        index = int(rng.choice(len(self.maps), p=self._shares))
        voxels = self._voxels[index]
        centre = voxels[rng.integers(len(voxels))] + rng.uniform(-4, 4, 3)
        return self._synthesize(self.maps[index], centre, (size, size, size), rng)

    def subject(self, label_map: LabelMap, rng: np.random.Generator, phase: str | None = None) -> Synthesized:
        """A whole brain with a margin of air.

        Parameters
        ----------
        label_map : LabelMap
        rng : numpy.random.Generator
        phase : str, optional
            See `contrast.PHASES`.
        """
        shape = np.array(label_map.classes.shape)
        scale_max = (self.config.adult_scale if _is_adult(label_map) else self.config.infant_scale)[1]
        size = tuple(int(n) for n in np.ceil(shape * min(scale_max, 1.0) * 1.08 / 8) * 8)
        return self._synthesize(label_map, (shape - 1) / 2, size, rng, phase)

    def _synthesize(self, label_map, centre, size, rng, phase=None) -> Synthesized:
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        contrast = draw_contrast(rng, self.config.contrast, phase)
        cortex = rng.uniform(*self._cortex_range(label_map, contrast.phase))
        amount = amount_for(label_map.counts[CORTEX], label_map.counts[WHITE], cortex)
        anatomy, scale, counts = self._deform(label_map, centre, size, amount, (rng, generator))
        wide_rim = self.config.wide_rim_share and rng.random() < self.config.wide_rim_share
        rim_mm = rng.uniform(*(self.config.wide_rim_mm if wide_rim else self.config.rim_mm))
        fractions, dura = self._trim_rim(anatomy, rim_mm, rng, generator)
        myelin_logit = _myelination(anatomy, contrast, generator)
        air = fractions[AIR]
        labels, mask = _labels(fractions, air), (air < 0.5) | dura
        images = torch.stack(
            [self._image(channel, fractions, dura, myelin_logit, (rng, generator)) for channel in (contrast.t1, contrast.t2)]
        )
        wm_share = fractions[WHITE]
        myelin = [
            float((torch.sigmoid(myelin_logit - c.lag) * wm_share).sum() / wm_share.sum().clamp(min=1)) for c in (contrast.t1, contrast.t2)
        ]
        whole_brain = _whole_brain(counts, _rim_voxels(label_map, rim_mm / scale), contrast, myelin, amount)
        images = torch.stack([degrade(image, mask, self.config.artefacts, rng, generator) for image in images])
        return Synthesized(images, labels, mask, whole_brain, contrast.phase)

    def _cortex_range(self, label_map: LabelMap, phase: str) -> tuple[float, float]:
        if self.config.infant_cortex is not None and not _is_adult(label_map):
            return self.config.infant_cortex
        return self.config.newborn_cortex if phase == NEWBORN else self.config.cortex

    def _deform(self, label_map: LabelMap, centre, size, thicker: float, random) -> tuple[_Anatomy, float, np.ndarray]:
        """Sample the map's classes and fields on a deformed grid, linearly, so that borders become partial volume.

        Also gives the scale, and the voxels of each class of the map once its ventricles are widened.
        """
        config, device = self.config, self.device
        rng, generator = random
        scale = rng.uniform(*(config.adult_scale if _is_adult(label_map) else config.infant_scale))
        matrix = torch.as_tensor(_random_affine(rng, config, scale), dtype=torch.float32, device=device)
        axes = [torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2 for n in size]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))  # (3, X, Y, Z)
        warp_mm = smooth_noise((3, *size), rng.uniform(*config.warp_scale_mm), generator) * rng.uniform(0, config.warp_mm) / scale
        shift = torch.as_tensor(np.asarray(centre), dtype=torch.float32, device=device).view(3, 1, 1, 1)
        source = torch.einsum("ij,jxyz->ixyz", matrix, grid) + warp_mm + shift
        low, box = _box(source, label_map.classes.shape, MARGIN_VOXELS)
        field = torch.as_tensor(self._field(_thickening, label_map)[(slice(None), *box)], device=device).float()
        source = pull_back(source, field, self._uneven(label_map, source, thicker, scale, random), low)
        source, counts = self._widened(label_map, source, scale, rng)
        low, box = _box(source, label_map.classes.shape)
        classes = torch.as_tensor(np.ascontiguousarray(label_map.classes[box]), device=device)
        stacked = torch.empty((SYNTHESIS_CLASSES + 2, *classes.shape), device=device)
        for synthesis_class in range(OUTER_CSF, SYNTHESIS_CLASSES):
            stacked[synthesis_class - 1] = classes == synthesis_class
        fields = (label_map.outside, label_map.depth, label_map.gap)
        for channel, values in enumerate(fields, SYNTHESIS_CLASSES - 1):
            stacked[channel] = torch.as_tensor(np.ascontiguousarray(values[box]), device=device)
        stacked[-3] = 255 - stacked[-3]  # so that beyond the map it is far outside
        sampled = sample(stacked, source, low)
        fractions = torch.cat([1 - sampled[:-3].sum(0, keepdim=True), sampled[:-3]])
        middle = torch.tensor([(n - 1) / 2 for n in label_map.classes.shape], device=device)
        radius_mm = (source - middle.view(3, 1, 1, 1)).square().sum(0).sqrt()
        posterior = (middle[1] - source[1]) / middle[1]  # y grows to anterior
        outside_mm, depth_mm, gap_mm = 255 - sampled[-3], sampled[-2], sampled[-1]
        unit_mm = FIELD_UNIT_MM * scale
        central = torch.exp(-((radius_mm / 38) ** 2))
        anatomy = _Anatomy(fractions, outside_mm * unit_mm, depth_mm * unit_mm, gap_mm * unit_mm, central, posterior)
        if _is_adult(label_map) and rng.random() < config.close_share:
            _close_sulci(anatomy, rng.uniform(*config.close_mm))
        return anatomy, scale, counts

    def _uneven(self, label_map: LabelMap, source: torch.Tensor, thicker: float, scale: float, random) -> float | torch.Tensor:
        """How much thicker cortex is at each place."""
        config, (rng, generator) = self.config, random
        if not config.cortex_changes:
            return thicker
        hull_depth = torch.as_tensor(self._field(_hull_depth, label_map), device=self.device).float()
        depth_mm = sample(hull_depth[None], source, (0, 0, 0))[0] * scale
        deep = ((depth_mm - _MIDDLE_DEPTH_MM) / _MIDDLE_DEPTH_MM).clamp(-1, 1)
        noise = smooth_noise((1, *depth_mm.shape), rng.uniform(*config.warp_scale_mm), generator)[0]
        amount = thicker + rng.uniform(*config.deep_cortex) * deep + rng.uniform(*config.uneven_cortex) * noise
        return amount.clamp(-_LARGEST_AMOUNT, _LARGEST_AMOUNT)

    def _widened(self, label_map: LabelMap, source: torch.Tensor, scale: float, rng) -> tuple[torch.Tensor, np.ndarray]:
        """Widen the ventricles of some subjects."""
        config = self.config
        if not config.wide_share or rng.random() >= config.wide_share:
            return source, label_map.counts
        wider = rng.uniform(*config.wide_mm) / scale
        side = rng.uniform(0.3, 1.0) * rng.choice([-1, 1]) if rng.random() < config.one_sided_share else 0.0
        field = torch.as_tensor(self._field(widening_field, label_map), device=self.device).float()
        return flow_back(source, field, wider, side), widened_counts(label_map, field, wider, side)

    def prepare(self) -> None:
        """Make now what each map needs once, so that processes forked later share it."""
        with ThreadPoolExecutor() as threads:
            makers = [_thickening, *[_hull_depth] * self.config.cortex_changes, *[widening_field] * bool(self.config.wide_share)]
            for make in makers:
                list(threads.map(partial(self._field, make), self.maps))
            list(threads.map(lambda label_map: (label_map.counts, label_map.rim_counts), self.maps))

    def _field(self, make: Callable[[LabelMap], np.ndarray], label_map: LabelMap) -> np.ndarray:
        key = make.__name__, label_map.name
        if key not in self._made:
            self._made[key] = make(label_map)
        return self._made[key]

    def _trim_rim(self, anatomy: _Anatomy, rim_mm: float, rng, generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Cut the CSF rim at an uneven distance from the hull; sometimes leave dura beyond it."""
        size = anatomy.outside_mm.shape
        uneven_mm = rim_mm + rng.uniform(0, 1.0) * smooth_noise((1, *size), 12.0, generator)[0]
        cut = anatomy.outside_mm > uneven_mm
        fractions = anatomy.fractions.clone()
        removed = fractions[OUTER_CSF] * cut
        fractions[OUTER_CSF] -= removed
        fractions[AIR] += removed
        dura = torch.zeros(size, dtype=torch.bool, device=self.device)
        if rng.random() < self.config.dura_share:
            patches = smooth_noise((1, *size), rng.uniform(3, 9), generator)[0] > rng.uniform(0.3, 1.8)
            near = (anatomy.outside_mm < uneven_mm + rng.uniform(0.8, 2.5)) & (anatomy.outside_mm < 20)
            dura = patches & near & (fractions[AIR] > 0.5)
        return fractions, dura

    def _image(self, channel: Channel, fractions, dura, myelin_logit, random) -> torch.Tensor:
        rng, generator = random
        size = dura.shape
        myelin = torch.sigmoid(myelin_logit - channel.lag)
        gm = 1 + channel.gm_variation * smooth_noise((1, *size), 15.0, generator)[0]
        if channel.clusters:
            gm = gm + channel.clusters * _clusters(size, rng, generator)
        csf = torch.full(size, channel.csf, device=self.device)
        vessels = smooth_noise((1, *size), rng.uniform(1.5, 4.0), generator)[0] > rng.uniform(1.2, 3.0)
        csf[vessels] = rng.uniform(0.5, 1.7)  # bright with inflow, or dark
        ventricle = channel.csf * rng.uniform(0.9, 1.05)
        wm = channel.unmyelinated + (channel.myelinated - channel.unmyelinated) * myelin
        if channel.gain_variation:
            wm = 1 + (wm - 1) * torch.exp(channel.gain_variation * smooth_noise((1, *size), 30.0, generator)[0])
        if channel.clusters:
            wm = wm + channel.clusters * _clusters(size, rng, generator)
        wm = wm * (1 + channel.wm_variation * smooth_noise((1, *size), 15.0, generator)[0])
        if channel.gradual:
            gm, wm = _gradual_border((gm, wm), fractions, channel.gradual, rng.uniform(*_GRADUAL_MM))
        image = csf * fractions[OUTER_CSF] + ventricle * fractions[VENTRICLE] + gm * fractions[CORTEX]
        image += channel.early_deep_gm * fractions[EARLY_DEEP_GM] + channel.late_deep_gm * fractions[LATE_DEEP_GM]
        image += wm * fractions[WHITE]
        image /= (1 - fractions[AIR]).clamp(min=0.25)
        return torch.where(dura, torch.full_like(image, rng.uniform(0.4, 1.5)), image)


def _clusters(size, rng, generator) -> torch.Tensor:
    """Two levels, -1 and 1, in patches: layers and nuclei that differ a little."""
    return torch.tanh(2 * smooth_noise((1, *size), rng.uniform(*_CLUSTERS_MM), generator)[0])


def _gradual_border(levels: tuple[torch.Tensor, torch.Tensor], fractions: torch.Tensor, share: float, blur_mm: float):
    """Cortex and white matter that take on a share of each other near their border, as tissue half grown does."""
    gm, wm = levels
    near_cortex, near_white = blur(fractions[[CORTEX, WHITE]], (blur_mm,) * 3)
    return gm + share * near_white * (wm - gm), wm + share * near_cortex * (gm - wm)


def _thickening(label_map: LabelMap) -> np.ndarray:
    return thickening_field(label_map.classes)


def _hull_depth(label_map: LabelMap) -> np.ndarray:
    """Voxels below the hull: (X, Y, Z) float16."""
    inside = (label_map.outside == 0) | (label_map.classes > OUTER_CSF)
    return ndimage.distance_transform_edt(inside).astype(np.float16)


def _is_adult(label_map: LabelMap) -> bool:
    return label_map.name.startswith("adult")


def _random_affine(rng, config: SimulatorConfig, scale: float) -> np.ndarray:
    """From output voxels (1 mm) to the map's voxels (1 mm): rotation, mirroring, shear and anisotropic size."""
    ax, ay, az = np.radians(rng.uniform(-config.rotation_degrees, config.rotation_degrees, 3))
    rx = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
    ry = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
    rz = np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]])
    shear = np.eye(3) + rng.uniform(-config.shear, config.shear, (3, 3)) * (1 - np.eye(3))
    sizes = scale * rng.uniform(0.95, 1.05, 3)
    mirror = np.diag([rng.choice([-1.0, 1.0]), 1, 1])
    return mirror @ rx @ ry @ rz @ shear / sizes


def _box(source: torch.Tensor, shape, margin: int = 0) -> tuple[list[int], tuple[slice, ...]]:
    """First voxel and slices of the part of the map that a sampling grid touches, at least one voxel."""
    low = [int(np.clip(np.floor(float(axis.min())) - 1 - margin, 0, n - 1)) for axis, n in zip(source, shape, strict=True)]
    high = [int(np.clip(np.ceil(float(axis.max())) + 2 + margin, a + 1, n)) for axis, n, a in zip(source, shape, low, strict=True)]
    return low, tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def _close_sulci(anatomy: _Anatomy, closer_mm: float) -> None:
    """Turn the CSF next to cortex into cortex, in place."""
    moved = anatomy.fractions[OUTER_CSF] * ((anatomy.gap_mm < closer_mm) & _near_cortex(anatomy))
    anatomy.fractions[OUTER_CSF] -= moved
    anatomy.fractions[CORTEX] += moved


def _near_cortex(anatomy: _Anatomy) -> torch.Tensor:
    """(X, Y, Z) bool: within two voxels of one that is cortex for the most part."""
    largest = anatomy.fractions[CORTEX][None, None]
    for axis in range(3):  # a cube's maximum, one axis at a time
        largest = F.max_pool3d(largest, [5 if a == axis else 1 for a in range(3)], 1, [2 if a == axis else 0 for a in range(3)])
    return largest[0, 0] > 0.5


def _myelination(anatomy: _Anatomy, contrast: Contrast, generator) -> torch.Tensor:
    """Logit of the myelinated share: deep, central and posterior white matter first."""
    noise = smooth_noise((1, *anatomy.depth_mm.shape), 18.0, generator)[0]
    depth = (anatomy.depth_mm - 2.5).clamp(-2, 4) / 2
    total = contrast.depth_weight * depth + contrast.central_weight * (2 * anatomy.central - 1)
    total += contrast.posterior_weight * anatomy.posterior + contrast.noise_weight * noise + contrast.offset
    return contrast.steepness * total


def _labels(fractions: torch.Tensor, air: torch.Tensor) -> torch.Tensor:
    """The tissue with the largest share; of equal ones the lower label."""
    csf, gm, wm = fractions[OUTER_CSF] + fractions[VENTRICLE], fractions[CORTEX : LATE_DEEP_GM + 1].sum(0), fractions[WHITE]
    tissue = torch.where(wm > torch.maximum(csf, gm), WM.value, torch.where(gm > csf, GM.value, CSF.value))
    return torch.where(air < 0.5, tissue, BACKGROUND)


def _rim_voxels(label_map: LabelMap, rim_mm: float) -> int:
    """Voxels of outer CSF that a rim of this width keeps."""
    return int(label_map.rim_counts[np.arange(len(label_map.rim_counts)) * FIELD_UNIT_MM <= rim_mm].sum())


def _whole_brain(counts: np.ndarray, rim_voxels: int, contrast: Contrast, myelin: list[float], thicker: float) -> np.ndarray:
    """Mean and SD of T1 and T2 over the whole brain, from class shares: (2, 2)."""
    counts = counts.astype(float)
    counts[OUTER_CSF] = rim_voxels
    counts[CORTEX], counts[WHITE] = moved_volumes(counts[CORTEX], counts[WHITE], thicker)
    shares = counts[1:] / counts[1:].sum()
    statistics = []
    for channel, mixed in zip((contrast.t1, contrast.t2), myelin, strict=True):
        wm = channel.unmyelinated + (channel.myelinated - channel.unmyelinated) * mixed
        levels = np.array([channel.csf, channel.csf, 1.0, channel.early_deep_gm, channel.late_deep_gm, wm])
        mean = shares @ levels
        statistics.append((mean, max(np.sqrt(shares @ (levels - mean) ** 2), 0.03)))
    return np.array(statistics)
