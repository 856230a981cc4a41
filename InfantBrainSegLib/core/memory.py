"""How much memory a run needs, and how much there is.

Only the standard library is imported, so that a process with too little is told so before torch is loaded, which under a tight limit
hangs or crashes.

The need is that of the whole process at its peak, with the bundled weights on a CPU. Two figures are told apart: memory that is filled, and
addresses that are reserved, which `ulimit -v` limits and of which libraries and threads take far more than they fill. Measured with
Python 3.11 and torch 2.13 on two cores under Linux, in MB of 2²⁰ bytes:

==================================================  =======  ======  =========
run                                                 threads  filled  addresses
==================================================  =======  ======  =========
libraries imported, nothing computed                2           347       1037
sample (2 × 2.4 million voxels), checks alone       1           915       1639
sample, first stage alone                           2          1257       2298
sample, both stages, three rounds                   1          1950       2861
sample, both stages, one round                      2          1886       2947
sample at 0.5 mm (2 × 19 million voxels), 16 bits   1          2008       2919
sample at 0.33 mm (2 × 64 million), floats, checks  1          2974       3699
==================================================  =======  ======  =========

The networks' windows decide, whatever the scans' size, until the preparation takes more: 22 bytes a voxel. More rounds take no more.
torch with 8 threads reserved 72 MB more for each than with 2, SimpleITK 19 MB.

These rows are of windows two at a time in bfloat16. One at a time, as now, the sample with two threads fills 1331 MB in bfloat16 and 1919
in float32, of 2373 and 2921 addresses: the estimate is that of a CPU without bfloat16.
"""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from .errors import MemoryShortError

_MB, _GB = 1 << 20, 1 << 30
_UNLIMITED = 1 << 60  # what cgroup v1 says in place of "no limit" is about 2⁶³
_PAGE = 4096


class Work(Enum):
    """How much of a segmentation runs."""

    CHECKS = "checks"
    FIRST_STAGE = "first stage"
    ALL = "all"


@dataclass(frozen=True)
class Need:
    """What a process needs at its peak.

    Attributes
    ----------
    resident_bytes : int
        Memory that is filled.
    address_bytes : int
        Addresses that are reserved, of which `ulimit -v` limits the number.
    savings : tuple of (str, Need)
        Options that lower it, and the need with each.
    """

    resident_bytes: int
    address_bytes: int
    savings: "tuple[tuple[str, Need], ...]" = ()


@dataclass(frozen=True)
class Room:
    """What a process can have.

    Attributes
    ----------
    bytes : int
        What it holds already counts too.
    where : str
        What limits it, for a message.
    remedy : str
    """

    bytes: int
    where: str
    remedy: str


_LIBRARIES_MB = 350
_NETWORKS_MB = {Work.CHECKS: 910, Work.FIRST_STAGE: 1260, Work.ALL: 1960}
_HELD_BYTES = 4  # a voxel, while the networks run
_PREPARED_BYTES = 22  # a voxel
_RESERVED_MB = 850  # without threads
_THREAD_MB = 100

LIBRARIES = Need(_LIBRARIES_MB * _MB, (_LIBRARIES_MB + 700) * _MB)


def segment_need(voxels: int, work: Work = Work.ALL, threads: int = 0) -> Need:
    """Estimate what the segmentation of one brain needs.

    Parameters
    ----------
    voxels : int
        Of all scans and masks together, as their headers state them.
    work : Work
    threads : int
        Of the networks; 0 for as many as torch chooses.
    """
    need = _need(voxels, work, threads or _usual_threads())
    savings = [("--threads 1", _need(voxels, work, 1))] if work != Work.CHECKS else []  # which do not heed it
    if work == Work.ALL:
        savings.append(("--no-context, which is less accurate", _need(voxels, Work.FIRST_STAGE, threads or _usual_threads())))
        savings.append(("--no-context --threads 1, which is less accurate", _need(voxels, Work.FIRST_STAGE, 1)))
    return replace(need, savings=tuple(savings))


def _need(voxels: int, work: Work, threads: int) -> Need:
    preparation = _LIBRARIES_MB * _MB + voxels * _PREPARED_BYTES
    networks = _NETWORKS_MB[work] * _MB + voxels * _HELD_BYTES
    resident = max(preparation, networks)
    return Need(resident, resident + (_RESERVED_MB + threads * _THREAD_MB) * _MB)


def _usual_threads() -> int:
    """Give how many threads torch chooses, at the most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(asked), cores) if asked.isdigit() and int(asked) else cores


def work_of(use_context: bool) -> Work:
    """Tell how much of a segmentation runs, with both stages or the first alone."""
    return Work.ALL if use_context else Work.FIRST_STAGE


def check_memory(need: Need, root: Path = Path("/")) -> None:
    """Refuse a run for which memory is short.

    Parameters
    ----------
    need : Need
    root : Path
        Where the system's folders `proc` and `sys` lie.

    Raises
    ------
    MemoryShortError
        If a limit of this process, of its container or job, or the memory that is free, is below the need.
    """
    address = address_limit()
    kinds = [(room, "resident_bytes") for room in resident_rooms(root)]
    kinds += [] if address is None else [(address, "address_bytes")]
    for room, kind in kinds:
        wanted = getattr(need, kind)
        if room.bytes < wanted:
            saving = next((f"; or give {option}" for option, less in need.savings if getattr(less, kind) <= room.bytes), "")
            raise MemoryShortError(
                f"{math.floor(10 * room.bytes / _GB) / 10:.1f} GB of memory are {room.where}, and about "
                f"{math.ceil(10 * wanted / _GB) / 10:.1f} GB are needed: {room.remedy}{saving}."
            )


def address_limit() -> Room | None:
    """Give the limit of `ulimit -v`, where there is one and the system heeds it."""
    if sys.platform != "linux":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    return Room(limit, "all that this process may have (ulimit -v)", "raise the limit, or use another machine")


def resident_rooms(root: Path) -> Iterator[Room]:
    """Give what the machine has free, and what a container's or a job's limit leaves; nothing where the system does not tell.

    Parameters
    ----------
    root : Path
        Where the system's folders `proc` and `sys` lie.
    """
    held = _held_bytes(root)
    fields = _fields(root / "proc/meminfo")
    if "MemAvailable" in fields:
        free = 1024 * (fields["MemAvailable"] + fields.get("SwapFree", 0)) + held
        yield Room(free, "free", "close other programs, give a coarser scan, or use a machine with more memory")
    elif sys.platform == "darwin":
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield Room(total, "in this machine", "give a coarser scan, or use a machine with more memory")
    for left in _left_in_cgroups(root):
        yield Room(left + held, "left to this container or job", "give it more memory, end what else runs in it, or give a coarser scan")


def _held_bytes(root: Path) -> int:
    """Give what this process holds already."""
    words = _text(root / "proc/self/statm").split()
    return int(words[1]) * _PAGE if len(words) > 1 else 0


def _left_in_cgroups(root: Path) -> Iterator[int]:
    """Give what each limit on the way up leaves, its reclaimable cache of files counted as free; versions 1 and 2."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, kinds, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not kinds:
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            top, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        inner = top / path.strip("/")
        for folder in [inner, *(parent for parent in inner.parents if parent.is_relative_to(top))]:
            limit, used = (_number(folder / name) for name in names[:2])
            if limit is not None and used is not None and limit < _UNLIMITED:
                yield limit - max(used - _fields(folder / "memory.stat").get(names[2], 0), 0)


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _fields(path: Path) -> dict[str, int]:
    """Read lines of a name and a number."""
    words = [line.replace(":", " ").split() for line in _text(path).splitlines()]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""
