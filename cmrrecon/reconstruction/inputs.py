"""What `reconstruct` accepts as a scan: a path, a `Scan`, or an array with its mask."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from cmrrecon import formats
from cmrrecon.data import SamplingMask, Scan, require_cartesian
from cmrrecon.data.scan import fitted
from cmrrecon.simulation import Simulated
from cmrrecon.tools.arrays import as_tensor
from cmrrecon.tools.errors import UsageError


def as_scan(
    source: Any,
    mask: Any = None,
    axes: str | None = None,
    *,
    dataset: str | None = None,
    maps: str | Path | None = None,
) -> Scan:
    """The scan in a source.

    Parameters
    ----------
    source : path of a k-space file; Scan, or what `simulate` gives; or array (NumPy or torch)
        (frame, slice, coil, y, x), complex, zero where not measured, k-space centred at (y // 2, x // 2)
    mask : an array of zeros and ones, (y), (frame, y), or (frame or 1, y, x or 1); for a path also
        that of a mask file; None: the file's own, or what is non-zero in any coil
    axes : names of the stored axes, for unusual files only
    dataset : name of the data set, in files of raw data that hold several
    maps : file of coil maps, for the path of a k-space file; None: the file's own, or estimated
        ones

    Raises
    ------
    UsageError : `array-type`, `array-empty`, `kspace-axes`, `kspace-real`, `mask-shape`,
        `mask-values`, `options-conflict`
    InputError : `file-missing` and others, see `read`
    """
    if isinstance(source, str | Path):
        if mask is None or isinstance(mask, str | Path):
            return formats.read(source, axes=axes, mask=mask, dataset=dataset, maps=maps)
        scan = formats.read(source, axes=axes, dataset=dataset, maps=maps)
        return with_mask(scan, as_mask(mask))

    if isinstance(source, Simulated):
        source = source.scan
    if axes is not None:
        raise _conflict("axes", "They name the axes of a file")
    if dataset is not None:
        raise _conflict("a data set", "It names a part of a file")
    if maps is not None:
        raise _conflict("a file of coil maps", "A Scan has its own")

    if isinstance(source, Scan):
        if mask is not None:
            raise _conflict("a mask", "A Scan has its own")
        return source

    return Scan.from_kspace(source, None if mask is None else as_mask(mask))


def as_mask(mask: Any) -> SamplingMask | Tensor:
    """An array of zeros and ones, (y), (frame, y) or (frame|1, y, x|1), as (frame|1, y, x|1) bool.

    A SamplingMask stays as it is.
    """
    if isinstance(mask, SamplingMask):
        return mask
    values = as_tensor(mask, "mask", "(y), (frame, y) or (frame or 1, y, x or 1)")

    if values.is_complex() or not bool(((values == 0) | (values == 1)).all()) or not values.any():
        raise UsageError(
            "mask-values",
            f"The mask, of type {values.dtype}, holds other numbers than 0 and 1, or no 1",
            "A mask is 1 or True where a sample was measured",
            "Give mask != 0",
        )

    if values.ndim not in (1, 2, 3):
        raise UsageError(
            "mask-shape",
            f"The mask has shape {tuple(values.shape)}",
            "Axes (y), (frame, y) or (frame or 1, y, x or 1) are needed",
            "Add or remove axes of length 1",
        )

    if values.ndim < 3:
        values = values.reshape(-1, values.shape[-1], 1)
    return values != 0


def with_mask(scan: Scan, mask: SamplingMask | Tensor) -> Scan:
    """The scan of a file with another mask."""
    require_cartesian(scan.mask, scan.path, "A mask in an array", "Give a mask file")
    return replace(scan, mask=fitted(mask, scan.shape))


def _conflict(what: str, why: str) -> UsageError:
    return UsageError(
        "options-conflict",
        f"{what[0].upper()}{what[1:]} was given with a scan in memory",
        why,
        "Leave it out, or give the path of a file",
    )
