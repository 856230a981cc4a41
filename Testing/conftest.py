"""For all tests."""

import os

import pytest
import torch

from InfantBrainSegLib.allocator import keep_freed_memory

keep_freed_memory()  # a third less time on a CPU


@pytest.fixture
def all_cores():
    """For a test whose networks are large; small ones are slower on several cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)
