"""How a bolus of contrast agent passes through the right heart, the left heart and the myocardium."""

import torch
from torch import Tensor

CIRCULATING = 0.9  # mmol/l, when the bolus is mixed with all blood
STEP = 0.1  # s, of the numerical integral
# Plasma flow and washout, 1/s: healthy myocardium at about 1 ml/min/ml, and a third of that where the supply is poor.
HEALTHY, ISCHAEMIC, WASHOUT = 0.018, 0.006, 0.04


def gamma_variate(
    times: Tensor, arrival: float, rise: float, peak: float, shape: float = 3.0
) -> Tensor:
    """First pass of a bolus (Thompson, Circ. Res. 1964;14:502), plus what stays in circulation.

    Parameters
    ----------
    times : Tensor, any shape, in s
    arrival, rise : when it arrives and how long it then takes to peak, in s
    peak : concentration in mmol/l
    shape : exponent; larger is narrower
    """
    u = ((times - arrival) / rise).clamp(min=0)
    return peak * u**shape * torch.exp(shape * (1 - u)) + CIRCULATING * (1 - torch.exp(-u / 3))


def tissue_uptake(times: Tensor, flow: float, delay: float) -> Tensor:
    """Concentration (frame,) in mmol/l in tissue fed by the left ventricle: flow * integral of supply(s) exp(-washout (t - s)) ds."""
    past = torch.arange(0, float(times.max()) + STEP, STEP)
    age = times[:, None] - delay - past
    kept = torch.where(age >= 0, torch.exp(-WASHOUT * age.clamp(min=0)), 0.0)
    return flow * STEP * (left_ventricle(past) * kept).sum(1)


def left_ventricle(times: Tensor) -> Tensor:
    """Concentration in mmol/l in the left ventricle; times in s."""
    return gamma_variate(times, arrival=9.5, rise=4.2, peak=4.5)


def bolus(times: Tensor) -> dict[str, Tensor]:
    """Concentration in mmol/l of the agent in each tissue it reaches within a minute. Times (frame,) in s since the injection."""
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
