import json
import math

import numpy as np
import pytest
import scipy.io
import torch
from refusals import refused

from cmrrecon.evaluation.protocols import PROTOCOLS, canonical_protocol, score
from cmrrecon.evaluation.ranking import ranking_crop
from cmrrecon.metrics import hfen, psnr, ssim
from cmrrecon.operators.fourier import ifft2c

ORDERS = {
    "reference first": "calmetric(pred=recon, gt=gt)",
    "reconstruction first": "calmetric(pred=gt, gt=recon)",
}
RANK_BASES = ["T1map", "blackblood", "cine_lax", "cine_sax", "perfusion"]


def ours(array: np.ndarray) -> torch.Tensor:
    """(nx, ny[, nz[, nt]]) to (frame, slice, y, x)."""
    image = torch.from_numpy(np.ascontiguousarray(array.T))
    return image.reshape((1,) * (4 - image.ndim) + image.shape)


def series(
    seed: int = 0, shape: tuple[int, int, int, int] = (3, 2, 24, 30)
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand(shape, generator=generator)
    return (reference + 0.1 * torch.randn(shape, generator=generator)).abs(), reference


def golden_cases(golden, version):
    inputs = np.load(golden / "metrics" / "metrics_inputs.npz")
    expected = json.loads(
        (golden / "metrics" / f"metrics_expected_skimage{version}.json").read_text()
    )["results"]
    for case, years in expected.items():
        for year, calls in years.items():
            yield (
                ours(inputs[f"{case}__recon"]),
                ours(inputs[f"{case}__gt"]),
                int(year),
                calls,
                inputs[f"{case}__gt"].ndim,
            )


def assert_equal_to(scores, expected, ndim):
    for metric in ("psnr", "ssim", "nmse"):
        assert getattr(scores, metric) == pytest.approx(expected[f"{metric}_mean"], abs=1e-6)
        per_image = getattr(scores, f"{metric}_images")
        table = torch.tensor(expected[metric], dtype=torch.float64)
        # The official tables are [slice][frame]; without a time axis one row of slices.
        table = table.T if ndim == 4 else table.reshape(per_image.shape)
        assert torch.allclose(per_image, table, rtol=0, atol=1e-6)


@pytest.mark.parametrize("version", ["0.21", "0.26"])
def test_scores_equal_the_official_programs(golden, version):
    compared = 0
    for reconstruction, reference, year, calls, ndim in golden_cases(golden, version):
        # The official call of 2023 has the reference first. 2024 and 2025 swap the two, and their
        # code swaps them back below four dimensions.
        official = calls[ORDERS["reference first" if year == 2023 else "reconstruction first"]]
        base = "cine_sax" if ndim == 4 else "blackblood"
        assert_equal_to(score(reconstruction, reference, protocol=year, base=base), official, ndim)
        textbook = official if ndim < 4 else calls[ORDERS["reference first"]]
        assert_equal_to(
            score(reconstruction, reference, protocol=year, base=base, order="textbook"),
            textbook,
            ndim,
        )
        compared += 1
    assert compared == 22


@pytest.mark.parametrize("year", [2024, 2025])
def test_a_time_axis_swaps_the_roles_in_official_order(golden, year):
    inputs = np.load(golden / "metrics" / "metrics_inputs.npz")
    reconstruction, reference = (
        ours(inputs["blackblood3d__recon"]),
        ours(inputs["blackblood3d__gt"]),
    )
    static = {
        base: score(reconstruction, reference, protocol=year, base=base)
        for base in ("blackblood", "T1w", "T2w")
    }
    assert len({s.psnr for s in static.values()}) == 1
    moving = score(reconstruction, reference, protocol=year)
    assert moving.psnr != static["T1w"].psnr
    assert moving.psnr == score(reconstruction, reference, protocol=year, base="flow2d").psnr
    assert moving.psnr == pytest.approx(
        score(reference, reconstruction, protocol=year, order="textbook").psnr, abs=1e-9
    )


@pytest.mark.parametrize("base", RANK_BASES)
def test_the_ranking_crop_equals_the_official_functions(all_golden, base):
    check_ranking_crop(all_golden, base)


@pytest.mark.parametrize("base", ["T1map", "blackblood"])
def test_the_ranking_crop_equals_the_official_functions_on_the_copied_cases(golden, base):
    check_ranking_crop(golden, base)


def check_ranking_crop(folder, base):
    content = scipy.io.loadmat(folder / "metrics" / "rank" / f"rank_{base}.mat")
    kspace = torch.from_numpy(np.ascontiguousarray(content["kspace"].T))
    kspace = kspace if kspace.ndim == 5 else kspace[None]
    images = torch.linalg.vector_norm(ifft2c(kspace), dim=2)
    for year in (2023, 2024, 2025):
        if f"rank{year}" in content:
            expected = ours(content[f"rank{year}"])
            if base == "blackblood":
                assert expected.shape[0] == 1
            cropped = ranking_crop(images, base=base, year=year)
            assert cropped.shape == expected.shape
            assert torch.allclose(cropped, expected, rtol=1e-5, atol=1e-6 * float(expected.max()))


def test_the_ranking_crop_keeps_the_middle_slices_and_first_frames():
    images = (
        torch.arange(5.0)[:, None, None, None] * 100
        + torch.arange(11.0)[None, :, None, None]
        + torch.zeros(5, 11, 246, 512)
    )
    cropped = ranking_crop(images, base="cine_sax", year=2024)
    assert cropped.shape == (3, 2, 123, 171)
    assert cropped[:, :, 0, 0].tolist() == [[4, 5], [104, 105], [204, 205]]
    for slices, kept in ((1, [0]), (2, [0, 1]), (3, [0, 1]), (4, [0, 1]), (5, [1, 2])):
        assert (
            ranking_crop(images[:, :slices], base="cine_sax", year=2025)[0, :, 0, 0].tolist()
            == kept
        )


def test_the_ranking_crop_centres_odd_and_even_sizes_as_matlab_does():
    y = torch.arange(25.0)[:, None].expand(1, 1, 25, 37)
    x = torch.arange(37.0).expand(1, 1, 25, 37)
    assert ranking_crop(y, base="T1w", year=2025)[0, 0, :, 0].tolist() == list(range(6, 19))
    assert ranking_crop(x, base="T1w", year=2025)[0, 0, 0].tolist() == list(range(12, 24))


@pytest.mark.parametrize(
    ("base", "frames"),
    [
        ("cine_sax", (3, 3, 3)),
        ("cine_lax", (3, 3, 3)),
        ("perfusion", (8, 3, 3)),
        ("T1map", (8, 8, 8)),
        ("T1mappost", (8, 8, 8)),
        ("T2smap", (8, 3, 8)),
        ("T1rho", (8, 3, 8)),
        ("flow2d", (8, 3, 3)),
    ],
)
def test_the_ranking_crop_keeps_the_frames_of_its_year(base, frames):
    images = torch.rand(8, 2, 12, 18)
    assert (
        tuple(len(ranking_crop(images, base=base, year=year)) for year in (2023, 2024, 2025))
        == frames
    )


def test_the_ranking_crop_does_the_sensible_thing_where_the_official_functions_fail():
    assert ranking_crop(torch.rand(12, 1, 12, 18), base="cine_sax", year=2023).shape == (3, 1, 6, 6)
    assert ranking_crop(torch.rand(2, 4, 12, 18), base="flow2d", year=2024).shape == (2, 2, 6, 6)
    assert ranking_crop(torch.rand(1, 1, 12, 18), base="cine_sax", year=2025).shape == (1, 1, 6, 6)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scores_do_not_depend_on_the_scale_of_the_reconstruction(protocol):
    reconstruction, reference = series()
    one, other = (
        score(factor * reconstruction, reference, protocol=protocol) for factor in (1.0, 512.0)
    )
    assert other.psnr == pytest.approx(one.psnr, abs=1e-5)
    assert other.ssim == pytest.approx(one.ssim, abs=1e-6)
    assert other.nmse == pytest.approx(one.nmse, abs=1e-6)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_complex_images_are_scored_by_their_magnitude(protocol):
    reconstruction, reference = series()
    turned = reconstruction * torch.exp(1j * torch.linspace(0, 3, 30))
    assert score(turned, reference, protocol=protocol).psnr == pytest.approx(
        score(reconstruction, reference, protocol=protocol).psnr, abs=1e-5
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_identical_images_score_infinity_and_survive_json(protocol):
    _, reference = series()
    scores = score(reference, reference, protocol=protocol)
    assert scores.psnr == math.inf
    assert scores.ssim == pytest.approx(1.0)
    assert scores.nmse == 0.0
    record = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert record["psnr"] == "inf"
    assert float(record["psnr"]) == math.inf
    assert record["protocol"] == protocol
    assert record["images"] == 6


def test_fullfov_equals_a_plain_computation():
    reconstruction, reference = series()
    box = (slice(None), slice(4, 20), slice(5, 25))
    scores = score(2 * reconstruction, reference, protocol="fullfov", heart=(4, 20, 5, 25))
    db, similarity, error, heart_db = [], [], [], []
    for index in range(2):
        truth, image = (
            reference[:, index].double().numpy(),
            reconstruction[:, index].double().numpy(),
        )
        image = image * (image * truth).sum() / (image**2).sum()
        db.append(10 * np.log10(truth.max() ** 2 / ((image - truth) ** 2).mean()))
        error.append(((image - truth) ** 2).sum() / (truth**2).sum())
        heart_db.append(10 * np.log10(truth.max() ** 2 / ((image - truth)[box] ** 2).mean()))
        similarity.append(
            [
                float(ssim(torch.tensor(t), torch.tensor(i), float(t.max())))
                for t, i in zip(truth, image, strict=True)
            ]
        )
    assert scores.psnr == pytest.approx(np.mean(db), abs=1e-9)
    assert scores.nmse == pytest.approx(np.mean(error), rel=1e-9)
    assert scores.heart_psnr == pytest.approx(np.mean(heart_db), abs=1e-9)
    assert scores.ssim == pytest.approx(np.mean(similarity), abs=1e-9)
    assert np.allclose(scores.ssim_images.T, similarity, atol=1e-9)
    assert (scores.protocol, scores.order, scores.images) == ("fullfov", "textbook", 6)


def test_fullfov_of_one_frame_agrees_with_the_metrics():
    _, reference = series(shape=(1, 1, 30, 33))
    image = reference.flip(-1)
    fitted = image * (image * reference).sum() / image.square().sum()
    scores = score(image, reference, protocol="fullfov")
    assert scores.hfen == pytest.approx(float(hfen(reference, fitted)), abs=1e-6)
    assert scores.psnr == pytest.approx(float(psnr(reference, fitted, reference.max())), abs=1e-5)
    # The heart box without a given one: the central half of y and third of x.
    middle = (..., slice(8, 23), slice(11, 22))
    assert scores.heart_psnr == pytest.approx(
        float(psnr(reference[middle], fitted[middle], reference.max())), abs=1e-5
    )


def test_fullfov_can_leave_saturated_pixels_out():
    _, truth = series()
    reference = truth.clamp(max=0.6)
    plain = score(truth, reference, protocol="fullfov")
    assert plain.psnr < 25
    without = score(truth, reference, protocol="fullfov", exclude_saturated=True)
    assert without.psnr > 100
    assert without.heart_psnr > 100
    assert without.nmse < 1e-10
    assert without.ssim < 0.99


def test_protocols_have_short_names():
    names = ("fullfov", "body", "2023", 2024, "CMRxRecon2025")
    assert [canonical_protocol(name) for name in names] == list(PROTOCOLS)
    assert canonical_protocol("cmrxrecon", 2024) == "cmrxrecon2024"
    reconstruction, reference = series()
    assert (
        score(reconstruction, reference, protocol="cmrxrecon", year=2025).protocol
        == "cmrxrecon2025"
    )
    for wrong in ("cmrxrecon", 2022, "psnr"):
        with refused("unknown-protocol"):
            canonical_protocol(wrong)


def test_different_shapes_are_refused_with_both_named():
    reconstruction, reference = series()
    with refused("shape-mismatch") as error:
        score(reconstruction[:, :1], reference, protocol=2024)
    assert all(shape in str(error.value) for shape in ("(3, 1, 24, 30)", "(3, 2, 24, 30)"))
    with refused("shape-mismatch"):
        score(reconstruction[0], reference[0], protocol=2024)


def test_images_without_a_meaningful_score_are_refused():
    reconstruction, reference = series()
    hole = reconstruction.clone()
    hole[1, 0, 3, 4] = torch.nan
    with refused("images-not-finite") as error:
        score(hole, reference, protocol=2023)
    assert "reconstruction" in error.value.found
    blank = reference.clone()
    blank[2, 1] = 0
    with refused("images-flat") as error:
        score(reconstruction, blank, protocol=2024)
    assert all(word in error.value.found for word in ("reference", "frame 2", "slice 1"))


def test_wrong_options_are_refused():
    reconstruction, reference = series()
    with refused("option-value"):
        score(reconstruction, reference, protocol=2024, order="swapped")
    with refused("box-outside"):
        score(reconstruction, reference, protocol="fullfov", heart=(10, 30, 0, 10))
    with refused("unknown-protocol"):
        ranking_crop(reference, base="cine_sax", year=2022)
    with refused("images-axes"):
        ranking_crop(reference[0], base="cine_sax", year=2024)
