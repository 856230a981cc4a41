"""Weights files: written, found, checked against their manifest, and turned into networks.

A weights file is a dict saved by torch, and compressed, with the keys format, stage, network, context, labels, training, state_dict,
scales and newborn_wm_bias (0 where it is absent). The manifest beside it gives each file's sha256 and size: a damaged or exchanged file is
refused before it segments anything.

Matrices are integers of 8 bits; `scales` gives what 1 stands for in each output channel. Files of format 1 hold float16 and no scales.
"""

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..core.contract import EXTRACTION_STAGES, MANIFEST, STAGES, weights_file
from ..core.errors import WeightsError
from .context import ContextConfig
from .fcn import MultiStreamFCN, NetworkConfig
from .saved import UnreadableError, read_saved
from .weights_guard import MOST_BYTES, check_archive, check_bias, check_state, check_training

FORMAT = 2
_READABLE = (1, FORMAT)
_LEVELS = 127  # of 8 bits, either way; as many as keep 0 at 0
_ALL_STAGES = STAGES + EXTRACTION_STAGES
TRAINING_PATHS = ("fcn1", "start_from", "init_t1", "init_t2")  # what a training record may tell of its machine
_MOST_MANIFEST_BYTES = 1 << 20
BUNDLED_DIR = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that is ready to predict, with where it came from.

    Attributes
    ----------
    network : MultiStreamFCN
        In evaluation mode, float32, on the CPU.
    stage : str
        "fcn1" (T1, T2) or "fcn2" (T1, T2 and distance maps); "locate" (T1, T2) or "refine" (T1, T2 and what "locate" found).
    sha256 : str
        Of the weights file.
    context : ContextConfig or None
        How the distance maps were made that the second stage was trained with.
    training : dict
        What the training run said of itself.
    newborn_wm_bias : float
        What is added to WM's logit of a brain with a newborn's contrast, so that its border lies where manual raters draw it.
    """

    network: MultiStreamFCN
    stage: str
    sha256: str
    context: ContextConfig | None
    training: dict[str, Any]
    newborn_wm_bias: float = 0.0

    @property
    def meta(self) -> dict[str, Any]:
        """What `save_weights` wants beside the network."""
        return {"context": self.context, "training": self.training, "newborn_wm_bias": self.newborn_wm_bias}


class Networks:
    """The networks of one weights folder, each read and hashed once, when it is first asked for.

    Parameters
    ----------
    weights_dir : path, optional
        Where fcn1 and fcn2 lie, as `load_network` takes it; locate and refine are always the bundled ones.
    """

    def __init__(self, weights_dir: str | Path | None = None):
        self._weights_dir = weights_dir
        self._loaded: dict[str, LoadedNetwork] = {}

    def get(self, stage: str) -> LoadedNetwork:
        """One network, by its stage.

        Raises
        ------
        WeightsError
            As `load_network`.
        """
        if stage not in self._loaded:
            self._loaded[stage] = load_network(stage, None if stage in EXTRACTION_STAGES else self._weights_dir)
        return self._loaded[stage]

    def sha256(self, stages: Iterable[str]) -> dict[str, str]:
        """Checksum of each stage's weights file."""
        return {stage: self.get(stage).sha256 for stage in stages}


def save_weights(network: MultiStreamFCN, stage: str, meta: dict[str, Any], path: str | Path) -> str:
    """Write a weights file and its line in the manifest beside it.

    Matrices are rounded to 255 levels, from minus to plus the largest value of each output channel; vectors (biases, normalisation) stay
    float32: they are few. A network that was read from such a file is written to the same values again.

    Parameters
    ----------
    network : MultiStreamFCN
    stage : str
        "fcn1", "fcn2", "locate" or "refine".
    meta : dict
        "context": ContextConfig or None, "training": dict of plain values, "newborn_wm_bias": float; as in `LoadedNetwork`.
    path : path
        A name ending in .pt.

    Returns
    -------
    str
        sha256 of the file.
    """
    if stage not in _ALL_STAGES:
        raise WeightsError(f"The stage is {stage!r}; wanted one of {', '.join(_ALL_STAGES)}.")
    path = Path(path)
    context = meta.get("context")
    state_dict, scales = _rounded(network)
    content = {
        "format": FORMAT,
        "stage": stage,
        "network": asdict(network.config),
        "context": None if context is None else asdict(context),
        "labels": list(range(network.config.classes)),
        "training": meta.get("training", {}),
        "state_dict": state_dict,
        "scales": scales,
        "newborn_wm_bias": float(meta.get("newborn_wm_bias", 0.0)),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_bytes(_compressed(buffer), path)
    return _update_manifest(path)


def load_network(stage_or_path: str | Path, weights_dir: str | Path | None = None) -> LoadedNetwork:
    """Load a network by its stage or from a file.

    Parameters
    ----------
    stage_or_path : str or path
        "fcn1", "fcn2", "locate" or "refine": that file of `weights_dir`, which must be in its manifest. Anything else is a file's path,
        checked against the manifest beside it where there is one.
    weights_dir : path, optional
        A folder with fcn1.pt, fcn2.pt and manifest.json, or one of these files; the bundled folder by default.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, of another format, or describes what no network of ours could need.
    """
    if stage_or_path in _ALL_STAGES:
        folder = Path(weights_dir or BUNDLED_DIR)
        if folder.is_file():
            folder = _folder_of(folder)
        path = folder / weights_file(str(stage_or_path))
        content, sha256 = _read(path, must_be_listed=True)
        if content.get("stage") != stage_or_path:
            raise WeightsError(
                f"{path} holds the stage {content.get('stage')!r:.40}; wanted {stage_or_path!r}: put each file under its own stage's name."
            )
    else:
        path = Path(stage_or_path)
        content, sha256 = _read(path, must_be_listed=False)
    try:
        stage, training, state = str(content["stage"]), dict(content["training"]), content["state_dict"]
        config = NetworkConfig(**content["network"])
        context = None if content["context"] is None else ContextConfig(**content["context"])
        newborn_wm_bias = float(content.get("newborn_wm_bias", 0.0))
        check_training(training)
        check_bias(newborn_wm_bias)
        check_state(config, stage, state)
        with torch.device("meta"):  # without random weights, which would be replaced at once
            network = MultiStreamFCN(config)
        network.load_state_dict(restored(state, content.get("scales", {})), assign=True)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WeightsError(
            f"{path} does not fit the network it describes ({_first_line(error)}): use weights saved by this version."
        ) from error
    wanted = list(range(network.config.classes))
    if content.get("labels") != wanted:
        raise WeightsError(
            f"{path} holds the labels {content.get('labels')!s:.200} and a network of {len(wanted)} classes; wanted {wanted}: "
            "use a file made by save_weights."
        )
    return LoadedNetwork(network.eval(), stage, sha256, context, training, newborn_wm_bias)


def _folder_of(file: Path) -> Path:
    names = [MANIFEST, *map(weights_file, STAGES)]
    if file.name not in names:
        raise WeightsError(f"{file} is not a weights file of ours; wanted a folder with {', '.join(names)}, or one of these files.")
    return file.parent


def _read(path: Path, must_be_listed: bool) -> tuple[dict[str, Any], str]:
    if not path.is_file():
        raise WeightsError(f"The weights file {path} is missing: install the package again, or name a folder that holds it with --weights.")
    if path.stat().st_size > MOST_BYTES:
        raise WeightsError(f"The weights file {path} is larger than {MOST_BYTES >> 30} GB; wanted a file made by save_weights.")
    raw = path.read_bytes()
    sha256 = hashlib.sha256(raw).hexdigest()
    listed = _listed_sha256(path, must_be_listed)
    if listed is not None and listed != sha256:
        raise WeightsError(
            f"The weights file {path} is damaged: its sha256 is {sha256[:12]}..., the manifest says {listed[:12]}...: install it again."
        )
    try:
        check_archive(raw)
        content = read_saved(io.BytesIO(raw))
    except (ValueError, zipfile.BadZipFile, UnreadableError) as error:
        raise WeightsError(f"{path} cannot be read as weights ({_first_line(error)}): wanted a file made by save_weights.") from error
    if not isinstance(content, dict) or content.get("format") not in _READABLE:
        raise WeightsError(f"{path} is not a weights file of format {FORMAT} or older: wanted a file made by save_weights.")
    return content, sha256


def _listed_sha256(path: Path, must_be_listed: bool) -> str | None:
    manifest_path = path.with_name(MANIFEST)
    if not manifest_path.is_file():
        if must_be_listed:
            raise WeightsError(f"{manifest_path} is missing: {path.name} cannot be checked; install the weights again.")
        return None
    entry = _manifest(manifest_path).get(path.name)
    if entry is None:
        if must_be_listed:
            raise WeightsError(f"{manifest_path} does not list {path.name}: it cannot be checked; install the weights again.")
        return None
    return str(entry.get("sha256")) if isinstance(entry, dict) else str(entry)


def _manifest(manifest_path: Path) -> dict[str, Any]:
    try:
        if manifest_path.stat().st_size > _MOST_MANIFEST_BYTES:
            raise ValueError(f"it is longer than {_MOST_MANIFEST_BYTES} bytes")
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{manifest_path} is damaged ({_first_line(error)}): install the weights again.") from error
    if not isinstance(manifest, dict):
        raise WeightsError(f"{manifest_path} is damaged (it is no table of files): install the weights again.")
    return manifest


def _update_manifest(path: Path) -> str:
    raw = path.read_bytes()
    sha256 = hashlib.sha256(raw).hexdigest()
    manifest_path = path.with_name(MANIFEST)
    manifest = _manifest(manifest_path) if manifest_path.is_file() else {}
    manifest[path.name] = {"sha256": sha256, "bytes": len(raw)}
    text = json.dumps(dict(sorted(manifest.items())), indent=2) + "\n"
    _write_bytes(text.encode("utf-8"), manifest_path)
    return sha256


def _rounded(network: MultiStreamFCN) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Tensors as they are stored, and the scale of each that was rounded, in a shape that multiplies it."""
    turned = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, torch.nn.ConvTranspose3d)}
    stored, scales = {}, {}
    for name, tensor in network.state_dict().items():
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point() and tensor.dim() > 1:
            output = 1 if name in turned else 0  # the axis of output channels
            largest = tensor.float().abs().amax([axis for axis in range(tensor.dim()) if axis != output], keepdim=True)
            scale = largest / _LEVELS
            scales[name] = torch.where(scale > 0, scale, 1.0)
            stored[name] = (tensor / scales[name]).round().to(torch.int8)
        else:
            stored[name] = tensor.clone()
    return stored, scales


def restored(stored: dict[str, torch.Tensor], scales: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Make float32 of a weights file's tensors.

    Parameters
    ----------
    stored, scales : dict of torch.Tensor
        A file's "state_dict" and "scales"; format 1 has no scales.

    Returns
    -------
    dict of torch.Tensor

    Raises
    ------
    KeyError
        If integers have no scale.
    ValueError
        If a scale has another shape than they.
    """
    state = {}
    for name, tensor in stored.items():
        if tensor.dtype == torch.int8:
            scale = scales[name]
            if scale.dim() != tensor.dim() or any(n not in (1, wanted) for n, wanted in zip(scale.shape, tensor.shape, strict=True)):
                raise ValueError(f"the scale of {name} has the shape {tuple(scale.shape)}; wanted one that fits {tuple(tensor.shape)}")
            state[name] = tensor.float() * scale.float()
        else:
            state[name] = tensor.float() if tensor.is_floating_point() else tensor
    return state


def _compressed(saved: io.BytesIO) -> bytes:
    """What torch saved, an uncompressed zip file, with its entries compressed; torch reads both."""
    smaller = io.BytesIO()
    with zipfile.ZipFile(saved) as before, zipfile.ZipFile(smaller, "w") as after:
        for entry in before.infolist():
            after.writestr(zipfile.ZipInfo(entry.filename), before.read(entry), zipfile.ZIP_DEFLATED)
    return smaller.getvalue()


def _write_bytes(data: bytes, path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
