import pytest
import torch
from refusals import refused

from cmrrecon.tools.devices import choose_device


def test_the_cpu_is_always_available():
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("asked", ["gpu", "cuda:x", "mps", ""])
def test_unknown_devices_are_refused(asked):
    with refused("unknown-device"):
        choose_device(asked)


def test_a_missing_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == torch.device("cuda:0")
    with refused("device-missing"):
        choose_device("cuda:1")
