import pytest
import torch
from torch import nn
from torch.nn import functional

from cmrrecon.networks.patch_gan import PatchGAN


def test_number_of_parameters():
    assert sum(p.numel() for p in PatchGAN().parameters()) == 2_763_713


def test_layers():
    convolutions = [layer for layer in PatchGAN().layers if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.stride[0]) for c in convolutions] == [
        (2, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 1), (512, 1, 1),
    ]  # fmt: skip
    assert all(
        c.kernel_size == (4, 4) and c.padding == (1, 1) and c.bias is not None for c in convolutions
    )


def test_a_logit_depends_on_70_pixels():
    torch.manual_seed(0)
    network = PatchGAN(channels=4)
    # Norms use the whole image. Without them a logit depends on its patch only.
    network.layers = nn.Sequential(
        *(layer for layer in network.layers if not isinstance(layer, nn.InstanceNorm2d))
    )
    candidate = torch.rand(1, 160, 160, requires_grad=True)
    logits = network(candidate, torch.ones(1, 160, 160))
    logits[0, 0, 9, 9].backward()
    rows, columns = candidate.grad[0].nonzero().T
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 70


@pytest.mark.parametrize(("y", "x"), [(24, 24), (51, 112), (204, 448)])
def test_images_may_have_any_size(y, x):
    torch.manual_seed(0)
    network = PatchGAN(channels=4)
    with torch.no_grad():
        logits = network(torch.rand(2, y, x), torch.rand(2, y, x))
    assert logits.shape == (2, 1, y // 8 - 2, x // 8 - 2)
    assert logits.isfinite().all()


def test_logits_depend_on_both_images_but_not_on_their_scale():
    torch.manual_seed(0)
    network, candidate, zero_filled = (
        PatchGAN(channels=4),
        torch.rand(2, 40, 48),
        torch.rand(2, 40, 48),
    )

    with torch.no_grad():
        logits = network(candidate, zero_filled)
        torch.testing.assert_close(
            network(1e-9 * candidate, 1e-9 * zero_filled), logits, rtol=1e-4, atol=1e-5
        )
        assert not torch.allclose(network(2 * candidate, zero_filled), logits, atol=1e-3)
        assert not torch.allclose(network(candidate, zero_filled.flip(1)), logits, atol=1e-3)
        assert network(0 * candidate, 0 * zero_filled).isfinite().all()


def test_the_config_restores_the_same_network():
    network = PatchGAN(channels=8)
    again = PatchGAN(**network.config)
    again.load_state_dict(network.state_dict())
    assert again.config == network.config


def test_the_discriminator_learns_and_the_candidate_receives_gradients():
    torch.manual_seed(0)
    network = PatchGAN(channels=4)
    real, zero_filled = torch.rand(1, 40, 48), torch.rand(1, 40, 48)
    fake = functional.avg_pool2d(real, 3, stride=1, padding=1).requires_grad_()
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []

    for _ in range(10):
        of_real, of_fake = network(real, zero_filled), network(fake, zero_filled)
        loss = functional.softplus(-of_fake).mean() + functional.softplus(of_real).mean()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    assert losses[-1] < 0.5 * losses[0]
    assert fake.grad.any()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
