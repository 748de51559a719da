"""Check how well the images of a scan explain its data, and warn the user if they do not."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cmrrecon.data import CartesianMask
from cmrrecon.methods.base import Fit
from cmrrecon.methods.decision import Decision
from cmrrecon.methods.holdout import measured_energy, noise_energy

# The limits below separate good scans (simulated and semi-real cine, 10 to 40 dB, uniform,
# kt-uniform, kt-gaussian and kt-radial sampling, R 4 to 16) from the same scans broken on purpose
# (coils exchanged or lines conjugated outside the calibration region, noise in place of lines).

# Largest fraction of the measured energy beyond noise that images may leave unexplained. In good
# scans it is up to 0.35 (at 16 dB); for an empty image it is 1.
MOST_UNEXPLAINED = 0.5
# Largest share of noise in the measured energy. In good scans it is up to 0.84 (at 5 dB); with
# noise alone it is at least 0.96.
NOISE_ALONE = 0.92
# Largest unexplained fraction if hold-out samples were predicted no better than by an empty image.
# Poor prediction alone proves nothing: with a uniform mask of R 8, SENSE cannot predict a hold-out
# line from the others. In good scans the fraction is up to 0.001; with coils exchanged outside the
# calibration region, at 30 dB, it is at least 0.0015.
UNEXPLAINED = 0.0015
# If noise makes up a larger share of the energy of hold-out samples, their error is no evidence
# unless the residual is at least CLEAR_RESIDUAL. In good scans with that much noise, the residual
# is up to 1.7; with noise in place of lines, it is at least 2.
HOLDOUT_NOISE, CLEAR_RESIDUAL = 0.7, 2.0
# A larger error at hold-out samples needs no further evidence. In good scans it is up to 1.28; with
# noise in place of the lines outside the calibration region, it is at least 1.58.
CLEAR_ERROR = 1.5


def misfit(fit: Fit | None) -> dict[str, float | None]:
    """Measure how well images explain the data of a slice.

    Returns
    -------
    dict
        `data_residual` is the root mean square of A x - y divided by the noise of y: about one if
        the images explain everything except the noise, and smaller if they explain noise too.
        `unexplained` is the fraction of the measured energy beyond noise that the images do not
        explain, negative if they explain noise too. `noise_share` is the share of noise in the
        measured energy. All are None without a least-squares term and for trajectories;
        `data_residual` and `noise_share` are also None with too few samples to estimate the noise.
    """
    if fit is None or not isinstance(fit.prepared.mask, CartesianMask):
        return {"data_residual": None, "unexplained": None, "noise_share": None}

    energy = measured_energy(fit.prepared, fit.term)
    noise = noise_energy(fit.prepared, fit.term)
    missed = energy - float(fit.term.explained(fit.x).double().sum())
    known = math.isfinite(noise)
    return {
        "data_residual": math.sqrt(max(0.0, missed) / noise) if noise > 0 else None,
        "unexplained": (missed - (noise if known else 0.0)) / energy,
        "noise_share": noise / energy if known else None,
    }


def cautions(
    slices: Sequence[int],
    facts: Sequence[Mapping[str, Any]],
    middle: int,
    decision: Decision | None,
) -> list[str]:
    """List warnings about slices whose images do not fit the data.

    Parameters
    ----------
    slices : sequence of int
        The numbers of the slices.
    facts : sequence of Mapping
        The facts about each slice: those of `misfit`, and `data_residual`.
    middle : int
        The slice on which the decision was made.
    decision : Decision or None
        The decision for the scan.
    """
    of_middle = facts[list(slices).index(middle)]
    found = []
    if (of_middle.get("noise_share") or 0.0) > NOISE_ALONE:
        found.append(
            "the measured samples contain little but noise "
            f"({min(1, of_middle['noise_share']):.0%} of their energy): check that the file "
            "contains the right data"
        )

    unexplained = {
        index: one["unexplained"]
        for index, one in zip(slices, facts, strict=True)
        if one.get("unexplained") is not None
    }
    worst = max(unexplained, key=lambda index: unexplained[index], default=None)
    if worst is not None and unexplained[worst] > MOST_UNEXPLAINED:
        residual = facts[list(slices).index(worst)].get("data_residual")
        known = "" if residual is None else f", residual over noise {residual:.3g}"
        found.append(
            f"the images do not explain the data (slice {worst}: {unexplained[worst]:.3g} of the "
            f"measured energy is unexplained{known}; for an empty image it would be 1): check the "
            "coil maps and the scale of the data, or try another method"
        )
    elif decision is not None and _contradicts(decision, of_middle):
        found += [text for text in (decision.warning(),) if text is not None]
    return found


def _contradicts(decision: Decision, facts: Mapping[str, Any]) -> bool:
    """Return whether the fit confirms that hold-out samples could not be predicted."""
    best = decision.best()
    if best is not None and best.error > CLEAR_ERROR:
        return True
    unexplained, residual = facts.get("unexplained"), facts.get("data_residual")
    if unexplained is None:
        # For trajectories, the fit is not measured, so the prediction is the only evidence.
        return True
    if (facts.get("noise_share") or 0.0) > NOISE_ALONE:
        return True
    if residual is None:
        # Without an estimate of the noise, the limit `UNEXPLAINED` is not valid.
        return False
    noisy = decision.noise is not None and decision.noise > HOLDOUT_NOISE
    return bool(unexplained > UNEXPLAINED and not (noisy and residual < CLEAR_RESIDUAL))
