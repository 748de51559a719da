"""Passage of a contrast bolus through the right heart, the left heart and the myocardium."""

import torch
from torch import Tensor

CIRCULATING = 0.9  # mmol/l, once the bolus has mixed with all blood
STEP = 0.1  # s, step of the numerical integral
# Plasma flow and washout in 1/s. Healthy myocardium has a perfusion of about 1 ml/min/ml, poorly
# perfused myocardium a third of that.
HEALTHY, ISCHAEMIC, WASHOUT = 0.018, 0.006, 0.04


def gamma_variate(
    times: Tensor, arrival: float, rise: float, peak: float, shape: float = 3.0
) -> Tensor:
    """Return the concentration in the first pass of a bolus, plus the agent that keeps circulating.

    Parameters
    ----------
    times : Tensor of any shape
        The times in s.
    arrival, rise : float
        The time of arrival, and the time from arrival to peak, in s.
    peak : float
        The peak concentration in mmol/l.
    shape : float
        The exponent; a larger one makes the peak narrower.

    References
    ----------
    Thompson et al., Circ. Res. 1964;14:502.
    """
    u = ((times - arrival) / rise).clamp(min=0)
    return peak * u**shape * torch.exp(shape * (1 - u)) + CIRCULATING * (1 - torch.exp(-u / 3))


def tissue_uptake(times: Tensor, flow: float, delay: float) -> Tensor:
    """Return the concentration (frame,) in mmol/l in tissue supplied by the left ventricle.

    It is `flow` times the integral of `supply(s) exp(-washout (t - s)) ds`.
    """
    past = torch.arange(0, float(times.max()) + STEP, STEP)
    age = times[:, None] - delay - past
    kept = torch.where(age >= 0, torch.exp(-WASHOUT * age.clamp(min=0)), 0.0)
    return flow * STEP * (left_ventricle(past) * kept).sum(1)


def left_ventricle(times: Tensor) -> Tensor:
    """Return the concentration in mmol/l in the left ventricle; times are in s."""
    return gamma_variate(times, arrival=9.5, rise=4.2, peak=4.5)


def bolus(times: Tensor) -> dict[str, Tensor]:
    """Return the concentration in mmol/l in each tissue that the bolus reaches within a minute.

    Parameters
    ----------
    times : Tensor of shape (frame,)
        The times since the injection in s.
    """
    return {
        "right blood": gamma_variate(times, arrival=4.5, rise=3.2, peak=6.5),
        "pulmonary": gamma_variate(times, arrival=7.0, rise=3.8, peak=5.0),
        "left blood": left_ventricle(times),
        "systemic": left_ventricle(times - 1.5),
        "myocardium": tissue_uptake(times, HEALTHY, delay=1.0),
        "ischaemia": tissue_uptake(times, ISCHAEMIC, delay=2.5),
        "oedema": tissue_uptake(times, ISCHAEMIC, delay=2.5),
        "spleen": tissue_uptake(times, 1.5 * HEALTHY, delay=3.0),
        "liver": tissue_uptake(times, 0.4 * HEALTHY, delay=6.0),
    }
