"""How far a reconstruction can be trusted: what the data say against it, what a network never saw, and what other masks would change."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from cmrrecon.classical.problem import Coils, Problem
from cmrrecon.data.scan import Series, effective_acceleration
from cmrrecon.methods.holdout import measured_energy, noise_energy
from cmrrecon.operators.coils import noise_level
from cmrrecon.operators.sensitivity import calibration_block, calibration_region
from cmrrecon.solvers import frame_dot
from cmrrecon.tools.errors import InputError

# Of the lines outside the calibration region each replicate has this part; what comes out grows as it shrinks.
KEPT = 0.8
# What is told of each fact when it lies outside of what was trained on.
WORDS = {
    "frames": "frames",
    "effective_acceleration": "effective acceleration",
    "snr_db": "signal to noise of bright tissue in dB",
    "independent_coils": "coils that see something of their own",
}
Envelope = Mapping[str, tuple[float, float]]
ENVELOPE = "envelope"


def envelope_of(metadata: Mapping[str, str]) -> Envelope:
    """What a network was trained on, by the metadata of its weights: of some facts the least and the largest value; empty if not told."""
    try:
        told = json.loads(metadata.get(ENVELOPE, "{}"))
        return {name: (float(told[name][0]), float(told[name][1])) for name in WORDS if name in told}
    except (ValueError, TypeError, LookupError):
        return {}


def data_residual(series: Series, images: Tensor, coils: Coils | None) -> float | None:
    """Root mean square of A x - y over the noise of y: about one if images explain all but noise, less if they explain noise too.

    Parameters
    ----------
    series : Cartesian
    images : Tensor (frame, y, x), complex, on the scale of the series
    coils : with whose maps the images were made

    Returns
    -------
    None where it cannot be told: maps that are not known, trajectories, or no samples to estimate the noise from

    Raises
    ------
    NumericalError : k-space that cannot be normalised
    """
    if coils is None or series.trajectory is not None:
        return None
    scale = series.scale()
    problem = Problem.of(series, coils, scale)
    noise = noise_energy(series, series.mask, problem, scale)
    if not noise > 0:
        return None
    x = images[..., problem.columns] / scale
    explained = float(frame_dot(x, 2 * problem.rhs - problem.A.N(x)).double().sum())
    return math.sqrt(max(0.0, measured_energy(series, problem, scale) - explained) / noise)


def facts_of(series: Series) -> dict[str, float]:
    """What a scan is like, by the names in `WORDS`; without those that cannot be told of it.

    Raises
    ------
    NumericalError : k-space that cannot be normalised
    """
    facts = {"frames": float(len(series.kspace)), "effective_acceleration": effective_acceleration(series.mask, series.matrix)}
    if series.trajectory is not None:
        return facts
    try:
        noise = float(noise_level(series.kspace, series.mask).double().square().mean().sqrt())
        facts["snr_db"] = 20 * math.log10(series.scale() / noise) if noise > 0 else math.inf
    except InputError:
        pass
    block = calibration_block(series.kspace, series.mask).flatten(1)
    if not block.numel():
        return facts
    block = block / block.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
    energies = torch.linalg.eigvalsh((block @ block.mH).to(torch.complex128))
    facts["independent_coils"] = float(energies.sum() ** 2 / energies.square().sum().clamp(min=torch.finfo(torch.float64).tiny))
    return facts


def outside(facts: Mapping[str, float], envelope: Envelope) -> list[str]:
    """What of a scan lies outside of what a network was trained on, in words."""
    return [
        f"{WORDS[name]} {value:.3g} (trained on {envelope[name][0]:.3g} to {envelope[name][1]:.3g})"
        for name, value in facts.items()
        if name in envelope and not envelope[name][0] <= value <= envelope[name][1]
    ]


def uncertainty(series: Series, reconstruct: Callable[[Series], Tensor], replicates: int, seed: int = 0) -> Tensor:
    """Standard deviation (frame, y, x) of the magnitudes of reconstructions from random parts of what was measured outside the calibration.

    It shows where images hang on single lines; what all replicates share, such as a bias of the method, it cannot show.

    Parameters
    ----------
    reconstruct : a series to images (frame, y, x)
    replicates : two or more
    """
    generator = torch.Generator().manual_seed(seed)
    mask = series.mask
    always = torch.zeros_like(mask)
    y, x = calibration_region(mask) if series.trajectory is None else (slice(0), slice(0))
    always[:, y, x] = True
    total = squares = torch.zeros((), dtype=torch.float64)
    for _ in range(replicates):
        kept = torch.rand(mask.shape, generator=generator).to(mask.device) < KEPT
        part = mask & (kept | always)
        magnitude = reconstruct(replace(series, kspace=series.kspace * part[:, None], mask=part)).abs().double()
        total, squares = total + magnitude, squares + magnitude.square()
    mean = total / replicates
    spread = (squares / replicates - mean.square()).clamp(min=0) * (replicates / (replicates - 1))
    return spread.sqrt().float()
