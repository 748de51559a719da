"""Scans that could mislead the choice of `auto`: it is never clearly worse than `kt-wavelet`."""

import math

import pytest
import torch

import cmrrecon
from cmrrecon import LineMask, Scan
from cmrrecon.methods.registry import find_method
from cmrrecon.operators.fourier import fftc

# The sampling of most scans: whole lines, and samples that differ along x too.
LINES = ("kt-gaussian", 6)
SAMPLES = ("kt-radial", 6)
SIZE = {"frames": 5, "slices": 1, "coils": 4, "y": 48, "x": 48, "seed": 3}
ACS = 12
ALLOWED_DB = 0.3
# Lines below this one do not calibrate the coils.
LOWEST_CALIBRATION_LINE = (SIZE["y"] - ACS) // 2


def scan_of(made, sampling):
    return cmrrecon.undersample(made.scan, *sampling, acs=ACS, seed=1)


def changed(scan, change):
    """The scan after `change(kspace, samples)` has altered its k-space in place."""
    kspace = scan.read_slice(0)[:, None].clone()
    change(kspace, scan.mask.samples)
    return Scan.from_kspace(kspace, scan.mask)


def noise_only(sampling):
    """Three frames without an object, so that every image is an error."""
    noise = torch.Generator().manual_seed(0)
    shape = (3, *(SIZE[name] for name in ("slices", "coils", "y", "x")))
    kspace = torch.randn(shape, dtype=torch.complex64, generator=noise)
    everything = LineMask(torch.ones((1, SIZE["y"], 1), dtype=torch.bool))
    scan = cmrrecon.undersample(Scan.from_kspace(kspace, everything), *sampling, acs=ACS, seed=1)
    return scan, None


def with_line_times(factor):
    """Multiply one measured line of frame 2 by a factor, as after a spike or a lost readout."""

    def make(sampling):
        def change(kspace, samples):
            line = int(samples[2, :LOWEST_CALIBRATION_LINE].any(-1).nonzero()[-1])
            kspace[2, :, :, line] *= factor

        made = cmrrecon.simulate(**SIZE)
        return changed(scan_of(made, sampling), change), made.image

    return make


def strongly_moving(sampling):
    """The whole body moves by up to 5 pixels along y and 3 along x between frames."""
    made = cmrrecon.simulate(**SIZE)
    steps = [(round(5 * math.sin(2 * t)), round(3 * math.cos(2 * t))) for t in range(5)]
    image = torch.stack(
        [frame.roll(step, (-2, -1)) for frame, step in zip(made.image, steps, strict=True)]
    )
    kspace = fftc(fftc(image[:, :, None] * made.maps, -1), -2)
    noise = torch.randn(
        kspace.shape, dtype=kspace.dtype, generator=torch.Generator().manual_seed(0)
    )
    full = Scan.from_kspace(kspace + made.sigma * noise, made.scan.mask)
    return cmrrecon.undersample(full, *sampling, acs=8, seed=1), image


def with_a_dead_coil(sampling):
    def change(kspace, _samples):
        kspace[:, :, 1] = 0

    made = cmrrecon.simulate(**SIZE)
    return changed(scan_of(made, sampling), change), made.image


def simulated(**size):
    def make(sampling):
        made = cmrrecon.simulate(**SIZE | size)
        return scan_of(made, sampling), made.image

    return make


def error_db(images, truth):
    """The error in dB: the negative PSNR, or the energy of the images if there is no object."""
    if truth is None:
        return 10 * math.log10(float(images.abs().square().mean()))
    return -cmrrecon.evaluate(images, truth, protocol="fullfov").psnr


def assert_explained(decision):
    """The decision names its method, trials, hold-out samples and error."""
    hidden, what = int(decision.hidden.split()[0]), decision.hidden.split()[-1]
    assert hidden > 0
    assert what in ("lines", "samples")
    assert decision.method in {trial.method for trial in decision.trials}
    assert 0 < decision.error < math.inf
    assert decision.partner is None or decision.partner in decision.trials


@pytest.mark.parametrize(
    ("make", "sampling"),
    [
        pytest.param(noise_only, LINES, id="noise-lines"),
        pytest.param(noise_only, SAMPLES, id="noise-samples"),
        pytest.param(with_line_times(0), LINES, id="zero-line-lines"),
        pytest.param(with_line_times(0), SAMPLES, id="zero-line-samples"),
        pytest.param(with_line_times(30), LINES, id="spike-lines"),
        pytest.param(with_line_times(30), SAMPLES, id="spike-samples"),
        pytest.param(strongly_moving, ("kt-gaussian", 24), id="moving-lines"),
        pytest.param(strongly_moving, ("kt-radial", 24), id="moving-samples"),
        pytest.param(with_a_dead_coil, LINES, id="dead-coil-lines"),
        pytest.param(with_a_dead_coil, SAMPLES, id="dead-coil-samples"),
        pytest.param(simulated(coils=1), LINES, id="one-coil-lines"),
        pytest.param(simulated(coils=1), SAMPLES, id="one-coil-samples"),
        pytest.param(simulated(frames=2), ("kt-gaussian", 3), id="two-frames-lines"),
        pytest.param(simulated(frames=2), SAMPLES, id="two-frames-samples"),
    ],
)
def test_auto_is_not_clearly_worse_than_the_classical_default(make, sampling):
    scan, truth = make(sampling)
    default = find_method("kt-wavelet").solver
    safe = cmrrecon.reconstruct(
        scan, "kt-wavelet", weight=default.weight, iterations=default.iterations, device="cpu"
    )
    result = cmrrecon.reconstruct(scan, device="cpu")
    assert result.images.isfinite().all()
    assert_explained(result.decision)
    assert error_db(result.images, truth) <= error_db(safe.images, truth) + ALLOWED_DB
