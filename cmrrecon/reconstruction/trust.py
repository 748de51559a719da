"""How far to trust a reconstruction: training range and uncertainty.

The training range shows whether the network was trained on such scans, and the uncertainty how much
the images depend on the mask. `misfit` shows how well the images agree with the data.
"""

import json
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cmrrecon.classical.coils import calibration_samples
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import CartesianMask, Series
from cmrrecon.operators.sensitivity import Calibration

# Each replicate keeps this fraction of the lines outside the calibration region. The smaller it is,
# the larger is the standard deviation.
KEPT = 0.8
# Labels of the properties compared with the training range.
LABELS = {
    "frames": "frames",
    "effective_acceleration": "effective acceleration",
    "snr_db": "signal-to-noise ratio of bright tissue in dB",
    "independent_coils": "independent coils",
}
Envelope = Mapping[str, tuple[float, float]]
ENVELOPE = "envelope"


def envelope_of(metadata: Mapping[str, str]) -> Envelope:
    """Read the training range (least, largest) of each property from a network's metadata.

    The result is empty if the metadata do not state the range.
    """
    try:
        stored = json.loads(metadata.get(ENVELOPE, "{}"))
        return {
            name: (float(stored[name][0]), float(stored[name][1]))
            for name in LABELS
            if name in stored
        }
    except (ValueError, TypeError, LookupError):
        return {}


def facts_of(prepared: PreparedSeries) -> dict[str, float]:
    """Collect the known properties of a series, by the names in `LABELS`."""
    mask = prepared.mask
    facts = {
        "frames": float(prepared.series.frames),
        "effective_acceleration": mask.effective_acceleration(),
    }
    if not isinstance(mask, CartesianMask):
        return facts

    if prepared.noise_power is not None:
        power = float(prepared.noise_power.mean())
        facts["snr_db"] = -10 * math.log10(power) if power > 0 else math.inf

    block = calibration_samples(prepared.series).flatten(1)
    if block.numel():
        facts["independent_coils"] = _participation(block)
    return facts


def _participation(block: Tensor) -> float:
    """Estimate the effective number of independent rows of (coil, sample).

    This is (sum e)^2 / sum e^2 for the eigenvalues e of their Gram matrix.
    """
    block = block / block.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
    energies = torch.linalg.eigvalsh((block @ block.mH).to(torch.complex128))
    tiny = torch.finfo(torch.float64).tiny
    return float(energies.sum() ** 2 / energies.square().sum().clamp(min=tiny))


def outside(facts: Mapping[str, float], envelope: Envelope) -> list[str]:
    """List the properties of a scan outside the training range of a network, in words."""
    return [
        f"{LABELS[name]} {value:.3g} (trained on {low:.3g} to {high:.3g})"
        for name, value in facts.items()
        if name in envelope
        for low, high in [envelope[name]]
        if not low <= value <= high
    ]


def uncertainty(
    series: Series, reconstruct: Callable[[Series], Tensor], replicates: int, seed: int = 0
) -> Tensor:
    """Estimate the standard deviation (frame, y, x) of magnitudes from random parts of the samples.

    All samples of the calibration region are kept. The result shows where images depend on single
    lines. It does not show errors common to all replicates, such as a bias of the method.

    Parameters
    ----------
    series : Series
        The series.
    reconstruct : callable
        Takes a series and returns its images (frame, y, x).
    replicates : int
        Number of random parts of the samples, at least two.
    seed : int
        Seed of the random parts.

    Returns
    -------
    Tensor of shape (frame, y, x), float32
        The standard deviation.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = series.mask.samples

    always = torch.zeros_like(samples)
    if isinstance(series.mask, CartesianMask):
        y, x = Calibration.of(series.mask).always
        always[:, y, x] = True

    total = squares = torch.zeros((), dtype=torch.float64)
    for _ in range(replicates):
        kept = torch.rand(samples.shape, generator=generator).to(samples.device) < KEPT
        magnitude = reconstruct(series.kept(samples & (kept | always))).abs().double()
        total, squares = total + magnitude, squares + magnitude.square()

    mean = total / replicates
    variance = (squares / replicates - mean.square()).clamp(min=0)
    return (variance * (replicates / (replicates - 1))).sqrt().float()
