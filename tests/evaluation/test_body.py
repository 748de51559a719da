"""The protocol `body`: its mask, and the scores inside it."""

import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.evaluation.body import body_mask
from cmrrecon.evaluation.protocols import score
from cmrrecon.evaluation.scoring import evaluate
from cmrrecon.metrics import nmse, psnr, ssim_map
from cmrrecon.operators.coils import rss_images
from cmrrecon.simulation import simulate

Y, X = 96, 128


def ellipse(height: float = 0.7, width: float = 0.6, y: int = Y, x: int = X) -> torch.Tensor:
    """True inside an ellipse in the middle, (y, x)."""
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, y), torch.linspace(-1, 1, x), indexing="ij"
    )
    return (rows / height) ** 2 + (columns / width) ** 2 < 1


def body(frames: int = 3) -> torch.Tensor:
    """A series (frame, y, x): tissue of 0.3 to 1 with a dark lung, zero in the air."""
    generator = torch.Generator().manual_seed(0)
    texture = 0.65 + 0.35 * torch.rand((frames, Y, X), generator=generator)
    lung = ellipse(0.2, 0.15).roll(20, 1)
    return texture * ellipse() * torch.where(lung, 0.02, 1.0)


def noise(series: torch.Tensor, level: float, coils: int = 8, seed: int = 1) -> torch.Tensor:
    """The RSS of coils that share the series evenly, with noise of a level in each part."""
    shape = (2, coils, *series.shape)
    parts = level * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    parts[0] += series / coils**0.5
    return parts.square().sum((0, 1)).sqrt()


def overlap(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Dice coefficient of two masks."""
    return float(2 * (found & expected).sum() / (found.sum() + expected.sum()))


@pytest.mark.parametrize(
    "given",
    [
        body(),
        1e-9 * body(),
        body()[:1],
        noise(body(), 0.02),
        noise(body(), 0.05)[:1],
        body() * torch.exp(1j * torch.linspace(0, 6, X)),
    ],
    ids=["air zero", "tiny units", "one frame", "noise", "loud noise, one frame", "complex"],
)
def test_the_mask_is_the_body_with_its_lung(given):
    found = body_mask(given)
    assert found.shape == (Y, X)
    assert overlap(found, ellipse()) > 0.97
    assert bool(found[Y // 2, X // 2 + 20])


def test_folded_ghosts_are_left_out_and_an_arm_is_kept():
    series = body()
    arm, ghost = torch.zeros(Y, X, dtype=torch.bool), torch.zeros(Y, X, dtype=torch.bool)
    arm[30:65, 110:126], ghost[0:6, 20:40] = True, True
    ghosted = noise(series + 0.5 * arm + 0.6 * ghost + 0.05 * series.roll(Y // 2, 1), 0.02)
    found = body_mask(ghosted)
    assert overlap(found, ellipse() | arm) > 0.95
    assert not bool(found[ghost].any())


def test_a_body_that_fills_the_image_is_all_of_it():
    filled = 0.7 + 0.3 * torch.rand((2, 40, 50), generator=torch.Generator().manual_seed(0))
    assert float(body_mask(filled).double().mean()) == 1


@pytest.mark.parametrize("kind", ["cine", "t1map"])
def test_the_mask_of_a_noisy_phantom_is_that_of_its_truth(kind):
    made = simulate(kind, frames=4, slices=1, coils=8, y=96, x=144, snr_db=20, seed=3)
    truth = made.image[:, 0].abs()
    expected = body_mask(truth)
    assert 0.15 < float(expected.double().mean()) < 0.5
    assert overlap(expected, truth.mean(0) > 0) > 0.95
    assert overlap(body_mask(rss_images(made.scan.read_slice(0))), expected) > 0.97


def test_the_mask_of_real_images_is_one_body(real_data):
    pictures = sorted((real_data / "CMRxRecon2025-cine-pictures").glob("*.npz"))
    fractions = []
    for path in pictures:
        series = torch.from_numpy(np.load(path)["image"][:, 0]).double()
        found = body_mask(series)
        fractions.append(float(found.double().mean()))
        # Nearly all bright pixels are body (folded ones need not be), and most dark ones are air.
        assert float(found[series.mean(0) > 200].double().mean()) > 0.85, path.name
        assert float(found[series.mean(0) < 8].double().mean()) < 0.3, path.name
    assert len(fractions) == 32
    assert min(fractions) > 0.2
    assert max(fractions) < 0.75


def test_it_equals_a_plain_computation_inside_the_mask():
    truth = torch.stack([body(), body().flip(-1)], 1)
    image = (
        truth + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    ).abs()
    db, similarity, error, fraction = [], [], [], []
    for z in range(2):
        expected, found = truth[:, z].double(), 2 * image[:, z].double()
        mask = body_mask(expected)
        a, b = expected[:, mask], found[:, mask]
        b = b * (a * b).sum() / b.square().sum()
        scaled = found * (b / found[:, mask]).mean()
        db.append(float(psnr(a.flatten()[None], b.flatten()[None], a.max())))
        error.append(float(nmse(a.flatten()[None], b.flatten()[None])))
        windows = ssim_map(expected, scaled, a.amax(1))
        similarity.append(windows[:, mask[3:-3, 3:-3]].mean(1))
        fraction.append(float(mask.double().mean()))
    scores = score(2 * image, truth, protocol="body")
    assert scores.psnr == pytest.approx(np.mean(db), abs=1e-9)
    assert scores.nmse == pytest.approx(np.mean(error), rel=1e-9)
    assert scores.ssim == pytest.approx(float(torch.stack(similarity).mean()), abs=1e-9)
    assert scores.body_fraction == pytest.approx(np.mean(fraction))
    assert torch.allclose(scores.ssim_images, torch.stack(similarity, 1))
    assert (scores.protocol, scores.order, scores.images) == ("body", "textbook", 6)
    assert (scores.heart_psnr, scores.hfen) == (None, None)


def test_the_air_of_a_reconstruction_counts_for_nothing():
    """Blanked air against the noise of an RSS reference: `fullfov` sees it, `body` does not."""
    reference = noise(body(), 0.05)[:, None]
    inside = body_mask(reference[:, 0])
    generator = torch.Generator().manual_seed(5)
    image = (reference + 0.02 * torch.randn(reference.shape, generator=generator)).abs()
    blanked = image * inside
    # Windows at the rim reach three pixels out; the rest of the air may be anything.
    rim = torch.nn.functional.max_pool2d(inside[None].float(), 7, 1, 3)[0] > 0
    wild = torch.where(rim, image, 100.0)
    scores = {name: score(given, reference, protocol="body") for name, given in
              (("whole", image), ("blanked", blanked), ("wild", wild))}  # fmt: skip
    assert scores["wild"] == scores["whole"]
    assert scores["blanked"].psnr == scores["whole"].psnr
    assert abs(scores["blanked"].ssim - scores["whole"].ssim) < 0.03
    whole, cut = (score(given, reference, protocol="fullfov") for given in (image, blanked))
    assert whole.ssim - cut.ssim > 0.2


def test_the_mask_does_not_depend_on_the_reconstruction():
    reference = body()[:, None]
    other = torch.rand(reference.shape, generator=torch.Generator().manual_seed(9))
    fractions = {score(given, reference, protocol="body").body_fraction
                 for given in (other, reference, reference.flip(-1))}  # fmt: skip
    assert len(fractions) == 1


def test_the_fraction_is_in_the_record_of_body_alone():
    reference = body()[:, None]
    image = reference.flip(-1) + 0.1
    record = score(image, reference, protocol="body").as_dict()
    assert 0.2 < record["body_fraction"] < 0.5
    assert "body_fraction" not in score(image, reference, protocol="fullfov").as_dict()


def test_it_is_a_protocol_of_the_public_function(tmp_path):
    reference = body()[:, None]
    image = reference + 0.01
    formats.write_images(tmp_path / "image.h5", image.unbind(1))
    expected = score(image, reference, protocol="body")
    assert evaluate(image, reference, protocol="body") == expected
    assert evaluate(tmp_path / "image.h5", reference, protocol="body") == expected


def test_what_has_no_body_is_refused():
    dot = torch.zeros(1, 1, 20, 20)
    dot[..., 10, 10] = 1
    strip = torch.zeros(1, 1, 20, 20)
    strip[..., :3, :] = 1
    for reference in (dot, strip, torch.rand(1, 1, 6, 6)):
        with refused("body-empty"):
            score(reference + 0.1 * torch.rand(reference.shape), reference, protocol="body")
    reference = body()[:, None]
    with refused("images-flat"):
        score(torch.rand(reference.shape) * ~body_mask(reference[:, 0]), reference, protocol="body")
    with refused("options-conflict"):
        score(reference, reference, protocol="body", heart=(0, 8, 0, 8))
    with refused("options-conflict"):
        evaluate(reference, reference, protocol="body", exclude_saturated=True)


def test_the_smallest_image_with_a_window_is_scored():
    reference = 0.5 + torch.rand((2, 1, 7, 7), generator=torch.Generator().manual_seed(0))
    scores = score(reference + 0.01, reference, protocol="body")
    assert scores.body_fraction == 1
    assert scores.ssim > 0.9
