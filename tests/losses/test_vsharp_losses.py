"""The losses of vSHARP and their gradients, compared with the official program."""

import golden_vsharp
import pytest
import torch
from golden_vsharp import mask_of, ours

from cmrrecon.losses import fidelity
from cmrrecon.losses.high_frequency import high_frequency_loss, laplacian_of_gaussian
from cmrrecon.losses.ssim import absolute_loss, largest, ssim_loss
from cmrrecon.losses.volume_ssim import volume_ssim_loss
from cmrrecon.networks.vsharp_model import combined
from cmrrecon.operators.fourier import fft2c

CASES = ("loss_uniform_2d", "loss_challenge_2d", "loss_challenge_3d")
KSPACE = {
    "kspace_nmae_loss": fidelity.normalised_absolute_loss,
    "kspace_nmse_loss": fidelity.normalised_squared_loss,
}


def ssim_of_batch(image, target):
    return ssim_loss(image, target, largest(target).max().expand(len(target)))


IMAGES = {
    "l1_loss": lambda image, target: absolute_loss(image, target, torch.ones(len(target))),
    "ssim_loss": ssim_of_batch,
    "ssim_3d_loss": volume_ssim_loss,
    "hfen_l1_norm_loss": high_frequency_loss,
    "hfen_l2_norm_loss": lambda image, target: high_frequency_loss(image, target, "l2"),
}


def outputs(case):
    """Return the images of all steps (batch or frame, y, x), and the predicted k-space."""
    network = case.network
    y, first = (
        ours(case.arrays[f"in/{key}"], case.dims) for key in ("masked_kspace", "sensitivity_map")
    )
    mask = mask_of(case.arrays["in/sampling_mask"], case.dims).mT
    images = network.sens_net.refined(first.mT, None, False)
    maps = images / images.abs().square().sum(2, keepdim=True).sqrt()

    adjoint = combined(y.mT, maps)
    solutions = network.admm(adjoint, adjoint, mask, maps)
    model = fft2c(solutions[-1][:, :, None] * maps)
    predicted = torch.where(mask[:, :, None], y.mT, model).mT
    return [image.abs().flatten(0, 1).mT for image in solutions], predicted


def target_of(case):
    return torch.from_numpy(case.arrays["in/target"]).flatten(0, -3).mT


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_agree_with_the_official_ones(golden, name):
    """Images have the weights 0.1 to 1, k-space has the weight 1."""
    case, facts = golden_vsharp.case(golden, name), golden_vsharp.facts(golden)[name]
    images, predicted = outputs(case)
    target, kspace = target_of(case), ours(case.arrays["in/kspace"], case.dims)

    total = torch.zeros(())
    for loss, weight in facts["losses"]:
        if loss in KSPACE:
            value = weight * KSPACE[loss](predicted, kspace)
        else:
            ramp = torch.logspace(-1, 0, len(images))
            values = torch.stack([IMAGES[loss](image, target) for image in images])
            value = weight * (ramp * values).sum()
        assert float(value.detach()) == pytest.approx(case.arrays[f"loss/{loss}"].item(), rel=1e-5)
        total = total + value
    assert float(total.detach()) == pytest.approx(facts["total"], rel=1e-5)

    total.backward()
    gradients = {key: p.grad for key, p in case.network.named_parameters()}
    stored = [key for key in case.arrays if key.startswith("grad/")]
    for key in stored:
        expected = torch.from_numpy(case.arrays[key])
        gradient = gradients[our_name(key)]
        assert float((gradient - expected).abs().max()) <= 2e-4 * float(expected.abs().max()), key
    assert len(stored) > 10

    for key, norm in facts["gradient_norms"].items():
        assert float(gradients[our_name(key)].norm()) == pytest.approx(norm, rel=2e-4), key
    assert len(facts["gradient_norms"]) == len(gradients)


def our_name(key):
    _, part, name = key.split("/")
    name = name.replace("up_conv.1.0.", "up_conv.1.").replace("up_conv.1.1.", "conv_out.")
    return f"admm.{name}" if part == "model" else f"sens_net.norm_unet.{name}"


def test_the_kernel_is_the_official_one(golden):
    case = golden_vsharp.case(golden, "loss_challenge_2d")
    expected = torch.from_numpy(case.arrays["aux/hfen_kernel"]).double()
    torch.testing.assert_close(laplacian_of_gaussian(), expected, rtol=1e-5, atol=1e-7)


LOSSES = [*IMAGES.values()]


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_images_have_no_loss_and_empty_ones_a_finite_gradient(loss):
    target = torch.rand(8, 20, 24)
    assert float(loss(target, target)) == pytest.approx(0, abs=1e-6)
    image = torch.zeros(8, 20, 24, requires_grad=True)
    for reference in (torch.zeros_like(target), target):
        value = loss(image, reference)
        value.backward()
        assert value.isfinite()
        assert image.grad.isfinite().all()


@pytest.mark.parametrize("loss", KSPACE.values())
def test_errors_of_kspace_do_not_depend_on_its_scale(loss):
    k, t = (torch.randn(2, 3, 8, 8, dtype=torch.complex64) for _ in range(2))
    assert float(loss(t, t)) == 0
    torch.testing.assert_close(loss(1e6 * k, 1e6 * t), loss(k, t))
    assert float(loss(0 * k, 0 * t)) == 0
    assert float(loss(2 * t, t)) == pytest.approx(1)


def test_few_frames_shorten_the_windows_in_time():
    """With one frame, the windows are those of single images."""
    image, target = torch.rand(2, 1, 20, 24)
    torch.testing.assert_close(volume_ssim_loss(image, target), ssim_of_batch(image, target))
