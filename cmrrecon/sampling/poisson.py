"""Variable-density Poisson-disc sampling, drawn by SigPy."""

import torch
from torch import Tensor

from cmrrecon.sampling.plan import Plan
from cmrrecon.tools.errors import UsageError

# SigPy's search for the density may never end where the density cannot be met; within these limits it ended in every trial.
LOWEST_ACCELERATION = 2
FEWEST_SAMPLES = 200
LARGEST_CALIBRATION_SHARE = 0.25
TOLERANCE = 0.1


def poisson(plan: Plan) -> Tensor:
    """Single samples, denser towards the centre and never close to each other, in an ellipse: (1, y, x), the same in all frames.

    Here R counts all samples, the calibration square included, and is met within 10 %. Slow on large grids: up to several seconds.
    Needs R >= 2, 200 samples, and a calibration square that holds at most a quarter of them.
    Source: sigpy.mri.poisson, after Bridson, Fast Poisson disk sampling in arbitrary dimensions, SIGGRAPH 2007.

    Raises
    ------
    UsageError : the grid is too small for this R and calibration, or SigPy does not find the density (rare; another seed helps)
    """
    samples = plan.y * plan.x / plan.acceleration
    fits = samples >= max(
        FEWEST_SAMPLES, plan.acs**2 / LARGEST_CALIBRATION_SHARE
    ) and plan.acs + 2 <= min(plan.y, plan.x)

    if plan.acceleration < LOWEST_ACCELERATION or not fits:
        raise _impossible(plan)
    from sigpy.mri import poisson as draw  # importing SigPy takes about a second

    try:
        mask = draw(
            (plan.y, plan.x),
            plan.acceleration,
            (plan.acs, plan.acs),
            dtype=bool,
            seed=plan.seed,
            tol=TOLERANCE * plan.acceleration,
        )
    except ValueError as error:
        raise _impossible(plan) from error

    return torch.from_numpy(mask)[None]


def _impossible(plan: Plan) -> UsageError:
    return UsageError(
        "mask-impossible",
        f"Poisson-disc sampling of y {plan.y}, x {plan.x} at R = {plan.acceleration:g} with {plan.acs} x {plan.acs} calibration fails",
        f"It needs R >= {LOWEST_ACCELERATION}, {FEWEST_SAMPLES} samples, and a calibration of at most a quarter of them",
        "Try another acceleration, ACS or seed, or another pattern",
    )
