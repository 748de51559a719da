"""The 2-D U-Net of vSHARP without gradients, compared with the plain one."""

import pytest
import torch
from torch.nn import functional

from cmrrecon.networks import vsharp_frames as of_frames
from cmrrecon.networks.vsharp_unet import PlainUnet


def close(ours, plain):
    assert ours.shape == plain.shape
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12 * float(plain.abs().max()))


@pytest.mark.parametrize("slab", [of_frames.SLAB, 500, 1])
@pytest.mark.parametrize("size", [(8, 12), (13, 9), (4, 8), (11, 11)])
def test_a_unet_gives_the_plain_result(size, slab, monkeypatch):
    monkeypatch.setattr(of_frames, "SLAB", slab)
    monkeypatch.setattr(of_frames, "WEIGHTS", 500)
    network = PlainUnet(2, 6, 2, 4, 2).double()
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    plain = network(x).detach()
    with torch.no_grad():
        close(network(x), plain)
        # What earlier images left in the memory does not matter.
        memory = network.memory(2, size).fill_(float("nan"))
        close(network(x, memory), plain)
        close(network(x, memory), plain)


@pytest.mark.parametrize("slab", [40, 200, 10**6])
def test_a_convolution_may_overwrite_its_input(slab, monkeypatch):
    monkeypatch.setattr(of_frames, "SLAB", slab)
    x, weight = (torch.randn(*n, dtype=torch.float64) for n in ((2, 3, 11, 7), (3, 3, 3, 3)))
    plain = functional.conv2d(x, weight, padding=1)
    once, twice = x.clone(), plain.clone()
    of_frames.convolved(once, weight, once)
    close(once, plain)
    of_frames.convolved(x, weight, twice, add=True)
    close(twice, 2 * plain)
