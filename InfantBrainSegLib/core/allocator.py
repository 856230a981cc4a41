"""How the C library hands out memory to a process that computes."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
_LARGEST_BLOCK, _NEVER = 2**30, 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones, where its C library is glibc.

    For a process of its own that computes and ends: by default glibc gives large blocks back to the system, and fetching them anew took
    up to 40 % of a CPU's time.
    """
    if is_glibc():
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


def is_glibc() -> bool:
    """Whether this Python runs on glibc."""
    return platform.libc_ver()[0] == "glibc"
