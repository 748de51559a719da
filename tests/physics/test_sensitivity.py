import pytest
import scipy.io
import torch

from cmrrecon.errors import InputError, UsageError
from cmrrecon.physics.fourier import fft2c
from cmrrecon.physics.sensitivity import (
    FEWEST_LINES,
    MOST_LINES,
    calibration_data,
    calibration_region,
    espirit,
    estimate_maps,
    signal_space,
)


def agreement(a, b):
    """|<a, b>| of unit vectors over coils, pixel by pixel."""
    return (a.conj() * b).sum(0).abs()


@pytest.fixture(scope="module")
def phantom():
    """K-space (2 frames, 5 coils, 49, 64) of an ellipse that leaves air around it, its maps and where it is."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 49), torch.linspace(-1, 1, 64), indexing="ij")
    inside = (y / 0.7) ** 2 + (x / 0.6) ** 2 < 1
    texture = 1 + 0.5 * torch.cos(9 * x) * torch.sin(7 * y)
    angles = 2 * torch.pi * torch.arange(5) / 5
    maps = torch.stack(
        [torch.exp(-((y - 1.2 * a.sin()) ** 2 + (x - 1.2 * a.cos()) ** 2) / 2 + 1j * (a + x * a.cos() + y * a.sin())) for a in angles]
    )
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    noise = torch.randn((2, 5, 49, 64), dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    kspace = fft2c((maps * inside * texture).to(torch.complex64)) + 1e-3 * noise
    return kspace, maps.to(torch.complex64), inside


def lines(ny, acs, step=4, frames=1):
    mask = torch.zeros((frames, ny, 1), dtype=torch.bool)
    for t in range(frames):
        mask[t, t::step] = True
    start = ny // 2 - acs // 2
    mask[:, start : start + acs] = True
    return mask


def test_region_of_odd_size_follows_the_official_rule():
    mask = torch.zeros((3, 49, 1), dtype=torch.bool)
    mask[:, 16:32] = True
    mask[1, 2] = True
    assert calibration_region(mask) == (slice(16, 32), slice(None))


@pytest.mark.parametrize("c", [1, 2, 7, 20])
@pytest.mark.parametrize("ny", [48, 49])
def test_region_finds_blocks_of_every_size(ny, c):
    mask = torch.zeros((1, ny, 30), dtype=torch.bool)
    y, x = ny // 2 - c // 2, 15 - c // 2
    mask[:, y : y + c, x : x + c] = True
    assert calibration_region(mask) == (slice(y, y + c), slice(x, x + c))
    assert calibration_region(mask[..., 15:16]) == (slice(y, y + c), slice(None))


def test_region_takes_only_what_every_frame_has_and_is_limited():
    mask = torch.ones((2, 100, 1), dtype=torch.bool)
    y, _ = calibration_region(mask)
    assert y.stop - y.start == MOST_LINES
    mask[1, 55:] = False
    assert calibration_region(mask)[0] == slice(45, 55)
    mask[1] = False
    assert calibration_region(mask)[0] == slice(50, 50)


def test_calibration_data_averages_or_takes_the_first_frame(phantom):
    kspace, _, _ = phantom
    mask = lines(49, 12, frames=2)
    y, x = calibration_region(mask)
    torch.testing.assert_close(calibration_data(kspace, mask), kspace[:, :, y, x].mean(0))
    torch.testing.assert_close(calibration_data(kspace, mask, "first"), kspace[0, :, y, x])
    with pytest.raises(UsageError, match="unknown"):
        calibration_data(kspace, mask, "last")


@pytest.mark.parametrize("acs", [6, 8, 12, 20])
def test_maps_agree_with_the_truth_have_unit_rss_and_are_zero_outside(phantom, acs):
    kspace, truth, inside = phantom
    maps = estimate_maps(kspace, lines(49, acs))
    assert maps.dtype == torch.complex64
    rss = torch.linalg.vector_norm(maps, dim=0)
    support = rss > 0
    torch.testing.assert_close(rss[support], torch.ones(int(support.sum())), atol=1e-4, rtol=0)
    assert support[inside].float().mean() > 0.99
    if acs == 20:
        assert 0.3 < support.float().mean() < 0.9
    assert agreement(maps, truth)[inside & support].median() > 0.9995


def test_no_crop_means_support_everywhere(phantom):
    kspace, _, _ = phantom
    maps = espirit(calibration_data(kspace, lines(49, 20)), (49, 64), crop=0.0)
    assert (torch.linalg.vector_norm(maps, dim=0) > 0.99).all()


def test_square_region_of_a_radial_mask_gives_maps(phantom):
    kspace, truth, inside = phantom
    mask = torch.zeros((2, 49, 64), dtype=torch.bool)
    mask[:, 14:34, 22:42] = True
    maps = estimate_maps(kspace * mask[:, None], mask)
    assert agreement(maps, truth)[inside].median() > 0.999


@pytest.mark.parametrize("scale", [1e-18, 1e-11, 1e7, 1e18])
def test_maps_do_not_depend_on_the_scale(phantom, scale):
    kspace, _, _ = phantom
    mask = lines(49, 16)
    torch.testing.assert_close(estimate_maps(kspace * scale, mask), estimate_maps(kspace, mask), atol=1e-3, rtol=0)


def test_phase_does_not_depend_on_the_order_of_coils(phantom):
    kspace, _, _ = phantom
    mask, order = lines(49, 16), [3, 1, 4, 0, 2]
    maps, permuted = estimate_maps(kspace, mask), estimate_maps(kspace[:, order], mask)
    turn = (permuted.conj() * maps[order]).sum(0)[maps.abs().sum(0) > 0]
    assert (turn / turn.mean() - 1).abs().quantile(0.95) < 1e-2


def test_single_coil_maps_are_ones_without_calibration():
    kspace = torch.zeros((2, 1, 6, 7), dtype=torch.complex64)
    assert torch.equal(estimate_maps(kspace, torch.zeros((1, 6, 1), dtype=torch.bool)), torch.ones((1, 6, 7), dtype=torch.complex64))


def test_too_few_lines_is_an_input_error_that_counts_them(phantom):
    kspace, _, _ = phantom
    with pytest.raises(InputError, match="Only 3 calibration lines"):
        estimate_maps(kspace, lines(49, 3, step=40))
    assert estimate_maps(kspace, lines(49, FEWEST_LINES, step=40)).shape == (5, 49, 64)
    with pytest.raises(InputError, match="At least 6"):
        espirit(kspace[0, :, :5], (49, 64))
    with pytest.raises(InputError, match="only zeros"):
        espirit(torch.zeros((2, 8, 8), dtype=torch.complex64), (8, 8))


def test_maps_and_signal_space_agree_with_the_official_program(golden):
    expected = scipy.io.loadmat(golden / "metrics/recon/recon_uniform4.mat")
    kus, official = (torch.from_numpy(expected[name].transpose(2, 1, 0).copy()) for name in ("kus", "espirit_maps"))
    calibration = kus[:, 12:28]
    assert signal_space(calibration, (6, 6), 0.02).shape[1] == int(expected["espirit_nkernels"].item())
    maps = espirit(calibration, (40, 48), crop=0.0)
    assert agreement(maps, official).min() > 0.99999
    # The official program gives singular values of the kernels, the square roots of the eigenvalues.
    eigenvalues = torch.from_numpy(expected["espirit_eigenvalues"][..., -1].T.copy()) ** 2
    support = espirit(calibration, (40, 48), crop=0.8).abs().sum(0) > 0
    sure = (eigenvalues - 0.8).abs() > 1e-3
    assert torch.equal(support[sure], (eigenvalues > 0.8)[sure])


def test_maps_agree_with_sigpy(phantom):
    app = pytest.importorskip("sigpy.mri.app")
    kspace, _, _ = phantom
    theirs = torch.from_numpy(app.EspiritCalib(kspace[0].numpy(), calib_width=20, crop=0.9, show_pbar=False).run())
    ours = espirit(kspace[0, :, 14:34, 22:42], (49, 64), crop=0.9)
    both = (theirs.abs().sum(0) > 0) & (ours.abs().sum(0) > 0)
    assert both.sum() > 0.9 * (theirs.abs().sum(0) > 0).sum()
    assert agreement(ours, theirs)[both].median() > 0.999
    assert agreement(ours, theirs)[both].quantile(0.01) > 0.999
