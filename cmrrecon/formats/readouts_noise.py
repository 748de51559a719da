"""Measures the noise of the coils from readouts without excitation.

The variance of a sample is proportional to the bandwidth of its readout, and hence to 1 / dwell
time. The receiver's filter attenuates the edges of the band, so the mean noise power of a readout
is below the level in the middle of the band, where the image is. The mean is therefore divided by
the relative noise bandwidth.

References
----------
Kellman and McVeigh, Magn Reson Med 2005;54:1439.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from cmrrecon.data import Noise
from cmrrecon.formats.readouts import Raw, Table, length_of, part
from cmrrecon.formats.readouts_lines import kept_samples, row_groups

LARGEST, SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
SINGULAR = 1e-6  # smallest eigenvalue that a usable correlation matrix of the coils may have


def noise_of(raw: Raw, image: Table, source: Raw) -> tuple[Noise | None, tuple[str, ...]]:
    """Estimate the noise of the image's samples.

    Parameters
    ----------
    raw : Raw
        The measurement of the image.
    image : dict of str to ndarray
        Readouts of the image.
    source : Raw
        The measurement with the noise readouts.

    Returns
    -------
    noise : Noise or None
        The noise; None without usable noise readouts.
    notes : tuple of str
        Reasons why noise readouts were not used or not scaled.
    """
    coils = int(image["coils"][0])
    table = source.table | {"index": np.arange(len(source.table["noise"]))}
    present = table["noise"] & (length_of(table) > 0)
    table = part(table, present & (table["coils"] == coils))
    if not len(table["index"]):
        return None, _other_coils(raw, bool(present.any()))

    count = int(length_of(table).sum())
    if count < coils:
        return None, (
            f"{raw.path}: the noise readouts were not used, because they have fewer samples "
            f"({count}) than coils ({coils}).",
        )
    dwell = float(np.median(image["dwell_us"]))
    known = dwell > 0 and bool((table["dwell_us"] > 0).all())
    covariance = _covariance(source, table, coils, dwell if known else None) / count
    reason = _unusable(covariance)
    if reason:
        return None, (f"{raw.path}: the noise readouts were not used, because {reason}.",)
    notes = () if known else (f"{raw.path}: the noise was not scaled: dwell times are missing.",)
    return Noise(torch.from_numpy(covariance.astype(np.complex64)), count), notes


def _other_coils(raw: Raw, any_noise: bool) -> tuple[str, ...]:
    """Return a note if all noise readouts are of other coils."""
    note = f"{raw.path}: the noise readouts were not used, because they belong to other coils."
    return (note,) if any_noise else ()


def _covariance(
    source: Raw, table: Table, coils: int, dwell: float | None
) -> NDArray[np.complex128]:
    """Sum n n^H over all noise samples n, scaled to the middle of the image's band."""
    total = np.zeros((coils, coils), np.complex128)

    for rows in row_groups(table, ("samples", "before", "after", "dwell_us", "reverse")):
        ratio = 1.0 if dwell is None else float(table["dwell_us"][rows[0]]) / dwell
        with np.errstate(all="ignore"):  # the sum reveals non-finite numbers
            n = kept_samples(source, table, rows).transpose(1, 0, 2).reshape(coils, -1)
            n = n.astype(np.complex128)
            total += ratio * (n @ n.conj().T)
    return total / source.noise_bandwidth


def _unusable(covariance: NDArray[np.complex128]) -> str:
    """Return the reason why a covariance cannot be used, or an empty text."""
    if not np.abs(covariance).max() < LARGEST:
        return "they contain NaN or infinity"
    power = np.diagonal(covariance).real
    if (power < SMALLEST).any():
        return f"{int((power < SMALLEST).sum())} coils have no noise"

    level = np.sqrt(power)
    correlation = covariance / np.outer(level, level)
    if np.linalg.eigvalsh(correlation)[0] < SINGULAR:
        return "their covariance is singular"
    return ""
