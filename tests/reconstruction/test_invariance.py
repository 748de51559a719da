"""What a reconstruction must not depend on, and what it must follow."""

from dataclasses import replace

import pytest
import torch

import cmrrecon
from cmrrecon.data import Scan

SIZE = {"slices": 1, "coils": 4, "frames": 8, "y": 48, "x": 64}


def gated(acceleration=4, seed=0):
    """An undersampled cine."""
    full = cmrrecon.simulate(**SIZE, seed=seed).scan
    return cmrrecon.undersample(full, "kt-gaussian", acceleration)


def later(scan, frames):
    """The scan as if its recording had started some frames later in the heartbeat."""
    series = scan.series(0)
    mask = replace(series.mask, samples=series.mask.samples.roll(frames, 0))
    return Scan.from_kspace(series.kspace.roll(frames, 0)[:, None], mask, scan.acquisition)


@pytest.mark.parametrize("method", ["sense", "temporal-tv", "kt-unrolled", "auto"])
def test_the_images_of_a_gated_scan_follow_a_shift_in_time(method):
    scan = gated()
    images = cmrrecon.reconstruct(scan, method, device="cpu").images
    shifted = cmrrecon.reconstruct(later(scan, 3), method, device="cpu").images
    assert torch.equal(shifted, images.roll(3, 0))


def test_the_uncertainty_of_a_gated_scan_follows_too():
    scan = gated()
    spread, shifted = (
        cmrrecon.reconstruct(one, "sense", device="cpu", uncertainty=2, weight=0.01).uncertainty
        for one in (scan, later(scan, 3))
    )
    assert torch.equal(shifted[0], spread[0].roll(3, 0))


def test_the_first_frame_of_a_gated_scan_follows_the_last():
    """Temporal total variation pulls the two ends together only if time is cyclic."""
    scan = gated()
    series = scan.series(0)
    ungated = Scan.from_kspace(series.kspace[:, None], series.mask)
    cyclic, plain = (
        cmrrecon.reconstruct(one, "temporal-tv", device="cpu", weight=0.05, iterations=20)
        for one in (scan, ungated)
    )

    gaps = [(r.images[0] - r.images[-1]).abs().mean() for r in (cyclic, plain)]
    assert gaps[0] < 0.9 * gaps[1]
    assert cyclic.provenance["cyclic_time"]
    assert not plain.provenance["cyclic_time"]


@pytest.mark.parametrize("pattern", ["uniform", "kt-gaussian", "kt-uniform", "kt-radial"])
def test_the_default_keeps_up_with_locally_low_rank_at_r_2(pattern):
    made = cmrrecon.simulate(slices=1, coils=6, frames=8, y=64, x=96, seed=1)
    scan = cmrrecon.undersample(made.scan, pattern, 2)
    default, plain = (
        cmrrecon.evaluate(cmrrecon.reconstruct(scan, method, device="cpu"), made).psnr
        for method in ("auto", "llr")
    )
    assert default > plain - 0.3
