"""Broken data cause warnings, good data do not.

The scans are those of `benchmarks/faults.py`, a few of each kind.
"""

import importlib.util
import random
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

import cmrrecon
from cmrrecon.classical.faults import LIMITS, SENTENCES, faults_of_scan, faults_of_series, findings
from cmrrecon.classical.faults.conjugates import agreement
from cmrrecon.classical.faults.order import shorter, tour
from cmrrecon.data import Acquisition, Geometry, LineMask, Noise, Scan, SpokeMask
from cmrrecon.operators import fourier
from cmrrecon.sampling import undersample

PATH = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@cache
def bench():
    spec = importlib.util.spec_from_file_location("benchmark_of_faults", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def good(pattern="kt-gaussian", kind="cine", frames=8, coils=6):
    made = cmrrecon.simulate(kind, frames=frames, slices=1, coils=coils, y=64, x=128, seed=4).scan
    chosen = made if pattern is None else undersample(made, pattern, 4, acs=20, seed=1)
    return bench().case("good", chosen)


def kinds(found):
    return {fault.kind for fault in faults_of_scan(found.scan, found.series, found.index)}


ROWS = [
    pytest.param(row, id=f"{kind}: {severity}")
    for row, (kind, severity, _) in enumerate(bench().BROKEN)
]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("pattern", ["uniform", "kt-gaussian"])
def test_broken_scans_cause_warnings(row, pattern):
    kind, _, breaker = bench().BROKEN[row]
    found = breaker(good(pattern), random.Random(row))
    assert kind in kinds(found)


@pytest.mark.parametrize("pattern", [None, "uniform", "kt-gaussian"])
@pytest.mark.parametrize("measured", [True, False])
def test_the_noise_of_one_coil_does_not_make_lines_look_conjugated(pattern, measured):
    series = good(pattern).series
    level = torch.full((6,), 2e-3 * float(series.kspace.abs().max()))
    level[2] *= 400
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(series.kspace.shape, dtype=torch.complex64, generator=generator)
    kspace = (series.kspace + level[:, None, None] * noise) * series.mask.samples[:, None]
    known = Noise(torch.diag(level.square()).to(torch.complex64), 4096) if measured else None
    found = {f.kind for f in faults_of_series(replace(series, kspace=kspace, noise=known))}
    assert found <= {"coil-loud"}


@pytest.mark.parametrize("pattern", [None, "uniform", "kt-gaussian", "kt-radial", "poisson"])
@pytest.mark.parametrize(
    ("kind", "frames", "coils"), [("cine", 8, 6), ("cine", 1, 1), ("t1map", 9, 4)]
)
def test_good_scans_cause_no_warnings(pattern, kind, frames, coils):
    assert not kinds(good(pattern, kind, frames, coils))


def test_good_spokes_cause_no_warnings():
    made = cmrrecon.simulate("cine", frames=3, slices=1, coils=4, y=48, x=96, spokes=13, seed=2)
    series = made.scan.series(0)
    assert isinstance(series.mask, SpokeMask)
    assert not faults_of_series(series)


def test_real_scans_cause_no_warnings(real_data):
    for found in bench().real(real_data):
        assert not kinds(found), found.name
        if found.name.startswith("T1"):
            break


@pytest.mark.parametrize("name", ["gre.dat", "epi.dat"])
def test_raw_data_of_a_bottle_cause_no_warnings(real_data, name):
    pytest.importorskip("turbotwix")
    assert not kinds(bench().case(name, cmrrecon.read(real_data / "scanner-files" / name)))


@pytest.mark.parametrize("seed", range(5))
def test_two_coils_that_lean_to_neither_side_cause_no_warnings(seed):
    """A bottle in the middle, with bubbles: its lines lean at random."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 96), indexing="ij")
    bottle = ((x / 0.6) ** 2 + (y / 0.7) ** 2 < 1).float()
    image = bottle * (1 + 0.2 * torch.randn(64, 96, generator=generator))
    coils = torch.stack([1 + 0.3 * y, 1 - 0.3 * y])
    kspace = fourier.fft2c((image * coils).to(torch.complex64))
    assert findings(Scan.from_kspace(kspace[None, None]).series(0))["lines-conjugated"] == 0


def test_a_matrix_far_larger_than_the_measured_part():
    """A header may say so; the block around the centre of energy then holds no line."""
    kspace = torch.zeros(1, 1, 2, 6000, 16, dtype=torch.complex64)
    generator = torch.Generator().manual_seed(0)
    kspace[..., 2976:3024, :] = torch.randn(48, 16, dtype=torch.complex64, generator=generator)
    faults_of_series(Scan.from_kspace(kspace).series(0))


def test_a_line_without_neighbours_is_not_compared():
    series = good("uniform").series
    samples = series.mask.samples.expand(series.frames, -1, -1).clone()
    samples[1] = False
    samples[1, 45] = True
    samples[torch.arange(series.frames) != 1, 45] = False
    sparse = replace(series, kspace=series.kspace * samples[:, None], mask=LineMask(samples))
    assert findings(sparse)["line-outlying"] < LIMITS["line-outlying"]


def test_noise_does_not_look_like_conjugated_frames():
    generator = torch.Generator().manual_seed(1)
    kspace = torch.randn(12, 2, 6, 16, dtype=torch.complex64, generator=generator)
    assert not kinds(bench().case("noise", Scan.from_kspace(kspace[:, None])))


def test_the_words_name_the_evidence():
    kspace = good().series.kspace.clone()
    kspace[:, 2] = 100 * kspace[:, 2].conj()
    found = {f.kind: f.words for f in faults_of_series(replace(good().series, kspace=kspace))}
    assert "Coil 2 " in found["coil-loud"]
    assert "Coils 2 " in found["coils-conjugated"]
    assert set(SENTENCES) == set(LIMITS)


def test_severity_grows_with_the_fault():
    series = good("uniform").series
    found = []
    for factor in (1, 10, 100):
        kspace = series.kspace.clone()
        kspace[:, 0] *= factor
        found.append(findings(replace(series, kspace=kspace))["coil-loud"])
    assert found == sorted(found)
    assert found[0] < 2 < 20 < found[2]


def test_the_scale_of_the_data_does_not_matter():
    kspace = good().series.kspace
    for factor in (1e-11, 1e11):
        scaled = replace(good().series, kspace=kspace * factor)
        assert findings(scaled) == pytest.approx(findings(good().series), rel=1e-3, abs=1e-3)


def test_conjugation_of_everything_cannot_be_detected():
    series = good().series
    assert not faults_of_series(replace(series, kspace=series.kspace.conj().resolve_conj()))


def test_frames_of_mapping_may_stand_in_any_order():
    found = bench().disordered(good(), random.Random(5))
    mapping = replace(found.series, acquisition=Acquisition(modality="Mapping"))
    assert kinds(found) == {"frames-disordered"}
    assert not faults_of_series(mapping)


def test_interleaved_sets_of_frames_are_in_order():
    """Two alternating velocity encodings, in a file that does not say so."""
    kspace = good("uniform").series.kspace
    ramp = torch.polar(torch.ones(64, 1), torch.linspace(-1, 1, 64)[:, None])
    both = torch.stack([kspace, kspace * ramp], 1).flatten(0, 1)
    assert not faults_of_series(replace(good("uniform").series, kspace=both))


def test_several_heartbeats_are_in_order():
    series = good("uniform").series
    generator = torch.Generator().manual_seed(0)
    beats = series.kspace[::2].repeat(3, 1, 1, 1)
    noise = torch.randn(beats.shape, dtype=torch.complex64, generator=generator)
    kspace = beats + 0.1 * beats.abs().mean() * noise * series.mask.samples
    assert not faults_of_series(replace(series, kspace=kspace))


def test_slices_of_a_single_coil_do_not_look_like_coils():
    made = cmrrecon.simulate("cine", frames=2, slices=6, coils=1, y=64, x=128, seed=3).scan
    assert not faults_of_scan(made, made.series(3), 3)


def test_empty_slices_are_ignored():
    made = cmrrecon.simulate("cine", frames=2, slices=6, coils=1, y=64, x=128, seed=3).scan
    kspace = torch.stack([made.read_slice(i) for i in range(6)], 1)
    kspace[:, 1] = 0
    scan = Scan.from_kspace(kspace)
    assert not faults_of_scan(scan, scan.series(3), 3)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 2, 4, 4), (7, 1, 9, 3), (2, 3, 5, 64)])
def test_tiny_series_are_checked_too(shape):
    generator = torch.Generator().manual_seed(0)
    kspace = torch.randn(shape, dtype=torch.complex64, generator=generator)
    found = findings(Scan.from_kspace(kspace[:, None]).series(0))
    assert all(value == value for value in found.values())


def test_agreement_finds_the_minority():
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(40, generator=generator)
    signs = torch.tensor([1.0, 1, -1, 1, 1, -1, 1])
    vectors = signs[:, None] * common + 0.2 * torch.randn(7, 40, generator=generator)
    assert torch.equal(agreement(vectors).sign(), signs)


def test_a_shorter_path_is_found():
    angle = torch.arange(8) * torch.pi / 4
    places = torch.polar(torch.ones(8), angle)[torch.tensor([0, 5, 2, 7, 4, 1, 6, 3])]
    distances = (places[:, None] - places).abs().square()
    best = tour(distances, shorter(distances, list(range(8))))
    assert best == pytest.approx(8 * (2 - 2**0.5), rel=1e-5)


def test_reconstruct_warns_of_faults():
    found = bench().loud(good(), random.Random(0), 100.0)
    result = cmrrecon.reconstruct(found.scan, "zero-filled", device="cpu")
    assert any("times louder" in words for words in result.warnings)
    assert not cmrrecon.reconstruct(good().scan, "zero-filled", device="cpu").warnings


def test_noise_has_no_displaced_centre():
    generator = torch.Generator().manual_seed(0)
    for seed in range(5):
        generator.manual_seed(seed)
        noise = torch.randn((2, 4, 64, 96), dtype=torch.complex64, generator=generator)
        assert not faults_of_series(Scan.from_kspace(noise[:, None]).series(0))


@pytest.mark.parametrize(("field", "expected"), [((64, 64), set()), ((100, 64), {"axes-swapped"})])
def test_a_field_of_view_that_fits_the_other_way_round(field, expected):
    found = good()
    scan = replace(found.scan, geometry=Geometry(field_of_view=field))
    assert kinds(replace(found, scan=scan)) == expected


def test_lines_of_a_symmetric_phantom_in_two_coils_are_undecided(real_data):
    for name in ("gre", "epi"):
        pytest.importorskip("turbotwix")
        scan = cmrrecon.read(real_data / f"scanner-files/{name}.dat")
        assert faults_of_scan(scan, scan.series(0), 0) == []


@pytest.mark.parametrize("place", [(0, 0, 16, 24), (1, 2, 3, 5)])
def test_a_single_damaged_value_is_warned_of_anywhere(place):
    series = cmrrecon.simulate(frames=2, slices=1, coils=3, y=32, x=48).scan.series(0)
    assert findings(series)["value-lone"] < 3
    series.kspace[place] = 11 * series.kspace.abs().max()
    found = {fault.kind: fault for fault in faults_of_series(series)}
    assert "value-lone" in found
    assert str(place) in found["value-lone"].words
