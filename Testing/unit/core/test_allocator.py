import subprocess
import sys

import pytest

from InfantBrainSegLib.core import allocator

LARGE_BLOCKS = """
import ctypes
{first}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
block = libc.malloc(ctypes.c_size_t(200_000_000))
ctypes.memset(block, 1, 200_000_000)
libc.free(ctypes.c_void_p(block))
print(resident() - before > 150_000_000)
"""


@pytest.mark.skipif(not allocator.is_glibc(), reason="only glibc's allocator is tuned")
@pytest.mark.parametrize(
    ("first", "kept"), [("", "False"), ("from InfantBrainSegLib.core.allocator import keep_freed_memory; keep_freed_memory()", "True")]
)
def test_a_freed_block_stays_with_the_process_only_after_the_call(first, kept):
    script = LARGE_BLOCKS.format(first=first)
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip() == kept


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("loaded a library"))
    allocator.keep_freed_memory()
