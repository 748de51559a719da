"""What `reconstruct` accepts as a scan: a path, a `Scan`, or an array with its mask."""

from pathlib import Path
from typing import Any

import torch

from cmrrecon import formats
from cmrrecon.data import MaskSource, SamplingMask, Scan
from cmrrecon.tools.arrays import as_tensor
from cmrrecon.tools.errors import UsageError

AXES = "(frame, slice, coil, y, x)"


def as_scan(source: Any, mask: Any = None, axes: str | None = None) -> Scan:
    """The scan in a source.

    Parameters
    ----------
    source : path of a k-space file; Scan; or array (NumPy or torch) (frame, slice, coil, y, x),
        complex, zero where not measured, k-space centred at (y // 2, x // 2)
    mask : for a path that of a mask file; for an array one of zeros and ones, (y), (frame, y), or
        (frame or 1, y, x or 1); None: the file's own, or what is non-zero in all coils
    axes : names of the stored axes, for unusual files only

    Raises
    ------
    UsageError : `kspace-axes`, `kspace-real`, `mask-shape`, `mask-values`, `options-conflict`
    InputError : `file-missing` and others, see `read`
    """
    if isinstance(source, str | Path):
        return formats.read(source, axes=axes, mask=mask)
    if axes is not None:
        raise _conflict("axes", "They name the axes of a file")
    if isinstance(source, Scan):
        if mask is not None:
            raise _conflict("a mask", "A Scan has its own")
        return source
    kspace = as_tensor(source, "k-space", AXES)
    if kspace.ndim != 5 or not kspace.is_complex():
        return Scan.from_kspace(kspace)  # refuses it
    return Scan.from_kspace(kspace, None if mask is None else as_mask(mask))


def as_mask(mask: Any) -> SamplingMask:
    """The mask in an array of zeros and ones: (y), (frame, y) or (frame|1, y, x|1)."""
    if isinstance(mask, SamplingMask):
        return mask
    values = as_tensor(mask, "mask", "(frame or 1, y, x or 1)")
    if values.dtype != torch.bool:
        if values.is_complex() or not bool(((values == 0) | (values == 1)).all()):
            raise UsageError(
                "mask-values",
                f"The mask holds other numbers than 0 and 1, type {values.dtype}",
                "A mask is 1 or True where a sample was measured",
                "Give mask != 0",
            )
        values = values != 0
    if values.ndim in (1, 2):
        values = values.reshape(-1, values.shape[-1], 1)
    return SamplingMask.of(values, MaskSource.GIVEN)


def _conflict(what: str, why: str) -> UsageError:
    return UsageError(
        "options-conflict",
        f"{what[0].upper()}{what[1:]} was given with a scan in memory",
        why,
        "Leave it out, or give the path of a file",
    )
