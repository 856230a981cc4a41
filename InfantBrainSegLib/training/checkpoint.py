"""Checkpoints that a run resumes from: written under another name, then renamed, so that a good one always exists."""

import os
import pickle
import zipfile
from pathlib import Path

import torch

from ..core.errors import TrainingError
from .config import config_from_dict, config_to_dict


def save_checkpoint(state: dict, path: Path) -> None:
    """Write a checkpoint in place of the last one.

    Raises
    ------
    TrainingError
        If it can not be written; the last one is untouched.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(
            f"The checkpoint {path} could not be written ({error}): the one before it is intact; make room and run again."
        ) from error


def load_checkpoint(path: Path, config: dict) -> dict | None:
    """Read the checkpoint of a run, or None where there is none yet.

    Parameters
    ----------
    path : Path
    config : dict
        The run's config as plain values; the checkpoint must be of the same one, but for how long, how and where it runs.

    Raises
    ------
    TrainingError
        If the file is damaged or of another config.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        theirs = config_to_dict(config_from_dict(state["config"]))  # fields younger than the checkpoint take their defaults
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise TrainingError(f"The checkpoint {path} is damaged ({type(error).__name__}): remove it to start anew.") from error
    except TrainingError as error:
        raise TrainingError(f"The checkpoint {path} is of another version ({error}): take another output_dir, or remove it.") from error
    free = ("iterations", "device", "compile", "output_dir", "checkpoint_minutes", "label_maps", "pack", "painters")
    changed = [name for name in config if name not in free and theirs.get(name) != config[name]]
    if changed:
        name = changed[0]
        raise TrainingError(
            f"The checkpoint {path} is of another config ({name} is {theirs.get(name)!r} there and {config[name]!r} here): "
            "take another output_dir, or remove it to start anew."
        )
    return state
