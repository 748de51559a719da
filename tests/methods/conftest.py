"""Small simulated scans, prepared once for all tests, and solvers with known errors."""

from functools import cache

import pytest
import torch
from kinds import mask_of

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.wavelets import kt_wavelet
from cmrrecon.data import Series
from cmrrecon.evaluation.protocols import score
from cmrrecon.methods.solver import Solver
from cmrrecon.networks.kt_unrolled import KtUnrolled
from cmrrecon.sampling import make_mask
from cmrrecon.simulation import simulate
from cmrrecon.solvers import Solution


@cache
def _full(kind, frames, y, x):
    made = simulate(kind, frames=frames, slices=1, coils=6, y=y, x=x, seed=3)
    return made.scan.series(0), made.image[:, 0]


@pytest.fixture(scope="session")
def full():
    """Makes (series, truth), fully sampled."""

    def make(kind="cine", frames=8, y=64, x=80):
        return _full(kind, frames, y, x)

    return make


@pytest.fixture(scope="session")
def sampled(full):
    """Makes an undersampled series."""

    def make(pattern="kt-gaussian", acceleration=8, acs=12, kind="cine", frames=8, y=64, x=80):
        series, _ = full(kind, frames, y, x)
        mask = make_mask(
            pattern, frames=frames, y=y, x=x, acceleration=acceleration, acs=acs, seed=1
        )
        return Series(series.kspace * mask[:, None], mask_of(mask))

    return make


@pytest.fixture(scope="session")
def prepared(sampled):
    """Return an undersampled series, prepared once for all tests."""

    @cache
    def give(pattern="kt-gaussian", acceleration=8, acs=12, kind="cine", frames=8, y=64, x=80):
        return PreparedSeries(sampled(pattern, acceleration, acs, kind, frames, y, x))

    return give


@pytest.fixture(scope="session")
def psnr():
    """PSNR of images (frame, y, x) against the truth."""

    def of(images, truth):
        return score(images[:, None], truth[:, None], protocol="fullfov").psnr

    return of


@pytest.fixture(scope="session")
def biased():
    """Makes a solver whose images are too bright or too dark by a factor."""

    def make(name, factor):
        def function(problem, *, weight=0.01, iterations=20, monitor=None):
            found = kt_wavelet(problem, weight=weight, iterations=iterations)
            return Solution(factor * found.x, found.residuals)

        return Solver.of(name, function)

    return make


@pytest.fixture(scope="session")
def small_network():
    """Makes a small network for whole series; a larger `spoiled` means worse images."""

    def make(spoiled=0.0):
        torch.manual_seed(0)
        made = KtUnrolled(cascades=2, channels=8, blocks=1, solver_steps=2).eval()
        with torch.no_grad():
            made.unet.last.weight.normal_(std=spoiled)
        return made

    return make
