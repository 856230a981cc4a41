import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest
import torch

from InfantBrainSegLib.networks import found_devices
from InfantBrainSegLib.networks.device import resolve_device


def build(tmp_path, monkeypatch, version):
    """Pretends that a torch with this version.py is installed."""
    (tmp_path / "version.py").write_text(version)
    found = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(found_devices.importlib.util, "find_spec", lambda name: found)
    monkeypatch.setattr(found_devices.sys, "platform", "linux")


def test_every_device_that_is_listed_is_one_that_is_taken(monkeypatch):
    monkeypatch.setattr(found_devices, "is_cpu_build", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    listed = found_devices.list_devices()
    assert [device["value"] for device in listed] == ["auto", "cpu", "cuda:0", "cuda:1", "mps"]
    assert [device["label"] for device in listed[2:]] == ["GPU 0: Card 0", "GPU 1: Card 1", "Apple GPU"]
    for device in listed:
        resolve_device(device["value"])


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", True),
        ("cuda = None\nhip = None\n", True),
        ("cuda: Optional[str] = '12.4'\nhip: Optional[str] = None\n", False),
        ("cuda = None\nhip = '6.1'\n", False),
        ("__version__ = '9'\n", False),
        ("damaged (", False),
    ],
)
def test_a_build_for_cpus_alone_is_told_by_its_version_file(tmp_path, monkeypatch, version, expected):
    build(tmp_path, monkeypatch, version)
    assert found_devices.is_cpu_build() is expected


def test_an_apple_computer_and_a_missing_torch_are_asked(tmp_path, monkeypatch):
    build(tmp_path, monkeypatch, "cuda = None\nhip = None\n")
    monkeypatch.setattr(found_devices.sys, "platform", "darwin")
    assert not found_devices.is_cpu_build()
    monkeypatch.setattr(found_devices.sys, "platform", "linux")
    monkeypatch.setattr(found_devices.importlib.util, "find_spec", lambda name: None)
    assert not found_devices.is_cpu_build()


@pytest.mark.skipif(not found_devices.is_cpu_build(), reason="this torch may find a GPU, for which it has to be loaded")
def test_devices_of_a_build_for_cpus_are_listed_without_loading_torch():
    program = "import sys; from InfantBrainSegLib.cli.main import main; main(['devices']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0].startswith('[{"value": "auto"')
    assert out[1] == "False"
