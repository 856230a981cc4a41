"""The multi-stream 3D FCN with deep supervision (paper, section 3.1 and figure 2).

One class serves both stages: FCN-1 has a stream for T1 and one for T2, FCN-2 a third one for three distance maps.
The encoder has the shape of C3D cut at conv4b, as the authors' does.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

MOST_STREAMS, MOST_CHANNELS = 8, 16  # FCN-2 has 3 streams, of 3 channels at most
WIDEST = 128  # channels of the first level; the paper's networks have 64
FEWEST_LEVELS, MOST_LEVELS, MOST_CONVS = 3, 6, 8  # classifiers at 1, 1/2 and 1/4 need three levels
MOST_CLASSES = 64
_CHOICES = {"skip_streams": ("all", "first"), "short_skips": (True, False), "norm": ("batch", "instance"), "patch_norm": (True, False)}


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of one network; what no network of ours could need is refused before anything is built of it.

    Attributes
    ----------
    stream_channels : tuple of int
        Channels of each input stream: (1, 1) for FCN-1 (T1, T2), (1, 1, 3) for FCN-2 (and three distance maps).
    base_width : int
        Channels of the first level; each level below doubles them. 64 is C3D's.
    convs_per_level : tuple of int
        3³ convolutions at each level: 1, 1, 2, 2 are C3D's conv1a, 2a, 3a, 3b, 4a, 4b.
    skip_streams : str
        "all": long skips from every stream; "first": from T1 alone, as in the authors' network.
    short_skips : bool
        Identity connections round convolutions that keep their width (paper 3.1 names them; they have no parameters).
    norm : str
        "batch" (paper) or "instance".
    patch_norm : bool
        Bring T1 and T2 of every patch to zero mean and unit variance, background included (paper, section 4.1). Off by default:
        it squeezes the isointense contrast.
    classes : int
        What the network tells apart, background included: tissues or parts of the head. Files from before this field have four.
    """

    stream_channels: tuple[int, ...] = (1, 1)
    base_width: int = 16
    convs_per_level: tuple[int, ...] = (1, 1, 2, 2)
    skip_streams: str = "all"
    short_skips: bool = True
    norm: str = "batch"
    patch_norm: bool = False
    classes: int = 4

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices or type(value) is not type(choices[0]):
                raise ValueError(f"{name} is {value!r:.40}; wanted {' or '.join(map(repr, choices))}.")
        streams, convs = (_as_tuple(name, getattr(self, name)) for name in ("stream_channels", "convs_per_level"))
        _check_range("the number of streams", len(streams), 1, MOST_STREAMS)
        _check_range("the number of levels", len(convs), FEWEST_LEVELS, MOST_LEVELS)
        for channels in streams:
            _check_range("a stream's number of channels", channels, 1, MOST_CHANNELS)
        for count in convs:
            _check_range("the number of convolutions of a level", count, 1, MOST_CONVS)
        _check_range("base_width", self.base_width, 1, WIDEST)
        _check_range("classes", self.classes, 2, MOST_CLASSES)
        object.__setattr__(self, "stream_channels", streams)
        object.__setattr__(self, "convs_per_level", convs)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each level, finest first."""
        return tuple(self.base_width * 2**level for level in range(len(self.convs_per_level)))

    @property
    def size_multiple(self) -> int:
        """Sizes are padded to a multiple of this many voxels inside the network."""
        return 2 ** (len(self.convs_per_level) - 1)


def _as_tuple(name: str, value: object) -> tuple:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {value!r:.40}; wanted a list of whole numbers.")
    return tuple(value)


def _check_range(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {value!r:.40}; wanted a whole number of {least} to {most}.")


PAPER_FCN1 = NetworkConfig((1, 1), base_width=64, skip_streams="first", patch_norm=True)  # 48.9 M parameters
PAPER_FCN2 = NetworkConfig((1, 1, 3), base_width=64, skip_streams="first", patch_norm=True)  # 70.8 M parameters
BUNDLED_FCN1 = NetworkConfig((1, 1), base_width=16, norm="instance")  # trains on two CPU cores
BUNDLED_FCN2 = NetworkConfig((1, 1, 3), base_width=32, norm="instance")
BUNDLED_LOCATE = NetworkConfig((1, 1), base_width=8, convs_per_level=(1, 1, 2, 2, 2), norm="instance")  # sees a whole head
BUNDLED_REFINE = NetworkConfig((1, 1, 3), base_width=8, norm="instance")
PRESETS = {"paper": (PAPER_FCN1, PAPER_FCN2), "bundled": (BUNDLED_FCN1, BUNDLED_FCN2)}


class InstanceNorm(nn.InstanceNorm3d):
    """Instance normalisation, computed as a batch normalisation of each sample.

    The numbers are PyTorch's, but memory that is channels-last stays so, without which a convolution on a CPU takes a quarter more time.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, X, Y, Z) to the same."""
        normalised = [F.batch_norm(one, None, None, self.weight, self.bias, True, 0.0, self.eps) for one in x.split(1)]
        return torch.cat(normalised) if len(normalised) > 1 else normalised[0]


def _norm(kind: str, width: int) -> nn.Module:
    return nn.BatchNorm3d(width) if kind == "batch" else InstanceNorm(width, affine=True)


class ConvBlock(nn.Module):
    """A 3³ convolution, normalisation and ReLU; with a short skip round it where the width stays the same."""

    def __init__(self, width_in: int, width_out: int, config: NetworkConfig):
        super().__init__()
        self.conv = nn.Conv3d(width_in, width_out, 3, padding=1, bias=False)
        self.norm = _norm(config.norm, width_out)
        self.residual = config.short_skips and width_in == width_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C_in, X, Y, Z) to (B, C_out, X, Y, Z)."""
        out = self.norm(self.conv(x))
        return F.relu_(out.add_(x) if self.residual else out)


class MergeBlock(nn.Module):
    """A 1³ convolution of all channels of several tensors, normalisation and ReLU."""

    def __init__(self, width_in: int, width_out: int, config: NetworkConfig):
        super().__init__()
        self.conv = nn.Conv3d(width_in, width_out, 1, bias=False)
        self.norm = _norm(config.norm, width_out)

    def forward(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """(B, C_i, X, Y, Z) each, the C_i adding up to C_in, to (B, C_out, X, Y, Z)."""
        return F.relu_(self.norm(_pointwise(self.conv, parts)))


def _pointwise(conv: nn.Conv3d, parts: list[torch.Tensor]) -> torch.Tensor:
    """A 1³ convolution of (B, C_i, X, Y, Z) tensors side by side.

    Where memory is channels-last it is a sum of matrix products: no copy joins the parts, and on CPUs PyTorch has no fast float32
    kernel for 1³.
    """
    if not all(part.is_contiguous(memory_format=torch.channels_last_3d) for part in parts):
        return conv(torch.cat(parts, 1))
    weights = conv.weight.flatten(1).split([part.shape[1] for part in parts], 1)  # (C_out, C_i) each
    rows = [part.permute(0, 2, 3, 4, 1) for part in parts]  # (B, X, Y, Z, C_i), not moved
    total = F.linear(rows[0], weights[0], conv.bias)
    for row, weight in zip(rows[1:], weights[1:], strict=True):
        total.add_(F.linear(row, weight))
    return total.permute(0, 4, 1, 2, 3)  # (B, C_out, X, Y, Z)


class Encoder(nn.Module):
    """The contracting path of one stream; returns the output of every level, finest first."""

    def __init__(self, channels: int, config: NetworkConfig):
        super().__init__()
        self.levels = nn.ModuleList()
        width_in = channels
        for width, count in zip(config.widths, config.convs_per_level, strict=True):
            blocks = [ConvBlock(width_in if index == 0 else width, width, config) for index in range(count)]
            self.levels.append(nn.Sequential(*blocks))
            width_in = width

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(B, C, X, Y, Z) to one (B, widths[l], X/2^l, Y/2^l, Z/2^l) per level l."""
        features = []
        for index, level in enumerate(self.levels):
            x = level(F.max_pool3d(x, 2) if index else x)
            features.append(x)
        return features


class DecoderStep(nn.Module):
    """Deconvolution to twice the size, the long skips of that level, and two convolutions."""

    def __init__(self, width_in: int, width_out: int, skip_width: int, config: NetworkConfig):
        super().__init__()
        self.up = nn.ConvTranspose3d(width_in, width_out, 4, stride=2, padding=1, bias=False)
        self.up_norm = _norm(config.norm, width_out)
        self.merge = MergeBlock(width_out + skip_width, width_out, config)
        self.refine = ConvBlock(width_out, width_out, config)

    def forward(self, x: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        """(B, C_in, X, Y, Z) and skips of (B, S, 2X, 2Y, 2Z) to (B, C_out, 2X, 2Y, 2Z)."""
        x = F.relu_(self.up_norm(self.up(x)))
        return self.refine(self.merge([x, *skips]))


class MultiStreamFCN(nn.Module):
    """One encoder per stream, fusion at the start of the decoder, three classifiers.

    Shapes for an input of 64³ and base width b, with S streams (s of them with long skips) and K classes:

    ==============  ==========================  =============
    block           layers                      output
    ==============  ==========================  =============
    encoder 1 (×S)  conv1a                      b, 64³
    encoder 2 (×S)  pool, conv2a                2b, 32³
    encoder 3 (×S)  pool, conv3a, conv3b        4b, 16³
    encoder 4 (×S)  pool, conv4a, conv4b        8b, 8³
    fusion          concatenation               8bS, 8³
    decoder 3       deconv, + 4bs, 1³, 3³       4b, 16³
    classifier 1/4  1³                          K, 16³
    decoder 2       deconv, + 2bs, 1³, 3³       2b, 32³
    classifier 1/2  1³                          K, 32³
    decoder 1       deconv, + bs, 1³, 3³        b, 64³
    main classifier 1³                          K, 64³
    ==============  ==========================  =============

    Every 3³ convolution has stride 1, is followed by normalisation and ReLU; pooling is 2³ maximum; deconvolutions are 4³ with stride 2.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleList(Encoder(channels, config) for channels in config.stream_channels)
        streams = len(config.stream_channels)
        skips = streams if config.skip_streams == "all" else 1
        widths = config.widths
        self.decoder = nn.ModuleList()  # coarsest step first
        self.classifiers = nn.ModuleList()
        width_in = widths[-1] * streams
        for width in reversed(widths[:-1]):
            self.decoder.append(DecoderStep(width_in, width, width * skips, config))
            self.classifiers.append(nn.Conv3d(width, config.classes, 1))
            width_in = width
        del self.classifiers[: len(self.classifiers) - 3]

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Logits of the classes.

        Parameters
        ----------
        x : (B, sum of stream_channels, X, Y, Z) torch.Tensor
            Streams one after the other; any size.

        Returns
        -------
        (B, classes, X, Y, Z) torch.Tensor in evaluation mode; in training mode the logits at scales 1, 1/2 and 1/4 (sizes rounded up).
        """
        size = x.shape[2:]
        multiple = self.config.size_multiple
        padding = [-length % multiple for length in size]
        if any(padding):
            x = F.pad(x, (0, padding[2], 0, padding[1], 0, padding[0]))
        streams = list(x.split(self.config.stream_channels, 1))
        if self.config.patch_norm:
            streams[:2] = [_standardise(stream) for stream in streams[:2]]
        features = [encoder(stream) for encoder, stream in zip(self.encoders, streams, strict=True)]
        with_skips = features if self.config.skip_streams == "all" else features[:1]
        x = torch.cat([levels[-1] for levels in features], 1)  # (B, 8bS, X/8, Y/8, Z/8)
        outputs = []
        for index, step in enumerate(self.decoder):
            x = step(x, [levels[-2 - index] for levels in with_skips])
            outputs.append(x)
        outputs = outputs[-3:]
        if not self.training:
            return _crop(_pointwise(self.classifiers[-1], outputs[-1:]), size)  # type: ignore[arg-type]
        logits = []
        for scale, (classifier, output) in enumerate(zip(reversed(self.classifiers), reversed(outputs), strict=True)):
            here = _pointwise(classifier, [output])  # type: ignore[arg-type]
            logits.append(_crop(here, [-(-length // 2**scale) for length in size]))
        return tuple(logits)


def _standardise(x: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance of each (1, X, Y, Z) image, with background (exactly 0) as dark as its darkest voxel."""
    darkest = x.amin((1, 2, 3, 4), keepdim=True)
    x = torch.where(x == 0, darkest, x)
    return (x - x.mean((1, 2, 3, 4), keepdim=True)) / x.std((1, 2, 3, 4), keepdim=True).clamp(min=1e-6)


def _crop(x: torch.Tensor, size) -> torch.Tensor:
    return x[:, :, : size[0], : size[1], : size[2]]


def expected_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Give the shape of every tensor of a network, without taking the memory for it.

    Returns
    -------
    dict of tuple of int, by the names of the network's state
    """
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in MultiStreamFCN(config).state_dict().items()}


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
