"""What our own scans hold beside k-space and mask: noise, separate calibration, coil maps,
averages.

Arrays by name, the same in `.h5` and `.npz`: `noise` (coil, coil) complex64, the covariance, with
`noise_samples` (1); `calibration` (slice, coil, y', x') and `maps` (slice, coil, y, x) complex64;
of the mask, and of a shape that fits it, `calibration_only` uint8 and `averages` float32, and
`centre` (y, x), the sample with the centre of k-space. What a scan has not got is not stored.
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
SUFFIXES = (".h5", ".npz")  # of the files that keep all of this


def companions_of(scan: Scan) -> dict[str, NDArray[Any]]:
    """The arrays that are stored with a scan, by name.

    Separate calibration of slices that differ in size is stored in the size that all have, around
    its centre.
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
    """In words, what of these a scan has."""
    mask = scan.mask
    words = {
        "noise": scan.noise is not None,
        "separate calibration": scan.calibration is not None,
        "coil maps": scan.maps is not None,
        "averages": mask is not None and mask.averages is not None,
        "lines for calibration alone": mask is not None and mask.calibration_only is not None,
    }
    return [word for word, there in words.items() if there]


def _of_mask(mask: SamplingMask) -> dict[str, NDArray[Any]]:
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
    for axis in (-2, -1):
        least = min(values.shape[axis] for values in slices)
        slices = [resized(values, axis, least) for values in slices]
    return np.stack([_numpy(values, np.complex64) for values in slices])


def with_companions(scan: Scan, stored: Stored, path: Path, own_mask: bool) -> Scan:
    """A scan with what its file stores beside k-space and mask.

    Parameters
    ----------
    stored : the arrays of the file
    own_mask : whether the scan has the mask of this file, so that what belongs to it does too

    Raises
    ------
    InputError : `array-shape`, an array does not fit the scan
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
    """A mask with what its file stores of it."""
    fits = _fitting(tuple(mask.samples.shape))
    only, averages = find("calibration_only", False, fits), find("averages", False, fits)
    centre = find("centre", False, lambda shape: shape == (2,))

    if only is not None:
        # Samples that are alike in all frames, or along x, are read in one of them.
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
    """Whether a shape broadcasts with that of a mask."""

    def fits(other: tuple[int, ...]) -> bool:
        pairs = zip(shape, other, strict=False)
        return len(other) == len(shape) and all(a == b or 1 in (a, b) for a, b in pairs)

    return fits


class _Finder:
    """Finds arrays of a file by name, and refuses those that do not fit."""

    def __init__(self, stored: Stored, path: Path) -> None:
        self.stored, self.path = stored, path

    def __call__(
        self, name: str, is_complex: bool, fits: Callable[[tuple[int, ...]], bool]
    ) -> Tensor | None:
        """The array; None if there is none."""
        array = self._checked(name, is_complex, fits)
        return None if array is None else torch.from_numpy(array.load(str(self.path)))

    def lazily(
        self, name: str, fits: Callable[[tuple[int, ...]], bool]
    ) -> Callable[[int], Tensor] | None:
        """What reads the complex array slice by slice; None if there is none."""
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
            f"{self.path}: the array {name} is {found}",
            "It does not fit the k-space beside it",
            "Make the file again",
        )
