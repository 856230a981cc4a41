"""How much memory a run needs, and how much there is.

Only the standard library is imported, so that a process with too little is told so before torch is loaded, which under a tight limit
hangs or crashes.

The need is that of the whole process at its peak.
"""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import MemoryShortError

_MB, _GB = 1 << 20, 1 << 30
_UNLIMITED = 1 << 60  # what cgroup v1 says in place of "no limit" is about 2⁶³
_PAGE = 4096


@dataclass(frozen=True)
class Need:
    """What a process needs at its peak.

    Attributes
    ----------
    resident_bytes : int
        Memory that is filled.
    address_bytes : int
        Addresses that are reserved, of which `ulimit -v` limits the number.
    """

    resident_bytes: int
    address_bytes: int


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


LIBRARIES = Need(400 * _MB, 1050 * _MB)


def segment_need(voxels: int, check_only: bool = False) -> Need:
    """Estimate what the segmentation of one brain needs.

    Parameters
    ----------
    voxels : int
        Of all scans and masks together, as their headers state them.
    check_only : bool
        The tissue networks do not run.

    Returns
    -------
    Need
    """
    base, more = (1200, 900) if check_only else (1850, 900)
    scans = voxels * 20
    return Need(base * _MB + scans, (base + more) * _MB + scans)


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
    pairs = [(room, need.resident_bytes) for room in resident_rooms(root)]
    pairs += [] if address is None else [(address, need.address_bytes)]
    for room, wanted in pairs:
        if room.bytes < wanted:
            raise MemoryShortError(
                f"{math.floor(10 * room.bytes / _GB) / 10:.1f} GB of memory are {room.where}, and about "
                f"{math.ceil(10 * wanted / _GB) / 10:.1f} GB are needed: {room.remedy}."
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

    Yields
    ------
    Room
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
