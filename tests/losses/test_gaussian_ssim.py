"""The losses of SDUM compared with the official ones, values and gradients."""

import json

import pytest
import torch
from refusals import refused
from safetensors.torch import load_file

from cmrrecon.losses.gaussian_ssim import gaussian_ssim_loss, similarity_loss


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ssim", {}),
        ("ssim_l1", {"absolute": 0.1}),
        ("ssim_normalised", {"normalised": True}),
        ("ssim_l1_normalised", {"absolute": 0.1, "normalised": True}),
    ],
)
def test_values_and_gradients_agree_with_the_official_ones(golden, name, options):
    folder = golden / "sdum" / "losses"
    arrays = load_file(folder / "data.safetensors")
    # The official values are of single precision, and as far from these as from ours in single.
    image = arrays["output"][:, 0].double().requires_grad_()
    target = arrays["target"][:, 0].double()
    expected = json.loads((folder / "losses.json").read_text())["losses"][name]

    loss = 10 * similarity_loss(image, target, **options)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(expected["value"], rel=1e-5)
    assert float(image.grad.norm()) == pytest.approx(expected["gradient_norm"], rel=1e-4)
    for *place, value in expected["gradient_at"]:
        assert float(image.grad[tuple(place)]) == pytest.approx(value, rel=1e-3)


def test_equal_images_have_no_loss_and_empty_ones_no_gradient_that_is_not_finite():
    image = torch.rand(2, 20, 30, generator=torch.Generator().manual_seed(0))
    assert float(gaussian_ssim_loss(image, image)) == pytest.approx(0, abs=1e-6)

    empty = torch.zeros(2, 20, 30, requires_grad=True)
    similarity_loss(empty, torch.zeros(2, 20, 30), absolute=1.0, normalised=True).backward()
    assert empty.grad.isfinite().all()


def test_images_smaller_than_a_window_are_refused():
    with refused("images-too-small"):
        gaussian_ssim_loss(torch.ones(1, 10, 30), torch.ones(1, 10, 30))
