"""Measured data through the whole toolkit: files in, scores out.

The comparison of one measured frame with 168 pictures is in tests/classical/test_measured_heart.py,
where the same data test every method.
"""

import runpy
import sys
from dataclasses import replace

import h5py
import pytest
import torch
from kinds import mask_of
from refusals import refused

from cmrrecon import formats
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import LineMask, Scan, Series
from cmrrecon.evaluation.protocols import score
from cmrrecon.methods.iterative import IterativeMethod
from cmrrecon.methods.registry import DEFAULT_METHOD, METHODS, find_method
from cmrrecon.operators.cartesian import encoding
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import centred, fftc, ifft2c, ifftc
from cmrrecon.operators.sensitivity import estimate_maps
from cmrrecon.sampling import make_mask, undersample
from cmrrecon.simulation import simulate


@pytest.fixture
def measured_frame(real_data):
    return formats.read(real_data / "CMRxRecon2025-P003-pair/underkslice.mat", axes="x,y,coil")


@pytest.fixture
def demo(real_data):
    return formats.read(real_data / "CMRxRecon2024-undersampleDemo/cine_sax.mat")


def narrow(scan: Scan, columns: int) -> Scan:
    """Cut out the middle columns of the image, which are as good as all: each is measured."""
    kspace = scan.series(0).kspace
    middle = ifftc(kspace, -1)[..., centred(kspace.shape[-1], columns)]
    return Scan.from_kspace(fftc(middle, -1)[:, None], scan.mask)


def test_unusual_axis_order_gives_the_documented_lines(measured_frame):
    assert measured_frame.shape == (1, 1, 10, 162, 448)
    lines = measured_frame.series(0).mask.samples[0, :, 0].nonzero().flatten().tolist()
    assert lines == [28, 39, 40, 42, 44, 55, 63, 66, *range(71, 91), 97, 154, 157, 160]
    assert any("non-zero" in note for note in measured_frame.notes)


def test_file_of_unusual_axis_order_is_refused_without_axes(real_data):
    with refused("kspace-axes") as error:
        formats.read(real_data / "CMRxRecon2025-P003-pair/underkslice.mat").series(0)
    assert "--axes" in error.value.remedy


def test_our_uniform_mask_is_the_one_of_the_challenge(real_data, demo):
    official = formats.read_mask(
        real_data / "CMRxRecon2024-undersampleDemo/cine_sax_mask_Uniform8.mat"
    )
    ours = make_mask("uniform", frames=1, y=246, x=512, acceleration=8, year=2024)
    assert torch.equal(ours, official.samples)
    assert demo.shape == (1, 1, 1, 246, 512)


def test_fully_sampled_single_coil_is_its_fourier_transform(demo):
    kspace = demo.series(0).kspace
    expected = ifft2c(kspace)[0, 0].abs()
    for name in ("zero-filled", "grappa"):
        image = find_method(name)(demo.series(0))[0].abs()
        assert (image - expected).abs().max() <= 1e-5 * expected.max()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_a_single_coil_or_refuses_clearly(demo, name):
    demo = narrow(demo, 256)
    series = undersample(demo, "uniform", 8, year=2024).series(0)
    if name == "sigpy-jsense":
        with refused("coils-too-few"):
            find_method(name)(series)
        return
    reference = rss(ifft2c(demo.series(0).kspace))
    # Weights and iterations of single methods are tested elsewhere; these are the fewest that work.
    options = (
        {"weight": 0.01, "iterations": 20} if isinstance(find_method(name), IterativeMethod) else {}
    )
    assert (
        score(
            find_method(name)(series, options)[:, None], reference[:, None], protocol="fullfov"
        ).psnr
        > 25
    )


def head_scores(head: torch.Tensor, acceleration: int) -> dict[str, float]:
    """PSNR of methods on a retrospectively undersampled head with 24 ACS lines.

    Each is scored against its own fully sampled combination.
    """
    mask = make_mask("uniform", frames=1, y=96, x=96, acceleration=acceleration, acs=24)
    series = Series(head * mask[:, None], mask_of(mask))
    maps = estimate_maps(head, LineMask(torch.ones_like(mask)))
    combined = (maps.conj() * ifft2c(head)).sum(1).abs()
    references = {"sense": combined, "grappa": rss(ifft2c(head)), "zero-filled": rss(ifft2c(head))}
    found = {}
    for name, reference in references.items():
        image = find_method(name)(
            series, {"weight": 1e-4, "iterations": 50} if name == "sense" else {}
        ).abs()
        error = (image - reference).square().mean()
        found[name] = float(10 * torch.log10(reference.max() ** 2 / error))
    return found


@pytest.mark.parametrize(("acceleration", "least"), [(2, 50), (3, 46), (4, 43)])
def test_sense_and_grappa_on_a_measured_head(real_data, acceleration, least):
    scan = formats.read(real_data / "mchiew-SENSE-tutorial/raw_data.mat", axes="coil,slice,y,x")
    assert scan.shape == (1, 1, 16, 96, 96)
    found = head_scores(scan.series(0).kspace, acceleration)
    assert found["sense"] >= least
    assert found["grappa"] >= found["zero-filled"] + 10


def hidden_line_error(scan: Scan, name: str, folds: int = 4) -> float:
    """Relative error of a method on hold-out lines: every second line outside the centre."""
    measured = scan.series(0)
    outer = measured.mask.samples.clone()
    outer[:, scan.shape[3] // 2 - 10 : scan.shape[3] // 2 + 10] = False
    lines = outer[0, :, 0].nonzero().flatten()
    error, energy = 0.0, 0.0
    for fold in range(0, folds, 2):
        hidden = torch.zeros_like(outer)
        hidden[:, lines[fold::folds]] = True
        rest = replace(
            measured, kspace=measured.kspace * ~hidden[:, None], mask=measured.mask.without(hidden)
        )
        predicted = encoding(estimate_maps(rest.kspace, rest.mask), LineMask(hidden))(
            find_method(name)(rest)
        )
        truth = measured.kspace * hidden[:, None]
        error += float((predicted - truth).abs().square().sum())
        energy += float(truth.abs().square().sum())
    return (error / energy) ** 0.5


def test_hidden_measured_lines_are_predicted(measured_frame):
    errors = {
        name: hidden_line_error(narrow(measured_frame, 112), name)
        for name in ("sense", "sigpy-l1-wavelet", DEFAULT_METHOD)
    }
    assert max(errors.values()) < 1, errors  # zero-filling predicts zeros, whose error is 1
    assert errors[DEFAULT_METHOD] == min(errors.values())
    assert errors[DEFAULT_METHOD] < 0.8, errors


def images_of(name: str, prepared: PreparedSeries) -> torch.Tensor:
    """Images of a method for a series whose coils are found once for all methods."""
    method = find_method(name)
    decision = method.decide(prepared, method.options())
    return method.reconstruct(prepared, method.options(), decision).images


@pytest.fixture
def semireal(tmp_path, semireal_tool, monkeypatch):
    """Semi-real cine of P003 at a third of the matrix size, kt-gaussian 8, and its truth."""
    words = [semireal_tool, tmp_path, "--shrink", "3", "--frames", "4"]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    runpy.run_path(sys.argv[0], run_name="__main__")
    path = next(tmp_path.rglob("cine_sax.mat"))
    return undersample(formats.read(path), "kt-gaussian", 8, seed=1), formats.read_images(
        path.with_name("cine_sax_truth.npz")
    )


def test_methods_on_the_semireal_cine(semireal):
    scan, truth = semireal
    facts = scan.acquisition
    assert (facts.centre, facts.vendor, facts.subject, facts.base) == (
        "Center005",
        "Siemens_30T_Vida",
        "P003",
        "cine_sax",
    )
    assert truth.shape == (4, 1, 54, 149)
    series = scan.series(0)
    prepared = PreparedSeries(series)
    psnr = {
        name: score(images_of(name, prepared)[:, None], truth, protocol="fullfov").psnr
        for name in METHODS
    }
    assert psnr[DEFAULT_METHOD] >= max(psnr.values()) - 0.2, sorted(
        psnr.items(), key=lambda item: -item[1]
    )[:4]
    for name in ("sense", "sigpy-sense", "sigpy-l1-wavelet", "sigpy-tv"):
        assert psnr[name] > psnr["zero-filled"] + 0.5, psnr


GIVEN = {"weight": 0.003, "iterations": 30}


@pytest.mark.parametrize(
    ("lines", "method", "options"),
    [(9, "kt-wavelet", GIVEN), (21, "kt-wavelet", GIVEN), (16, DEFAULT_METHOD, {})],
)
def test_vista_is_as_good_as_lines_with_a_common_block(real_data, lines, method, options):
    """No line was measured in every frame of a VISTA pattern; the time average calibrates."""
    frames, y, x = 12, 126, 32
    with h5py.File(real_data / "scanner-files/vista_cache.h5") as stored:
        (name,) = [key for key in stored if key.startswith(f"VISTA_PE_{y}_FR_32_n_{lines}_")]
        vista = torch.from_numpy(stored[name][:, :frames].T[..., None])
    assert not vista.all(0).any()
    made = simulate("cine", frames=frames, slices=1, coils=3, y=y, x=x, seed=5)
    block = 4
    common = make_mask(
        "kt-uniform", frames=frames, y=y, x=x, acceleration=y / (lines - block), acs=block, seed=1
    )
    found = []
    for mask in (vista, common):
        series = Series(made.scan.series(0).kspace * mask[:, None], mask_of(mask))
        images = find_method(method)(series, options)[:, None].abs()
        found.append(score(images, made.image.abs(), protocol="fullfov").psnr)
    assert found[0] > found[1] - 1
    assert found[0] > 33
