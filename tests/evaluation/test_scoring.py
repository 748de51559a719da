"""`evaluate`: what the command computes for one file, as a call."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from refusals import refused
from typer.testing import CliRunner

from cmrrecon import formats
from cmrrecon.cli.app import app
from cmrrecon.data import Scan
from cmrrecon.evaluation.protocols import PROTOCOLS, score
from cmrrecon.evaluation.ranking import ranking_crop
from cmrrecon.evaluation.scoring import evaluate
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.simulation import simulate

SHAPE = (4, 5, 24, 30)
STAMP = {
    "acquisition": {"base": "cine_sax", "subject": "P001"},
    "config": {"slices": [0, 1, 2, 3, 4]},
}


@dataclass
class Result:
    images: torch.Tensor
    provenance: dict[str, Any] | None = None


@pytest.fixture(scope="module")
def truth():
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) + 0.1


@pytest.fixture(scope="module")
def images(truth):
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    return (truth + 0.1 * noise).abs()


@pytest.fixture(scope="module")
def folder(truth, images, tmp_path_factory):
    """A reconstruction, and beside the truth of its scan that of another subject."""
    folder = tmp_path_factory.mktemp("scores")
    formats.write_images(folder / "image.h5", images.unbind(1), STAMP)
    maps = torch.ones((1, *SHAPE[2:]), dtype=torch.complex64)
    for subject, image in (("P001", truth), ("P002", 1 - truth)):
        path = folder / "truth" / subject / "cine_sax_truth.npz"
        path.parent.mkdir(parents=True)
        formats.write_truth(path, image.to(torch.complex64), maps)
    return folder


def by_command(path, truth, *words):
    command = ["evaluate", str(path), "--truth", str(truth), "--json", "--quiet", *words]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[0])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("crop", [True, False])
def test_it_gives_the_numbers_of_the_command(folder, protocol, crop):
    words = ["--protocol", protocol, *([] if crop else ["--no-crop"])]
    expected = by_command(folder / "image.h5", folder / "truth", *words)
    found = evaluate(folder / "image.h5", folder / "truth", protocol=protocol, crop=crop)
    for name, value in found.as_dict().items():
        assert expected[name] == value, name


@pytest.mark.parametrize("protocol", ["fullfov", "cmrxrecon2024"])
def test_arrays_results_and_files_are_the_same_to_it(folder, truth, images, protocol):
    path = folder / "truth" / "P001" / "cine_sax_truth.npz"
    expected = evaluate(folder / "image.h5", path, protocol=protocol)
    backwards = np.ascontiguousarray(images.numpy()[::-1])[::-1]
    phase = torch.polar(torch.ones(SHAPE), truth)
    for given, reference in (
        (images, truth),
        (backwards, truth.numpy().astype(">f4")),
        (str(folder / "image.h5"), truth),
        (Result(images, STAMP), folder / "truth"),
        (images * phase, path),
        (images.clone().requires_grad_(), truth),
    ):
        found = evaluate(given, reference, protocol=protocol, base="cine_sax")
        assert found.psnr == pytest.approx(expected.psnr, abs=1e-4)
        assert found.ssim == pytest.approx(expected.ssim, abs=1e-5)


def test_the_ranking_crop_is_that_of_the_scan(truth, images):
    for base, frames in (("cine_sax", 3), ("T1map", 4)):
        cropped = (ranking_crop(part, base=base, year=2025) for part in (images, truth))
        expected = score(*cropped, protocol=2025, base=base)
        assert expected.images == 2 * frames
        assert evaluate(images, truth, protocol=2025, base=base) == expected
        # A submission holds what is scored and nothing else.
        submitted = ranking_crop(images, base=base, year=2025)
        assert evaluate(submitted, truth, protocol=2025, base=base) == expected
        with refused("slice-missing"):
            evaluate(images[:, :2], truth, protocol=2025, base=base, slices=(0, 1))


def test_slices_are_compared_with_their_own(truth, images):
    expected = score(images[:, [3, 1]], truth[:, [3, 1]], protocol="fullfov")
    chosen = images[:, [3, 1]]
    assert evaluate(chosen, truth, slices=(3, 1)) == expected
    assert evaluate(Result(chosen, {"config": {"slices": [3, 1]}}), truth) == expected
    with refused("shape-mismatch"):
        evaluate(chosen, truth)
    with refused("slice-missing"):
        evaluate(chosen, truth, slices=(3, 7))


def test_the_reference_may_be_simulated_or_fully_sampled_kspace(tmp_path):
    made = simulate("cine", frames=2, slices=1, coils=2, y=32, x=32, seed=0)
    kspace = made.scan.read_slice(0)
    images = rss(ifft2c(kspace))[:, None]
    expected = score(images, made.image, protocol="fullfov")
    assert evaluate(images, made).psnr == pytest.approx(expected.psnr)
    path = tmp_path / "cine_sax.mat"
    formats.write_scan(path, Scan.from_kspace(kspace[:, None]), variable="kspace")
    assert evaluate(images, path).psnr > 100


def test_options_are_those_of_the_protocol(truth, images):
    box = (2, 12, 3, 20)
    found = evaluate(images, truth.clamp(max=0.8), heart=box, exclude_saturated=True)
    expected = score(
        images,
        truth.clamp(max=0.8),
        protocol="fullfov",
        heart=box,
        exclude_saturated=True,
    )
    assert found == expected
    textbook = evaluate(images, truth, protocol=2024, order="textbook", crop=False)
    assert textbook == score(images, truth, protocol=2024, order="textbook")
    with refused("options-conflict"):
        evaluate(images, truth, protocol=2024, heart=box, base="cine_sax")


def test_what_cannot_be_scored_is_refused(folder, truth, images, tmp_path):
    spread, other = tmp_path / "spread.h5", folder / "truth" / "P002" / "cine_sax_truth.npz"
    formats.write_images(spread, images.unbind(1), {**STAMP, "quantity": "standard deviation"})
    for code, given, reference, options in (
        ("images-axes", images[0], truth, {}),
        ("images-axes", images, truth.numpy()[0], {}),
        ("images-dtype", images > 0.5, truth, {}),
        ("images-dtype", images, truth.numpy().astype(int), {}),
        ("array-empty", images[:0], truth, {}),
        ("shape-mismatch", images[:2], truth, {}),
        ("images-not-finite", images / 0, truth, {}),
        ("images-flat", images, 0 * truth, {}),
        ("file-missing", folder / "none.h5", truth, {}),
        ("file-missing", images, folder / "none", {}),
        ("variable-kind", spread, truth, {}),
        ("unknown-protocol", images, truth, {"protocol": "psnr"}),
        ("option-value", images, truth, {"protocol": 2024, "order": "x", "crop": False}),
        ("option-needs", images, truth, {"protocol": 2024}),
        ("option-needs", images, folder, {}),
        ("reference-missing", images, folder, {"base": "T2map"}),
        ("reference-ambiguous", images, folder, {"base": "cine_sax"}),
        ("reference-mismatch", folder / "image.h5", other, {}),
    ):
        with refused(code):
            evaluate(given, reference, **options)
