import math
import pickle

import pytest
import torch
from refusals import refused

from cmrrecon.operators.fourier import ifft2c
from cmrrecon.simulation import KINDS, scans, simulate

SMALL = {"slices": 2, "coils": 3, "y": 48, "x": 80}


@pytest.mark.parametrize(
    ("kind", "base", "modality", "frames"),
    [
        ("cine", "cine_sax", "Cine", 12),
        ("perfusion", "perfusion", "Perfusion", 20),
        ("t1map", "T1map", "Mapping", 9),
        ("t2map", "T2map", "Mapping", 3),
    ],
)
def test_every_kind_is_a_scan_of_the_2025_layout(kind, base, modality, frames):
    made = simulate(kind, **SMALL, seed=6)
    assert made.scan.shape == (frames, 2, 3, 48, 80)
    assert made.image.shape == (frames, 2, 48, 80)
    assert made.maps.shape == (3, 48, 80)
    acquisition = made.scan.acquisition
    assert (acquisition.base, acquisition.modality, acquisition.year) == (base, modality, 2025)
    assert (acquisition.centre, acquisition.vendor, acquisition.subject) == (
        "Center000",
        "Simulated_30T_phantom",
        "P007",
    )
    assert (None if made.times is None else made.times.shape) == (
        (frames, 2) if modality == "Mapping" else None
    )
    series = made.scan.series(1)
    assert series.kspace.shape == (frames, 3, 48, 80)
    assert series.kspace.dtype == torch.complex64
    assert series.mask.complete


def test_all_kinds_are_listed():
    assert list(KINDS) == ["cine", "perfusion", "t1map", "t2map"]


def test_same_seed_same_scan():
    first, again, other = (simulate(**SMALL, frames=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.maps, again.maps)
    assert torch.equal(first.scan.read_slice(1), again.scan.read_slice(1))
    assert torch.equal(first.scan.read_slice(1), first.scan.read_slice(1))
    assert not torch.equal(first.scan.read_slice(1), other.scan.read_slice(1))


def test_a_slice_does_not_depend_on_the_slices_read_before():
    first, again = (simulate(**SMALL, frames=2) for _ in range(2))
    first.scan.read_slice(0)
    assert torch.equal(first.scan.read_slice(1), again.scan.read_slice(1))


def test_kspace_is_made_only_when_a_slice_is_read(monkeypatch):
    asked = []
    monkeypatch.setattr(scans, "acquire", lambda images, maps, sigma, *seed: asked.append(seed))
    made = simulate(**SMALL, frames=1, seed=4)
    assert asked == []
    made.scan.read_slice(1)
    assert asked == [(4, 1)]


def test_truth_is_the_combined_noise_free_kspace():
    made = simulate(**SMALL, frames=2, snr_db=math.inf)
    assert made.sigma == 0
    coils = ifft2c(made.scan.read_slice(1))
    torch.testing.assert_close((coils * made.maps.conj()).sum(1), made.image[:, 1])
    torch.testing.assert_close(torch.linalg.vector_norm(coils, dim=1), made.image[:, 1].abs())


@pytest.mark.parametrize("snr_db", [10.0, 30.0])
def test_noise_has_the_stated_strength(snr_db):
    made = simulate(slices=1, coils=4, frames=3, y=96, x=192, snr_db=snr_db, seed=2)
    image = made.image[:, 0]
    noise = (ifft2c(made.scan.read_slice(0)) * made.maps.conj()).sum(1) - image
    sigma = float(noise.abs().square().mean().sqrt())
    assert sigma == pytest.approx(made.sigma, rel=0.02)
    shown = image.abs().amax(0) > 0.05 * image.abs().max()
    ratio = float(image[:, shown].abs().square().mean().sqrt()) / sigma
    assert 20 * math.log10(ratio) == pytest.approx(snr_db, abs=0.2)


def test_noise_differs_between_slices():
    made = simulate(**SMALL, frames=1, snr_db=0.0)
    noise = [
        made.scan.read_slice(i) - scans.acquire(made.image[:, i], made.maps, 0.0) for i in (0, 1)
    ]
    assert float((noise[0] * noise[1].conj()).mean().abs()) < 0.05 * made.sigma**2


@pytest.mark.parametrize(
    "sizes",
    [
        {"y": 33, "x": 65},
        {"y": 32, "x": 32},
        {"coils": 1},
        {"frames": 1, "slices": 1, "coils": 1, "y": 57},
    ],
)
def test_odd_and_small_sizes(sizes):
    made = simulate(**{**SMALL, "frames": 2, **sizes})
    series = made.scan.series(0)
    assert series.kspace.shape == (made.scan.shape[0], *made.scan.shape[2:])
    assert made.image.abs().max() > 0.5


def test_scan_can_be_sent_to_a_worker_process():
    made = simulate(**SMALL, frames=1)
    there = pickle.loads(pickle.dumps(made.scan))
    assert torch.equal(there.read_slice(0), made.scan.read_slice(0))


@pytest.mark.parametrize(
    ("wrong", "code", "word"),
    [
        ({"kind": "cinee"}, "unknown-kind", "cine"),
        ({"kind": "T1-map"}, "unknown-kind", "t1map"),
        ({"frames": 0}, "option-value", "frames"),
        ({"slices": 0}, "option-value", "slices"),
        ({"coils": 0}, "option-value", "coils"),
        ({"y": 31}, "option-value", "32"),
        ({"x": 8}, "option-value", "32"),
        ({"seed": -1}, "option-value", "from 0"),
        ({"snr_db": math.nan}, "option-value", "30"),
        ({"snr_db": -math.inf}, "option-value", "30"),
        ({"kind": "t2map", "frames": 4}, "option-value", "3"),
    ],
)
def test_wrong_arguments_are_refused_with_a_remedy(wrong, code, word):
    with refused(code) as error:
        simulate(**{**SMALL, **wrong})
    assert word in str(error.value)
