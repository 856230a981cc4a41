"""Whole heads synthesized as T1 and T2, for learning cerebrum extraction: any contrast, any pose, raw or stripped.

At 1 mm levels are looked up at twice the resolution and averaged, so that borders become partial volume. Each class has one random
level a channel, cerebral ones mostly a contrast of `contrast.draw_contrast`.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from ...core.labels import LEFT_CEREBRUM, PART_COUNT, RIGHT_CEREBRUM
from ...extraction.extract import context_of
from .artefacts import ArtefactConfig, degrade, smooth_noise
from .contrast import Channel, draw_contrast
from .heads import (
    ARTERY,
    BRAINSTEM,
    CEREBELLAR_CORTEX,
    CEREBELLAR_WHITE,
    EYE,
    HEAD_CLASSES,
    LOWER_CSF,
    MARROW,
    MUCOSA,
    NERVE,
    SINUS,
    SKIN,
    SKULL,
    SOFT,
    HeadMap,
)
from .labelmaps import AIR, CORTEX, EARLY_DEEP_GM, LATE_DEEP_GM, OUTER_CSF, VENTRICLE, WHITE

_ROTATIONS = [
    matrix
    for order in itertools.permutations(range(3))
    for signs in itertools.product((-1.0, 1.0), repeat=3)
    if np.linalg.det(matrix := np.eye(3)[list(order)] * np.array(signs)[:, None]) > 0
]  # the 24 ways a head can lie along the axes


@dataclass(frozen=True)
class HeadConfig:
    """Ranges of the whole-head simulator.

    Attributes
    ----------
    voxel_mm : float
        3 for the network that finds the brain, 1 for the one that refines its border.
    oversampling : int
        Places looked up along each edge of a voxel.
    scale : tuple of float
        Size relative to the adult maps: 0 to 24 months.
    rotation_degrees : float
        Largest turn about each axis.
    rotated_share : float
        Share of heads that lie along other axes than the header says.
    warp_mm, warp_scale_mm
        Smooth deformation.
    stripped_share : float
        Share of images whose skull was stripped, half of them with cerebellum and brainstem left in.
    cut_share : float
        Share of patches that a border of the field of view crosses.
    object_share : float
        Share of patches with an arm or a blanket in the air.
    random_share : float
        Share of images where each class has a level of its own, brain included.
    coarse_error_mm : float
        Largest displacement of the first network's result, as the second one learns to repair it.
    coarse_lost_share : float
        Share of patches where that result lacks pieces.
    coarse_border_voxels : int
        Most voxels by which that result is too wide or too narrow.
    artefacts : ArtefactConfig
    """

    voxel_mm: float = 3.0
    oversampling: int = 1
    scale: tuple[float, float] = (0.62, 1.0)
    rotation_degrees: float = 30.0
    rotated_share: float = 0.0
    warp_mm: float = 8.0
    warp_scale_mm: tuple[float, float] = (30.0, 70.0)
    stripped_share: float = 0.25
    cut_share: float = 0.4
    object_share: float = 0.3
    random_share: float = 0.2
    coarse_error_mm: float = 4.0
    coarse_lost_share: float = 0.15
    coarse_border_voxels: int = 1
    artefacts: ArtefactConfig = field(default_factory=lambda: ArtefactConfig(bias=0.3, noise=(0.01, 0.12), texture=0.06))


FIND = HeadConfig()
REFINE = HeadConfig(voxel_mm=1.0, oversampling=2, rotation_degrees=20.0)


@dataclass(frozen=True)
class SynthesizedHead:
    """A synthesized block of a head.

    Attributes
    ----------
    images : (2, X, Y, Z) float32 torch.Tensor
        T1 and T2 in units of the head's mean; air is about 0.
    parts : (X, Y, Z) int64 torch.Tensor
        Left cerebrum, right cerebrum, infratentorial; 0 elsewhere.
    coarse : (3, X, Y, Z) float32 torch.Tensor or None
        What the network that finds the brain might have said, see `extract.context_of`.
    classes : (X, Y, Z) int64 torch.Tensor
        Head classes of `heads`.
    """

    images: torch.Tensor
    parts: torch.Tensor
    coarse: torch.Tensor | None
    classes: torch.Tensor


class HeadSimulator:
    """Synthesizes blocks of heads.

    Parameters
    ----------
    heads : list of HeadMap
    config : HeadConfig, optional
    device : torch.device, optional
    """

    def __init__(self, heads: list[HeadMap], config: HeadConfig = FIND, device: torch.device | None = None):
        self.heads = heads
        self.config = config
        self.device = device or torch.device("cpu")
        self._inside = [np.argwhere((h.target > 0)[::4, ::4, ::4]) * 4 for h in heads]

    def patch(self, rng: np.random.Generator, size: int = 64) -> SynthesizedHead:
        """A cube in or near a random head's brain.

        Parameters
        ----------
        rng : numpy.random.Generator
        size : int
            Voxels an edge.
        """
        index = int(rng.integers(len(self.heads)))
        head = self.heads[index]
        centre = self._inside[index][rng.integers(len(self._inside[index]))].astype(float)
        if self.config.voxel_mm > 1:  # windows lie anywhere in the field of view
            centre = centre + rng.normal(0, 30, 3) if rng.random() < 0.8 else rng.uniform(0, head.classes.shape)
        return self.synthesize(head, centre, (size, size, size), rng)

    def synthesize(self, head: HeadMap, centre, size: tuple[int, int, int], rng) -> SynthesizedHead:
        """A block of one head round a place of its map.

        Parameters
        ----------
        head : HeadMap
        centre : (3,) float array, voxels of the map
        size : voxels of the block
        rng : numpy.random.Generator
        """
        config = self.config
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        mirrored = rng.random() < 0.5
        target_map = _swapped(head.target) if mirrored else head.target
        fine = self._positions(_random_rotation(rng, config, mirrored), centre, size, rng, generator)  # (3, nX, nY, nZ), n times as fine
        middle = fine if config.oversampling == 1 else F.avg_pool3d(fine[None], config.oversampling)[0]  # (3, X, Y, Z)
        classes, parts = self._look_up(head.classes, middle), self._look_up(target_map, middle)
        stripped = self._strip(classes, parts, rng, generator) if rng.random() < config.stripped_share else None
        counts = np.bincount(head.classes.ravel()[::7], minlength=HEAD_CLASSES).astype(float)
        counts[AIR] = 0
        if stripped is not None:
            counts[LOWER_CSF + 1 :] = 0
        fine_classes = classes if config.oversampling == 1 else self._look_up(head.classes, fine)
        levels = _draw_levels(rng, config.random_share)
        images = torch.stack([self._image(v, fine_classes, classes, (rng, generator)) / float(v @ counts / counts.sum()) for v in levels])
        coarse = self._coarse(target_map, middle, generator, rng) if config.voxel_mm == 1 else None
        hidden = torch.zeros(size, dtype=torch.bool, device=self.device)
        if stripped is not None:
            hidden |= stripped
        if rng.random() < config.cut_share:
            hidden |= self._cut(size, rng)
        parts = torch.where(hidden, 0, parts)
        return SynthesizedHead(images * ~hidden, parts, None if coarse is None else coarse * ~hidden, classes)

    def _positions(self, matrix, centre, size, rng, generator) -> torch.Tensor:
        """Where each place to look up lies in the map, in its voxels: (3, nX, nY, nZ), n the oversampling."""
        config, device = self.config, self.device
        n = config.oversampling
        step = config.voxel_mm / n
        axes = [(torch.arange(n * length, device=device) - (n * length - 1) / 2) * step for length in size]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        warp_mm = smooth_noise((3, *grid.shape[1:]), rng.uniform(*config.warp_scale_mm) / step, generator)
        grid += warp_mm * rng.uniform(0, config.warp_mm)
        rotated = torch.einsum("ij,jxyz->ixyz", torch.as_tensor(matrix, dtype=torch.float32, device=device), grid)
        return rotated + torch.as_tensor(np.asarray(centre), dtype=torch.float32, device=device).view(3, 1, 1, 1)

    def _look_up(self, volume: np.ndarray, source: torch.Tensor) -> torch.Tensor:
        values = torch.as_tensor(volume, device=self.device)
        x, y, z = source.round().to(torch.int32)
        inside = (x >= 0) & (y >= 0) & (z >= 0) & (x < volume.shape[0]) & (y < volume.shape[1]) & (z < volume.shape[2])
        flat = torch.where(inside, (x * volume.shape[1] + y) * volume.shape[2] + z, 0)
        return torch.where(inside, values.flatten()[flat], 0).long()

    def _image(self, levels: np.ndarray, fine_classes, classes, random) -> torch.Tensor:
        rng, generator = random
        size = classes.shape
        image = torch.as_tensor(levels, dtype=torch.float32, device=self.device)[fine_classes]
        if self.config.oversampling > 1:
            image = F.avg_pool3d(image[None, None], self.config.oversampling)[0, 0]
        white = smooth_noise((1, *size), 30 / self.config.voxel_mm, generator)[0] * rng.uniform(0, 0.15)
        image = image + white * (classes == WHITE)
        if rng.random() < self.config.object_share:
            things = smooth_noise((1, *size), rng.uniform(6, 20), generator)[0] > rng.uniform(1.0, 2.0)
            head = F.max_pool3d((classes != AIR)[None, None].float(), 4)
            image = image + (things & (F.interpolate(head, size=size)[0, 0] == 0)) * rng.uniform(0.2, 1.5)
        mask = torch.ones(size, dtype=torch.bool, device=self.device)
        return degrade(image, mask, self.config.artefacts, rng, generator)

    def _strip(self, classes, parts, rng, generator) -> torch.Tensor:
        """Where a skull-stripping tool set the image to 0: (X, Y, Z) bool."""
        kept = (parts > 0) if rng.random() < 0.6 else (parts == LEFT_CEREBRUM) | (parts == RIGHT_CEREBRUM)
        reach = int(rng.integers(0, 2 if self.config.voxel_mm > 1 else 3))
        grown = kept[None, None].float()
        if reach:
            grown = F.avg_pool3d(grown, 2 * reach + 1, 1, reach) * 2
        uneven = smooth_noise((1, *kept.shape), 12 / self.config.voxel_mm, generator)[0] * 0.3 + rng.uniform(0.2, 0.7)
        return (grown[0, 0] < uneven) | (classes == AIR)

    def _cut(self, size, rng) -> torch.Tensor:
        """Beyond the field of view: (X, Y, Z) bool."""
        outside = torch.zeros(size, dtype=torch.bool, device=self.device)
        for _ in range(int(rng.integers(1, 3))):
            axis, share = int(rng.integers(3)), rng.uniform(0.03, 0.45)
            cut = max(int(size[axis] * share), 1)
            outside.narrow(axis, 0 if rng.random() < 0.5 else size[axis] - cut, cut).fill_(True)
        return outside

    def _coarse(self, target_map: np.ndarray, middle, generator, rng) -> torch.Tensor:
        """The parts as the first network might give them at its resolution, brought to this grid."""
        size = [round(n * self.config.voxel_mm / FIND.voxel_mm) for n in middle.shape[1:]]
        places = F.interpolate(middle[None], size=size, mode="trilinear", align_corners=False)[0]
        warp = smooth_noise((3, *size), rng.uniform(2, 8), generator) * rng.uniform(0, self.config.coarse_error_mm) / 1.5
        found = self._look_up(target_map, places + warp)  # (X/3, Y/3, Z/3)
        if rng.random() < self.config.coarse_lost_share:
            found[smooth_noise((1, *size), rng.uniform(2, 6), generator)[0] > rng.uniform(0.5, 2.0)] = 0
        found = self._misjudge_border(found, rng, generator)
        coarse = context_of(found)[None]  # (1, 3, X/3, Y/3, Z/3)
        return F.interpolate(coarse, size=middle.shape[1:], mode="trilinear", align_corners=False)[0]

    def _misjudge_border(self, found: torch.Tensor, rng, generator) -> torch.Tensor:
        """Parts (X, Y, Z) that take in skull in some places and leave out cortex in others, or do one of both everywhere."""
        if not (voxels := int(rng.integers(self.config.coarse_border_voxels + 1))):
            return found
        window = 2 * voxels + 1
        parts = F.one_hot(found, PART_COUNT).permute(3, 0, 1, 2).float()  # (4, X, Y, Z)
        near = F.avg_pool3d(parts[None, 1:], window, 1, voxels)[0]  # (3, X, Y, Z)
        grown = torch.where((found == 0) & (near.amax(0) > 0), 1 + near.argmax(0), found)
        shrunk = torch.where(F.max_pool3d(parts[None, :1], window, 1, voxels)[0, 0] > 0, 0, found)
        tendency = smooth_noise((1, *found.shape), rng.uniform(4, 15), generator)[0] + rng.normal(0, 1.5)
        return torch.where(tendency > 0.5, grown, torch.where(tendency < -0.5, shrunk, found))


def _random_rotation(rng, config: HeadConfig, mirrored: bool) -> np.ndarray:
    """From mm of the block to voxels of the map."""
    angles = np.radians(rng.uniform(-config.rotation_degrees, config.rotation_degrees, 3))
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = [i for i in range(3) if i != axis]
        step = np.eye(3)
        step[one, one] = step[other, other] = np.cos(angle)
        step[one, other], step[other, one] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ step
    if rng.random() < config.rotated_share:
        rotation = rotation @ _ROTATIONS[rng.integers(len(_ROTATIONS))]
    sizes = rng.uniform(*config.scale) * rng.uniform(0.93, 1.07, 3)
    mirror = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
    return mirror @ np.diag(1 / sizes) @ rotation


def _swapped(target: np.ndarray) -> np.ndarray:
    """Left and right exchanged, for a mirrored head."""
    table = np.arange(PART_COUNT, dtype=np.uint8)
    table[[LEFT_CEREBRUM, RIGHT_CEREBRUM]] = RIGHT_CEREBRUM, LEFT_CEREBRUM
    return table[target]


def _draw_levels(rng: np.random.Generator, random_share: float) -> list[np.ndarray]:
    """Level of each head class on T1 and on T2: two (HEAD_CLASSES,) arrays; cortex is about 1."""
    contrast = draw_contrast(rng)
    thin_skull = rng.random() < 0.3
    return [_channel_levels(rng, c, t2, thin_skull, random_share) for c, t2 in ((contrast.t1, False), (contrast.t2, True))]


def _channel_levels(rng, channel: Channel, t2: bool, thin_skull: bool, random_share: float) -> np.ndarray:
    levels = rng.uniform(0, 2, HEAD_CLASSES)
    levels[AIR] = rng.uniform(0, 0.05)
    if rng.random() < random_share:
        return levels
    myelin = rng.uniform(0, 1)
    white = channel.unmyelinated + (channel.myelinated - channel.unmyelinated) * myelin
    levels[[OUTER_CSF, VENTRICLE, LOWER_CSF]] = channel.csf * rng.uniform(0.95, 1.05, 3)
    levels[CORTEX] = 1
    levels[[EARLY_DEEP_GM, LATE_DEEP_GM, WHITE]] = channel.early_deep_gm, channel.late_deep_gm, white
    levels[CEREBELLAR_CORTEX] = rng.uniform(0.88, 1.12)
    levels[[CEREBELLAR_WHITE, BRAINSTEM, NERVE]] = 1 + (channel.myelinated - 1) * rng.uniform(0, 1.1, 3) + rng.normal(0, 0.05, 3)
    levels[SOFT] = rng.uniform(0.25, 1.2)
    levels[EYE] = rng.uniform(1.3, 3.2) if t2 else rng.uniform(0.15, 0.7)
    levels[MUCOSA] = rng.uniform(0.5, 2)
    levels[[ARTERY, SINUS]] = rng.uniform(0, 2, 2)
    levels[SKIN] = rng.uniform(0.4, 3.0)
    levels[SKULL] = rng.uniform(0, 1.4) if thin_skull else rng.uniform(0, 0.4)
    levels[MARROW] = rng.uniform(0.1, 2.2)
    return levels


class HeadPatches:
    """Batches of synthesized heads, for `trainer.Trainer`.

    Parameters
    ----------
    simulator : HeadSimulator
    patch_voxels : int
    stream_dropout : float
        Chance that a patch lacks T1 or T2.
    """

    def __init__(self, simulator: HeadSimulator, patch_voxels: int, stream_dropout: float):
        self.simulator = simulator
        self.patch_voxels = patch_voxels
        self.stream_dropout = stream_dropout

    def batch(self, rng: np.random.Generator, size: int, augment: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, 2 or 5, X, Y, Z) float32 and parts (B, X, Y, Z) int64."""
        images, parts = zip(*(self._patch(rng, augment) for _ in range(size)), strict=True)
        return torch.stack(images), torch.stack(parts)

    def _patch(self, rng, augment: bool) -> tuple[torch.Tensor, torch.Tensor]:
        synthesized = self.simulator.patch(rng, self.patch_voxels)
        images = synthesized.images.clamp(max=4.0)
        if augment:
            gain = torch.as_tensor(np.exp(rng.normal(0, 0.25, 2)), dtype=torch.float32, device=images.device)
            images = images * gain.view(2, 1, 1, 1)
            if rng.random() < self.stream_dropout:
                images[rng.integers(2)] = 0
        return (images if synthesized.coarse is None else torch.cat([images, synthesized.coarse])), synthesized.parts
