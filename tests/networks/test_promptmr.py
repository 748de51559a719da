"""PromptMR and PromptMR+: training, shapes, windows without signal, and small helpers."""

import pytest
import torch
from refusals import refused

from cmrrecon.networks.layers import safe_root, safe_rss
from cmrrecon.networks.prompt_unet import UnetConfig
from cmrrecon.networks.promptmr import PromptMR
from cmrrecon.networks.promptmr_plus import PromptMRPlus
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.simulation import simulate

TINY = UnetConfig(8, (8, 8, 8), (4, 4, 4), (2, 2, 2), (4, 4, 4), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1)
SIZES = {"cascades": 2, "frames": 3, "unet": TINY, "sensitivity_unet": TINY}
MAKERS = {
    "promptmr kspace": lambda **more: PromptMR(**SIZES, **more),
    "promptmr image": lambda **more: PromptMR(variant="image", **SIZES, **more),
    "promptmr-plus image": lambda **more: PromptMRPlus(history=1, **SIZES, **more),
    "promptmr-plus kspace": lambda **more: PromptMRPlus(
        variant="kspace", history=1, **SIZES, **more
    ),
}


@pytest.fixture(params=MAKERS)
def network(request):
    torch.manual_seed(0)
    return MAKERS[request.param]()


def window(coils=3, y=37, x=44, samples=False):
    made = simulate("cine", frames=3, slices=1, coils=coils, y=y, x=x, seed=0)
    mask = torch.zeros(1, 3, y, x if samples else 1, dtype=torch.bool)
    for frame in range(3):
        mask[:, frame, frame::3] = True
    mask[
        :, :, y // 2 - 6 : y // 2 + 6, (slice(x // 2 - 6, x // 2 + 6) if samples else slice(None))
    ] = True
    kspace = made.scan.read_slice(0)[None]
    return kspace * mask[:, :, None], mask, made.image[1, 0].abs()[None]


def test_training_lowers_the_loss(network):
    kspace, mask, truth = window()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = (network(kspace, mask).image - truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("samples", [False, True], ids=["lines", "samples"])
@pytest.mark.parametrize("coils", [1, 32])
def test_shapes(network, coils, samples):
    kspace, mask, _ = window(coils, 33, 37, samples)
    with torch.no_grad():
        out = network(kspace, mask)
    assert out.image.shape == (1, 33, 37)
    assert out.kspace.shape == out.maps.shape == (1, coils, 33, 37)
    assert torch.isfinite(out.image).all()


@pytest.mark.parametrize("name", [name for name in MAKERS if "kspace" in name])
def test_measured_kspace_is_kept(name):
    """With U-Nets of zero output a fully sampled window does not change."""
    network = MAKERS[name]()
    kspace = simulate("cine", frames=3, slices=1, coils=3, y=37, x=44, seed=0).scan.read_slice(0)[
        None
    ]

    with torch.no_grad():
        for cascade in network.cascades:
            cascade.model.register_forward_hook(
                lambda module, inputs, out: (torch.zeros_like(out[0]), *out[1:])
            )
        out = network(kspace, torch.ones(1, 1, 37, 1, dtype=torch.bool))

    torch.testing.assert_close(out.kspace, kspace[:, 1])
    torch.testing.assert_close(out.image, rss(ifft2c(kspace[:, 1])))


def test_the_samples_of_a_batch_are_independent(network):
    one, mask, _ = window()
    other = one.flip(-1).contiguous()
    with torch.no_grad():
        both = network(torch.cat([one, other]), torch.cat([mask, mask])).image
        alone = torch.cat([network(one, mask).image, network(other, mask).image])
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-5 * float(alone.max()))


def test_lines_are_the_same_as_all_their_samples(network):
    kspace, mask, _ = window()
    maps = ifft2c(kspace)
    maps = maps / rss(maps)[:, :, None]
    samples = mask.expand(-1, -1, -1, kspace.shape[-1])
    lines, single = (network(kspace, kind, 12, maps=maps) for kind in (mask, samples))
    largest = float(single.image.detach().max())
    torch.testing.assert_close(lines.image, single.image, atol=1e-5 * largest, rtol=1e-4)
    torch.testing.assert_close(lines.kspace, single.kspace, atol=1e-4 * largest, rtol=1e-3)


def test_given_maps_are_used(network):
    kspace, mask, _ = window()
    with torch.no_grad():
        maps = network.sens_net(kspace, mask)
        torch.testing.assert_close(
            network(kspace, mask, maps=maps).image, network(kspace, mask).image
        )
        assert not torch.allclose(
            network(kspace, mask, maps=maps.roll(5, -1)).image, network(kspace, mask).image
        )


def test_gradients_are_finite_for_a_window_without_signal(network):
    kspace, mask, truth = window()
    both = torch.cat([kspace, torch.zeros_like(kspace)])
    (network(both, torch.cat([mask, mask])).image - truth).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("kspace", "mask", "code"),
    [
        ((1, 5, 2, 8, 8), (1, 5, 8, 1), "window-width"),
        ((1, 3, 2, 8, 8), (1, 2, 8, 1), "shape-mismatch"),
        ((1, 3, 2, 8, 8), (1, 3, 8, 4), "shape-mismatch"),
        ((3, 2, 8, 8), (3, 8, 1), "shape-mismatch"),
    ],
)
def test_windows_that_do_not_fit_are_refused(kspace, mask, code):
    with refused(code):
        MAKERS["promptmr kspace"]()(
            torch.zeros(kspace, dtype=torch.complex64), torch.ones(mask, dtype=torch.bool)
        )


def test_safe_root_is_the_square_root_with_a_finite_gradient():
    x = torch.tensor([0.0, 4.0, 9.0], requires_grad=True)
    root = safe_root(x)
    root.sum().backward()
    assert root.tolist() == [0, 2, 3]
    assert safe_root(torch.tensor(float("nan"))).isnan()
    torch.testing.assert_close(x.grad, torch.tensor([0, 1 / 4, 1 / 6]))
    images = torch.randn(2, 3, 4, 5, dtype=torch.complex64)
    torch.testing.assert_close(safe_rss(images), rss(images))
