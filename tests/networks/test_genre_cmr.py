"""GENRE-CMR, its predecessor SR-GAN, and HyperCMR."""

import pytest
import torch

from cmrrecon.networks.genre_cmr import GenreCMR
from cmrrecon.networks.hypercmr import HyperCMR
from cmrrecon.networks.prompt_unet import UnetConfig
from cmrrecon.networks.promptmr import PromptMR
from cmrrecon.networks.sr_gan import SRGAN
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import fft2c, ifft2c

TINY = UnetConfig(4, (4, 8, 8), (4, 4, 4), (2, 2, 2), (4, 4, 4), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1)
SIZES = {"cascades": 3, "frames": 3, "unet": TINY, "sensitivity_unet": TINY}


@pytest.fixture
def window():
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 25, 31, generator=generator), 5, 1, 2)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 25), torch.linspace(-1, 1, 31), indexing="ij")
    coils = torch.stack(
        [
            torch.exp(-((y - a) ** 2) - (x - b) ** 2) * torch.exp(1j * a * x)
            for a, b in [(-1, 0), (1, 0), (0, 1)]
        ]
    )
    mask = torch.zeros(1, 3, 25, 1, dtype=torch.bool)
    mask[:, :, 8:17] = True

    for frame in range(3):
        mask[:, frame, frame::3] = True
    full = fft2c(coils * image[:, :, None])
    return full * mask[:, :, None], mask, full


def made(kind=GenreCMR, **parameters):
    torch.manual_seed(1)
    return kind(**{**SIZES, **parameters})


class ConstantImages(torch.nn.Module):
    """Returns the same images for any input."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def forward(self, x, history, carried):
        return self.images, history, x


def test_all_cascades_are_returned_in_training(window):
    kspace, mask, _ = window
    out = made()(kspace, mask)
    assert len(out.images) == len(out.kspaces) == len(out.features) == 3
    assert out.image is out.images[-1]
    assert out.kspace is out.kspaces[-1]
    assert out.image.shape == (1, 25, 31)
    assert out.kspace.shape == out.maps.shape == (1, 3, 25, 31)
    assert out.features[0].shape == (1, TINY.features, 31, 25)
    for image, k in zip(out.images, out.kspaces, strict=True):
        torch.testing.assert_close(image, rss(ifft2c(k)))


def test_gates_start_closed_so_that_the_network_starts_as_sr_gan(window):
    kspace, mask, _ = window
    with torch.no_grad():
        torch.testing.assert_close(made()(kspace, mask).image, made(SRGAN)(kspace, mask).image)
        assert not torch.allclose(
            made(gate="one")(kspace, mask).image, made(SRGAN)(kspace, mask).image, rtol=1e-3
        )


def test_with_gates_of_one_the_residual_accumulates(window):
    """With U-Nets that always return u, F_t = -(t + 1) u.

    Where nothing was measured, k_3 is then y - (1 + 2 + 3) F S u.
    """
    kspace, mask, _ = window
    network = made(gate="one")
    u = torch.randn(1, 3, 31, 25, dtype=torch.complex64)
    for cascade in network.cascades:
        cascade.model = ConstantImages(u)

    out = network(kspace, mask)
    added = -fft2c(u.mT[:, 1, None] * out.maps)
    outside = ~mask[:, 1, None].expand_as(added)
    torch.testing.assert_close(
        (out.kspace - kspace[:, 1])[outside], 6 * added[outside], atol=1e-4, rtol=1e-4
    )
    none = made(residual="none")

    for cascade in none.cascades:
        cascade.model = ConstantImages(u)
    torch.testing.assert_close(
        (none(kspace, mask).kspace - kspace[:, 1])[outside],
        3 * added[outside],
        atol=1e-4,
        rtol=1e-4,
    )


def test_measured_samples_are_restored(window):
    """With steps of one and U-Nets of zero output, measured samples equal the data."""
    kspace, mask, _ = window
    network = made()
    zero = torch.zeros(1, 3, 31, 25, dtype=torch.complex64)
    for cascade in network.cascades:
        cascade.model = ConstantImages(zero)
    torch.testing.assert_close(network(kspace, mask).kspace, kspace[:, 1])


@pytest.mark.parametrize("residual", ["image", "feature", "none"])
@pytest.mark.parametrize("gate", ["learnt", "one"])
def test_training_reaches_every_parameter(window, residual, gate):
    kspace, mask, full = window
    network = made(residual=residual, gate=gate)
    target = rss(ifft2c(full[:, 1]))
    out = network(kspace, mask)
    sum((image - target).square().mean() for image in out.images).backward()
    silent = {name for name, p in network.named_parameters() if p.requires_grad and p.grad is None}
    assert not silent
    gates = [cascade.gate.requires_grad for cascade in network.cascades]
    assert gates == (
        [False, True, True] if residual != "none" and gate == "learnt" else [False] * 3
    )


def test_the_loss_falls(window):
    kspace, mask, full = window
    network, target = made(), rss(ifft2c(full[:, 1]))
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []

    for _ in range(8):
        loss = (network(kspace, mask).image - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("kind", [GenreCMR, SRGAN])
def test_the_mean_of_the_image_does_not_grow_with_the_cascades(window, kind):
    """U-Nets standardise their input and add its mean back to their output.

    The output must therefore be subtracted, as in PromptMR.
    """
    kspace, mask, full = window
    network = made(kind, cascades=8).eval()
    for cascade in network.cascades:
        torch.nn.init.zeros_(cascade.model.unet.conv_last.weight)
    with torch.no_grad():
        assert network(kspace, mask).image.mean() < 3 * rss(ifft2c(full[:, 1])).mean()


def test_only_the_last_cascade_is_returned_outside_training(window):
    kspace, mask, _ = window
    network = made()
    with torch.no_grad():
        every, last = network(kspace, mask), network.eval()(kspace, mask)
    assert len(last.images) == len(last.kspaces) == len(last.features) == 1
    assert torch.equal(last.image, every.image)


def test_prompts_can_be_frozen():
    assert all(
        p.requires_grad for name, p in made().named_parameters() if name.endswith("prompt_param")
    )
    frozen = made(trainable_prompts=False)
    assert not any(
        p.requires_grad for name, p in frozen.named_parameters() if name.endswith("prompt_param")
    )


@pytest.mark.parametrize("residual", ["image", "feature"])
def test_checkpointing_does_not_change_gradients(window, residual):
    kspace, mask, _ = (part.to(torch.complex128) if part.is_complex() else part for part in window)
    gradients = []
    for checkpointing in (False, True):
        network = made(residual=residual, checkpointing=checkpointing, gate="one").double()
        out = network(kspace, mask)
        (
            out.image.sum() + out.images[0].sum() + sum(f.square().mean() for f in out.features)
        ).backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])

    assert len(gradients[0]) == len(gradients[1]) > 50
    for a, b in zip(*gradients, strict=True):
        # Not exactly equal, because coil images are summed in groups.
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_the_output_scales_with_the_input(window, factor):
    kspace, mask, _ = window
    network = made(gate="one")
    with torch.no_grad():
        torch.testing.assert_close(
            network(factor * kspace, mask).image / factor,
            network(kspace, mask).image,
            rtol=1e-3,
            atol=1e-4,
        )


def test_zero_kspace_gives_zeros(window):
    kspace, mask, _ = window
    out = made()(torch.zeros_like(kspace), mask)
    assert not out.image.any()
    assert not out.kspace.any()


def test_hypercmr_is_promptmr_and_returns_kspace(window):
    kspace, mask, _ = window
    torch.manual_seed(1)
    hyper = HyperCMR(**SIZES)
    prompt = PromptMR(**SIZES)
    prompt.load_state_dict(hyper.state_dict())
    with torch.no_grad():
        ours, theirs = hyper(kspace, mask), prompt(kspace, mask)
    assert torch.equal(ours.image, theirs.image)
    torch.testing.assert_close(rss(ifft2c(ours.kspace)), ours.image)
