"""Losses in k-space."""

import math

import pytest
import torch

from cmrrecon.losses.fidelity import (
    coilwise_magnitude_loss,
    kspace_loss,
    literal_physical_loss,
    physical_loss,
    regularisation,
)

LOSSES = [kspace_loss, physical_loss, literal_physical_loss, coilwise_magnitude_loss]


def kspace(seed=0):
    return torch.randn(
        2, 3, 8, 9, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_zero_for_equal_kspace_and_invariant_to_scale(loss):
    k, target = kspace(), kspace(1)
    assert loss(target, target).item() == pytest.approx(0, abs=1e-6)
    value = loss(k, target).item()
    assert value > 0
    for scale in (1e-3, 1e4):
        assert loss(scale * k, scale * target).item() == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_finite_where_kspace_is_empty(loss):
    target = kspace()
    target[0] = 0
    k = torch.zeros_like(target).requires_grad_()
    loss(k, target).backward()
    assert torch.view_as_real(k.grad).isfinite().all()


def test_values_agree_with_manual_computation():
    target = torch.tensor([1.0, 1j, 0.5, 0], dtype=torch.complex64).reshape(1, 1, 2, 2)
    turned = target * torch.tensor(1j)
    assert kspace_loss(turned, target).item() == pytest.approx((2 + 2 + 0.5 + 0) / 4)
    assert physical_loss(turned, target).item() == pytest.approx((1 + 1 + 0.5 + 0) / 4, abs=1e-4)
    assert coilwise_magnitude_loss(turned, target).item() == pytest.approx(0, abs=1e-9)
    assert coilwise_magnitude_loss(2 * target, target).item() == pytest.approx(0, abs=1e-9)


def test_only_the_safe_phase_term_respects_that_angles_wrap():
    near, target = (
        torch.full((1, 1, 2, 2), 1.0) * torch.exp(1j * torch.tensor(angle))
        for angle in (math.pi - 0.01, -math.pi + 0.01)
    )
    assert physical_loss(near, target).item() < 1e-3
    assert literal_physical_loss(near, target).item() > 30


def test_regularisation_agrees_with_manual_computation():
    k = torch.tensor([1.0, 0.5, 0.5j, 0], dtype=torch.complex64).reshape(1, 1, 2, 2)
    expected = (1 + 0.5 + 0.5) / 4 + 0.05 * math.sqrt((1 + 0.25 + 0.25) / 4)
    assert regularisation(k).item() == pytest.approx(expected, rel=1e-4)
    assert regularisation(1e5 * k).item() == pytest.approx(expected, rel=1e-4)
