"""The 3-D layers of vSHARP without gradients, compared with the plain ones."""

import pytest
import torch
from torch.nn import functional

from cmrrecon.networks import vsharp_inplace as inplace
from cmrrecon.networks import vsharp_unet
from cmrrecon.networks.vsharp import VSharp3D, VSharpSizes
from cmrrecon.networks.vsharp_unet import Initialiser, PlainUnet

SIZES = [(4, 8, 12), (7, 13, 9), (2, 5, 10), (9, 11, 11)]


def close(ours, plain):
    assert ours.shape == plain.shape
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12 * float(plain.abs().max()))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_unet_in_time_gives_the_plain_result(size, batch):
    network = PlainUnet(3, 6, 2, 4, 2).double()
    x = torch.randn(batch, 6, *size, dtype=torch.float64)
    plain = network(x).detach()
    with torch.no_grad():
        close(network(x), plain)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_an_initialiser_in_time_gives_the_plain_result(length, monkeypatch):
    network = Initialiser(3, (4, 6), (1, 3), 2, "prelu").double()
    x = torch.randn(2, 2, length, 12, 9, dtype=torch.float64)
    plain = network(x).detach()
    with torch.no_grad():
        close(network(x), plain)
        monkeypatch.setattr(vsharp_unet, "INITIAL_SLAB", 150)
        close(network(x), plain)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_the_statistics_are_exact_even_far_from_zero(offset):
    x = torch.randn(1, 3, 4, 70, 50) + offset
    exact = functional.leaky_relu(
        functional.instance_norm(x.double(), eps=inplace.EPSILON), inplace.SLOPE
    )
    ours = inplace.activated(x.clone())
    assert float((ours - exact).abs().max()) < 2e-6 * max(1.0, offset)


def test_half_of_a_series_is_the_average_of_eight():
    x = torch.randn(2, 3, 5, 7, 8, dtype=torch.float64)
    close(inplace.halved(x), functional.avg_pool3d(x, 2))


def test_the_predicted_memory_counts_copies_of_weights():
    small, large = (
        VSharp3D(cascades=1, sizes=VSharpSizes(filters=n, pools=2, sensitivity_filters=0)).eval()
        for n in (4, 32)
    )
    size = {"frames": 4, "coils": 2, "y": 8, "x": 8, "lines": True}
    weight = max(p.nbytes for p in large.parameters())
    difference = large.cost(**size).nbytes - small.cost(**size).nbytes
    assert difference > 2 * weight
