"""For all tests."""

import os

import pytest
import torch

from InfantBrainSegLib.core.allocator import keep_freed_memory

keep_freed_memory()  # a third less time on a CPU


@pytest.fixture
def all_cores(monkeypatch):
    """For a test whose networks are large, here or in a child process; small ones are slower on several cores."""
    before, cores = torch.get_num_threads(), os.cpu_count() or 1
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
    torch.set_num_threads(cores)
    yield
    torch.set_num_threads(before)
