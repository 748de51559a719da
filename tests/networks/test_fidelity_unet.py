from itertools import pairwise

import pytest
import torch
from refusals import refused
from torch import nn

from cmrrecon.networks.fidelity_unet import ClosedFormFidelity, ConvolutionFidelity, FidelityUNet


def zero(module):
    for parameter in module.parameters():
        nn.init.zeros_(parameter)


@pytest.mark.parametrize(("raw", "expected"), [(100.0, 0.0), (-100.0, 1.0), (0.5413248546, 0.5)])
def test_the_closed_form_is_a_weighted_mean(raw, expected):
    """With mu = softplus(raw), a huge mu gives x, zero gives r and one gives the mean."""
    fidelity = ClosedFormFidelity()
    nn.init.constant_(fidelity.raw, raw)
    mixed = fidelity(torch.ones(1, 1, 4, 5), torch.zeros(1, 1, 4, 5))
    torch.testing.assert_close(mixed, torch.full((1, 1, 4, 5), expected), rtol=0, atol=0.011)


def test_the_closed_form_is_the_minimiser():
    fidelity, r, x = (
        ClosedFormFidelity().double(),
        torch.randn(1, 1, 4, 5).double(),
        torch.randn(1, 1, 4, 5).double(),
    )
    f = fidelity(r, x).detach().requires_grad_()
    mu = nn.functional.softplus(fidelity.raw.detach())
    ((f - r).square() + mu * (f - x).square()).sum().backward()
    assert f.grad.abs().max() < 1e-12


def test_convolutions_add_to_the_residual_image():
    fidelity, r, x = ConvolutionFidelity(4), torch.randn(1, 1, 9, 8), torch.randn(1, 1, 9, 8)
    assert not torch.equal(fidelity(r, x), fidelity(r, 0 * x))
    zero(fidelity.layers[-1])
    assert torch.equal(fidelity(r, x), r)


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_both_networks_have_outputs_in_every_repeat(repeats):
    torch.manual_seed(0)
    network = FidelityUNet(channels=4, pools=2, repeats=repeats, fidelity_channels=4)
    with torch.no_grad():
        stages = network.forward_image(torch.rand(2, 33, 40)).images
    assert len(stages) == 2 * repeats
    assert all(stage.shape == (2, 33, 40) for stage in stages)
    assert all(not torch.equal(a, b) for a, b in pairwise(stages))


def test_zero_repeats_are_refused():
    with refused("option-value"):
        FidelityUNet(repeats=0)


def test_weights_are_shared_between_repeats():
    counts = {
        sum(p.numel() for p in FidelityUNet(repeats=repeats).parameters()) for repeats in (1, 2, 3)
    }
    assert len(counts) == 1


@pytest.mark.parametrize("fidelity", ["convolutions", "closed-form"])
def test_networks_with_zero_output_keep_the_image(fidelity):
    network = FidelityUNet(channels=4, pools=2, fidelity=fidelity, fidelity_channels=4)
    zero(network.unet.last)
    if fidelity == "convolutions":
        zero(network.fidelity.layers[-1])
    x = 300 + 50 * torch.rand(2, 33, 40)
    for stage in network.forward_image(x).images:
        torch.testing.assert_close(stage, x)


def test_a_huge_mu_restores_the_measured_image_in_every_repeat():
    torch.manual_seed(0)
    network, x = (
        FidelityUNet(channels=4, pools=2, repeats=2, fidelity="closed-form"),
        torch.rand(1, 33, 40),
    )
    nn.init.constant_(network.fidelity.raw, 1e6)
    residual, first, again, second = network.forward_image(x).images
    torch.testing.assert_close(first, x, rtol=0, atol=1e-4)
    torch.testing.assert_close(second, x, rtol=0, atol=1e-4)
    assert (residual - x).abs().max() > 1e-2
    torch.testing.assert_close(again, residual, rtol=0, atol=1e-3)


def test_every_repeat_uses_the_measured_image():
    """With mu = 1 each output is the mean of the residual image and the network's first input."""
    torch.manual_seed(0)
    network, x = (
        FidelityUNet(channels=4, pools=2, repeats=2, fidelity="closed-form"),
        torch.rand(1, 33, 40),
    )
    nn.init.constant_(network.fidelity.raw, 0.5413248546)

    with torch.no_grad():
        r1, f1, r2, f2 = network.forward_image(x).images
    torch.testing.assert_close(f1, (r1 + x) / 2)
    torch.testing.assert_close(f2, (r2 + x) / 2)
