"""The devices of this machine as a menu shows them. Torch is loaded only where its build could use a GPU."""

import ast
import contextlib
import importlib.util
import os
import sys
from pathlib import Path


def list_devices() -> list[dict[str, str]]:
    """List the devices that can compute here, as a menu shows them.

    Returns
    -------
    list of dict
        `value` is what `resolve_device` takes, `label` is for people; "auto" and "cpu" come first.
    """
    cores = os.cpu_count() or 1
    devices = [
        {"value": "auto", "label": "Automatic"},
        {"value": "cpu", "label": f"CPU ({cores} core{'s' * (cores != 1)})"},
    ]
    return devices if is_cpu_build() else devices + _gpus()


def is_cpu_build() -> bool:
    """Tell, without loading it, whether the torch that is installed can use no GPU; False where that is not known."""
    found = importlib.util.find_spec("torch")
    if sys.platform == "darwin" or found is None or found.origin is None:
        return False
    values: dict[str, object] = {}
    with contextlib.suppress(OSError, SyntaxError):
        for line in ast.parse(Path(found.origin).with_name("version.py").read_text(encoding="utf-8")).body:
            if isinstance(line, ast.AnnAssign | ast.Assign) and isinstance(line.value, ast.Constant):
                target = line.target if isinstance(line, ast.AnnAssign) else line.targets[0]
                values[getattr(target, "id", "")] = line.value.value
    return all(name in values and values[name] is None for name in ("cuda", "hip"))


def _gpus() -> list[dict[str, str]]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [{"value": f"cuda:{index}", "label": f"GPU {index}: {torch.cuda.get_device_name(index)}"} for index in range(count)]
    if torch.backends.mps.is_available():
        devices.append({"value": "mps", "label": "Apple GPU"})
    return devices
