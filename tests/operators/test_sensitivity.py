import pytest
import scipy.io
import torch
from kinds import mask_of
from refusals import refused

from cmrrecon.operators.espirit import espirit, leading_eigenvectors
from cmrrecon.operators.fourier import centred, fft2c
from cmrrecon.operators.patches import (
    eigenvalue_bound,
    lag_covariance,
    lag_phases,
    patch_gram,
    signal_space,
)
from cmrrecon.operators.sensitivity import (
    FEWEST_LINES,
    MOST_COLUMNS,
    MOST_LINES,
    Calibration,
    average_is_better,
    calibration_data,
    calibration_region,
    estimate_maps,
)


def agreement(a, b):
    """Magnitude of <a, b> of unit vectors over coils, pixel by pixel."""
    return (a.conj() * b).sum(0).abs()


def make_phantom(coils=5, ny=49, nx=64):
    """K-space (2 frames, coil, y, x) of an ellipse in air, its maps and its support."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, ny), torch.linspace(-1, 1, nx), indexing="ij")
    inside = (y / 0.7) ** 2 + (x / 0.6) ** 2 < 1
    texture = 1 + 0.5 * torch.cos(9 * x) * torch.sin(7 * y)
    angles = 2 * torch.pi * torch.arange(coils) / coils
    maps = torch.stack(
        [
            torch.exp(
                -((y - 1.2 * a.sin()) ** 2 + (x - 1.2 * a.cos()) ** 2) / 2
                + 1j * (a + x * a.cos() + y * a.sin())
            )
            for a in angles
        ]
    )
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    noise = torch.randn(
        (2, coils, ny, nx), dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    kspace = fft2c((maps * inside * texture).to(torch.complex64)) + 1e-3 * noise
    return kspace, maps.to(torch.complex64), inside


@pytest.fixture(scope="module")
def phantom():
    return make_phantom()


def pixel_matrices(calibration, shape, kernel=6):
    """The matrix (y, x, coil, coil) of every pixel, by definition."""
    phase_y, phase_x = (lag_phases(kernel, n, calibration.device) for n in shape)
    covariance = lag_covariance(calibration.to(torch.complex128), kernel, 0.02)
    return torch.einsum("ya,xb,abcd->yxcd", phase_y, phase_x, covariance)


def random_complex(*shape, seed=0, dtype=torch.complex128):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


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
    assert calibration_region(mask_of(mask)) == (slice(16, 32), slice(None))


@pytest.mark.parametrize("c", [1, 2, 7, 20])
@pytest.mark.parametrize("ny", [48, 49])
def test_region_finds_blocks_of_every_size(ny, c):
    mask = torch.zeros((1, ny, 30), dtype=torch.bool)
    y, x = ny // 2 - c // 2, 15 - c // 2
    mask[:, y : y + c, x : x + c] = True
    assert calibration_region(mask_of(mask)) == (slice(y, y + c), slice(x, x + c))
    assert calibration_region(mask_of(mask[..., 15:16])) == (slice(y, y + c), slice(None))


def test_region_holds_only_lines_of_every_frame_and_is_limited():
    mask = torch.ones((2, 100, 1), dtype=torch.bool)
    y, _ = calibration_region(mask_of(mask))
    assert y.stop - y.start == MOST_LINES
    mask[1, 55:] = False
    assert calibration_region(mask_of(mask))[0] == slice(45, 55)
    mask[1] = False
    assert calibration_region(mask_of(mask))[0] == slice(50, 50)


@pytest.mark.parametrize(
    ("common", "union", "better"),
    [
        (0, 0, False),
        (0, 1, True),
        (0, 32, True),
        (3, 3, False),
        (3, 4, True),
        (4, 6, False),
        (4, 60, True),
        (5, 10, True),
        (6, 60, False),
        (16, 32, False),
        (24, 32, False),
    ],
)
def test_the_time_average_calibrates_where_it_is_the_better_block(common, union, better):
    assert average_is_better(common, union) is better


def moving_lines(ny, step, acs=0):
    """Each frame has different lines; together they have all."""
    mask = torch.zeros((step, ny, 1), dtype=torch.bool)
    for t in range(step):
        mask[t, t::step] = True
    mask[:, ny // 2 - acs // 2 : ny // 2 - acs // 2 + acs] = True
    return mask


@pytest.mark.parametrize(("acs", "averaged"), [(0, True), (4, True), (16, False)])
def test_calibration_of_frames_with_different_lines(acs, averaged):
    found = Calibration.of(mask_of(moving_lines(48, 4, acs)))
    assert found.averaged is averaged
    assert found.lines == (MOST_LINES if averaged else acs)
    assert found.always[0] == (slice(0) if averaged else found.y)


def test_the_average_counts_only_frames_that_measured_a_position(phantom):
    kspace, truth, inside = phantom
    mask = moving_lines(49, 3)
    still = kspace[:1].repeat(3, 1, 1, 1)
    block = calibration_data(still * mask[:, None], mask_of(mask))
    torch.testing.assert_close(block, still[0][:, centred(49, MOST_LINES)])
    maps = estimate_maps(still * mask[:, None], mask_of(mask))
    assert agreement(maps, truth)[inside].median() > 0.9999


def test_single_samples_are_averaged_too(phantom):
    kspace, _, _ = phantom
    mask = torch.rand((2, 49, 64), generator=torch.Generator().manual_seed(0)) < 0.5
    mask[1] |= ~mask[0]
    still = kspace[:1].repeat(2, 1, 1, 1)
    found = Calibration.of(mask_of(mask))
    assert found.averaged
    assert found.lines == MOST_LINES
    block = calibration_data(still * mask[:, None], mask_of(mask))
    torch.testing.assert_close(block, still[0][:, found.y, found.x])


def test_lines_with_an_asymmetric_echo_calibrate_on_all_their_columns():
    mask = lines(49, 12).expand(-1, -1, 64).clone()
    mask[..., :20] = False
    assert calibration_region(mask_of(mask)) == (slice(18, 30), slice(20, 64))


def test_calibration_data_are_the_average_or_the_first_frame(phantom):
    kspace, _, _ = phantom
    mask = lines(49, 12, frames=2)
    y, x = calibration_region(mask_of(mask))
    torch.testing.assert_close(calibration_data(kspace, mask_of(mask)), kspace[:, :, y, x].mean(0))
    torch.testing.assert_close(calibration_data(kspace, mask_of(mask), "first"), kspace[0, :, y, x])
    with refused("option-value"):
        calibration_data(kspace, mask_of(mask), "last")


def test_calibration_uses_the_middle_of_the_readout_only_for_line_masks(phantom):
    kspace, _, _ = phantom
    wide = torch.zeros((2, 5, 49, 2 * MOST_COLUMNS + 1), dtype=torch.complex64)
    middle = centred(wide.shape[-1], MOST_COLUMNS)
    wide[..., centred(wide.shape[-1], kspace.shape[-1])] = kspace
    other = wide.clone()
    other[..., : middle.start], other[..., middle.stop :] = 100, 100
    for mask in (lines(49, 12), lines(49, 12).repeat(1, 1, wide.shape[-1])):
        assert torch.equal(estimate_maps(wide, mask_of(mask)), estimate_maps(other, mask_of(mask)))
    other[..., middle.start] = 100
    assert not torch.equal(
        estimate_maps(wide, mask_of(lines(49, 12))), estimate_maps(other, mask_of(lines(49, 12)))
    )


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [((3, 9, 11), (4, 3)), ((1, 6, 6), (6, 6)), ((2, 7, 30), (5, 5)), ((4, 5, 8), (1, 2))],
)
def test_patch_gram_is_the_sum_over_all_patches(shape, kernel):
    calibration = random_complex(*shape)
    expected = 0
    for y in range(shape[1] - kernel[0] + 1):
        for x in range(shape[2] - kernel[1] + 1):
            patch = calibration[:, y : y + kernel[0], x : x + kernel[1]].flatten()
            expected = expected + patch[:, None] * patch.conj()
    torch.testing.assert_close(patch_gram(calibration, kernel), expected, atol=1e-12, rtol=0)
    single = patch_gram(calibration.to(torch.complex64), kernel)
    assert single.dtype == torch.complex128
    torch.testing.assert_close(single, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("shape", [(49, 64), (33, 21), (12, 7)])
def test_bound_is_above_the_eigenvalues_and_matches_its_definition(phantom, shape):
    calibration = phantom[0][0, :, 14:34, 22:42]
    values = torch.linalg.eigvalsh(pixel_matrices(calibration, shape))
    bound = eigenvalue_bound(lag_covariance(calibration.to(torch.complex128), 6, 0.02), shape)
    torch.testing.assert_close(bound, values.pow(4).sum(-1) ** 0.25, atol=1e-4, rtol=0)
    assert (bound >= values[..., -1] - 1e-4).all()


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.7, 0.9, 0.99])
def test_leading_eigenvectors_however_close_the_next_eigenvalue(ratio):
    basis = torch.linalg.qr(random_complex(200, 6, 6)).Q
    matrices = (basis * torch.tensor([0.9, 0.9 * ratio, 0.1, 0.01, 0, 0])) @ basis.mH
    vectors = leading_eigenvectors(matrices.to(torch.complex64))
    vectors /= torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    error = 1 - agreement(vectors.T, basis[..., 0].T.to(torch.complex64))
    assert error.max() < 1e-6 if ratio < 0.9 else error.max() < 1e-5


def test_leading_eigenvectors_of_equal_eigenvalues_and_of_zero_matrices():
    basis = torch.linalg.qr(random_complex(5, 4, 4, dtype=torch.complex64)).Q[..., :2]
    matrices = basis @ basis.mH
    matrices[3] = 0
    vectors = leading_eigenvectors(matrices)
    torch.testing.assert_close((matrices @ vectors[..., None])[..., 0], vectors)
    assert (vectors[3] == 0).all()
    assert (vectors[[0, 1, 2, 4]].abs().sum(-1) > 0.01).all()


@pytest.mark.parametrize(
    ("coils", "shape", "crop"),
    [(5, (49, 64), 0.8), (5, (33, 21), 0.8), (2, (20, 51), 0.5), (5, (21, 30), 0.0)],
)
def test_maps_are_the_eigenvectors_of_every_pixel(coils, shape, crop):
    calibration = make_phantom(coils)[0][0, :, 14:34, 20:44]
    values, vectors = torch.linalg.eigh(pixel_matrices(calibration, shape))
    maps = espirit(calibration, shape, crop=crop)
    support = maps.abs().sum(0) > 0
    sure = (values[..., -1] - crop).abs() > 1e-4
    assert torch.equal(support[sure], (values[..., -1] >= crop)[sure])
    clear = support & (values[..., -2] < 0.98 * values[..., -1])
    assert clear.sum() > 0.9 * support.sum()
    assert (1 - agreement(maps, vectors[..., -1].movedim(-1, 0).to(torch.complex64)))[
        clear
    ].max() < 1e-5


@pytest.mark.parametrize("silent", [[0], [1, 4]])
def test_silent_coils_have_zero_maps_and_change_no_others(phantom, silent):
    kspace, _, _ = phantom
    mask, heard = lines(49, 16), [c for c in range(5) if c not in silent]
    quiet = kspace.clone()
    quiet[:, silent] = 0
    maps = estimate_maps(quiet, mask_of(mask))
    assert torch.isfinite(maps).all()
    assert maps[silent].abs().max() < 1e-6
    torch.testing.assert_close(
        maps[heard], estimate_maps(kspace[:, heard], mask_of(mask)), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(("coils", "ny", "nx"), [(1, 41, 36), (32, 45, 30)])
def test_one_and_thirty_two_coils(coils, ny, nx):
    kspace, truth, inside = make_phantom(coils, ny, nx)
    maps = espirit(kspace[0, :, centred(ny, 16), centred(nx, 16)], (ny, nx))
    assert agreement(maps, truth)[inside].quantile(0.1) > 0.999


@pytest.mark.parametrize("acs", [6, 8, 12, 20])
def test_maps_agree_with_the_truth_have_unit_rss_and_are_zero_outside(phantom, acs):
    kspace, truth, inside = phantom
    maps = estimate_maps(kspace, mask_of(lines(49, acs)))
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
    maps = espirit(calibration_data(kspace, mask_of(lines(49, 20))), (49, 64), crop=0.0)
    assert (torch.linalg.vector_norm(maps, dim=0) > 0.99).all()


def test_square_region_of_a_radial_mask_gives_maps(phantom):
    kspace, truth, inside = phantom
    mask = torch.zeros((2, 49, 64), dtype=torch.bool)
    mask[:, 14:34, 22:42] = True
    maps = estimate_maps(kspace * mask[:, None], mask_of(mask))
    assert agreement(maps, truth)[inside].median() > 0.999


@pytest.mark.parametrize("scale", [1e-18, 1e-11, 1e7, 1e18])
def test_maps_do_not_depend_on_the_scale(phantom, scale):
    kspace, _, _ = phantom
    mask = lines(49, 16)
    torch.testing.assert_close(
        estimate_maps(kspace * scale, mask_of(mask)),
        estimate_maps(kspace, mask_of(mask)),
        atol=1e-3,
        rtol=0,
    )


def test_phase_does_not_depend_on_the_order_of_coils(phantom):
    kspace, _, _ = phantom
    mask, order = lines(49, 16), [3, 1, 4, 0, 2]
    maps, permuted = (
        estimate_maps(kspace, mask_of(mask)),
        estimate_maps(kspace[:, order], mask_of(mask)),
    )
    turn = (permuted.conj() * maps[order]).sum(0)[maps.abs().sum(0) > 0]
    assert (turn / turn.mean() - 1).abs().quantile(0.95) < 1e-2


def test_single_coil_maps_are_ones_without_calibration():
    kspace = torch.zeros((2, 1, 6, 7), dtype=torch.complex64)
    nothing = mask_of(torch.zeros((1, 6, 1), dtype=torch.bool))
    assert torch.equal(estimate_maps(kspace, nothing), torch.ones((1, 6, 7), dtype=torch.complex64))


def test_too_few_lines_is_an_input_error_that_counts_them(phantom):
    kspace, _, _ = phantom
    with refused("calibration-too-small") as error:
        estimate_maps(kspace, mask_of(lines(49, 3, step=40)))
    assert "Only 3 " in str(error.value)
    assert estimate_maps(kspace, mask_of(lines(49, FEWEST_LINES, step=40))).shape == (5, 49, 64)
    with refused("calibration-too-small") as error:
        espirit(kspace[0, :, :5], (49, 64))
    assert "At least 6" in str(error.value)
    with refused("calibration-empty"):
        espirit(torch.zeros((2, 8, 8), dtype=torch.complex64), (8, 8))
    broken = kspace[0].clone()
    broken[2, 24, 32] = complex("nan")
    with refused("kspace-not-finite"):
        estimate_maps(broken[None], mask_of(lines(49, 12)))


def test_maps_and_signal_space_agree_with_the_official_program(golden):
    expected = scipy.io.loadmat(golden / "metrics/recon/recon_uniform4.mat")
    kus, official = (
        torch.from_numpy(expected[name].transpose(2, 1, 0).copy())
        for name in ("kus", "espirit_maps")
    )
    calibration = kus[:, 12:28]
    assert signal_space(calibration, (6, 6), 0.02).shape[1] == int(
        expected["espirit_nkernels"].item()
    )
    maps = espirit(calibration, (40, 48), crop=0.0)
    assert agreement(maps, official).min() > 0.99999
    # The official program returns singular values of the kernels: square roots of eigenvalues.
    eigenvalues = torch.from_numpy(expected["espirit_eigenvalues"][..., -1].T.copy()) ** 2
    support = espirit(calibration, (40, 48), crop=0.8).abs().sum(0) > 0
    sure = (eigenvalues - 0.8).abs() > 1e-3
    assert torch.equal(support[sure], (eigenvalues > 0.8)[sure])


def test_maps_agree_with_sigpy(phantom):
    app = pytest.importorskip("sigpy.mri.app")
    kspace, _, _ = phantom
    theirs = torch.from_numpy(
        app.EspiritCalib(kspace[0].numpy(), calib_width=20, crop=0.9, show_pbar=False).run()
    )
    ours = espirit(kspace[0, :, 14:34, 22:42], (49, 64), crop=0.9)
    both = (theirs.abs().sum(0) > 0) & (ours.abs().sum(0) > 0)
    assert both.sum() > 0.9 * (theirs.abs().sum(0) > 0).sum()
    assert agreement(ours, theirs)[both].median() > 0.999
    assert agreement(ours, theirs)[both].quantile(0.01) > 0.999
