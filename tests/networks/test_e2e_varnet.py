import pytest
import torch
from torch import nn

from cmrrecon.networks.e2e_varnet import E2EVarNet, NormUnet
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c

SMALL = {"channels": 4, "pools": 2, "sensitivity_channels": 4, "sensitivity_pools": 2}


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def test_the_number_of_parameters_is_that_of_the_paper():
    """Counted layer by layer it is 30 million, as on the fastMRI leaderboard."""

    def body(c, images=1):
        widths = [c * 2**level for level in range(5)]
        down = sum(
            9 * a * b + 9 * b * b for a, b in zip([2 * images, *widths], widths, strict=False)
        )
        up = sum(4 * 2 * w * w + 9 * 2 * w * w + 9 * w * w for w in widths[:-1])
        return down + up + 2 * images * (c + 1)

    assert sum(p.numel() for p in E2EVarNet().parameters()) == 12 * (body(18) + 1) + body(8)
    assert sum(p.numel() for p in E2EVarNet(frames=5).cascades[0].parameters()) == body(18, 5) + 1


def test_with_unets_of_zero_output_the_measured_kspace_stays():
    network = E2EVarNet(cascades=2, **SMALL)
    kspace, mask = random(1, 1, 3, 32, 40), torch.ones(1, 1, 32, 1, dtype=torch.bool)
    for cascade in network.cascades:
        cascade.model.forward = torch.zeros_like
    with torch.no_grad():
        output = network(kspace, mask, acs=8)
    torch.testing.assert_close(output.kspace, kspace[:, 0])
    torch.testing.assert_close(output.image, rss(ifft2c(kspace[:, 0])))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_measured_samples_are_pulled_towards_the_data(weight):
    network = E2EVarNet(cascades=1, **SMALL)
    mask = torch.zeros(1, 1, 1, 1, 40, dtype=torch.bool)
    mask[..., ::2] = True
    k, y, s = (
        random(1, 1, 3, 32, 40),
        random(1, 1, 3, 32, 40, seed=1) * mask,
        random(1, 1, 3, 32, 40, seed=2),
    )
    cascade = network.cascades[0]
    cascade.model.forward = torch.zeros_like
    nn.init.constant_(cascade.dc_weight, weight)

    with torch.no_grad():
        stepped = cascade(k, y, mask, s)
    torch.testing.assert_close(stepped, torch.where(mask, (1 - weight) * k + weight * y, k))


def test_norm_unet_standardises_real_and_imaginary_parts_separately():
    """A scale and offset of the imaginary part do not affect the real part."""
    torch.manual_seed(0)
    unet, x = NormUnet(2, 4, 2).double(), random(1, 2, 33, 40).to(torch.complex128)
    with torch.no_grad():
        before, after = unet(x), unet(torch.complex(x.real, 1e3 * x.imag + 5))
    torch.testing.assert_close(after.real, before.real)
    torch.testing.assert_close(after.imag, 1e3 * before.imag + 5)


def test_maps_depend_on_the_calibration_lines_only():
    torch.manual_seed(0)
    network = E2EVarNet(cascades=1, **SMALL)
    kspace, mask = random(1, 1, 3, 32, 40), torch.ones(1, 1, 32, 1, dtype=torch.bool)
    other = kspace.clone()
    other[..., :12, :] += 1
    other[..., 20:, :] -= 1

    with torch.no_grad():
        maps = network.sens_net(kspace, mask, acs=8)
        assert torch.equal(network.sens_net(other, mask, acs=8), maps)
        assert not torch.allclose(network.sens_net(other, mask, acs=20), maps, atol=1e-2)


def test_adjacent_frames_are_used():
    torch.manual_seed(0)
    network = E2EVarNet(cascades=1, frames=3, **SMALL)
    kspace, mask = random(1, 3, 3, 32, 40), torch.ones(1, 1, 32, 1, dtype=torch.bool)
    other = kspace.clone()
    other[:, 0] = random(1, 3, 32, 40, seed=5)
    with torch.no_grad():
        assert not torch.allclose(
            network(other, mask, acs=8).image, network(kspace, mask, acs=8).image, rtol=1e-3
        )


def test_the_output_of_the_unet_is_subtracted():
    """If the U-Net returns its input and all coils have the same map, nothing is left."""
    cascade, k = (
        E2EVarNet(cascades=1, **SMALL).cascades[0],
        random(1, 1, 1, 32, 40).expand(-1, -1, 4, -1, -1),
    )
    cascade.model.forward = lambda x: x
    s = torch.full_like(k, 0.5)
    with torch.no_grad():
        left = cascade(k, k, torch.ones(1, 1, 1, 1, 40, dtype=torch.bool), s)
    assert float(left.abs().max()) < 1e-5
