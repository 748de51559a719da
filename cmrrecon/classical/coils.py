"""The coil maps of a series: supplied, or estimated by ESPIRiT from its calibration data."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.classical.completion import completed
from cmrrecon.data import CartesianMask, Series, SpokeMask
from cmrrecon.operators.coil_images import time_average
from cmrrecon.operators.coils import unit, virtual_coils
from cmrrecon.operators.fourier import centred
from cmrrecon.operators.noncartesian import calibration
from cmrrecon.operators.sensitivity import (
    MOST_COLUMNS,
    MOST_LINES,
    calibration_block,
    maps_from,
)
from cmrrecon.tools.errors import InputError, NumericalError

# Supplied maps count as zero where they are below this fraction of their largest value.
SUPPORT = 1e-4


@dataclass(frozen=True, eq=False)
class Coils:
    """The coil maps of a series.

    Attributes
    ----------
    maps : Tensor of shape (virtual coil, y, x), complex64
        Maps with unit root-sum-of-squares in the support, zero outside.
    measured : Tensor of shape (coil, y, x), complex64
        Maps that combine the measured coils as `maps` combines the virtual ones, so that k-space
        itself need not be compressed.
    columns : slice
        The columns of x where the maps are not zero.
    sets : int
        2 if the body folds over. `maps` and `measured` then have the shape (coil, 2 y, x), with the
        second set below the first (see `operators.espirit`).
    """

    maps: Tensor
    measured: Tensor
    columns: slice
    sets: int = 1

    @property
    def first(self) -> "Coils":
        """The first set alone."""
        if self.sets == 1:
            return self
        maps, measured = (
            stacked[:, : stacked.shape[1] // self.sets] for stacked in (self.maps, self.measured)
        )
        return Coils(maps, measured, self.columns)


def estimate_coils(series: Series, virtual: int | None = None) -> Coils:
    """Use the maps supplied with a series, or estimate them by ESPIRiT from its calibration data.

    Parameters
    ----------
    series : Series
        K-space of any scale, with its centre in the middle.
    virtual : int or None
        Largest number of virtual coils; None chooses it, see `operators.coils.virtual_coils`.

    Returns
    -------
    Coils
        The maps.

    Raises
    ------
    InputError
        If there are too few calibration data (`calibration-too-small`, `calibration-empty`), or
        supplied maps do not fit (`maps-shape`).
    NumericalError
        If the maps are zero everywhere (`maps-empty`).
    """
    block = _coil_signal(series) if series.maps is not None else calibration_samples(series)
    # The maps do not depend on the scale of the block, but its square must fit in single precision.
    # Scaling by a power of two causes no rounding errors.
    block = block * 2.0 ** -math.frexp(float(block.abs().sum() / max(1, block.numel())))[1]

    matrix = virtual_coils([block], virtual and min(virtual, len(block)))

    cartesian = isinstance(series.mask, CartesianMask)
    if series.maps is not None:
        supplied = supplied_maps(series, series.maps)
        maps = unit(torch.einsum("vc,cyx->vyx", matrix, supplied), SUPPORT)
    else:
        compressed = torch.einsum("vc,cyx->vyx", matrix, block)
        maps = maps_from(compressed, series.image_shape, sets=2 if cartesian else 1)

    seen = maps.abs().amax((0, 1)).nonzero().flatten()
    if not len(seen):
        raise NumericalError(
            "maps-empty",
            "The coil maps are zero everywhere",
            "The signal of the calibration lines must stand out from the noise",
            "Check the scan, or use the method zero-filled, which needs no maps",
        )

    columns = slice(int(seen[0]), int(seen[-1]) + 1) if cartesian else slice(None)
    measured = torch.einsum("vc,vyx->cyx", matrix.conj(), maps)
    return Coils(maps, measured, columns, maps.shape[1] // series.image_shape[0])


def coil_maps(series: Series) -> Tensor:
    """Return the maps (coil, y, x) of all measured coils, supplied or estimated by ESPIRiT.

    Errors are those of `estimate_coils`.
    """
    if series.maps is not None:
        return supplied_maps(series, series.maps)
    return maps_from(calibration_samples(series), series.image_shape)


def calibration_samples(series: Series) -> Tensor:
    """Select the samples (coil, y', x') that calibrate the coils.

    These are separate reference lines if there are any, otherwise the centre of k-space.
    """
    if series.calibration is not None:
        return reference_block(series.calibration)
    mask = series.mask
    if isinstance(mask, SpokeMask):
        trajectory = mask.trajectory
        return calibration(series.kspace, trajectory.positions, mask.samples, trajectory.matrix)

    assert isinstance(mask, CartesianMask)
    filled = completed(series.kspace, mask)
    if filled is None:
        return calibration_block(series.kspace, mask)
    x = filled.shape[2]
    return filled[..., centred(x, min(x, MOST_COLUMNS))]


def reference_block(lines: Tensor) -> Tensor:
    """Select the middle of separate reference lines (coil, y', x'), without empty ends.

    Empty lines and columns at the ends are cut off. Reference lines cover the same field of view as
    the image, so their samples have the same spacing, even if there are few of them.
    """
    filled = lines.abs().amax(0) > 0
    for axis in (0, 1):
        places = filled.any(1 - axis).nonzero().flatten()
        if len(places):
            first, last = int(places[0]), int(places[-1])
            lines = lines.narrow(1 + axis, first, last + 1 - first)

    y, x = lines.shape[1:]
    return lines[:, centred(y, min(y, MOST_LINES)), centred(x, min(x, MOST_COLUMNS))]


def supplied_maps(series: Series, maps: Tensor) -> Tensor:
    """Scale supplied maps (coil, y, x) to unit root-sum-of-squares in their support.

    Raises
    ------
    InputError
        If the maps belong to other coils or another matrix (`maps-shape`).
    """
    expected = (series.kspace.shape[1], *series.image_shape)
    if maps.shape != expected:
        raise InputError(
            "maps-shape",
            f"The supplied coil maps have shape {tuple(maps.shape)}",
            f"This scan needs maps (coil, y, x) of shape {expected}",
            "Give the maps of this scan, or leave them out to estimate maps",
        )
    return unit(torch.nan_to_num(maps), SUPPORT)


def _coil_signal(series: Series) -> Tensor:
    """Select samples (coil, y', x') that show how strong each coil is, for supplied maps."""
    if series.calibration is not None or isinstance(series.mask, SpokeMask):
        return calibration_samples(series)
    return time_average(series.kspace, series.mask.samples)
