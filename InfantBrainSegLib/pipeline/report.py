"""What a run says of itself: versions, machine, seconds of each step, peak memory."""

import importlib.metadata
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .. import __version__
from ..checks.result_checks import Verdict
from ..core.check import Check, warnings_of
from ..core.contract import STEP_ENDS, Step
from ..core.errors import ErrorCode, InputError
from ..core.progress import Progress, part_of
from .volumes import TissueVolume

SCHEMA_VERSION = 3  # of the report as JSON; 1: no number, other check names; 2: "words" for "message", "sure", "turned", "turned_degrees"
_OPTIONAL = ("inputs", "edits")  # of the report as JSON
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

    def told_to(self, progress: Progress) -> "Steps":
        """Give the same steps, whose progress is from now on told to another."""
        others = Steps(progress)
        others.seconds = self.seconds
        return others

    @contextmanager
    def __call__(self, step: str, after: str = "") -> Iterator[Progress]:
        """Time the block that is one step of `STEP_ENDS`; gives the progress inside it, which runs from 0 to 1.

        It begins where the step before it ends, or the one that it comes after where steps between them were left out.
        """
        names = list(STEP_ENDS)
        index = names.index(step)
        before = after or (names[index - 1] if index else "")
        inside = part_of(self._progress, STEP_ENDS[before] if before else 0.0, STEP_ENDS[step])
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


@dataclass(frozen=True)
class Report:
    """What a run says of itself.

    Attributes
    ----------
    versions : dict
        Of this program and of what it ran on.
    weights : dict
        By stage: sha256 and training.
    device, options, geometry, cleanup : dict
    alignment, extraction : dict
        What was done to the scans before.
    bias_corrected : bool
    volumes : tuple of TissueVolume
    checks : tuple of Check
        Of the scans, before the tissue networks ran.
    verdict : Verdict
    notes : tuple of str
        Warnings that no check gives.
    memory_ladder : tuple of str
        Each step down when memory ran out.
    seconds : dict
        By step, in the order they ran; "total" once reading and writing are known.
    peak_memory_mb : float or None
    inputs : dict or None
        What may be said of each input, by role.
    edits : dict or None
        Of a result that was edited by hand: how much of it is fixed, and how much changed round that.
    newborn_wm_bias : float
        What was added to WM's logit because the brain has a newborn's contrast.
    """

    versions: dict[str, str]
    weights: dict[str, dict[str, Any]]
    device: dict[str, Any]
    options: dict[str, Any]
    alignment: dict[str, Any]
    extraction: dict[str, Any]
    bias_corrected: bool
    geometry: dict[str, Any]
    volumes: tuple[TissueVolume, ...]
    cleanup: dict[str, Any]
    checks: tuple[Check, ...]
    verdict: Verdict
    notes: tuple[str, ...]
    memory_ladder: tuple[str, ...]
    seconds: dict[str, float]
    peak_memory_mb: float | None
    inputs: dict[str, dict[str, str]] | None = None
    edits: dict[str, Any] | None = None
    newborn_wm_bias: float = 0.0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before trusting the result."""
        return (*warnings_of(self.checks), *self.notes)

    def with_ends(self, inputs: dict[str, dict[str, str]], seconds: dict[str, float], notes: Sequence[str] = ()) -> "Report":
        """Add what came before and after: the inputs and what was odd about them, and the time of reading and writing.

        Parameters
        ----------
        inputs : dict
            What may be said of each input, by role.
        seconds : dict
            Of "read" and "write".
        notes : sequence of str
            Warnings of the reading.
        """
        steps = {Step.READ: seconds[Step.READ], **self.seconds, Step.WRITE: seconds[Step.WRITE]}
        total = round(sum(steps.values()), 3)
        all_seconds, all_notes = {**steps, "total": total}, (*self.notes, *notes)
        return replace(self, inputs=inputs, seconds=all_seconds, notes=all_notes, peak_memory_mb=peak_memory_mb())

    def to_json(self) -> dict[str, Any]:
        """Give plain values that JSON takes; "schema_version" says how they are laid out."""
        plain: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
        if self.inputs is not None:
            plain["inputs"] = self.inputs
        plain |= {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _OPTIONAL}
        if self.edits is not None:
            plain["edits"] = self.edits
        return plain | {
            "volumes": [asdict(volume) for volume in self.volumes],
            "checks": [check.as_dict() for check in self.checks],
            "verdict": self.verdict.as_dict(),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "memory_ladder": list(self.memory_ladder),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Report":
        """Read what `to_json` gave, whatever else stands beside it.

        Raises
        ------
        InputError
            If it is laid out otherwise.
        """
        if plain.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"The report has schema version {plain.get('schema_version', 'none')}; wanted {SCHEMA_VERSION}: segment the scan again.",
                ErrorCode.REPORT_VERSION,
            )
        values = {field.name: plain[field.name] for field in fields(cls) if field.name in plain and field.name not in _OPTIONAL}
        values |= {
            "volumes": tuple(TissueVolume(**volume) for volume in plain["volumes"]),
            "checks": tuple(Check.from_dict(check) for check in plain["checks"]),
            "verdict": Verdict.from_dict(plain["verdict"]),
            "notes": tuple(plain["notes"]),
            "memory_ladder": tuple(plain["memory_ladder"]),
        }
        return cls(**values, inputs=plain.get("inputs"), edits=plain.get("edits"))
