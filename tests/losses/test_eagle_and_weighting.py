"""Eagle and CoV compared with the official programs, and the variants of Eagle."""

import json

import numpy as np
import pytest
import torch

from cmrrecon.losses.eagle import eagle_loss
from cmrrecon.losses.weighting import CoefficientOfVariation

ENTRIES = [
    f"{size}/{kind}"
    for size in "ac"
    for kind in ("orig_p3_c0.5", "orig_p5_c0.35", "hyper_p5_c0.35", "hyper_p3_c0.5")
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_eagle_agrees_with_the_official_programs(golden, entry):
    values, expected = (
        np.load(golden / "eagle" / "eagle.npz"),
        json.loads((golden / "eagle" / "eagle.json").read_text())["entries"],
    )
    size, settings = entry.split("/")
    kind, patch, cutoff = settings.split("_")
    image = torch.from_numpy(values[f"{size}_output"])[:, 0].requires_grad_()
    target = torch.from_numpy(values[f"{size}_target"])[:, 0]
    variant = {"orig": "original", "hyper": "hypercmr"}[kind]
    loss = eagle_loss(
        image, target, patch=int(patch[1:]), cutoff=float(cutoff[1:]), variant=variant
    )
    loss.backward()
    assert loss.item() == pytest.approx(expected[entry]["loss_f32"], rel=1e-5)
    gradient = torch.from_numpy(values[f"{size}_{settings}_grad"])[:, 0]
    torch.testing.assert_close(
        image.grad, gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max())
    )


def test_the_intended_high_pass_ignores_slow_changes():
    """A slow change of the local variance is a low frequency in Eagle's maps."""
    y, x = torch.meshgrid(torch.arange(80.0), torch.arange(80.0), indexing="ij")
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(1, 80, 80, generator=generator)
    slow = texture * (1 + 0.3 * torch.cos(2 * torch.pi * y / 80))
    fast = texture * (1 + 0.3 * torch.cos(2 * torch.pi * (x + y) / 12))
    high = [float(eagle_loss(image, texture)) for image in (slow, fast)]
    low = [float(eagle_loss(image, texture, variant="hypercmr")) for image in (slow, fast)]
    assert high[1] > 1.5 * high[0]
    assert high[1] / high[0] > 1.5 * low[1] / low[0]


@pytest.mark.parametrize("variant", ["original", "hypercmr", "high-pass"])
def test_eagle_is_zero_for_equal_images_with_finite_gradients(variant):
    target = torch.rand(2, 30, 40, generator=torch.Generator().manual_seed(0))
    target[:, :15] = 0
    image = target.clone().requires_grad_()
    loss = eagle_loss(image, target, variant=variant)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert image.grad.isfinite().all()


def test_samples_of_a_batch_are_independent_in_the_high_pass():
    images = torch.rand(2, 30, 40, generator=torch.Generator().manual_seed(0))
    targets = torch.rand(2, 30, 40, generator=torch.Generator().manual_seed(1))
    alone = [eagle_loss(images[i : i + 1], targets[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(eagle_loss(images, targets), sum(alone) / 2)


@pytest.mark.parametrize(("mode", "decay"), [("full", None), ("decay", 0.9)])
def test_weights_agree_with_the_official_program(golden, mode, decay):
    values = np.load(golden / "cov" / "cov.npz")
    weigh = CoefficientOfVariation(("a", "b", "c"), decay)
    for losses, alphas, total in zip(
        values["losses"], values[f"{mode}_alphas"], values[f"{mode}_loss"], strict=True
    ):
        found, weights = weigh(
            {name: torch.tensor(float(loss)) for name, loss in zip("abc", losses, strict=True)}
        )
        np.testing.assert_allclose(list(weights.values()), alphas, rtol=1e-4, atol=1e-6)
        assert float(found) == pytest.approx(float(total), rel=1e-5)


def test_weights_continue_from_a_checkpoint():
    losses = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    straight, first, second = (CoefficientOfVariation(("a", "b")) for _ in range(3))
    expected = [straight({"a": a, "b": b})[1] for a, b in losses]
    found = [first({"a": a, "b": b})[1] for a, b in losses[:7]]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    found += [second({"a": a, "b": b})[1] for a, b in losses[7:]]
    assert found == expected


def test_a_loss_that_appears_later_starts_its_own_statistics():
    weigh = CoefficientOfVariation(("early", "late"))
    for step in range(5):
        total, weights = weigh(
            {"early": torch.tensor(1.0 + step), "late": None if step < 2 else torch.tensor(0.0)}
        )
        assert weights == {"early": 1.0}
        assert total.isfinite()

    _, weights = weigh({"early": torch.tensor(3.0), "late": torch.tensor(2.0)})
    assert weights == {"early": 0.5, "late": 0.5}
    for loss in (1.0, 0.0, 0.0, 0.0):
        total, weights = weigh({"early": torch.tensor(3.0), "late": torch.tensor(loss)})
        assert total.isfinite()

    assert sum(weights.values()) == pytest.approx(1)


def test_without_losses_the_sum_is_zero():
    total, weights = CoefficientOfVariation(("a",))({"a": None})
    assert (float(total), weights) == (0.0, {})


def test_the_weights_have_no_gradient():
    weigh = CoefficientOfVariation(("a", "b"))
    a = torch.tensor(2.0, requires_grad=True)
    for _ in range(4):
        a.grad = None
        total, weights = weigh({"a": a, "b": torch.tensor(1.0)})
        total.backward()
    assert float(a.grad) == pytest.approx(weights["a"])
