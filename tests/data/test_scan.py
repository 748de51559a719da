from dataclasses import replace

import pytest
import torch
from refusals import refused

from cmrrecon.data import LineMask, MaskSource, SamplingMask, Scan, SpokeMask
from cmrrecon.simulation import simulate
from cmrrecon.tools.errors import InputError, UsageError


def test_kspace_in_memory_becomes_a_scan(kspace):
    data = kspace().to(torch.complex128)
    scan = Scan.from_kspace(data)
    assert scan.shape == (3, 2, 2, 8, 10)
    assert scan.axes == ("frame", "slice", "coil", "y", "x")
    assert scan.image_shape == (8, 10)
    assert scan.matrix is None
    assert scan.acquisition.base == "scan"
    assert scan.read_slice(1).dtype == torch.complex64
    torch.testing.assert_close(scan.series(1).kspace, data[:, 1].to(torch.complex64))


def test_a_mask_may_be_a_tensor_or_a_mask(kspace, lines):
    data = kspace() * lines(1, 2)[:, None, None]
    assert isinstance(Scan.from_kspace(data, lines(1, 2)).mask, LineMask)
    mask = SamplingMask.of(lines(1, 2), MaskSource.FILE)
    assert Scan.from_kspace(data, mask).series(0).mask is mask


def test_invalid_kspace_is_refused(kspace):
    with refused("kspace-axes") as error:
        Scan.from_kspace(kspace()[0])
    assert isinstance(error.value, UsageError)
    with refused("kspace-real"):
        Scan.from_kspace(kspace().abs())


@pytest.mark.parametrize("shape", [(1, 9, 1), (2, 8, 1), (1, 8, 5), (8, 1)])
def test_a_mask_of_another_shape_is_refused(kspace, shape):
    with refused("mask-shape"):
        Scan.from_kspace(kspace(), torch.ones(shape, dtype=torch.bool))


def test_missing_slices_are_refused(kspace):
    for index in (2, -1):
        with refused("slice-missing") as error:
            Scan.from_kspace(kspace()).series(index)
        assert "0 to 1" in str(error.value)


# What was measured, without a mask


def test_without_a_mask_samples_nonzero_in_any_coil_were_measured(kspace, lines):
    data = kspace() * lines(0, 3, 4)[:, None, None]
    data[:, :, 0, :, ::3] = 0
    mask = Scan.from_kspace(data).series(1).mask
    assert isinstance(mask, LineMask)
    assert mask.source is MaskSource.NON_ZERO
    assert torch.equal(mask.samples, lines(0, 3, 4))


def test_tiny_values_in_unmeasured_lines_become_zeros(kspace, lines):
    data = kspace() * torch.where(lines(0, 3, 4), 1, 1e-9)[:, None, None]
    for mask in (None, lines(0, 3, 4)):
        series = Scan.from_kspace(data, mask).series(0)
        assert torch.equal(series.mask.samples, lines(0, 3, 4))
        assert (series.kspace[:, :, 1] == 0).all()


def test_a_coil_that_drops_out_of_a_frame_is_predicted_with_a_warning(kspace, lines):
    data = kspace() * lines(1, 4)[:, None, None]
    data[1, :, 0] = 0
    series = Scan.from_kspace(data).series(1)
    assert torch.equal(series.mask.samples, lines(1, 4))
    assert len(series.warnings) == 1
    assert "coil 0" in series.warnings[0]
    assert (series.kspace[1, 0, 4] != 0).all()
    assert (series.kspace[1, 0, 0] == 0).all()
    assert torch.equal(series.kspace[0], data[0, 1])
    assert Scan.from_kspace(kspace()).series(0).warnings == ()


def test_a_coil_that_is_switched_off_does_not_hide_the_mask(kspace, lines):
    data = kspace() * lines(1, 4)[:, None, None]
    data[:, :, 0] = 0
    assert torch.equal(Scan.from_kspace(data).series(0).mask.samples, lines(1, 4))


# What must agree


@pytest.mark.parametrize("value", [float("nan"), float("inf"), complex(0, float("-inf"))])
def test_values_that_are_not_finite_are_refused(kspace, value):
    data = kspace()
    data[2, 1, 0, 3, 3] = value
    scan = Scan.from_kspace(data)
    scan.series(0)
    with refused("kspace-not-finite") as error:
        scan.series(1)
    assert "Slice 1 of the scan, frame 2" in str(error.value)


def test_a_frame_of_zeros_is_refused(kspace):
    data = kspace()
    data[1, 1] = 0
    with refused("kspace-empty") as error:
        Scan.from_kspace(data).series(1)
    assert "frame 1" in str(error.value)


def test_a_mask_that_leaves_data_out_is_refused(kspace, lines):
    scan = Scan.from_kspace(kspace() * lines(1, 2)[:, None, None], lines(1))
    with refused("mask-disagrees") as error:
        scan.series(0)
    assert isinstance(error.value, InputError)
    # One line of ten samples in each of three frames.
    assert "30 samples" in str(error.value)


def test_a_single_coil_with_data_outside_the_mask_is_enough(kspace, lines):
    data = kspace() * lines(1)[:, None, None]
    data[0, 0, 1, 5, 5] = 1
    with refused("mask-disagrees"):
        Scan.from_kspace(data, lines(1)).series(0)


def test_a_mask_that_claims_many_empty_lines_between_others_is_refused(kspace, lines):
    scan = Scan.from_kspace(kspace() * lines(1, 6)[:, None, None], lines(1, 2, 5, 6))
    with refused("mask-disagrees") as error:
        scan.series(0)
    assert "6 of 12 lines" in str(error.value)


@pytest.mark.parametrize(("first", "last"), [(1, 40), (0, 25)])
def test_few_or_outer_empty_lines_of_a_mask_count_as_not_measured(kspace, lines, first, last):
    held = lines(*range(first, 10), *range(12, last), y=40)
    series = Scan.from_kspace(
        kspace(y=40) * held[:, None, None], torch.ones((1, 40, 1), dtype=torch.bool)
    ).series(0)
    assert torch.equal(series.mask.samples, held)
    assert len(series.warnings) == 1


def test_a_cut_readout_makes_the_mask_incomplete(kspace, lines):
    data = kspace(x=20)
    data[..., :5] = 0
    series = Scan.from_kspace(data, torch.ones((1, 8, 1), dtype=torch.bool)).series(0)
    assert series.mask.coverage.label == "asymmetric echo"
    assert len(series.warnings) == 1
    sampled = data * lines(1, 2)[:, None, None]
    assert isinstance(Scan.from_kspace(sampled, lines(1, 2)).series(0).mask, LineMask)


@pytest.mark.parametrize("shape", [(1, 9, 1), (2, 8, 1)])
def test_a_mask_of_another_shape_is_refused_when_data_are_read(kspace, shape):
    mask = LineMask(torch.ones(shape, dtype=torch.bool))
    with refused("mask-shape"):
        replace(Scan.from_kspace(kspace()), mask=mask).series(0)


def test_calibration_and_noise_go_along_with_a_series(kspace):
    block = torch.ones((2, 4, 4), dtype=torch.complex64)
    scan = replace(Scan.from_kspace(kspace()), calibration=lambda index: index * block)
    assert torch.equal(scan.series(1).calibration, block)
    assert scan.series(0).noise is None


# Along a trajectory


def test_the_trajectory_gives_the_image_size(along):
    scan = along()
    assert scan.axes == ("frame", "slice", "coil", "spoke", "sample")
    assert scan.image_shape == scan.matrix == (8, 8)
    series = scan.series(1)
    assert isinstance(series.mask, SpokeMask)
    assert series.mask.trajectory is scan.mask.trajectory
    assert series.image_shape == (8, 8)


def test_without_a_mask_spokes_with_any_data_were_measured(along, kspace):
    data = kspace(y=6)
    data[0, :, :, 2] = 0
    data[1, :, 0, 3, 4] = 0
    scan = replace(along(source=MaskSource.NON_ZERO), read_slice=lambda index: data[:, index])
    samples = scan.series(0).mask.samples
    assert samples.shape == (3, 6, 1)
    assert not samples[0, 2]
    assert samples.sum() == samples.numel() - 1


def test_a_mask_of_spokes_is_checked_like_one_of_lines(along):
    hidden = torch.ones((1, 6, 1), dtype=torch.bool)
    hidden[0, 1] = False
    with refused("mask-disagrees"):
        along(hidden).series(0)
    with refused("mask-shape"):
        along(torch.ones((1, 6, 10), dtype=torch.bool)).series(0)


def test_a_trajectory_that_does_not_fit_is_refused_when_a_slice_is_read(along):
    with refused("trajectory-shape") as error:
        along(positions=torch.full((3, 6, 9, 2), 4.0)).series(1)
    assert "Slice 1" in str(error.value)


def test_spokes_that_differ_between_slices_are_found_by_what_is_non_zero():
    made = simulate(slices=1, frames=2, coils=2, y=32, x=64, spokes=6).scan
    kspace = made.read_slice(0)
    kspace[:, :, 4:] = 0
    kspace[1, 0, 3] = 0  # in one coil alone
    kspace[1, :, 2] = 0
    mask = replace(made.mask, source=MaskSource.NON_ZERO)
    found = replace(made, read_slice=lambda index: kspace, mask=mask).series(0).mask
    assert isinstance(found, SpokeMask)
    assert found.samples[0, :, 0].tolist() == [True, True, True, True, False, False]
    assert found.samples[1, :, 0].tolist() == [True, True, False, True, False, False]
    kspace[:, :, 2] = 0
    assert replace(made, read_slice=lambda index: kspace, mask=mask).series(
        0
    ).mask.samples.shape == (1, 6, 1)


def test_the_first_series_is_the_first_slice_with_data(kspace):
    data = kspace()
    data[:, 0] = 0
    scan = Scan.from_kspace(data)
    torch.testing.assert_close(scan.first_series().kspace, data[:, 1])
    with refused("kspace-empty"):
        Scan.from_kspace(torch.zeros_like(data)).first_series()
