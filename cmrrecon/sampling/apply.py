"""Apply a sampling mask to a fully sampled scan; each slice is masked when it is read."""

import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from cmrrecon import formats
from cmrrecon.data import CartesianMask, MaskSource, SamplingMask, Scan, require_cartesian
from cmrrecon.data.references import undersampled
from cmrrecon.sampling.make import find_pattern, make_mask, official_acs
from cmrrecon.tools.configuration import checked_mapping
from cmrrecon.tools.errors import InputError, UsageError

DEFAULT_YEAR = 2025
# The fraction of the samples within the measured extent that may be missing.
GAPS_ALLOWED = 0.25
KINDS = {"acceleration": float, "acs": int | None, "seed": int | None, "year": int | None}


def undersample(
    scan: Scan | str | Path,
    pattern: str,
    acceleration: float,
    *,
    acs: int | None = None,
    seed: int | None = None,
    year: int | None = None,
) -> Scan:
    """Undersample a scan; slices are masked when they are read.

    Parameters
    ----------
    scan : Scan or str or Path
        A fully sampled scan, or the path of its file. The edges of k-space may be missing, as with
        partial Fourier, or a few samples; they are then missing in the result too.
    pattern : str
        A name in `PATTERNS`.
    acceleration : float
        The nominal R, not counting the calibration. It may be fractional.
    acs : int or None
        The number of calibration lines; for kt-radial and poisson the side of the central square.
        None uses the official number of the year.
    seed : int or None
        The seed of a random pattern. None derives it from centre, subject and file name, so that a
        scan always gets the same mask.
    year : int or None
        The challenge year that determines the number of ACS lines and the special rules. None uses
        the year of the scan, or 2025 if the scan has none.

    Returns
    -------
    Scan
        The scan with this mask. Its acquisition states the pattern, R, ACS and, for random
        patterns, the seed.

    Raises
    ------
    UsageError
        If the pattern or its numbers are invalid; see `make_mask`.
    InputError
        If the scan is already undersampled (`kspace-undersampled`), is 4-D flow (`kspace-4d-flow`)
        or cannot be read (`file-missing` and others).
    """
    scan = scan if isinstance(scan, Scan) else formats.read(scan)
    require_cartesian(scan.mask, scan.path or "The scan", "Undersampling")
    _refuse_flow(scan)
    given = {"acceleration": acceleration, "acs": acs, "seed": seed, "year": year}
    checked_mapping("The undersampling", given, KINDS)
    year = rules_year(scan, year)
    acs = official_acs(year) if acs is None else acs

    if not find_pattern(pattern).random:
        seed = None
    elif seed is None:
        seed = default_seed(_seed_name(scan))

    frames, _, _, y, x = scan.shape
    mask = make_mask(
        pattern, frames=frames, y=y, x=x, acceleration=acceleration, acs=acs, seed=seed, year=year
    )
    known = {"pattern": pattern, "acceleration": float(acceleration), "acs": acs, "seed": seed}

    return apply_mask(scan, SamplingMask.of(mask), **known)


def _refuse_flow(scan: Scan) -> None:
    """Refuse 4-D flow: patterns skip lines along y only, but its x is a phase encode too."""
    if scan.acquisition.modality == "Flow4d":
        raise InputError(
            "kspace-4d-flow",
            f"{scan.path or 'The scan'} is 4-D flow, with two phase encodes",
            "Patterns skip lines of one phase encode only",
            "Give a mask file with the samples, such as the usmask of the challenge",
        )


def _seed_name(scan: Scan) -> str:
    """Return the text from which the seed of a scan is derived."""
    known = scan.acquisition
    name = Path(scan.path).stem if scan.path else known.base
    return "/".join([known.centre or "", known.subject or "", name])


def rules_year(scan: Scan, year: int | None) -> int:
    """Return the year whose rules apply: as requested, or the year of the scan, or 2025."""
    return year or scan.acquisition.year or DEFAULT_YEAR


def apply_mask(scan: Scan, mask: CartesianMask, **acquisition_changes: Any) -> Scan:
    """Set the k-space of a scan to zero outside a mask; each slice is masked when it is read.

    Samples that were not measured, or that are only for calibration, are missing in the result too.

    Parameters
    ----------
    scan : Scan
        A scan in which at most a quarter of the samples within the measured extent are missing.
    mask : CartesianMask
        The samples to keep.
    **acquisition_changes : any
        The fields of the acquisition that the mask determines, such as pattern and acceleration.

    Returns
    -------
    Scan
        The undersampled scan.

    Raises
    ------
    UsageError
        If the mask does not fit the scan (`mask-shape`).
    InputError
        If the scan is already undersampled (`kspace-undersampled`).
    """
    frames, _, _, y, x = scan.shape
    where = scan.path or "the scan"
    require_cartesian(scan.mask, where[0].upper() + where[1:], "Undersampling")
    given = mask.samples.shape

    if not (given[0] in (1, frames) and given[1] == y and given[2] in (1, x)):
        raise UsageError(
            "mask-shape",
            f"The mask has shape {tuple(given)}",
            f"A mask (frame 1 or {frames}, y {y}, x 1 or {x}) is needed for {where}",
            "Make a mask for this scan",
        )

    if scan.acquisition.pattern is not None:
        raise undersampled(f"{where} is undersampled ({scan.acquisition.pattern})")
    known = _measured(scan, where)

    def read_slice(index: int) -> Tensor:
        kspace = scan.read_slice(index)
        if not (kspace != 0).any():
            return kspace

        _require_few_gaps(scan.checked(index, kspace).mask, f"slice {index} of {where}")
        return kspace * both.samples.to(kspace.device)[:, None]

    both = SamplingMask.of(mask.samples & known.image_data, MaskSource.GIVEN)
    both = replace(both.averaged(known.averages), centre=known.centre)

    return replace(
        scan,
        read_slice=read_slice,
        mask=both,
        acquisition=replace(scan.acquisition, **acquisition_changes),
        notes=(*scan.notes, *_remarks(known, where)),
        full_by_rule=False,
    )


def _measured(scan: Scan, where: str) -> CartesianMask:
    """Return the measured samples of a scan, from its own mask or its first slice with data.

    Raises
    ------
    InputError
        If the scan is already undersampled (`kspace-undersampled`).
    """
    known = scan.mask
    if known is None or known.source is not MaskSource.GIVEN:
        known = scan.first_series().mask
    return _require_few_gaps(known, where)


def _require_few_gaps(mask: SamplingMask, where: str) -> CartesianMask:
    """Refuse k-space that is already undersampled."""
    assert isinstance(mask, CartesianMask)
    measured = 1 / mask.effective_acceleration("extent")
    if measured < 1 - GAPS_ALLOWED:
        raise undersampled(f"{where} contains {measured:.0%} of the samples within its extent")
    return mask


def _remarks(mask: CartesianMask, where: str) -> list[str]:
    """Return the notes to the user for a scan that is not complete."""
    if mask.complete:
        return []
    return [f"{where} is {mask.coverage.label}: only measured samples of the pattern are kept"]


def default_seed(name: str) -> int:
    """Return a seed from 1 to 1000 (the official range) that depends on the name alone."""
    return zlib.crc32(os.fsencode(name)) % 1000 + 1
