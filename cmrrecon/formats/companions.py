"""Arrays that cmrrecon stores with k-space and mask: noise, calibration, coil maps, averages.

The arrays have the same names in `.h5` and `.npz`:

- `noise` (coil, coil) complex64, the covariance, with `noise_samples` (1);
- `calibration` (slice, coil, y', x') complex64, calibration lines measured separately;
- `maps` (slice, coil, y, x) complex64;
- `calibration_only` uint8 and `averages` float32, whose shapes broadcast with the mask;
- `centre` (y, x), the sample at the centre of k-space.

Arrays that a scan does not have are not stored.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrrecon.data import LineMask, Noise, SampleMask, SamplingMask, Scan, SpokeMask
from cmrrecon.formats.arrays import StoredArray
from cmrrecon.operators.fourier import resized
from cmrrecon.tools.errors import InputError

Stored = Mapping[str, StoredArray]
SUFFIXES = (".h5", ".npz")  # of files that store all of these arrays


def companions_of(scan: Scan) -> dict[str, NDArray[Any]]:
    """Return the arrays that are stored with a scan, by name.

    If the size of separate calibration data differs between slices, all are cropped about their
    centres to the smallest size.
    """
    arrays: dict[str, NDArray[Any]] = {}
    if scan.noise is not None:
        arrays["noise"] = _numpy(scan.noise.covariance, np.complex64)
        arrays["noise_samples"] = np.array([scan.noise.samples], np.int64)

    for name, of_slice in (("calibration", scan.calibration), ("maps", scan.maps)):
        if of_slice is not None:
            arrays[name] = _stacked([of_slice(index) for index in range(scan.shape[1])])

    return arrays | ({} if scan.mask is None else _of_mask(scan.mask))


def named(scan: Scan) -> list[str]:
    """List in words which of these arrays a scan has."""
    mask = scan.mask
    words = {
        "noise": scan.noise is not None,
        "separate calibration": scan.calibration is not None,
        "coil maps": scan.maps is not None,
        "averages": mask is not None and mask.averages is not None,
        "lines used only for calibration": mask is not None and mask.calibration_only is not None,
    }
    return [word for word, there in words.items() if there]


def _of_mask(mask: SamplingMask) -> dict[str, NDArray[Any]]:
    """Return the arrays that belong to the mask."""
    arrays: dict[str, NDArray[Any]] = {}
    if mask.calibration_only is not None:
        arrays["calibration_only"] = _numpy(mask.calibration_only, np.uint8)
    if mask.averages is not None:
        arrays["averages"] = _numpy(mask.averages, np.float32)
    if mask.centre is not None:
        arrays["centre"] = np.array(mask.centre, np.int64)
    return arrays


def _numpy(values: Tensor, kind: Any) -> NDArray[Any]:
    return values.detach().cpu().resolve_conj().numpy().astype(kind)


def _stacked(slices: list[Tensor]) -> NDArray[Any]:
    """Stack slices, cropped about their centres to the smallest size, as complex64."""
    for axis in (-2, -1):
        least = min(values.shape[axis] for values in slices)
        slices = [resized(values, axis, least) for values in slices]
    return np.stack([_numpy(values, np.complex64) for values in slices])


def with_companions(scan: Scan, stored: Stored, path: Path, own_mask: bool) -> Scan:
    """Add to a scan the arrays that its file stores with k-space and mask.

    Parameters
    ----------
    scan : Scan
        The scan, with k-space and mask only.
    stored : mapping of str to StoredArray
        The arrays of the file.
    path : Path
        The file, for messages.
    own_mask : bool
        Whether the mask comes from this file; only then do the arrays that describe a mask apply.

    Returns
    -------
    Scan
        The scan with noise, calibration, maps and mask filled in.

    Raises
    ------
    InputError
        If an array does not fit the scan (`array-shape`).
    """
    _, slices, coils, y, x = scan.shape

    find = _Finder(stored, path)
    noise = find("noise", True, lambda shape: shape == (coils, coils))
    count = find("noise_samples", False, lambda shape: prod(shape) == 1)
    if noise is not None:
        samples = 0 if count is None else int(count.flatten()[0])
        scan = replace(scan, noise=Noise(noise, samples))

    image = scan.image_shape
    calibration = find.lazily("calibration", lambda s: len(s) == 4 and s[:2] == (slices, coils))
    maps = find.lazily("maps", lambda shape: shape == (slices, coils, *image))

    mask = scan.mask
    if own_mask and mask is not None:
        mask = _completed(mask, find, (y, x))
    return replace(scan, calibration=calibration, maps=maps, mask=mask)


def _completed(mask: SamplingMask, find: "_Finder", size: tuple[int, int]) -> SamplingMask:
    """Return the mask completed with the arrays that describe it in its file."""
    fits = _fitting(tuple(mask.samples.shape))
    only = find("calibration_only", False, fits)
    averages = find("averages", False, fits)
    centre = find("centre", False, lambda shape: shape == (2,))

    if only is not None:
        # A mask that does not change over frames or along x may be stored with length 1 there.
        shape = np.broadcast_shapes(mask.samples.shape, only.shape)
        samples, only = mask.samples.expand(shape), (only != 0).expand(shape)
        if not isinstance(mask, SpokeMask):
            kind = LineMask if samples.shape[-1] == 1 else SampleMask
            mask = kind(samples.clone(), mask.source)
        mask = replace(mask, samples=samples.clone(), calibration_only=only.clone())

    if averages is not None:
        if not (bool(torch.isfinite(averages).all()) and bool((averages >= mask.samples).all())):
            raise find.refused("averages", tuple(averages.shape))
        mask = mask.averaged(averages.float())

    if centre is not None:
        y, x = (int(one) for one in centre)
        if not (0 <= y < size[0] and 0 <= x < size[1]):
            raise find.refused("centre", (y, x))
        mask = replace(mask, centre=(y, x))
    return mask


def _fitting(shape: tuple[int, ...]) -> Callable[[tuple[int, ...]], bool]:
    """Return a function that tests whether another shape broadcasts with a mask's shape."""

    def fits(other: tuple[int, ...]) -> bool:
        pairs = zip(shape, other, strict=False)
        return len(other) == len(shape) and all(a == b or 1 in (a, b) for a, b in pairs)

    return fits


class _Finder:
    """Finds arrays in a file by name and refuses any that do not fit."""

    def __init__(self, stored: Stored, path: Path) -> None:
        self.stored, self.path = stored, path

    def __call__(
        self, name: str, is_complex: bool, fits: Callable[[tuple[int, ...]], bool]
    ) -> Tensor | None:
        """Return the array, or None if it is absent."""
        array = self._checked(name, is_complex, fits)
        return None if array is None else torch.from_numpy(array.load(str(self.path)))

    def lazily(
        self, name: str, fits: Callable[[tuple[int, ...]], bool]
    ) -> Callable[[int], Tensor] | None:
        """Return a reader of the slices of a complex array, or None if it is absent."""
        array = self._checked(name, True, fits)
        if array is None:
            return None
        rest = (slice(None),) * 3
        return lambda index: torch.from_numpy(array.read((index, *rest)))

    def _checked(
        self, name: str, is_complex: bool, fits: Callable[[tuple[int, ...]], bool]
    ) -> StoredArray | None:
        array = self.stored.get(name)
        if array is None:
            return None
        if array.is_complex != is_complex or not fits(array.shape):
            raise self.refused(name, array.shape)
        return array

    def refused(self, name: str, found: tuple[int, ...]) -> InputError:
        return InputError(
            "array-shape",
            f"{self.path}: the array {name} has shape {found}",
            "Its shape must fit the k-space in the file",
            "Write the file again",
        )
