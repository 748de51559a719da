"""The losses of SDUM compared with the official ones, values and gradients."""

import json

import pytest
import torch
from refusals import refused
from safetensors.torch import load_file

from cmrrecon.losses.gaussian_ssim import absolute_loss, equally_bright, gaussian_ssim_loss


def same(images):
    return images


@pytest.mark.parametrize(
    ("name", "prepared", "absolute"),
    [
        ("ssim", same, 0),
        ("ssim_l1", same, 1),
        ("ssim_normalised", equally_bright, 0),
        ("ssim_l1_normalised", equally_bright, 1),
    ],
)
def test_values_and_gradients_agree_with_the_official_ones(golden, name, prepared, absolute):
    folder = golden / "sdum" / "losses"
    arrays = load_file(folder / "data.safetensors")
    # The official values are of single precision, and as far from these as from ours in single.
    image = arrays["output"][:, 0].double().requires_grad_()
    target = arrays["target"][:, 0].double()
    expected = json.loads((folder / "losses.json").read_text())["losses"][name]

    a, b = prepared(image), prepared(target)
    loss = 10 * gaussian_ssim_loss(a, b) + absolute * absolute_loss(a, b)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(expected["value"], rel=1e-5)
    assert float(image.grad.norm()) == pytest.approx(expected["gradient_norm"], rel=1e-4)
    for *place, value in expected["gradient_at"]:
        assert float(image.grad[tuple(place)]) == pytest.approx(value, rel=1e-3)


def test_equal_images_have_no_loss_and_empty_ones_no_gradient_that_is_not_finite():
    image = torch.rand(2, 20, 30, generator=torch.Generator().manual_seed(0))
    assert float(gaussian_ssim_loss(image, image)) == pytest.approx(0, abs=1e-6)

    empty = torch.zeros(2, 20, 30, requires_grad=True)
    gaussian_ssim_loss(equally_bright(empty), torch.zeros(2, 20, 30)).backward()
    assert empty.grad.isfinite().all()


def test_images_smaller_than_a_window_are_refused():
    with refused("images-too-small"):
        gaussian_ssim_loss(torch.ones(1, 10, 30), torch.ones(1, 10, 30))
