"""SSIM, L1, edges, distribution alignment, adversarial and perceptual losses."""

import pytest
import torch
from refusals import refused
from torch import nn
from torch.nn import functional

from cmrrecon.losses.adversarial import discriminator_loss, generator_loss
from cmrrecon.losses.distribution_alignment import (
    DistributionAlignment,
    moments,
    symmetric_divergence,
)
from cmrrecon.losses.edge_aware import edge_aware_loss, edge_region, edge_strength
from cmrrecon.losses.perceptual import PerceptualLoss, vgg19
from cmrrecon.losses.ssim import l1_loss, ssim_loss
from cmrrecon.metrics import ssim
from cmrrecon.networks.patch_gan import PatchGAN


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def square(size=40):
    image = torch.zeros(1, size, size)
    image[:, 12:28, 12:28] = 1
    return image


def test_ssim_loss_is_one_minus_the_metric():
    image, target = rand(3, 20, 24), rand(3, 20, 24, seed=1)
    expected = 1 - ssim(target, image, target.amax((1, 2))).mean()
    assert ssim_loss(image, target).item() == pytest.approx(expected.item(), rel=1e-5)
    assert ssim_loss(target, target).item() == pytest.approx(0, abs=1e-6)
    volume = torch.full((3,), 2.0)
    assert ssim_loss(image, target, volume).item() == pytest.approx(
        1 - ssim(target, image, 2.0).mean().item(), rel=1e-5
    )


@pytest.mark.parametrize("loss", [ssim_loss, l1_loss, edge_aware_loss])
def test_losses_are_invariant_to_scale(loss):
    image, target = rand(2, 30, 24), rand(2, 30, 24, seed=1)
    for scale in (1e-8, 1e5):
        assert loss(scale * image, scale * target).item() == pytest.approx(
            loss(image, target).item(), rel=1e-3
        )


@pytest.mark.parametrize("loss", [ssim_loss, l1_loss, edge_aware_loss])
def test_empty_images_give_finite_gradients(loss):
    image = torch.zeros(1, 20, 20, requires_grad=True)
    loss(image, torch.zeros(1, 20, 20)).backward()
    assert image.grad.isfinite().all()


def test_edges_are_found_at_steps_of_the_image():
    region = edge_region(square())[0]
    assert region[12, 20]
    assert region[20, 27]
    assert not region[20, 20]
    assert not region[2, 2]
    # The border is no edge.
    assert edge_strength(torch.full((1, 20, 20), 3.0)).max() < 1e-5


def test_the_papers_threshold_of_zero_selects_the_whole_image():
    assert edge_region(rand(1, 20, 20), threshold=0.0).all()
    assert not edge_region(square(), threshold=0.0, inclusive=False).all()
    image, target = rand(1, 20, 20), rand(1, 20, 20, seed=1)
    literal = edge_aware_loss(image, target, threshold=0.0, reduce="image")
    torch.testing.assert_close(literal, ssim_loss(image, target))


def test_only_errors_at_edges_count():
    target = square()
    inside, at_edge = target.clone(), target.clone()
    inside[:, 19:21, 19:21] += 0.5
    at_edge[:, 12:14, 19:21] += 0.5
    assert edge_aware_loss(inside, target).item() == pytest.approx(0, abs=1e-6)
    assert edge_aware_loss(at_edge, target).item() > 1e-3
    assert edge_aware_loss(at_edge, target) > edge_aware_loss(at_edge, target, reduce="image") > 0


def test_divergence_of_gaussians():
    a, b = (torch.zeros(3), torch.ones(3)), (torch.tensor([1.0, 0, 0]), torch.tensor([1.0, 2, 1]))
    expected = 0.5 * ((1 + 1) + (1 + 1) - 2 + 1 / 2 + 2 - 2)
    assert symmetric_divergence(a, b).item() == pytest.approx(expected)
    assert symmetric_divergence(b, a).item() == pytest.approx(expected)
    assert symmetric_divergence(a, a).item() == 0
    assert symmetric_divergence(a, b, "identity").item() == 1


def test_moments_are_over_pixels_and_variances_never_vanish():
    features = rand(1, 4, 6, 7)
    mean, variance = moments(features)
    torch.testing.assert_close(mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(variance, features[0].flatten(1).var(1), rtol=2e-3, atol=0)
    assert (moments(torch.zeros(1, 4, 6, 7))[1] > 0).all()


def test_alignment_compares_with_recent_samples_of_other_domains():
    align = DistributionAlignment(window=2)
    a, b, c = (rand(1, 3, 8, 8, seed=seed) for seed in range(3))
    assert align((a, b), "one") is None
    assert align((b, a), "one") is None
    loss = align((c, c), "two")
    expected = sum(symmetric_divergence(moments(c), moments(x)) / 2 for x in (a, b)) + sum(
        symmetric_divergence(moments(c), moments(x)) / 2 for x in (b, a)
    )
    torch.testing.assert_close(loss, expected)
    align((c, c), "two")
    # Both samples of "one" have left the window.
    assert align((a, a), "two") is None


def test_alignment_has_gradients_of_the_current_sample_and_continues_from_a_checkpoint(tmp_path):
    align = DistributionAlignment()
    old = rand(1, 3, 8, 8).requires_grad_()
    align((old,), "one")
    torch.save(align.state_dict(), tmp_path / "bank.pt")
    again = DistributionAlignment()
    again.load_state_dict(torch.load(tmp_path / "bank.pt", weights_only=True))
    new = rand(1, 3, 8, 8, seed=1).requires_grad_()
    loss = again((new,), "two")
    loss.backward()
    assert old.grad is None
    assert new.grad.any()
    assert loss.item() == align((new,), "two").item()


class Judge(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, candidate, zero_filled):
        return self.weight * (candidate - zero_filled)[:, None]


def test_images_are_detached_for_the_discriminator_which_is_frozen_for_the_generator():
    judge, image, target, zero = (
        Judge(),
        rand(1, 8, 8).requires_grad_(),
        rand(1, 8, 8, seed=1),
        rand(1, 8, 8, seed=2),
    )
    discriminator_loss(judge, [image, image], target, zero).backward()
    assert image.grad is None
    assert judge.weight.grad is not None
    judge.weight.grad = None
    generator_loss(judge, image, zero).backward()
    assert image.grad.any()
    assert judge.weight.grad is None
    assert judge.weight.requires_grad


def test_labels_are_as_in_the_papers():
    """Real is 0 and reconstructed is 1; the generator aims for 0, a logit far below zero."""
    judge, zero = Judge(), torch.zeros(1, 4, 4)
    real, fake = torch.full((1, 4, 4), -20.0), torch.full((1, 4, 4), 20.0)
    assert discriminator_loss(judge, [fake], real, zero).item() == pytest.approx(0, abs=1e-6)
    assert discriminator_loss(judge, [real], fake, zero).item() == pytest.approx(20, rel=1e-3)
    assert generator_loss(judge, real, zero).item() == pytest.approx(0, abs=1e-6)
    assert generator_loss(judge, fake, zero).item() == pytest.approx(20, rel=1e-3)


def test_the_discriminators_loss_is_half_for_the_target_and_half_for_the_mean_of_the_images():
    judge, zero = PatchGAN(channels=4), torch.rand(2, 32, 40)
    target, *images = torch.rand(4, 2, 32, 40)

    def entropy(candidate, label):
        logits = judge(candidate, zero)
        return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    fakes = sum(entropy(image, 1.0) for image in images) / len(images)
    expected = 0.5 * (entropy(target, 0.0) + fakes)
    torch.testing.assert_close(discriminator_loss(judge, images, target, zero), expected)


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg19-dcbb9e9d.pth"
    torch.save(
        {f"features.{name}": value for name, value in vgg19().state_dict().items()}
        | {"classifier.0.bias": torch.zeros(2)},
        path,
    )
    return path


def test_vgg19_has_the_layout_of_torchvision():
    state = vgg19().state_dict()
    assert [int(name.split(".")[0]) for name in state if name.endswith("weight")] == [
        0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34,
    ]  # fmt: skip
    assert state["34.weight"].shape == (512, 512, 3, 3)


@pytest.mark.parametrize("variant", ["standard", "hypercmr"])
def test_perceptual_loss(vgg_file, variant):
    loss = PerceptualLoss(vgg_file, variant)
    target = rand(1, 32, 32)
    image = rand(1, 32, 32, seed=1).requires_grad_()
    value = loss(image, target)
    value.backward()
    assert value.item() > 0
    assert image.grad.any()
    assert loss(target, target).item() == 0
    torch.testing.assert_close(loss(5 * image, 3 * target), value)
    assert not any(p.requires_grad for p in loss.parameters())


def test_other_files_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name in ("other.pth", "text.pth", "absent.pth"):
        with refused("checkpoint-format"):
            PerceptualLoss(tmp_path / name)
