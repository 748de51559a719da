"""Variable-density Poisson-disc sampling, drawn by SigPy."""

import torch
from torch import Tensor

from cmrrecon.sampling.plan import Plan
from cmrrecon.tools.errors import UsageError

# SigPy's search for the density may never end if the density cannot be reached. Within these limits
# it ended in all our trials.
LOWEST_ACCELERATION = 2
FEWEST_SAMPLES = 200
LARGEST_CALIBRATION_SHARE = 0.25
TOLERANCE = 0.1


def poisson(plan: Plan) -> Tensor:
    """Draw single samples within an ellipse, denser towards the centre, with a minimum distance.

    Here R refers to all samples including the calibration square, and is achieved within 10 %. The
    pattern needs R >= 2, at least 200 samples, and a calibration square with at most a quarter of
    them. On large grids drawing takes up to several seconds.

    Parameters
    ----------
    plan : Plan
        Sizes, acceleration, calibration and seed.

    Returns
    -------
    Tensor of shape (1, y, x), bool
        The mask, the same in all frames.

    Raises
    ------
    UsageError
        If the grid is too small for this R and calibration, or if SigPy does not find the density
        (`mask-impossible`). The latter is rare; another seed avoids it.

    References
    ----------
    Bridson, Fast Poisson disk sampling in arbitrary dimensions, SIGGRAPH 2007, as implemented in
    `sigpy.mri.poisson`.
    """
    samples = plan.y * plan.x / plan.acceleration
    fits = samples >= max(
        FEWEST_SAMPLES, plan.acs**2 / LARGEST_CALIBRATION_SHARE
    ) and plan.acs + 2 <= min(plan.y, plan.x)

    if plan.acceleration < LOWEST_ACCELERATION or not fits:
        raise _impossible(plan)

    # Imported here because importing SigPy takes about a second.
    from sigpy.mri import poisson as draw

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
        f"Poisson-disc sampling of y {plan.y}, x {plan.x} at R = {plan.acceleration:g} fails "
        f"with {plan.acs} x {plan.acs} calibration",
        f"It needs R >= {LOWEST_ACCELERATION}, {FEWEST_SAMPLES} samples, and a calibration of at "
        "most a quarter of them",
        "Try another acceleration, ACS or seed, or another pattern",
    )
