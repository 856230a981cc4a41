"""How a process that computes shares the machine with other programs."""

import contextlib
import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
SPINS = "1000"  # beside a busy program a run takes 1.4 times as long as alone, with 10,000 1.7 times, with 100,000 3 times


def wait_passively() -> None:
    """Let threads that wait for each other soon sleep and not spin on, unless the user's environment says how they wait.

    OpenMP reads this when torch is loaded: call it before. Where it is GNU's, threads spin for some microseconds before they sleep:
    one that sleeps between any two layers is often woken on the core that its waker still uses, while the other core idles.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ["GOMP_SPINCOUNT"] = SPINS


def usable_cores(cpus: Path = _CPUS, quota: Path = _QUOTA) -> int:
    """Count the physical cores that this process may use.

    Parameters
    ----------
    cpus, quota : Path
        Where Linux tells which hardware threads share a core, and how much CPU time a container may have.

    Returns
    -------
    int
        1 or more. Where the system does not tell its cores, its hardware threads are counted.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = {_siblings(cpus, number) for number in allowed}
    return max(1, min(len(cores), _quota_cores(quota) or len(cores)))


def _siblings(cpus: Path, number: int) -> str:
    """The hardware threads of one core, as Linux writes them; only the number itself where it does not."""
    with contextlib.suppress(OSError):
        return (cpus / f"cpu{number}" / "topology" / "thread_siblings_list").read_text(encoding="ascii").strip()
    return str(number)


def _quota_cores(path: Path) -> int:
    """The cores that a container's share of CPU time makes, rounded up; 0 without a limit."""
    with contextlib.suppress(OSError, ValueError):
        share, period = path.read_text(encoding="ascii").split()
        return -(-int(share) // int(period))
    return 0
