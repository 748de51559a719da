"""The coil maps of a series, by ESPIRiT from its own calibration data."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.data import CartesianMask, Series, SpokeMask
from cmrrecon.operators.coils import virtual_coils
from cmrrecon.operators.noncartesian import calibration
from cmrrecon.operators.sensitivity import calibration_block, maps_from
from cmrrecon.tools.errors import NumericalError


@dataclass(frozen=True, eq=False)
class Coils:
    """The coil maps of a series.

    Attributes
    ----------
    maps : Tensor (virtual coil, y, x), unit root-sum-of-squares or zero
    measured : Tensor (coil, y, x): what combines the measured coils as `maps` combine the virtual
        ones, so that k-space need not be compressed itself
    columns : the columns of x where any coil sees anything
    sets : 2 if the body folds over: both maps are then (coil, 2 y, x), the second set below the
        first (see `operators.espirit`)
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
    """Maps by ESPIRiT from the calibration data of a series.

    Parameters
    ----------
    series : of any scale
    virtual : at most so many virtual coils; None: see `operators.coils.virtual_coils`

    Raises
    ------
    InputError : `calibration-too-small`, `calibration-empty`
    NumericalError : `maps-empty`, the maps are zero everywhere
    """
    block = calibration_samples(series)
    # The maps do not depend on the scale, but its square must fit in single precision; powers of
    # two round nothing.
    block = block * 2.0 ** -math.frexp(float(block.abs().sum() / max(1, block.numel())))[1]
    matrix = virtual_coils([block], virtual and min(virtual, len(block)))
    cartesian = isinstance(series.mask, CartesianMask)
    compressed = torch.einsum("vc,cyx->vyx", matrix, block)
    maps = maps_from(compressed, series.image_shape, sets=2 if cartesian else 1)
    seen = maps.abs().amax((0, 1)).nonzero().flatten()
    if not len(seen):
        raise NumericalError(
            "maps-empty",
            "The coil maps are zero everywhere",
            "The calibration lines must hold signal that the coils tell from noise",
            "Check the scan, or use the method zero-filled, which needs no maps",
        )
    columns = slice(int(seen[0]), int(seen[-1]) + 1) if cartesian else slice(None)
    measured = torch.einsum("vc,vyx->cyx", matrix.conj(), maps)
    return Coils(maps, measured, columns, maps.shape[1] // series.image_shape[0])


def calibration_samples(series: Series) -> Tensor:
    """What calibrates the coils, (coil, y', x'): separate reference lines, else the centre of k-space."""
    if series.calibration is not None:
        return series.calibration
    mask = series.mask
    if isinstance(mask, SpokeMask):
        trajectory = mask.trajectory
        return calibration(series.kspace, trajectory.positions, mask.samples, trajectory.matrix)
    assert isinstance(mask, CartesianMask)
    return calibration_block(series.kspace, mask)
