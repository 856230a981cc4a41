"""What a run says of itself: versions, machine, seconds of each step, peak memory."""

import importlib.metadata
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import __version__
from ..core.progress import Progress, part_of

# Share of a whole run at which each step ends, for the progress bar; measured on a CPU, where both networks take most of the time.
STEP_ENDS = {
    "read": 0.02,
    "load": 0.03,
    "align": 0.08,
    "extract": 0.22,
    "prepare": 0.26,
    "stage 1": 0.45,
    "context": 0.46,
    "stage 2": 0.62,
    "context, round 2": 0.63,
    "stage 2, round 2": 0.78,
    "context, round 3": 0.79,
    "stage 2, round 3": 0.95,
    "clean up": 0.96,
    "restore": 0.98,
    "write": 1.0,
}
ROUNDS = (  # steps of the second stage, each time that it runs
    ("context", "stage 2"),
    ("context, round 2", "stage 2, round 2"),
    ("context, round 3", "stage 2, round 3"),
)
PACKAGES = ("torch", "numpy", "SimpleITK", "scipy", "vtk")


class Steps:
    """Takes the time of each step and tells the progress.

    Attributes
    ----------
    seconds : dict
        Seconds by step, in the order they ran.
    """

    def __init__(self, progress: Progress):
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[Progress]:
        """Time the block that is one step of `STEP_ENDS`; gives the progress inside it, which runs from 0 to 1."""
        names = list(STEP_ENDS)
        index = names.index(step)
        inside = part_of(self._progress, STEP_ENDS[names[index - 1]] if index else 0.0, STEP_ENDS[step])
        inside(step, 0.0)
        started = time.perf_counter()
        yield inside
        self.seconds[step] = round(time.perf_counter() - started, 3)


def versions() -> dict[str, str]:
    """Versions of this program and of what it runs on."""
    found = {"InfantBrainSeg": __version__, "python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # 3D Slicer's own VTK and SimpleITK have no metadata
            module = sys.modules.get(package)
            found[package] = str(getattr(module, "__version__", "unknown"))
    return found


def peak_memory_mb() -> float | None:
    """Most memory this process has held so far, in MB (2²⁰ bytes); None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 2**20, 1)


def with_ends(report: dict[str, Any], inputs: dict[str, dict[str, str]], seconds: dict[str, float]) -> dict[str, Any]:
    """Add to a segmentation's report what came before and after it: the inputs, and the time of reading and writing.

    Parameters
    ----------
    report : dict
    inputs : dict
        What may be told of each input, by role.
    seconds : dict
        Of "read" and "write".

    Returns
    -------
    dict
    """
    all_seconds = {"read": seconds["read"], **report["seconds"], "write": seconds["write"]}
    return {
        "inputs": inputs,
        **report,
        "seconds": {**all_seconds, "total": round(sum(all_seconds.values()), 3)},
        "peak_memory_mb": peak_memory_mb(),
    }
