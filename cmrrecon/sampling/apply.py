"""Putting a sampling mask on a fully sampled scan, slice by slice as it is read."""

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
# The part of the samples within the measured extent that may be missing.
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
    """The scan as if it had been measured with fewer samples; slices are masked when they are read.

    Parameters
    ----------
    scan : a fully sampled Scan, or the path of its file; its edges may be missing, as with partial
        Fourier, or a few of its samples, and then are missing in the result too
    pattern : a name of `PATTERNS`
    acceleration : nominal R, not counting the calibration; may be fractional
    acs : calibration lines, of kt-radial and poisson the side of the square; None: the year's
    seed : of a random pattern; None: from centre, subject and file name, so that a scan always gets
        the same mask
    year : whose ACS and peculiarities; None: the scan's year, else 2025

    Returns
    -------
    Scan with this mask, and an acquisition that names pattern, R, ACS and (for random patterns) seed

    Raises
    ------
    UsageError : see `make_mask`
    InputError : `kspace-undersampled`, the scan is undersampled already; `file-missing` and others
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
    """Refuse 4-D flow: patterns leave out lines along y, and its x is a phase encode too."""
    if scan.acquisition.modality == "Flow4d":
        raise InputError(
            "kspace-4d-flow",
            f"{scan.path or 'The scan'} is 4-D flow, with two phase encodes",
            "Patterns leave out lines of one phase encode",
            "Give a mask file of the samples, such as the challenge's usmask",
        )


def _seed_name(scan: Scan) -> str:
    """What the seed of a scan follows from."""
    known = scan.acquisition
    name = Path(scan.path).stem if scan.path else known.base
    return "/".join([known.centre or "", known.subject or "", name])


def rules_year(scan: Scan, year: int | None) -> int:
    """Whose rules hold: the year asked for, else the scan's, else 2025."""
    return year or scan.acquisition.year or DEFAULT_YEAR


def apply_mask(scan: Scan, mask: CartesianMask, **acquisition_changes: Any) -> Scan:
    """The scan with its k-space set to zero outside `mask`; slices are read and masked only when asked for.

    What was not measured, or calibrates only, is not measured in the result either.

    Parameters
    ----------
    scan : a scan that misses at most a quarter of the samples within its extent
    mask : CartesianMask
    acquisition_changes : fields of the acquisition that the mask determines, such as pattern and acceleration

    Raises
    ------
    UsageError : the mask does not fit the scan
    InputError : the scan is undersampled already
    """
    frames, _, _, y, x = scan.shape
    where = scan.path or "the scan"
    require_cartesian(scan.mask, where[0].upper() + where[1:], "Undersampling")
    given = mask.samples.shape

    if not (given[0] in (1, frames) and given[1] == y and given[2] in (1, x)):
        raise UsageError(
            "mask-shape",
            f"The mask has shape {tuple(given)}",
            f"For {where} a mask (frame 1 or {frames}, y {y}, x 1 or {x}) is needed",
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
    """What a scan measured, by its first slice with data; a mask given in memory is believed.

    Raises
    ------
    InputError : `kspace-undersampled`
    """
    known = scan.mask
    if known is None or known.source is not MaskSource.GIVEN:
        known = scan.first_series().mask
    return _require_few_gaps(known, where)


def _require_few_gaps(mask: SamplingMask, where: str) -> CartesianMask:
    """Refuse k-space that was undersampled before a pattern is put on it."""
    assert isinstance(mask, CartesianMask)
    measured = 1 / mask.effective_acceleration("extent")
    if measured < 1 - GAPS_ALLOWED:
        raise undersampled(f"{where} holds {measured:.0%} of the samples that it reaches")
    return mask


def _remarks(mask: CartesianMask, where: str) -> list[str]:
    """What to tell the user of a scan that is not complete."""
    if mask.complete:
        return []
    return [f"{where} is {mask.coverage.label}: of the pattern only what was measured is kept"]


def default_seed(name: str) -> int:
    """A seed from 1 to 1000 (the official range) that depends on a file's name only, so that a file always gets the same mask."""
    return zlib.crc32(os.fsencode(name)) % 1000 + 1
