from dataclasses import replace

import pytest
import scipy.io
import torch
from kinds import mask_of
from refusals import refused

from cmrrecon.classical.grappa import (
    GrappaOptions,
    Interpolator,
    cautions,
    grappa,
    heights,
    tallest,
)
from cmrrecon.classical.prepared import normalisation
from cmrrecon.classical.zero_filled import zero_filled
from cmrrecon.data import Series
from cmrrecon.operators.centre import recentred
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.operators.sensitivity import calibration_data


def psnr(image, reference):
    return float(10 * torch.log10(reference.max() ** 2 / (image - reference).square().mean()))


def test_equals_the_official_program(golden):
    expected = scipy.io.loadmat(golden / "metrics/recon/recon_uniform4.mat")
    kus, official = (
        torch.from_numpy(expected[name].transpose(2, 1, 0).copy())
        for name in ("kus", "grappa_kspace")
    )
    measured = (kus != 0).all(0).all(-1)
    filled = Interpolator(kus[:, 12:28], kernel=(5, 5), weight=0.01)(kus, measured)
    torch.testing.assert_close(filled, official, atol=1e-10, rtol=1e-9)
    images = torch.from_numpy(expected["grappa_sos"].T.copy())
    torch.testing.assert_close(rss(ifft2c(filled)), images, atol=1e-10, rtol=1e-9)


def test_method_uses_the_first_frame_like_the_official_program(golden):
    expected = scipy.io.loadmat(golden / "metrics/recon/recon_uniform4.mat")
    kus = torch.from_numpy(expected["kus"].transpose(2, 1, 0).copy()).to(torch.complex64)
    mask = torch.from_numpy(expected["mask"].T.copy() > 0)[None]
    # The comb extends the sixteen calibration lines by one; the official program uses sixteen.
    mask[:, 28] = False
    image = grappa(Series((kus * mask)[None], mask_of(mask)), GrappaOptions(calibration="first"))[0]
    truth = torch.from_numpy(expected["full_sos"].T.copy())
    assert psnr(image, truth) > psnr(rss(ifft2c(kus)), truth) + 1


def test_measured_lines_are_kept_and_lines_out_of_reach_stay_zero():
    frame = torch.randn(
        (2, 20, 9), dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    measured = torch.zeros(20, dtype=torch.bool)
    measured[[0, 1, 4, 13]] = True
    frame[:, ~measured] = 0
    filled = Interpolator(
        torch.randn((2, 8, 9), dtype=torch.complex64), kernel=(5, 5), weight=0.01
    )(frame, measured)
    assert torch.equal(filled[:, measured], frame[:, measured])
    reached = (filled != 0).all(-1).all(0)
    assert reached.nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15]


def test_unfolds_uniform_irregular_and_moving_line_masks(cine):
    series, truth = cine(step=1, frames=3)
    kspace = series.kspace
    for lines in (
        [range(0, 45, 3)] * 3,
        [range(t, 45, 3) for t in range(3)],
        [
            [0, 2, 5, 6, 9, 12, 13, 30, 33, 35, 36, 40, 44],
            [1, 4, 7, 9, 12, 15, 31, 34, 37, 39, 42],
            list(range(0, 45, 2)),
        ],
    ):
        mask = torch.zeros((3, 45, 1), dtype=torch.bool)
        for t, chosen in enumerate(lines):
            mask[t, list(chosen)] = True
        mask[:, 16:28] = True
        undersampled = Series(kspace * mask[:, None], mask_of(mask))
        images = grappa(undersampled)
        assert images.dtype == torch.float32
        assert psnr(images, truth.abs()) > psnr(zero_filled(undersampled), truth.abs()) + 5


def test_magnitude_does_not_depend_on_the_order_of_coils(cine):
    series, _ = cine(coils=5)
    permuted = Series(series.kspace[:, [3, 1, 4, 0, 2]], series.mask)
    torch.testing.assert_close(grappa(permuted), grappa(series), atol=1e-4, rtol=0)


def test_unsuitable_series_are_refused(cine):
    with refused("needs-lines") as error:
        grappa(cine(radial=True)[0])
    assert "sense" in str(error.value)
    with refused("option-value"):
        grappa(cine()[0], GrappaOptions(kernel=4))
    with refused("calibration-too-small") as error:
        grappa(cine(step=9, acs=4)[0])
    assert "Only 4 " in str(error.value)


@pytest.mark.parametrize(
    ("coils", "shape", "frames"),
    [(1, (45, 56), 1), (4, (45, 56), 1), (32, (31, 27), 2), (3, (33, 16), 2)],
)
def test_accepts_any_number_of_coils_frames_and_pixels(cine, coils, shape, frames):
    series, truth = cine(coils=coils, shape=shape, frames=frames, step=2)
    images = grappa(series)
    assert images.shape == (frames, *shape)
    if coils > 1:
        assert psnr(images, truth.abs()) > psnr(zero_filled(series), truth.abs()) + 5
    else:
        assert torch.isfinite(images).all()


def test_silent_coil_changes_nothing(cine):
    series, _ = cine(coils=4)
    silent = torch.cat([series.kspace, torch.zeros_like(series.kspace[:, :1])], 1)
    # The weight is relative to the number of neighbours, including those of the silent coil.
    torch.testing.assert_close(
        grappa(Series(silent, series.mask), GrappaOptions(weight=0.01 * 5 / 4)),
        grappa(series),
        atol=1e-4,
        rtol=0,
    )


def test_calibration_lines_alone_are_extended_only_by_the_kernel(cine):
    series, _ = cine(step=45, acs=12)
    mask = series.mask.samples.clone()
    mask[:, 0] = False
    frame = series.kspace[0] * mask[0]
    filled = Interpolator(frame[:, 16:28], kernel=(5, 5), weight=0.01)(frame, mask[0, :, 0])
    assert filled.abs().sum((0, 2)).nonzero().flatten().tolist() == list(range(14, 30))
    assert torch.isfinite(grappa(Series(series.kspace * mask[:, None], mask_of(mask)))).all()


def test_frame_without_signal_stays_zero(cine):
    series, _ = cine(frames=3)
    series.kspace[1] = 0
    images = grappa(series)
    assert (images[1] == 0).all()
    assert torch.isfinite(images).all()


def test_unusable_calibration_lines_are_refused(cine):
    series, _ = cine()
    y = slice(16, 28)
    for value, code in ((0, "calibration-empty"), (complex("nan"), "kspace-not-finite")):
        broken = series.kspace.clone()
        broken[:, :, y] = value
        with refused(code):
            grappa(Series(broken, series.mask))


def test_undetermined_weights_are_refused(cine):
    series, _ = cine()
    series.kspace[:, 2] = 0
    with refused("weight-too-small"):
        grappa(series, GrappaOptions(weight=0))
    assert torch.isfinite(grappa(series)).all()


def test_weights_minimise_the_documented_functional():
    block = torch.randn(
        (2, 9, 12), dtype=torch.complex128, generator=torch.Generator().manual_seed(0)
    )
    rows, columns = (1, 4), range(1, 5)
    found = Interpolator(block, kernel=(5, 5), weight=0.01).weights(rows, columns)
    patches = (
        block.unfold(1, 5, 1).unfold(2, 5, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    )  # (position, coil, row, column)
    sources = patches[:, :, rows][..., columns].permute(0, 3, 2, 1).flatten(1)
    normal = sources.mH @ sources
    tikhonov = 0.01 * torch.linalg.matrix_norm(normal) / len(normal)
    expected = torch.linalg.solve(
        normal + tikhonov * torch.eye(len(normal), dtype=normal.dtype),
        sources.mH @ patches[:, :, 2, 2],
    )
    torch.testing.assert_close(found.flatten(0, 1), expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("step", [2, 3, 4])
def test_is_ten_decibels_above_zero_filled_on_a_measured_head(measured_head, step):
    mask = torch.zeros((1, 96, 1), dtype=torch.bool)
    mask[:, ::step] = True
    mask[:, 36:60] = True
    scale = normalisation(Series(measured_head * mask, mask_of(mask)))
    series = Series(measured_head * mask / scale, mask_of(mask))
    reference = rss(ifft2c(measured_head / scale))
    assert psnr(grappa(series), reference) > psnr(zero_filled(series), reference) + 10


@pytest.mark.parametrize(
    ("measured", "most", "expected"),
    [
        ([0, 4, 8, 11], 11, [0, 5, 5, 5, 0, 5, 5, 5, 0, 5, 5, 0]),
        ([0, 8, 9, 10, 11], 11, [0, 5, 5, 7, 9, 7, 5, 5, 0, 0, 0, 0]),
        ([0, 8, 9, 10, 11], 7, [0, 5, 5, 7, 0, 7, 5, 5, 0, 0, 0, 0]),
        ([3, 4, 5], 11, [0, 5, 5, 0, 0, 0, 5, 5, 0, 0, 0, 0]),
        ([], 11, [0] * 12),
    ],
    ids=["comb", "taller between", "not too tall", "outside of what was measured", "nothing"],
)
def test_the_kernel_is_as_tall_as_needed(measured, most, expected):
    lines = torch.zeros(12, dtype=torch.bool)
    lines[measured] = True
    assert heights(lines, 5, most).tolist() == expected


@pytest.mark.parametrize(
    ("lines", "kernel", "most"), [(24, None, 13), (20, None, 11), (8, None, 5), (24, 9, 9)]
)
def test_the_kernel_is_limited_to_half_of_the_calibration_lines(lines, kernel, most):
    assert tallest(lines, kernel) == most


@pytest.mark.parametrize("step", [6, 8])
def test_no_line_between_measured_ones_stays_empty(cine, monkeypatch, step):
    series, truth = cine(step=step, acs=20, coils=6, frames=1)
    frame, measured = series.kspace[0], series.mask.samples[0, :, 0]
    made = []
    monkeypatch.setattr("cmrrecon.classical.grappa.ifft2c", lambda k: made.append(k) or ifft2c(k))
    images = grappa(series)
    kspace = made[0]
    block = calibration_data(series.kspace, series.mask)
    official = Interpolator(block, kernel=(5, 5), weight=0.01)(frame, measured)
    reached = (official != 0).any(-1).any(0)
    assert not reached.all()
    assert torch.equal(kspace[:, reached], official[:, reached])
    inside = range(int(measured.nonzero()[0]), int(measured.nonzero()[-1]))
    assert (kspace[:, inside].abs().sum((0, 2)) > 0).all()
    assert psnr(images, truth.abs()) > psnr(zero_filled(series), truth.abs())


def test_a_given_kernel_that_leaves_lines_empty_is_refused_with_a_better_one(cine):
    series, _ = cine(step=8, acs=20, coils=6)
    with refused("kernel-too-small") as error:
        grappa(series, GrappaOptions(kernel=5))
    assert "kernel=9" in str(error.value)
    assert torch.isfinite(grappa(series, GrappaOptions(kernel=9))).all()


def test_empty_lines_cause_a_warning(cine):
    assert cautions(cine(step=3)[0], GrappaOptions()) == ()
    series, _ = cine(step=3)
    y = torch.arange(45)[None, :, None]
    narrow = series.kept(series.mask.samples & (y >= 10) & (y < 35))
    (caution,) = cautions(narrow, GrappaOptions())
    lines = narrow.mask.samples[0, :, 0].nonzero()
    # Two lines on either side are within reach.
    empty = int(lines[0]) - 2 + 45 - 1 - int(lines[-1]) - 2
    assert f"{empty} of 45 " in caution


def test_a_missing_side_causes_no_second_warning(cine):
    series, _ = cine(step=3)
    partial = series.kept(series.mask.samples & (torch.arange(45) < 33)[None, :, None])
    assert partial.mask.coverage.one_sided
    assert cautions(partial, GrappaOptions()) == ()


def test_an_asymmetric_echo_is_filled_where_it_was_measured(cine):
    series, _ = cine(step=1, frames=2, coils=6)
    lines = torch.zeros((1, 45, 56), dtype=torch.bool)
    lines[:, ::2] = lines[:, 16:28] = True
    lines[..., :14] = False
    cut = Series(series.kspace * lines[:, None], mask_of(lines))
    echo = torch.arange(56) >= 14
    best = rss(ifft2c(series.kspace * echo))
    assert psnr(grappa(cut), best) > psnr(zero_filled(cut), best) + 10


def test_an_asymmetric_echo_with_its_centre_off_the_middle_does_not_wrap_around(cine):
    series, _ = cine(step=1, frames=2, coils=6)
    lines = torch.zeros((1, 45, 56), dtype=torch.bool)
    lines[:, ::2] = lines[:, 16:28] = True
    lines[..., :20] = False
    expected = grappa(Series(series.kspace * lines[:, None], mask_of(lines)))
    # The echo comes early: its columns start with the readout.
    stored = Series((series.kspace * lines[:, None]).roll(-20, 3), mask_of(lines.roll(-20, 2)))
    centred_again = recentred(stored)
    assert centred_again.rolled[1] in range(18, 23)
    torch.testing.assert_close(grappa(centred_again), expected, atol=1e-4, rtol=0)
    assert cautions(centred_again, GrappaOptions()) == ()


def test_separate_reference_lines_calibrate(cine):
    series, truth = cine(step=3, acs=0, frames=2, coils=6)
    with refused("calibration-too-small"):
        grappa(series)
    low = cine(step=1, coils=6)[0].kspace[0][:, 11:35, 8:48]
    images = grappa(Series(series.kspace, series.mask, calibration=1e5 * low))
    assert psnr(images, truth.abs()) > psnr(zero_filled(series), truth.abs()) + 5


def test_frames_with_different_lines_calibrate_on_their_average(cine):
    series, truth = cine(step=3, acs=0, frames=6, coils=6, moving=True)
    assert psnr(grappa(series), truth.abs()) > psnr(zero_filled(series), truth.abs()) + 5


def test_samples_for_calibration_only_are_not_image_data(cine):
    series, _ = cine(step=3, frames=2, coils=6)
    only = torch.zeros_like(series.mask.samples)
    only[:, 17:19] = True
    spoiled = series.kspace.clone()
    mask = replace(series.mask, calibration_only=only)
    images = grappa(Series(spoiled, mask))
    left = Series(spoiled * mask.image_data[:, None], mask_of(mask.image_data))
    scaled = grappa(replace(left, calibration=series.kspace.mean(0)[:, 16:28]))
    torch.testing.assert_close(images, scaled, atol=1e-5, rtol=1e-4)
