"""What k-space shows of its own sampling, without a mask."""

import pytest
import torch

from cmrrecon.data import LineMask, SampleMask, SamplingMask, Scan
from cmrrecon.data.measured import floor_of, look
from cmrrecon.sampling import PATTERNS, make_mask
from cmrrecon.simulation import simulate

FRAMES, Y, X = 4, 48, 64


def simulated(coils=4, seed=0):
    """Noisy k-space (frame, coil, y, x) of a phantom."""
    return simulate(slices=1, frames=FRAMES, coils=coils, y=Y, x=X, seed=seed).scan.read_slice(0)


def integers(kspace, bits=12):
    """The same k-space as stored by a converter with this number of bits."""
    step = float(torch.view_as_real(kspace).abs().max()) / 2 ** (bits - 1)
    return torch.view_as_complex(torch.view_as_real(kspace / step).round())


def found(kspace):
    return SamplingMask.of(look(kspace, "k-space").samples())


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("leftover", [0, 1e-9])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_is_found_again(pattern, leftover, coils):
    kspace = simulated(coils)
    noise = leftover * kspace.abs().max() * torch.randn(kspace.shape, dtype=kspace.dtype)
    for acceleration in (2, 4, 8):
        mask = make_mask(pattern, frames=FRAMES, y=Y, x=X, acceleration=acceleration, acs=8, seed=5)
        expected = SamplingMask.of(mask)
        got = found(torch.where(mask[:, None], kspace, noise))
        assert type(got) is type(expected)
        assert torch.equal(got.samples, expected.samples)


@pytest.mark.parametrize(("coils", "bits"), [(8, 12), (4, 10), (1, 12), (1, 8)])
def test_integers_fill_whole_lines(coils, bits):
    kspace = integers(simulated(coils), bits)
    assert (kspace == 0).any()
    assert isinstance(found(kspace), LineMask)
    assert found(kspace).complete
    mask = make_mask("kt-uniform", frames=FRAMES, y=Y, x=X, acceleration=4, acs=8)
    assert torch.equal(found(kspace * mask[:, None]).samples, mask)


def test_integers_at_single_samples_stay_samples():
    mask = make_mask("kt-radial", frames=FRAMES, y=Y, x=X, acceleration=4, acs=8)
    kspace = integers(simulated()) * mask[:, None]
    assert isinstance(found(kspace), SampleMask)
    assert torch.equal(found(kspace).samples, (kspace != 0).any(1))


def test_scattered_zeros_of_all_coils_are_data():
    kspace = simulated()
    holes = torch.rand((FRAMES, 1, Y, X), generator=torch.Generator().manual_seed(0)) < 0.02
    assert found(kspace * ~holes).complete


@pytest.mark.parametrize(
    "holes",
    [
        (slice(None), slice(None), slice(30, 31)),
        (slice(1, 2), slice(20, 21), slice(10, 20)),
        (slice(0, 1), slice(7, 8), slice(None, 40)),
        (slice(None), slice(0, 6), slice(0, 8)),
    ],
    ids=["a column", "a run", "half a line", "a corner"],
)
def test_structured_holes_count_as_not_measured(holes):
    kspace = simulated()
    measured = torch.ones((FRAMES, Y, X), dtype=torch.bool)
    measured[holes] = False
    mask = found(kspace * measured[:, None])
    assert isinstance(mask, SampleMask)
    assert torch.equal(mask.over(FRAMES), measured)


def test_a_cut_readout_is_contiguous_in_spite_of_isolated_zeros():
    kspace = integers(simulated(1))
    kspace[..., :16] = 0
    mask = found(kspace)
    assert mask.coverage.label == "asymmetric echo"
    assert mask.extent() == (slice(0, Y), slice(16, X))


def test_noise_far_below_the_signal_is_data():
    kspace = torch.randn((2, 1, Y, X), dtype=torch.complex64)
    kspace[..., Y // 2, X // 2] = 1e7
    assert floor_of(kspace.abs().amax(1)) == 0
    assert found(kspace).complete


def test_smooth_kspace_without_noise_has_no_gap_and_no_floor():
    line = torch.exp(-(torch.linspace(-4.5, 4.5, Y) ** 2))
    kspace = (line[:, None] * torch.ones(X))[None, None].to(torch.complex64)
    assert found(kspace).complete


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e25])
def test_the_scale_does_not_matter(scale):
    mask = make_mask("kt-uniform", frames=FRAMES, y=Y, x=X, acceleration=4, acs=8)
    kspace = simulated() * mask[:, None]
    kspace = kspace / kspace.abs().max() * scale
    assert torch.equal(found(kspace).samples, mask)


def test_coils_that_drop_out_are_distinguished_from_dead_ones():
    kspace = simulated()
    kspace[:, 0] = 0
    kspace[2, 3] = 0
    seen = look(kspace, "k-space")
    assert seen.dropped.nonzero().tolist() == [[2, 3]]
    assert seen.samples().all()


def test_slices_without_a_mask_may_differ():
    data = torch.stack([simulated(), simulated(seed=1)], 1)
    data[:, 1, :, ::2] = 0
    scan = Scan.from_kspace(data)
    assert scan.series(0).mask.complete
    assert scan.series(1).mask.coverage.gaps


def test_a_coil_with_tiny_values_in_a_frame_has_dropped_out_there():
    generator = torch.Generator().manual_seed(3)
    kspace = torch.randn((3, 4, 16, 16), dtype=torch.complex64, generator=generator)
    kspace[1, 2] *= 1e-9
    dropped = look(kspace, "it").dropped
    assert dropped.nonzero().tolist() == [[1, 2]]
