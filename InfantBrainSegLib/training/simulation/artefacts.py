"""What a scanner and its software do to a clean image: resolution, sharpening, texture, bias field, noise."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class ArtefactConfig:
    """Ranges, in voxels of 1 mm and in units where cortex is 1.

    Attributes
    ----------
    blur_mm : tuple of float
        SD of the blur, along each axis by itself.
    thick_share, thick_mm
        Share of images acquired with thicker slices along one axis, and how thick.
    sharpen_share : float
        Share of images sharpened, as reconstruction software does.
    bias : float
        Largest SD of the logarithm of the bias field.
    texture : float
        Largest SD of texture at 2 to 6 mm.
    motion_share, motion_mm
        Share of images taken of a head that moved for a while along one axis, and how far: rings beside every edge.
    noise : tuple of float
        SD of the noise, drawn evenly in its logarithm: real images are less noisy than one expects.
    """

    blur_mm: tuple[float, float] = (0.2, 0.75)
    thick_share: float = 0.25
    thick_mm: tuple[float, float] = (1.2, 2.2)
    sharpen_share: float = 0.25
    bias: float = 0.12
    texture: float = 0.035
    motion_share: float = 0.1
    motion_mm: tuple[float, float] = (0.3, 1.5)
    noise: tuple[float, float] = (0.01, 0.08)


def smooth_noise(shape, scale_voxels: float, generator: torch.Generator) -> torch.Tensor:
    """Noise of SD about 1 that changes over `scale_voxels`.

    Parameters
    ----------
    shape : (C, X, Y, Z)
    scale_voxels : float
    generator : torch.Generator
        Its device is the result's.
    """
    channels, *size = shape
    coarse = [max(int(np.ceil(n / scale_voxels)) + 1, 2) for n in size]
    noise = torch.randn((1, channels, *coarse), generator=generator, device=generator.device)
    fine = F.interpolate(noise, size=size, mode="trilinear", align_corners=True)[0]
    return fine * 1.5  # linear interpolation between random values lowers the SD to about 2/3


def degrade(image: torch.Tensor, mask: torch.Tensor, config: ArtefactConfig, rng: np.random.Generator, generator) -> torch.Tensor:
    """One acquisition of a clean image.

    Parameters
    ----------
    image : (X, Y, Z) float torch.Tensor
        Cortex is about 1.
    mask : (X, Y, Z) bool torch.Tensor
        Voxels outside come out as 0.
    config : ArtefactConfig
    rng : numpy.random.Generator
    generator : torch.Generator

    Returns
    -------
    (X, Y, Z) float torch.Tensor
    """
    size = image.shape
    weight = mask.float()
    fine = image * weight + smooth_noise((1, *size), rng.uniform(2, 6), generator)[0] * rng.uniform(0, config.texture) * weight
    sigmas = rng.uniform(*config.blur_mm, 3)
    if rng.random() < config.sharpen_share:
        blurred = blur(torch.stack([fine, weight]), (1.0, 1.0, 1.0))
        fine = fine + rng.uniform(0.2, 0.8) * (fine - blurred[0] / blurred[1].clamp(min=0.05)) * weight
    both = blur(torch.stack([fine, weight]), sigmas)  # blur within the mask: air was cut off after the acquisition
    if rng.random() < config.thick_share:
        both = _thick_slices(both, int(rng.integers(3)), rng.uniform(*config.thick_mm))
    fine = both[0] / both[1].clamp(min=0.05)
    if rng.random() < config.motion_share:
        fine = _moved(torch.where(mask, fine, 0.0), int(rng.integers(3)), rng.uniform(*config.motion_mm), rng)
    fine = fine * torch.exp(smooth_noise((1, *size), rng.uniform(35, 80), generator)[0] * rng.uniform(0, config.bias))
    sd = np.exp(rng.uniform(*np.log(config.noise)))
    noise = torch.randn(size, generator=generator, device=generator.device)
    if rng.random() < 0.5:
        noise = blur(noise[None], (0.6, 0.6, 0.6))[0] * 2.0  # images resampled to 1 mm have smooth noise
    return torch.where(mask, (fine + sd * noise).clamp(min=0.01), 0.0)


def _moved(image: torch.Tensor, axis: int, shift_mm: float, rng) -> torch.Tensor:
    """Shift some bands of the lines that make up an image in frequency space, all but the middle ones: they carry the brightness."""
    n = image.shape[axis]
    frequency = torch.fft.rfftfreq(n, device=image.device)  # cycles a voxel
    bands = torch.as_tensor(rng.random(8) < 0.35, device=image.device)
    hit = bands[(frequency * 15.99).long()] & (frequency > 0.04)
    lines = torch.where(hit, torch.exp(-2j * torch.pi * frequency * shift_mm), torch.ones_like(frequency, dtype=torch.complex64))
    shape = [1, 1, 1]
    shape[axis] = len(frequency)
    return torch.fft.irfft(torch.fft.rfft(image, dim=axis) * lines.view(shape), n=n, dim=axis)


def _thick_slices(x: torch.Tensor, axis: int, thick_mm: float) -> torch.Tensor:
    size = list(x.shape[1:])
    coarse = list(size)
    coarse[axis] = max(round(size[axis] / thick_mm), 2)
    down = F.interpolate(x[None], size=coarse, mode="area")
    return F.interpolate(down, size=size, mode="trilinear", align_corners=False)[0]


def blur(x: torch.Tensor, sigmas) -> torch.Tensor:
    """Blur a (C, X, Y, Z) tensor with a Gaussian of its own SD along each axis, in voxels."""
    for axis, sigma in enumerate(sigmas):
        radius = max(int(np.ceil(2.5 * sigma)), 1)
        offsets = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
        kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
        kernel = kernel / kernel.sum()
        pad = [0, 0, 0]
        pad[axis] = radius
        padded = F.pad(x[None], (pad[2], pad[2], pad[1], pad[1], pad[0], pad[0]), mode="replicate")[0]
        blurred = torch.zeros_like(x)
        for k, weight in enumerate(kernel.tolist()):
            blurred.add_(padded.narrow(axis + 1, k, x.shape[axis + 1]), alpha=weight)
        x = blurred
    return x
