"""What a network is given about a problem and its first solutions, besides images."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from cmrrecon.classical.problem import Problem
from cmrrecon.data import SampleMask
from cmrrecon.operators.cartesian import Encoding

# The number of values that describe a scan; see `facts`.
FACTS = 6
# The side in pixels of the neighbourhood over which the phase is averaged.
SMOOTH = 5
# The smallest expected error, where bright tissue is one.
SMALLEST = 1e-4
# Columns whose brightest pixel is below this fraction of the overall maximum count as empty.
EMPTY_FRACTION = 0.2


def disagreement(x: Tensor, other: Tensor) -> Tensor:
    """Return the root mean square difference of two images in the columns that are not empty.

    The result does not depend on empty columns at the sides of the field of view.

    Parameters
    ----------
    x, other : Tensor of shape (frame, y, x'), complex
        The images; the columns of `x` decide which are empty.

    Returns
    -------
    Tensor of shape ()
        The difference, at least `SMALLEST`.
    """
    bright = x.abs().amax((0, 1))
    filled = bright >= EMPTY_FRACTION * bright.amax()
    return (other - x)[..., filled].abs().square().mean().sqrt().clamp(min=SMALLEST)


def smooth_phase(x: Tensor) -> Tensor:
    """Return the phase of images (frame, y, x), averaged over time and a small neighbourhood.

    Returns
    -------
    Tensor of shape (y, x), complex
        The phase as complex numbers of magnitude one.
    """
    mean = torch.view_as_real(x.mean(0)).permute(2, 0, 1)[None]
    near = functional.avg_pool2d(mean, SMOOTH, 1, SMOOTH // 2, count_include_pad=False)[0].permute(
        1, 2, 0
    )
    averaged = torch.view_as_complex(near.contiguous())
    return averaged / averaged.abs().clamp(min=torch.finfo(torch.float32).tiny)


def facts(problem: Problem, x: Tensor) -> Tensor:
    """Describe a problem and its first solution by numbers of about unit size.

    The numbers are the effective acceleration, the fraction of lines measured in all frames, the
    number of frames, the misfit of the solution, the kind of mask, and whether the mask varies over
    time.

    Parameters
    ----------
    problem : Problem
        The least-squares problem.
    x : Tensor of shape (frame, y, x'), complex
        Its first solution.

    Returns
    -------
    Tensor of shape (FACTS,)
        The numbers.
    """
    assert isinstance(problem.A, Encoding)
    mask, samples = problem.A.mask, problem.A.mask.samples
    misfit = float((problem.A.N(x) - problem.rhs).abs().square().mean().sqrt())
    return x.real.new_tensor(
        [
            math.log(mask.effective_acceleration()) - 1.2,
            5 * float(samples.all(0).float().mean()),
            math.log(len(x)) - 2.0,
            0.5 * (math.log(max(misfit, 1e-5)) + 4.5),
            float(isinstance(mask, SampleMask)),
            float(mask.varies),
        ]
    )
