"""Fits `a exp(-t / tau)`, with or without a constant, to many pixels at once by least squares.

For a fixed tau the model is linear, so amplitude and constant have a closed form. What remains is a
function of ln tau alone (variable projection): the part of the signal that the exponential
explains. Its maximum is searched on a grid, then refined by Newton steps inside a bracket, which
fall back to bisection. Every pixel takes the same number of steps, so up to rounding the result
does not depend on its neighbours.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GRID = 32
STEPS = 5
# An exponential that explains less than this fraction of the signal is rounding.
LEAST_EXPLAINED = 1e-12


@dataclass(frozen=True)
class Exponential:
    """Fits of `amplitude exp(-t / tau) + constant`, one for each pixel.

    Attributes
    ----------
    tau : Tensor of shape (..., pixel), float64
        Time constant in the unit of the times.
    amplitude, constant : Tensor of shape (..., pixel), float64
        Coefficients; the constant is 0 if it was not fitted.
    residual : Tensor of shape (..., pixel), float64
        Sum of the squared residuals.
    good : Tensor of shape (..., pixel), bool
        Whether the amplitude is positive and tau is inside its range.
    """

    tau: Tensor
    amplitude: Tensor
    constant: Tensor
    residual: Tensor
    good: Tensor


def coarse(
    signal: Tensor, times: Tensor, span: tuple[float, float], *, constant: bool
) -> Exponential:
    """Search tau on a grid.

    Parameters
    ----------
    signal : Tensor of shape (..., frame, pixel), float64
        Signal of each pixel.
    times : Tensor of shape (frame,), float64
        Times of the frames.
    span : (float, float)
        Range of tau.
    constant : bool
        Whether to fit a constant.

    Returns
    -------
    Exponential
        The best fits on the grid with a positive amplitude. One is not good if only values outside
        the range are better.
    """
    low, step = _scale(span)
    # One more value on either side shows whether the best one lies outside.
    grid = low + step * torch.arange(-1, GRID + 1, dtype=signal.dtype, device=signal.device)
    decays = torch.exp(-times / grid.exp()[:, None])
    shapes = decays - decays.mean(1, keepdim=True) if constant else decays
    norms = shapes.square().sum(1).sqrt()

    projected, place = ((shapes / norms[:, None]) @ signal).max(-2)
    amplitude = projected.clamp(min=0) / norms[place]
    total, offset = signal.square().sum(-2), torch.zeros_like(amplitude)
    if constant:
        middle = signal.mean(-2)
        offset = middle - amplitude * decays.mean(1)[place]
        total = total - middle.square() * len(times)
    residual = total - projected.clamp(min=0).square()
    good = (amplitude > 0) & (place > 0) & (place <= GRID)
    return Exponential(grid[place].exp(), amplitude, offset, residual, good)


def refined(
    signal: Tensor, times: Tensor, span: tuple[float, float], start: Tensor, *, constant: bool
) -> Exponential:
    """Refine tau of a `coarse` search, which has the same other parameters, to full precision."""
    low, step = _scale(span)
    high = math.log(span[1])
    place = start.log().clamp(low, high)
    left, right = (place - step).clamp(min=low), (place + step).clamp(max=high)
    t = times[:, None]

    for _ in range(STEPS):
        first, second = _slopes(signal, t, place, constant=constant)
        rising = first > 0
        left, right = torch.where(rising, place, left), torch.where(rising, right, place)

        newton = place - first / second
        usable = (second < 0) & (newton >= left) & (newton <= right)
        place = torch.where(usable, newton, (left + right) / 2)

    decay = torch.exp(-t * torch.exp(-place)[..., None, :])
    shape = _centred(decay) if constant else decay
    projected = (shape * signal).sum(-2)
    amplitude = projected / shape.square().sum(-2)
    offset = torch.zeros_like(amplitude)
    if constant:
        offset = signal.mean(-2) - amplitude * decay.mean(-2)

    residual = (signal - amplitude[..., None, :] * decay - offset[..., None, :]).square().sum(-2)
    explains = amplitude * projected > LEAST_EXPLAINED * signal.square().sum(-2)
    inside = (place > low + step / 100) & (place < high - step / 100)
    good = inside & explains & (amplitude > 0) & residual.isfinite()
    return Exponential(place.exp(), amplitude, offset, residual, good)


def fit_exponential(
    signal: Tensor, times: Tensor, span: tuple[float, float], *, constant: bool
) -> Exponential:
    """Fit an exponential to each pixel; the parameters are those of `coarse`."""
    start = coarse(signal, times, span, constant=constant)
    return refined(signal, times, span, start.tau, constant=constant)


def _slopes(signal: Tensor, t: Tensor, place: Tensor, *, constant: bool) -> tuple[Tensor, Tensor]:
    """Return the derivatives by ln tau of half the logarithm of the explained part.

    With the decay d, its derivatives d' and d'', p = d . signal and q = d . d, this function is
    ln p - ln(q) / 2.
    """
    ratio = t * torch.exp(-place)[..., None, :]
    decay = torch.exp(-ratio)
    change = decay * ratio
    bend = change * (ratio - 1)
    if constant:
        decay, change, bend = _centred(decay), _centred(change), _centred(bend)

    p = (decay * signal).sum(-2)
    p1, p2 = (change * signal).sum(-2) / p, (bend * signal).sum(-2) / p
    q = decay.square().sum(-2)
    q1 = (decay * change).sum(-2) / q
    q2 = (change.square() + decay * bend).sum(-2) / q
    return p1 - q1, p2 - p1.square() - q2 + 2 * q1.square()


def _centred(values: Tensor) -> Tensor:
    """Subtract the mean over the frames."""
    return values - values.mean(-2, keepdim=True)


def _scale(span: tuple[float, float]) -> tuple[float, float]:
    """Return the first value of ln tau on the grid, and the distance of neighbours."""
    low, high = math.log(span[0]), math.log(span[1])
    return low, (high - low) / (GRID - 1)
