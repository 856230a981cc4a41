import pytest
import torch
from torch import nn

from InfantBrainSegLib.core.errors import DeviceError
from InfantBrainSegLib.networks import device as devices
from InfantBrainSegLib.networks.sliding_window import SlidingWindowConfig, predict

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)


@pytest.fixture
def machine(monkeypatch):
    """Pretends that the machine has so many CUDA devices, and an Apple GPU or none."""

    def pretend(cuda_count, has_mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda_count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda_count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)

    return pretend


@pytest.mark.parametrize(
    ("cuda_count", "has_mps", "expected"), [(0, False, "cpu"), (0, True, "mps"), (1, False, "cuda:0"), (2, True, "cuda:0")]
)
def test_auto_takes_the_fastest_device_there_is(machine, cuda_count, has_mps, expected):
    machine(cuda_count, has_mps)
    assert devices.resolve_device("auto") == torch.device(expected)


def test_named_devices_that_exist_are_taken(machine):
    machine(2, True)
    for name, expected in (("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("mps", "mps")):
        assert devices.resolve_device(name) == torch.device(expected)


@pytest.mark.parametrize("name", ["gpu", "", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps:0", "cuda:0:0", "xla"])
def test_unknown_names_are_refused(machine, name):
    machine(1)
    with pytest.raises(DeviceError, match=r"Unknown device .* wanted auto, cpu, cuda, cuda:N or mps"):
        devices.resolve_device(name)


def test_cuda_where_there_is_none_is_refused(machine):
    machine(0)
    for name in ("cuda", "cuda:0"):
        with pytest.raises(DeviceError, match="there is no CUDA device on this machine: use --device auto"):
            devices.resolve_device(name)


def test_a_cuda_number_too_high_is_refused(machine):
    machine(1)
    with pytest.raises(DeviceError, match="there is 1 CUDA device, numbered from 0"):
        devices.resolve_device("cuda:1")


def test_mps_where_there_is_none_is_refused(machine):
    machine(0)
    with pytest.raises(DeviceError, match="no Apple GPU"):
        devices.resolve_device("mps")


def test_mixed_precision_is_bfloat16_on_cpus_that_compute_in_it_alone(monkeypatch):
    for avx512, amx, expected in ((True, False, torch.bfloat16), (False, True, torch.bfloat16), (False, False, None)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=avx512: answer, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda answer=amx: answer, raising=False)
        assert devices.autocast_dtype(CPU) == expected


def test_mixed_precision_is_float16_on_gpus_with_tensor_cores_alone(monkeypatch):
    for capability, expected in (((9, 0), torch.float16), ((7, 0), torch.float16), ((6, 1), None)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, answer=capability: answer)
        assert devices.autocast_dtype(CUDA) == expected
    assert devices.autocast_dtype(torch.device("mps")) is None


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_training_computes_in_bfloat16_only_where_it_is_not_emulated(monkeypatch):
    for computes, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(devices, "_cpu_computes_bfloat16", lambda answer=computes: answer)
        with devices.training_autocast(CPU):
            assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == expected
    for capability, expected in (((8, 0), True), ((7, 5), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, answer=capability: answer)
        assert isinstance(devices.training_autocast(CUDA), torch.autocast) == expected
    assert not isinstance(devices.training_autocast(torch.device("mps")), torch.autocast)


class HungryNetwork(nn.Module):
    """Has memory for so many windows at a time."""

    def __init__(self, most):
        super().__init__()
        self.most, self.batches = most, []

    def forward(self, x):
        self.batches.append(len(x))
        if len(x) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return x.new_zeros((len(x), 4, *x.shape[2:]))


def test_a_batch_too_large_for_the_memory_is_halved_until_it_fits():
    network, log = HungryNetwork(most=2), []
    inputs = torch.zeros((2, 32, 4, 4))  # 8 windows of 4³

    def attempt(device, batch_size):
        config = SlidingWindowConfig(patch_voxels=4, overlap=0, plan="overlap", batch_size=batch_size, amp=False)
        return predict(network, inputs, None, config, device)

    probabilities = devices.run_with_memory_ladder(attempt, CPU, 8, log)
    assert network.batches == [8, 4, 2, 2, 2, 2]
    assert probabilities.mean() == pytest.approx(0.25)
    assert log == [
        "Memory ran out on cpu with a batch of 8; continued with 4.",
        "Memory ran out on cpu with a batch of 4; continued with 2.",
    ]


def test_the_last_step_of_the_ladder_is_the_cpu():
    tried, log = [], []

    def attempt(device, batch_size):
        tried.append((device.type, batch_size))
        if device.type != "cpu":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return "done"

    assert devices.run_with_memory_ladder(attempt, torch.device("mps"), 3, log) == "done"
    assert tried == [("mps", 3), ("mps", 1), ("cpu", 1)]
    assert log[-1] == "Memory ran out on mps with a batch of 1; continued with the CPU."


def test_a_cpu_without_memory_for_one_window_is_an_error():
    network = HungryNetwork(most=0)
    with pytest.raises(DeviceError, match="Memory ran out on the CPU with a batch of 1"):
        devices.run_with_memory_ladder(lambda device, batch_size: network(torch.zeros(batch_size, 1, 2, 2, 2)), CPU, 2, [])
    assert network.batches == [2, 1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_memory_that_ran_out_is_told_from_other_errors(error, expected):
    assert devices.is_out_of_memory(error) is expected


def test_other_errors_go_straight_through_the_ladder():
    tried = []

    def attempt(device, batch_size):
        tried.append(batch_size)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        devices.run_with_memory_ladder(attempt, CPU, 4, [])
    assert tried == [4]
