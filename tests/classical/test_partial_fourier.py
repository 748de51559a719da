"""The penalty on the out-of-phase part, and the phase itself."""

import torch

from cmrrecon.classical.partial_fourier import WEIGHT, PhaseConstrained, smooth_phase
from cmrrecon.data import SamplingMask
from cmrrecon.operators.fourier import fft2c, ifft2c


class Nothing:
    """The normal operator of an encoding that measures nothing."""

    def N(self, images):
        return torch.zeros_like(images)


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def test_the_in_phase_part_costs_nothing_and_the_rest_its_weight():
    phase = torch.exp(1j * random(2, 8, 6).real)
    real = random(2, 8, 6, seed=1).real
    operator = PhaseConstrained(Nothing(), phase)
    assert operator.N(real * phase).abs().max() < 1e-6
    expected = 1j * real * phase * WEIGHT / (1 + WEIGHT)
    torch.testing.assert_close(operator.N(1j * real * phase), expected)


def test_the_operator_is_self_adjoint_over_the_real_numbers():
    operator = PhaseConstrained(Nothing(), torch.exp(1j * random(2, 8, 6).real))
    a, b = random(2, 8, 6, seed=1), random(2, 8, 6, seed=2)
    left = (a.conj() * operator.N(b)).sum().real
    torch.testing.assert_close(left, (operator.N(a).conj() * b).sum().real)


def test_the_phase_comes_from_the_symmetric_centre_alone():
    samples = torch.zeros((1, 32, 1), dtype=torch.bool)
    samples[:, 10:] = True
    mask = SamplingMask.of(samples)
    images = random(2, 32, 16)
    outside = fft2c(images)
    outside[:, 10:23] = 0
    phase = smooth_phase(images, mask)
    torch.testing.assert_close(phase.abs(), torch.ones(2, 32, 16))
    torch.testing.assert_close(smooth_phase(images - ifft2c(outside), mask), phase)


def test_a_slow_phase_is_found():
    y = torch.linspace(-1, 1, 32)[:, None]
    slow = torch.exp(1j * (0.8 * y + torch.linspace(-0.5, 0.5, 32)))
    images = (torch.hann_window(32, periodic=False)[:, None] * slow)[None]
    samples = torch.zeros((1, 32, 1), dtype=torch.bool)
    samples[:, 8:] = True
    inside = (slice(None), slice(4, 28), slice(4, 28))
    error = (smooth_phase(images, SamplingMask.of(samples)) * slow.conj()).angle()[inside]
    assert error.abs().max() < 0.1
