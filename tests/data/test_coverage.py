"""How much of the matrix a mask covers: a table of cases."""

import pytest
import torch

from cmrrecon.data import SamplingMask
from cmrrecon.data.coverage import Coverage, symmetric_part
from cmrrecon.sampling import PATTERNS, make_mask

N = 200


def block(y=(0, N), x=(0, 1), width=1):
    """One frame with a block measured."""
    samples = torch.zeros((1, N, width), dtype=torch.bool)
    samples[:, slice(*y), slice(*x)] = True
    return samples


@pytest.mark.parametrize(
    ("samples", "label"),
    [
        (block(), "fully sampled"),
        (block((0, 150)), "partial Fourier"),
        (block((50, N)), "partial Fourier"),
        (block((0, 175)), "partial Fourier"),
        (block((75, N)), "partial Fourier"),
        (block((0, 125)), "partial Fourier"),
        (block((20, 130)), "partial Fourier"),
        (block((0, 115)), "undersampled, partial Fourier"),
        (block((100, N)), "undersampled, partial Fourier"),
        (block((1, N)), "low resolution"),
        (block((20, 181)), "low resolution"),
        (block((0, N), (30, 120), 120), "asymmetric echo"),
        (block((0, N), (0, 90), 120), "asymmetric echo"),
        (block((0, N), (20, 101), 120), "low resolution"),
        (block((50, N), (30, 120), 120), "partial Fourier, asymmetric echo"),
        (block((20, 181), (30, 120), 120), "low resolution, asymmetric echo"),
        (block((0, 0)), "undersampled"),
    ],
)
def test_contiguous_blocks(samples, label):
    coverage = SamplingMask.of(samples).coverage
    assert coverage.label == label
    assert coverage.gaps == label.startswith("undersampled")


def test_one_missing_sample_is_a_gap():
    for samples in (block(), block(x=(0, 120), width=120), block().expand(3, -1, -1).clone()):
        samples[-1, 120, 0] = False
        assert Coverage.of(samples).label == "undersampled"


@pytest.mark.parametrize("part", [6 / 8, 5 / 8])
def test_partial_fourier_is_recognised_despite_acceleration(part):
    samples = block((N - round(part * N), N))
    samples[:, 1::2] = False
    samples[:, 90:110] = True
    assert Coverage.of(samples).label == "undersampled, partial Fourier"


@pytest.mark.parametrize("pattern", ["uniform", "kt-uniform", "kt-radial", "poisson"])
def test_patterns_do_not_count_as_cut(pattern):
    for acceleration in (3, 6):
        mask = make_mask(pattern, frames=3, y=92, x=60, acceleration=acceleration, acs=8, seed=1)
        assert Coverage.of(mask).label == "undersampled"


@pytest.mark.parametrize("acceleration", [3, 4, 6])
@pytest.mark.parametrize("cut", [slice(0, 12), slice(84, 96)])
def test_an_eighth_cut_from_a_regular_pattern_is_partial_fourier(acceleration, cut):
    mask = make_mask("uniform", frames=1, y=96, x=1, acceleration=acceleration, acs=16).clone()
    assert Coverage.of(mask).edges == ()
    mask[:, cut] = False
    assert Coverage.of(mask).label == "undersampled, partial Fourier"


def test_every_pattern_has_gaps():
    for pattern in PATTERNS:
        mask = make_mask(pattern, frames=3, y=92, x=60, acceleration=4, acs=16, seed=1)
        assert Coverage.of(mask).gaps


def test_the_measured_part_of_an_axis():
    assert Coverage.of(block((0, 150))).y.part == 0.75
    assert Coverage.of(block((20, 130))).y.part == pytest.approx(110 / 161)
    assert Coverage.of(block((20, 181))).y.part == 1


def test_the_centre_need_not_be_the_middle():
    assert Coverage.of(block((20, 161)), (90, 0)).label == "low resolution"
    assert Coverage.of(block((20, 161))).label == "partial Fourier"


@pytest.mark.parametrize(
    ("measured", "even"),
    [((0, 150), (51, 150)), ((50, N), (50, 151)), ((0, N), (0, N)), ((20, 181), (20, 181))],
)
def test_the_symmetric_part_is_centred(measured, even):
    assert symmetric_part(block(measured)) == (slice(*even), slice(0, 1))
