from dataclasses import replace

import pytest
import torch
from kinds import mask_of
from refusals import refused

from cmrrecon.data import Acquisition, LineMask, Scan
from cmrrecon.sampling import PATTERNS, apply_mask, default_seed, make_mask, undersample

SHAPE = (3, 4, 2, 60, 40)


def kspace():
    return torch.randn(SHAPE, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))


def full_scan(**acquisition):
    return Scan.from_kspace(kspace(), acquisition=Acquisition(base="cine_sax", **acquisition))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_samples_are_kept_inside_the_mask_and_zero_outside(pattern):
    scan = undersample(full_scan(), pattern, 4, acs=8, seed=3)
    expected = make_mask(pattern, frames=3, y=60, x=40, acceleration=4, acs=8, seed=3)
    assert torch.equal(scan.mask.samples, expected)
    for index in range(4):
        series = scan.series(index)
        inside = expected[:, None].expand_as(series.kspace)
        assert series.kspace.dtype == torch.complex64
        assert torch.equal(series.kspace[inside], kspace()[:, index][inside])
        assert (series.kspace[~inside] == 0).all()
        assert torch.equal(series.mask.samples, expected)


def test_slices_are_read_only_when_requested():
    calls = []

    def read_slice(index):
        calls.append(index)
        return kspace()[:, index]

    full = torch.ones((1, SHAPE[3], 1), dtype=torch.bool)
    scan = undersample(Scan(SHAPE, read_slice, mask_of(full)), "kt-uniform", 4, acs=8)
    assert calls == []
    scan.series(1)
    assert calls == [1]


def test_the_acquisition_records_the_sampling_and_keeps_everything_else():
    acquisition = undersample(
        full_scan(subject="P001", year=2024), "kt-gaussian", 4, seed=9
    ).acquisition
    assert acquisition == Acquisition(
        base="cine_sax",
        subject="P001",
        year=2024,
        pattern="kt-gaussian",
        acceleration=4.0,
        acs=16,
        seed=9,
    )


def test_a_seed_that_has_no_effect_is_not_recorded():
    assert undersample(full_scan(), "uniform", 4, seed=9).acquisition.seed is None


@pytest.mark.parametrize(
    ("of_scan", "given", "acs"),
    [(None, None, 20), (2023, None, 24), (2024, None, 16), (2023, 2024, 16), (None, 2023, 24)],
)
def test_the_year_is_the_given_one_or_the_scans_or_2025(of_scan, given, acs):
    scan = undersample(full_scan(year=of_scan), "uniform", 4, year=given)
    assert scan.acquisition.acs == acs
    assert torch.equal(
        scan.mask.samples, make_mask("uniform", frames=3, y=60, x=40, acceleration=4, acs=acs)
    )


def test_series_of_2024_with_odd_frames_get_the_official_masks_of_2024():
    mask = undersample(full_scan(year=2024), "kt-uniform", 4).mask.samples
    assert torch.equal(
        mask, make_mask("kt-uniform", frames=3, y=60, x=40, acceleration=4, year=2024)
    )
    assert not torch.equal(
        mask, undersample(full_scan(year=2025), "kt-uniform", 4, acs=16).mask.samples
    )


def test_the_given_scan_is_not_changed():
    scan = full_scan()
    undersample(scan, "uniform", 4)
    assert scan.mask is None
    assert torch.equal(scan.read_slice(2), kspace()[:, 2])


def test_a_full_mask_counts_as_fully_sampled():
    scan = Scan.from_kspace(kspace(), torch.ones(1, 60, 1, dtype=torch.bool))
    assert undersample(scan, "uniform", 4).series(0).mask.samples.sum() < 60


def test_an_undersampled_scan_is_refused():
    with refused("kspace-undersampled"):
        undersample(undersample(full_scan(), "uniform", 4), "uniform", 8)


def test_undersampled_scans_are_recognised_without_a_mask():
    data = kspace()
    data[..., ::2, :] = 0
    with refused("kspace-undersampled"):
        undersample(Scan.from_kspace(data), "uniform", 4)
    named = replace(Scan.from_kspace(kspace()), acquisition=Acquisition(pattern="kt-gaussian"))
    with refused("kspace-undersampled"):
        undersample(named, "uniform", 4)


def test_only_measured_samples_of_a_pattern_are_kept():
    data = kspace()
    data[..., :15, :] = 0
    scan = undersample(Scan.from_kspace(data), "uniform", 4, acs=8)
    pattern = make_mask("uniform", frames=3, y=60, x=40, acceleration=4, acs=8)
    pattern[:, :15] = False
    assert torch.equal(scan.mask.samples, pattern)
    assert scan.mask.effective_acceleration() == 60 / pattern.sum()
    assert torch.equal(scan.series(2).mask.samples, pattern)
    assert "partial Fourier" in scan.notes[-1]


def test_a_scan_with_few_gaps_keeps_them():
    data = kspace()
    data[..., 3::5, :] = 0
    scan = undersample(Scan.from_kspace(data), "kt-uniform", 2, acs=8)
    assert not scan.mask.samples[:, 3::5].any()
    assert torch.equal(scan.series(1).mask.samples, scan.mask.samples)


def test_slices_with_fewer_samples_keep_their_own_gaps():
    data = kspace()
    data[:, 2, :, :15] = 0
    scan = undersample(Scan.from_kspace(data), "uniform", 4, acs=8)
    assert scan.series(0).mask.samples[0, 0]
    assert not scan.series(2).mask.samples[:, :15].any()
    data[:, 3, :, ::2] = 0
    undersampled = undersample(Scan.from_kspace(data), "uniform", 4, acs=8)
    with refused("kspace-undersampled"):
        undersampled.series(3)


def test_faulty_samples_outside_the_mask_are_found():
    data = kspace()
    data[0, 0, 0, 1, 0] = float("nan")
    scan = undersample(
        Scan.from_kspace(data, torch.ones((1, SHAPE[3], 1), dtype=torch.bool)), "uniform", 4, acs=0
    )
    assert not scan.mask.samples[0, 1, 0]
    with refused("kspace-not-finite"):
        scan.series(0)


@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(1, 59, 1, dtype=torch.bool),
        torch.eye(2, 60, dtype=torch.bool)[..., None],
        torch.eye(60, 39).bool()[None],
        torch.ones(60, 1, dtype=torch.bool),
        torch.ones(1, 60, 1),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask):
    with refused("mask-shape"):
        apply_mask(full_scan(), mask_of(mask))


def test_apply_mask_changes_the_named_fields_of_the_acquisition():
    mask = torch.ones(1, 60, 40, dtype=torch.bool)
    mask[0, 0, 5] = False
    scan = apply_mask(full_scan(year=2023), mask_of(mask), pattern="own")
    assert (scan.acquisition.pattern, scan.acquisition.year, scan.acquisition.base) == (
        "own",
        2023,
        "cine_sax",
    )
    assert (scan.series(0).kspace[..., 0, 5] == 0).all()


def test_default_seeds_are_official_deterministic_and_varied():
    seeds = {default_seed(f"P{i:03d}_cine_sax.mat") for i in range(300)}
    assert min(seeds) >= 1
    assert max(seeds) <= 1000
    assert len(seeds) > 200
    assert default_seed("cine_sax.mat") == 563


def test_a_line_pattern_on_averaged_samples_keeps_the_averages_of_its_lines():
    samples = torch.ones((1, 32, 24), dtype=torch.bool)
    samples[0, 3, :6] = False
    kspace = torch.ones((2, 1, 3, 32, 24), dtype=torch.complex64) * samples
    counts = torch.ones(1, 32, 24)
    counts[:, 10:20] = 2
    full = Scan.from_kspace(kspace, samples)
    found = undersample(replace(full, mask=full.mask.averaged(counts)), "uniform", 2, acs=4).mask
    assert isinstance(found, LineMask)
    torch.testing.assert_close(found.averages, counts[..., :1])


def test_calibration_only_lines_do_not_become_image_data():
    lines = torch.ones((1, 32, 1), dtype=torch.bool)
    only = torch.zeros_like(lines)
    only[0, 4:6] = True
    kspace = torch.ones((2, 1, 3, 32, 24), dtype=torch.complex64)
    full = Scan.from_kspace(kspace, lines)
    full = replace(full, mask=replace(full.mask, calibration_only=only))
    found = apply_mask(full, LineMask(lines))
    assert torch.equal(found.mask.samples, ~only)
    assert not found.read_slice(0)[:, :, 4:6].any()
