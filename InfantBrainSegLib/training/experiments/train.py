"""The commands `train` and `synthesize`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...core.errors import InputError, TrainingError
from ...core.lock import sole_owner
from ...imaging.files import check_writable_folder, write_image, write_text
from ...imaging.space import centered_image
from ...networks.device import resolve_device
from ...networks.fcn import MultiStreamFCN
from ...networks.weights import TRAINING_PATHS, LoadedNetwork, load_network, save_weights
from ..config import TrainingConfig, config_to_dict, read_config
from ..data.batches import check_label_maps
from ..recipe import STAGES
from ..simulation.labelmaps import read_label_map
from ..simulation.synthesis import Simulator, SimulatorConfig, Synthesized
from ..trainer import Trainer

_INTENSITY_SCALE = 500  # cortex, 1 in the simulator, in the uint16 files
_LIBRARY = Path(__file__).parents[2]
_SAMPLES = (
    _LIBRARY.parent / "InfantBrainSeg" / "Resources" / "SampleData",  # in the repository
    _LIBRARY.parent / "Resources" / "SampleData",  # in an installed extension, whose modules share a folder
    _LIBRARY / "sample",  # from a wheel
)
_PATHS = ("pack", "label_maps", "output_dir", *TRAINING_PATHS)
_DEMO_LABELS = next((folder for folder in _SAMPLES if folder.is_dir()), _SAMPLES[-1]) / "label.nii.gz"


def run_train(config_path: Path, report: Callable[[str], None] = print, label_maps: Path | None = None) -> Path:
    """Train one stage, resuming from its checkpoint, and write its weights file.

    Parameters
    ----------
    config_path : Path
        JSON, see `TrainingConfig`.
    report : callable
        Takes each line of the log.
    label_maps : Path, optional
        Folder of label maps, in place of the config's.

    Returns
    -------
    Path
        `output_dir`/weights/`stage`.pt, with its manifest beside it.

    Raises
    ------
    InfantBrainSegError
        If the config, the label maps, the weights, the output folder or the device cannot be used, or the run is lost.
    Stopped
        At Ctrl-C or a request to end; the run is saved.
    """
    config = read_config(config_path)
    if label_maps is not None:
        config = replace(config, label_maps=str(label_maps))
    check_label_maps(config)
    fcn1 = load_network(_stage_or_path(config.fcn1)) if config.fcn1 else None
    if fcn1 is not None and fcn1.stage != "fcn1":
        raise TrainingError(f'fcn1 is {config.fcn1}, which holds the stage "{fcn1.stage}"; wanted weights of the stage "fcn1".')
    start = load_network(_stage_or_path(config.start_from)) if config.start_from else None
    device = resolve_device(config.device)
    folder = check_writable_folder(Path(config.output_dir))
    with sole_owner(folder):
        by_content = replace(config, fcn1=_with_digest(config.fcn1, fcn1), start_from=_with_digest(config.start_from, start))
        trainer = Trainer(by_content, device, fcn1.network if fcn1 else None, start.network.state_dict() if start else None)
        write_text(json.dumps(config_to_dict(config), indent=2) + "\n", folder / "config.json")
        state = trainer.run(report)
        network = MultiStreamFCN(config.network)
        network.load_state_dict(state)
        path = folder / "weights" / f"{config.stage}.pt"
        save_weights(network, config.stage, _meta(config, device, fcn1.sha256 if fcn1 else None), path)
    return path


def _with_digest(given: str, loaded: LoadedNetwork | None) -> str:
    """A file's name with its content's checksum, so that a run does not go on with another file of that name."""
    return f"{given} {loaded.sha256[:12]}" if loaded else given


def _stage_or_path(given: str) -> str | Path:
    return given if given in STAGES else Path(given)


def _meta(config: TrainingConfig, device: torch.device, fcn1_sha256: str | None) -> dict:
    training = {name: value for name, value in config_to_dict(config).items() if name not in _PATHS}
    training.update(hardware=str(device), torch=str(torch.__version__), context_from=fcn1_sha256)
    return {"context": config.context if config.stage_facts.needs_fcn1 else None, "training": training}


def run_synthesize(output_dir: Path, subjects: int, seed: int, label_maps: Path | None = None, phase: str = "isointense") -> list[Path]:
    """Write synthetic subjects: T1.nii.gz, T2.nii.gz and label.nii.gz, 1 mm RAS, skull-stripped as in iSeg.

    Parameters
    ----------
    output_dir : Path
        Gets a folder `subject-NN` for each.
    subjects : int
    seed : int
    label_maps : Path, optional
        A map or a folder of maps, in FreeSurfer codes or in our labels; the bundled demo subject's by default.
    phase : str
        "newborn", "isointense" or "late".

    Returns
    -------
    list of Path
        The folders.

    Raises
    ------
    InputError
        If there is no label map, or fewer than one subject is asked for.
    """
    source = Path(label_maps) if label_maps else _DEMO_LABELS
    paths = sorted(source.rglob("*.nii.gz")) if source.is_dir() else [source]
    if not paths or not paths[0].is_file():
        raise InputError(f"There is no label map at {source}: name a .nii.gz file or a folder of them with --label-maps.")
    if subjects < 1:
        raise InputError(f"{subjects} subjects were asked for; wanted 1 or more.")
    check_writable_folder(output_dir)
    rng = np.random.default_rng(seed)
    folders = []
    for number in range(1, subjects + 1):
        try:
            label_map = read_label_map(paths[(number - 1) % len(paths)])
        except (RuntimeError, TrainingError) as error:
            raise InputError(f"The label map {paths[(number - 1) % len(paths)]} cannot be used: {str(error).splitlines()[0]}") from error
        synthesized = Simulator([label_map], SimulatorConfig()).subject(label_map, rng, phase)
        folders.append(output_dir / f"subject-{number:02d}")
        write_subject(synthesized, folders[-1])
    return folders


def write_subject(synthesized: Synthesized, folder: Path) -> None:
    """Write a synthesized subject as T1.nii.gz, T2.nii.gz and label.nii.gz, cropped to 5 voxels round the brain."""
    inside = np.argwhere(synthesized.mask.cpu().numpy())
    box = tuple(slice(max(low - 5, 0), high + 6) for low, high in zip(inside.min(0), inside.max(0), strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(("T1", "T2"), synthesized.images.cpu().numpy(), strict=True):
        write_image(centered_image(np.clip(image[box] * _INTENSITY_SCALE, 0, 65535).astype(np.uint16)), folder / f"{name}.nii.gz")
    write_image(centered_image(synthesized.labels.cpu().numpy()[box].astype(np.uint8)), folder / "label.nii.gz")
