"""Warnings of images that do not answer the data: none on good scans, some on broken ones."""

import math
from dataclasses import replace

import pytest
import torch

from cmrrecon import reconstruct, simulate, undersample
from cmrrecon.methods.decision import Decision, Trial
from cmrrecon.methods.iterative import IterativeMethod
from cmrrecon.reconstruction.misfit import cautions

PATTERNS = [("uniform", 4), ("uniform", 8), ("uniform", 12), ("kt-uniform", 8), ("kt-gaussian", 8)]
GOOD = {"data_residual": 0.9, "unexplained": -0.001, "noise_share": 0.01}


def full(seed):
    return simulate(slices=1, frames=3, coils=8, y=96, x=96, seed=seed).scan


def sampled(seed, pattern, acceleration):
    return undersample(full(seed), pattern, acceleration, seed=1 if "gaussian" in pattern else None)


def changed(scan, change):
    """A scan whose k-space (frame, coil, y, x) outside the calibration region is changed."""
    y = scan.shape[3]
    outside = torch.ones(y, dtype=torch.bool)
    outside[y // 2 - 12 : y // 2 + 12] = False

    def read_slice(index):
        kspace = scan.read_slice(index)
        other = torch.where(kspace != 0, change(kspace), 0)
        return torch.where(outside[:, None], other, kspace)

    return replace(scan, read_slice=read_slice)


def noise(kspace):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)


@pytest.mark.parametrize(("pattern", "acceleration"), PATTERNS)
@pytest.mark.parametrize("seed", [0, 1])
def test_good_scans_give_no_warning(pattern, acceleration, seed):
    assert reconstruct(sampled(seed, pattern, acceleration), "sense").warnings == ()


@pytest.mark.parametrize(("pattern", "acceleration"), [("uniform", 4), ("kt-gaussian", 8)])
def test_coils_exchanged_outside_the_calibration_region_are_warned_of(pattern, acceleration):
    scan = changed(sampled(0, pattern, acceleration), lambda kspace: kspace.roll(1, 1))
    found = reconstruct(scan, "sense")
    assert found.decision.warning() in found.warnings


def test_noise_alone_is_warned_of():
    scan = sampled(0, "uniform", 8)
    alone = replace(
        scan,
        read_slice=lambda index: torch.where(
            scan.read_slice(index) != 0, noise(scan.read_slice(index)), 0
        ),
    )
    assert any("noise" in text for text in reconstruct(alone, "sense").warnings)


def test_images_that_do_not_answer_the_data_are_warned_of(monkeypatch):
    images = IterativeMethod._images

    def wild(self, *words):
        made = images(self, *words)
        return replace(made, fit=replace(made.fit, x=made.fit.x * 1e10))

    monkeypatch.setattr(IterativeMethod, "_images", wild)
    found = reconstruct(sampled(0, "uniform", 4), "sense")
    assert found.residuals[0] > 1e8
    assert len(found.warnings) == 1


def decided(error, share):
    trial = Trial("sense", 0.003, 20, error)
    return Decision("sense", 0.003, 20, (trial,), "12 lines", noise=share, error=error)


@pytest.mark.parametrize(
    ("facts", "decision", "warnings"),
    [
        (GOOD, None, 0),
        (GOOD, decided(1.1, 0.1), 0),
        (GOOD | {"unexplained": 0.01, "data_residual": 1.5}, decided(1.1, 0.1), 1),
        (GOOD | {"unexplained": 0.01, "data_residual": 1.5}, decided(0.9, 0.1), 0),
        (GOOD | {"unexplained": 0.2, "data_residual": 1.7}, decided(1.0, 0.9), 0),
        (GOOD | {"unexplained": 0.2, "data_residual": 5.0}, decided(1.0, 0.9), 1),
        (GOOD | {"unexplained": 0.7, "data_residual": 5.0}, decided(1.0, 0.9), 1),
        (GOOD | {"unexplained": 1e30, "data_residual": 1e15}, None, 1),
        (GOOD, decided(1.6, 0.1), 1),
        (GOOD | {"noise_share": 0.99}, decided(1.0, 1.0), 2),
        (GOOD | {"noise_share": 0.99}, decided(0.9, 1.0), 1),
        (GOOD | {"noise_share": None, "data_residual": None}, decided(1.2, None), 0),
        ({"data_residual": None, "unexplained": None, "noise_share": None}, decided(1.2, None), 1),
        ({"data_residual": None}, None, 0),
    ],
)
def test_what_is_warned_of_follows_from_the_facts(facts, decision, warnings):
    assert len(cautions([3, 4], [GOOD, facts], 4, decision)) == warnings


def test_a_slice_that_is_not_answered_is_named():
    wild = GOOD | {"unexplained": math.inf}
    (text,) = cautions([3, 4, 7], [GOOD, GOOD, wild], 4, None)
    assert "slice 7" in text
