"""How far a reconstruction can be trusted: what the data say against it, what a network never saw, what other masks would change."""

import json
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cmrrecon.classical.coils import calibration_samples
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import CartesianMask, Series
from cmrrecon.methods.base import Fit
from cmrrecon.methods.holdout import measured_energy, noise_energy
from cmrrecon.operators.sensitivity import Calibration

# Of the lines outside the calibration region each replicate keeps this part; the standard deviation
# grows as it shrinks.
KEPT = 0.8
# Labels of the properties that are compared with the training range.
LABELS = {
    "frames": "frames",
    "effective_acceleration": "effective acceleration",
    "snr_db": "signal to noise of bright tissue in dB",
    "independent_coils": "coils that see something of their own",
}
Envelope = Mapping[str, tuple[float, float]]
ENVELOPE = "envelope"


def envelope_of(metadata: Mapping[str, str]) -> Envelope:
    """The training range of a network, from the metadata of its weights: property to (least, largest).

    Empty where the metadata do not say.
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


def data_residual(fit: Fit | None) -> float | None:
    """Root mean square of A x - y over the noise of y.

    About one if images explain all but noise, less if they explain noise too. None where it is not
    known: images without a least-squares term, trajectories, or too few samples to estimate the
    noise from.
    """
    if fit is None or not isinstance(fit.prepared.mask, CartesianMask):
        return None
    noise = noise_energy(fit.prepared, fit.term)
    if not noise > 0:
        return None

    explained = float(fit.term.explained(fit.x).double().sum())
    return math.sqrt(max(0.0, measured_energy(fit.prepared, fit.term) - explained) / noise)


def facts_of(prepared: PreparedSeries) -> dict[str, float]:
    """Properties of a series by the names in `LABELS`, without those that are not known."""
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
    """The effective number of independent rows of (coil, sample): (sum e)^2 / sum e^2 of its energies e."""
    block = block / block.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
    energies = torch.linalg.eigvalsh((block @ block.mH).to(torch.complex128))
    tiny = torch.finfo(torch.float64).tiny
    return float(energies.sum() ** 2 / energies.square().sum().clamp(min=tiny))


def outside(facts: Mapping[str, float], envelope: Envelope) -> list[str]:
    """The properties of a scan outside the training range of a network, in words."""
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
    """Standard deviation (frame, y, x) of the magnitudes of reconstructions from random parts of the samples.

    All samples of the calibration region stay. It shows where images hang on single lines; what all
    replicates share, such as a bias of the method, it cannot show.

    Parameters
    ----------
    reconstruct : a series to images (frame, y, x)
    replicates : two or more
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
