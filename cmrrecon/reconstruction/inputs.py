"""Turn the inputs that `reconstruct` accepts (a path, a `Scan`, or an array) into a scan."""

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
    """Turn a source into a scan.

    Parameters
    ----------
    source : path, Scan, Simulated or array
        Path of a k-space file, a scan, the result of `simulate`, or a complex array (NumPy or
        torch) of shape (frame, slice, coil, y, x). An array is zero where nothing was measured, and
        its k-space is centred at (y // 2, x // 2).
    mask : array, SamplingMask, path or None
        Zeros and ones of shape (y), (frame, y) or (frame or 1, y, x or 1). The path of a mask file
        is accepted only with the path of a k-space file. None uses the mask of the file, or the
        samples that are non-zero in any coil.
    axes : str or None
        Names of the stored axes; needed only for unusual files.
    dataset : str or None
        Name of the data set, for raw data files with several data sets.
    maps : path or None
        File of coil maps; only with the path of a k-space file. None uses the maps in the file, or
        estimates maps.

    Returns
    -------
    Scan
        The scan.

    Raises
    ------
    UsageError
        If an array or mask does not fit (`array-type`, `array-empty`, `kspace-axes`, `kspace-real`,
        `mask-shape`, `mask-values`), or arguments for files are used with a scan in memory
        (`options-conflict`).
    InputError
        If the file cannot be read (`file-missing` and others, see `read`).
    """
    if isinstance(source, str | Path):
        if mask is None or isinstance(mask, str | Path):
            return formats.read(source, axes=axes, mask=mask, dataset=dataset, maps=maps)
        scan = formats.read(source, axes=axes, dataset=dataset, maps=maps)
        return with_mask(scan, as_mask(mask))

    if isinstance(source, Simulated):
        source = source.scan
    if axes is not None:
        raise _conflict("The argument axes", "It names the axes of a file")
    if dataset is not None:
        raise _conflict("A data set", "It names a part of a file")
    if maps is not None:
        raise _conflict("A file of coil maps", "A Scan has its own")

    if isinstance(source, Scan):
        if mask is not None:
            raise _conflict("A mask", "A Scan has its own")
        return source

    return Scan.from_kspace(source, None if mask is None else as_mask(mask))


def as_mask(mask: Any) -> SamplingMask | Tensor:
    """Turn zeros and ones of shape (y), (frame, y) or (frame or 1, y, x or 1) into a bool mask.

    The result has shape (frame or 1, y, x or 1). A SamplingMask stays as it is.
    """
    if isinstance(mask, SamplingMask):
        return mask
    values = as_tensor(mask, "mask", "(y), (frame, y) or (frame or 1, y, x or 1)")

    if values.is_complex() or not bool(((values == 0) | (values == 1)).all()) or not values.any():
        raise UsageError(
            "mask-values",
            f"The mask, of type {values.dtype}, contains values other than 0 and 1, or no 1",
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
    """Replace the mask of a scan that was read from a file."""
    require_cartesian(scan.mask, scan.path, "A mask in an array", "Give a mask file")
    return replace(scan, mask=fitted(mask, scan.shape))


def _conflict(what: str, why: str) -> UsageError:
    return UsageError(
        "options-conflict",
        f"{what} was given with a scan in memory",
        why,
        "Leave it out, or give the path of a file",
    )
