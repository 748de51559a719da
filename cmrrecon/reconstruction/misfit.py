"""Whether images answer the data at all: what to warn of once a scan is reconstructed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cmrrecon.data import CartesianMask
from cmrrecon.methods.base import Fit
from cmrrecon.methods.decision import Decision
from cmrrecon.methods.holdout import measured_energy, noise_energy

# The limits below lie between good scans (simulated and semi-real cine, 10 to 40 dB, uniform,
# kt-uniform, kt-gaussian and kt-radial sampling, R 4 to 16) and the same scans broken on purpose
# (coils exchanged or lines conjugated outside the calibration region, noise in place of lines).

# Part of the measured energy beyond noise that images leave unexplained. Good scans: up to 0.35, at
# 16 dB; an empty image: 1.
UNANSWERED = 0.5
# Noise as a part of the measured energy. Good scans: up to 0.84, at 5 dB; noise alone: from 0.96.
NOISE_ALONE = 0.92
# As UNANSWERED, where hidden samples were predicted no better than by an empty image. That alone
# proves nothing: between the lines of a uniform mask of R 8, SENSE cannot predict a hidden one.
# Good scans: up to 0.001; coils exchanged outside the calibration region, 30 dB: from 0.0015.
UNEXPLAINED = 0.0015
# If the hidden samples hold more noise than this part, they tell nothing unless the residual is
# clear. Good scans with more noise: residual up to 1.7; noise in place of lines: from 2.
HIDDEN_NOISE, CLEAR_RESIDUAL = 0.7, 2.0
# An error of hidden samples that needs no more evidence. Good scans: up to 1.28; noise in place of
# the lines outside the calibration region: from 1.58.
CLEAR_ERROR = 1.5


def misfit(fit: Fit | None) -> dict[str, float | None]:
    """Describe how images answer the data of a slice.

    Returns
    -------
    dict
        `unexplained`, the part of the measured energy beyond noise that the images leave, negative
        if they explain noise too; `noise_share`, the noise as a part of that energy. None where it
        is not known: images without a least-squares term, trajectories, and for `noise_share` too
        few samples to estimate the noise from.
    """
    if fit is None or not isinstance(fit.prepared.mask, CartesianMask):
        return {"unexplained": None, "noise_share": None}
    energy = measured_energy(fit.prepared, fit.term)
    noise = noise_energy(fit.prepared, fit.term) / energy
    explained = float(fit.term.explained(fit.x).double().sum()) / energy
    known = math.isfinite(noise)
    return {
        "unexplained": 1 - explained - (noise if known else 0.0),
        "noise_share": noise if known else None,
    }


def cautions(
    slices: Sequence[int],
    facts: Sequence[Mapping[str, Any]],
    middle: int,
    decision: Decision | None,
) -> list[str]:
    """List what the misfits of all slices warn of.

    Parameters
    ----------
    slices, facts : sequence
        The numbers of the slices and what is known of each: `misfit` and `data_residual`.
    middle : int
        The slice that the decision was made on.
    decision : Decision or None
        What was decided.
    """
    of_middle = facts[list(slices).index(middle)]
    found = []
    if (of_middle.get("noise_share") or 0.0) > NOISE_ALONE:
        found.append(
            f"the measured samples hold little but noise ({min(1, of_middle['noise_share']):.0%} of "
            "their energy): check that the file holds the right data"
        )

    unexplained = {
        index: one["unexplained"]
        for index, one in zip(slices, facts, strict=True)
        if one.get("unexplained") is not None
    }
    worst = max(unexplained, key=lambda index: unexplained[index], default=None)
    if worst is not None and unexplained[worst] > UNANSWERED:
        residual = facts[list(slices).index(worst)].get("data_residual")
        known = "" if residual is None else f", residual over noise {residual:.3g}"
        found.append(
            f"the images do not answer the data (slice {worst}: {unexplained[worst]:.3g} of the "
            f"measured energy is unexplained{known}, an empty image leaves 1): check the coil "
            "maps and the scale of the data, or try another method"
        )
    elif decision is not None and _contradicts(decision, of_middle):
        found += [text for text in (decision.warning(),) if text is not None]
    return found


def _contradicts(decision: Decision, facts: Mapping[str, Any]) -> bool:
    """Whether the fit confirms that hidden samples could not be predicted."""
    best = decision.best()
    if best is not None and best.error > CLEAR_ERROR:
        return True
    unexplained, residual = facts.get("unexplained"), facts.get("data_residual")
    if unexplained is None:
        # Along trajectories the fit is not measured, so the prediction stands alone.
        return True
    if (facts.get("noise_share") or 0.0) > NOISE_ALONE:
        return True
    if residual is None:
        # Without an estimate of the noise the limits of `UNEXPLAINED` do not hold.
        return False
    noisy = decision.noise is not None and decision.noise > HIDDEN_NOISE
    return bool(unexplained > UNEXPLAINED and not (noisy and residual < CLEAR_RESIDUAL))
