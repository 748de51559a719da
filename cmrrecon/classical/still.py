"""Still images: the time average of a series, reconstructed as a single frame.

Dynamic methods start from them. The still image costs as much as a few steps on the series, and
replaces tens of them: the slowest part of the problem, aliasing that is the same in all frames, is
already solved.
"""

from dataclasses import replace

from torch import Tensor

from cmrrecon.classical.coils import Coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.problem import Problem
from cmrrecon.classical.wavelets import l1_wavelet
from cmrrecon.data import CartesianMask
from cmrrecon.operators.coil_images import time_average

# Weight of the spatial wavelets. The average mixes lines of different frames, so it must not be
# fitted closely.
WEIGHT = 0.005
# Number of steps if all samples were measured in some frame, and largest number. The fewer samples
# were measured, the more steps are needed.
STEPS, MOST_STEPS = 30, 60


def started(prepared: PreparedSeries, coils: Coils) -> Problem:
    """Build the problem of a series, with its still image as the start in every frame.

    A single frame, a complete series and samples along a trajectory start from the combined time
    average, as in `Problem.of`.

    Parameters
    ----------
    prepared : PreparedSeries
        The series.
    coils : Coils
        The maps.

    Returns
    -------
    Problem
        The problem.
    """
    problem, mask = Problem.of(prepared, coils), prepared.mask
    if len(problem.rhs) == 1 or mask.complete or not isinstance(mask, CartesianMask):
        return problem
    return replace(problem, start=still_image(prepared, coils).expand_as(problem.rhs))


def still_image(prepared: PreparedSeries, coils: Coils) -> Tensor:
    """Reconstruct the time average of a Cartesian series by `l1_wavelet`.

    Positions are averaged over the frames that measured them, and all of them count as measured.
    The number of steps is proportional to the acceleration of the average.

    Returns
    -------
    Tensor of shape (1, y, x'), complex64
        The image, normalised, in the columns of the coils.
    """
    series, samples = prepared.series, prepared.mask.samples
    still = replace(
        series,
        kspace=time_average(series.kspace, samples)[None],
        mask=prepared.mask.chosen(samples.any(0, keepdim=True)).averaged(None),
    )
    problem = Problem.of(PreparedSeries(still, prepared.scale), coils)
    steps = min(MOST_STEPS, round(STEPS * still.mask.effective_acceleration("extent")))
    return l1_wavelet(problem, weight=WEIGHT, iterations=steps).x
