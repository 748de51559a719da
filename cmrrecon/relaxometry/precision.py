"""Standard deviations of fitted relaxation times, from the Jacobian and the residual.

The noise variance is the sum of squared residuals divided by the degrees of freedom. Its product
with the inverse of J^T J is the covariance of the parameters, which is propagated to the relaxation
time. With as many samples as parameters the deviation is unknown (NaN).
"""

import torch
from torch import Tensor

from cmrrecon.relaxometry.exponential import Exponential


def deviation_of_recovery(found: Exponential, times: Tensor, *, corrected: bool) -> Tensor:
    """Return the deviation of T1 in the model `A - B exp(-t / tau)`.

    Parameters
    ----------
    found : Exponential
        Fits of the negative signal: its amplitude is B, its constant -A.
    times : Tensor of shape (frame,), float64
        Times of the samples.
    corrected : bool
        Whether T1 is `tau (B / A - 1)` instead of tau.
    """
    steady, tau = -found.constant, found.tau
    along = tau / found.amplitude  # d T1 / d (B ln tau)
    gradient = torch.stack([torch.zeros_like(tau), torch.zeros_like(tau), along])
    if corrected:
        ratio = found.amplitude / steady
        gradient = torch.stack([-tau * ratio / steady, tau / steady, along * (ratio - 1)])

    ratio = times[:, None] / tau
    decay = torch.exp(-ratio)
    jacobian = torch.stack([torch.ones_like(decay), -decay, -decay * ratio])
    return _propagated(jacobian, gradient, found.residual)


def deviation_of_decay(found: Exponential, times: Tensor, *, floor: bool) -> Tensor:
    """Return the deviation of tau in the model `a exp(-t / tau)`, plus a constant if `floor`."""
    ratio = times[:, None] / found.tau
    decay = torch.exp(-ratio)
    columns = [decay * ratio, decay, *([torch.ones_like(decay)] if floor else [])]
    along = found.tau / found.amplitude
    zeros = [torch.zeros_like(along)] * (len(columns) - 1)
    return _propagated(torch.stack(columns), torch.stack([along, *zeros]), found.residual)


def _propagated(jacobian: Tensor, gradient: Tensor, residual: Tensor) -> Tensor:
    """Return the deviation of a function of the parameters.

    Parameters
    ----------
    jacobian : Tensor of shape (parameter, frame, pixel)
        Derivatives of the signal.
    gradient : Tensor of shape (parameter, pixel)
        Derivatives of the function.
    residual : Tensor of shape (pixel,)
        Sums of squared residuals.
    """
    parameters, frames, _ = jacobian.shape
    freedom = frames - parameters
    if freedom == 0:
        return torch.full_like(residual, torch.nan)

    normal = torch.einsum("ifp,jfp->pij", jacobian, jacobian)
    inverse, failed = torch.linalg.inv_ex(normal.nan_to_num(0.0, 0.0, 0.0))
    variance = torch.einsum("ip,pij,jp->p", gradient, inverse, gradient) * residual / freedom
    return torch.where(failed == 0, variance.clamp(min=0).sqrt(), torch.nan)
