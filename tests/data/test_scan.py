import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from kinds import mask_of

from cmrrecon.classical.prepared import normalisation
from cmrrecon.data import (
    Acquisition,
    Scan,
    Series,
    effective_acceleration,
    fully_sampled,
    require_cartesian,
    simplify_mask,
    time_average,
    window,
)
from cmrrecon.operators.fourier import fft2c
from cmrrecon.tools.errors import InputError, UsageError


def kspace(frames=3, slices=2, coils=2, y=8, x=10):
    generator = torch.Generator().manual_seed(0)
    return torch.randn((frames, slices, coils, y, x), dtype=torch.complex64, generator=generator)


def line_mask(*lines, frames=1, y=8):
    mask = torch.zeros((frames, y, 1), dtype=torch.bool)
    mask[:, list(lines)] = True
    return mask


def test_without_a_mask_what_is_nonzero_in_all_coils_was_measured():
    data = kspace() * line_mask(0, 3, 4)[:, None, None]
    assert torch.equal(Scan.from_kspace(data).series(1).mask, line_mask(0, 3, 4))


def test_a_sample_that_is_zero_in_one_coil_was_not_measured():
    data = kspace()
    data[1, 0, 1, 2, 5] = 0
    mask = Scan.from_kspace(data).series(0).mask
    assert mask.shape == (3, 8, 10)
    assert not mask[1, 2, 5]
    assert mask.sum() == mask.numel() - 1


def test_a_coil_that_is_switched_off_does_not_hide_the_mask():
    data = kspace() * line_mask(1, 4)[:, None, None]
    data[:, :, 0] = 0
    assert torch.equal(Scan.from_kspace(data).series(0).mask, line_mask(1, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), complex(0, float("-inf"))])
def test_values_that_are_not_finite_are_refused(value):
    data = kspace()
    data[2, 1, 0, 3, 3] = value
    scan = Scan.from_kspace(data)
    scan.series(0)
    with pytest.raises(InputError, match="frame 2, holds NaN or infinity"):
        scan.series(1)


def test_a_frame_of_zeros_is_refused():
    data = kspace()
    data[1, 1] = 0
    with pytest.raises(InputError, match="only zeros in frame 1"):
        Scan.from_kspace(data).series(1)


def test_a_mask_that_leaves_data_out_is_refused():
    with pytest.raises(InputError, match="where the mask says nothing was measured"):
        Scan.from_kspace(kspace() * line_mask(1, 2)[:, None, None], line_mask(1)).series(0)


def test_a_single_coil_with_data_outside_the_mask_is_enough():
    data = kspace() * line_mask(1)[:, None, None]
    data[0, 0, 1, 5, 5] = 1
    with pytest.raises(InputError, match="where the mask says nothing was measured"):
        Scan.from_kspace(data, line_mask(1)).series(0)


def test_a_mask_that_claims_empty_lines_is_refused_but_few_are_let_pass():
    with pytest.raises(InputError, match="hold only zeros"):
        Scan.from_kspace(kspace() * line_mask(1, 2)[:, None, None], line_mask(1, 2, 5, 6)).series(0)
    data = kspace(y=40) * line_mask(*range(1, 40), y=40)[:, None, None]
    mask = torch.ones((1, 40, 1), dtype=torch.bool)
    assert torch.equal(Scan.from_kspace(data, mask).series(0).mask, mask)


@pytest.mark.parametrize("shape", [(1, 9, 1), (2, 8, 1), (1, 8, 5), (8, 1)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"\(frame, y, x\)"):
        Scan.from_kspace(kspace(), torch.ones(shape, dtype=torch.bool)).series(0)


def test_slices_that_are_not_there_and_wrong_axes_are_refused():
    with pytest.raises(UsageError, match="0 to 1"):
        Scan.from_kspace(kspace()).series(2)
    with pytest.raises(UsageError, match="frame, slice, coil, y, x"):
        Scan.from_kspace(kspace()[0])


def test_masks_are_simplified_only_where_they_do_not_change():
    mask = torch.zeros((3, 4, 5), dtype=torch.bool)
    mask[:, 1] = True
    assert simplify_mask(mask).shape == (1, 4, 1)
    mask[0, 2] = True
    assert simplify_mask(mask).shape == (3, 4, 1)
    mask[0, 0, 0] = True
    assert torch.equal(simplify_mask(mask), mask)


def test_effective_acceleration_counts_all_samples():
    assert mask_of(line_mask(0, 4)).effective_acceleration() == 4


def test_time_average_counts_measured_frames_only():
    mask = torch.tensor([[True, True, False], [True, False, False]])[:, :, None]
    data = torch.ones((2, 1, 3, 2), dtype=torch.complex64) * mask[:, None]
    assert torch.equal(time_average(data, mask)[0, :, 0], torch.tensor([1, 1, 0], dtype=torch.complex64))


@pytest.mark.parametrize("factor", [1e-11, 1e7])
def test_scale_follows_the_data_and_not_the_mask(factor):
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    image = ((y**2 + x**2) < 0.5).to(torch.complex64).expand(4, 1, 32, 32)
    full = torch.ones((1, 32, 1), dtype=torch.bool)
    scale = Series(fft2c(image) * factor, mask_of(full)).scale()
    assert scale == pytest.approx(factor, rel=1e-3)
    interleaved = torch.zeros((4, 32, 1), dtype=torch.bool)
    for t in range(4):
        interleaved[t, t::4] = True
    assert Series(fft2c(image) * factor * interleaved[:, None], mask_of(interleaved)).scale() == pytest.approx(scale, rel=1e-3)


def along(frames=3, spokes=6, samples=10, matrix=(8, 8), mask=None):
    """A scan along a trajectory: random k-space at positions all over k-space, up to its edge."""
    positions = (torch.rand((frames, spokes, samples, 2), generator=torch.Generator().manual_seed(3)) - 0.5) * torch.tensor(matrix)
    positions[0, 0, 0] = torch.tensor(matrix) / 2
    scan = Scan.from_kspace(kspace(frames=frames, y=spokes, x=samples), mask, Acquisition("cine_sax"))
    return replace(scan, trajectory=positions, matrix=matrix)


def test_trajectory_and_matrix_go_along_with_a_series():
    scan = along()
    assert scan.axes == ("frame", "slice", "coil", "spoke", "sample")
    assert Scan.from_kspace(kspace()).axes == ("frame", "slice", "coil", "y", "x")
    series = scan.series(1).to("cpu").scaled(2)
    assert torch.equal(series.trajectory, scan.trajectory)
    assert series.matrix == (8, 8)
    assert series.to("meta").trajectory.device.type == "meta"
    torch.testing.assert_close(series.kspace, 2 * scan.read_slice(1))


def test_without_a_mask_spokes_with_any_data_were_measured():
    scan = along()
    data = kspace(y=6, x=10)
    data[0, :, :, 2] = 0
    data[1, :, 0, 3, 4] = 0
    mask = replace(scan, read_slice=lambda index: data[:, index]).series(0).mask
    assert mask.shape == (3, 6, 1)
    assert not mask[0, 2]
    assert mask.sum() == mask.numel() - 1


def test_a_mask_of_spokes_is_checked_like_one_of_lines():
    hidden = torch.ones((1, 6, 1), dtype=torch.bool)
    hidden[0, 1] = False
    with pytest.raises(InputError, match="where the mask says nothing was measured"):
        along(mask=hidden).series(0)
    with pytest.raises(InputError, match="mask has shape"):
        along(mask=torch.ones((1, 6, 10), dtype=torch.bool)).series(0)


@pytest.mark.parametrize(
    ("trajectory", "matrix", "words"),
    [
        (torch.zeros(3, 6, 9, 2), (8, 8), "has shape"),
        (torch.zeros(2, 6, 10, 2), (8, 8), "has shape"),
        (torch.zeros(3, 6, 10, 3), (8, 8), "has shape"),
        (torch.full((1, 6, 10, 2), 4.0), None, "matrix is None"),
        (torch.full((1, 6, 10, 2), 4.0), (0, 8), "matrix is"),
        (torch.full((1, 6, 10, 2), 4.0), (8, 6), "reaches 0.5, 0.6667 of the matrix"),
        (torch.full((1, 6, 10, 2), 0.5), (8, 8), "Multiply positions between -0.5 and 0.5"),
        (torch.full((1, 6, 10, 2), float("nan")), (8, 8), "reaches nan"),
        (torch.full((1, 6, 10, 2), float("inf")), (8, 8), "reaches inf"),
    ],
)
def test_a_trajectory_that_cannot_be_is_refused(trajectory, matrix, words):
    with pytest.raises(InputError, match=words):
        replace(along(), trajectory=trajectory, matrix=matrix).series(0)


def test_effective_acceleration_of_a_trajectory_counts_the_spokes_that_full_sampling_takes():
    mask = torch.ones((3, 10, 1), dtype=torch.bool)
    mask[1, 4:9] = False
    assert effective_acceleration(mask, (64, 60)) == pytest.approx(3 * 101 / 25)


def test_along_a_trajectory_nothing_counts_as_fully_sampled_and_what_needs_a_grid_is_refused():
    scan = along(mask=torch.ones((1, 6, 1), dtype=torch.bool))
    assert not fully_sampled(scan, scan.series(0))
    for held in (scan, scan.series(0)):
        with pytest.raises(UsageError, match="A store needs Cartesian k-space"):
            require_cartesian(held, "A store")
    require_cartesian(Scan.from_kspace(kspace()), "A store")


@pytest.mark.skipif(find_spec("finufft") is None, reason="needs finufft, the extra nufft")
def test_scale_is_the_same_for_cartesian_positions_given_as_a_trajectory():
    lines = torch.arange(24) - 12
    positions = torch.stack(torch.meshgrid(lines, lines, indexing="ij"), -1)[None].float()
    r = torch.linspace(-1, 1, 24)
    image = ((r[:, None] ** 2 + r**2) < 0.5).to(torch.complex64).expand(2, 3, 24, 24)
    series = Series(7e-5 * fft2c(image), mask_of(torch.ones((1, 24, 1), dtype=torch.bool)))
    assert replace(series, trajectory=positions, matrix=(24, 24)).scale() == pytest.approx(normalisation(series), rel=1e-2)


def test_without_finufft_a_trajectory_asks_for_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "finufft", None)
    with pytest.raises(UsageError, match=r"needs the extra nufft.*pip install cmrrecon\[nufft\]"):
        along().series(0).scale()


@pytest.mark.parametrize(
    ("frame", "frames", "expected"),
    [
        (0, 1, [0, 0, 0, 0, 0]),
        (0, 2, [1, 1, 0, 1, 1]),
        (0, 3, [2, 2, 0, 1, 1]),
        (2, 3, [1, 1, 2, 0, 0]),
        (0, 4, [2, 3, 0, 1, 2]),
        (0, 12, [10, 11, 0, 1, 2]),
        (11, 12, [9, 10, 11, 0, 1]),
        (5, 12, [3, 4, 5, 6, 7]),
    ],
)
def test_windows_of_adjacent_frames(frame, frames, expected):
    assert window(frame, frames) == expected


def test_windows_of_other_widths():
    assert window(4, 12, 1) == [4]
    assert window(0, 12, 3) == [11, 0, 1]
    assert window(0, 2, 7) == [1, 1, 1, 0, 1, 1, 1]
