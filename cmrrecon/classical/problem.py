"""What every iterative method minimises: the least-squares term of a series, with few virtual coils, on the columns that matter."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.data.scan import Series, time_average
from cmrrecon.operators.cartesian import Encoding, y_fastest
from cmrrecon.operators.coils import column_virtual_coils, virtual_coils
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.operators.noncartesian import NonCartesianEncoding, average_images, calibration, density
from cmrrecon.operators.sensitivity import calibration_block, maps_from
from cmrrecon.solvers import frame_energy
from cmrrecon.tools.errors import NumericalError

# Enough for the largest eigenvalue within a few parts in a hundred.
POWER_STEPS = 30


@dataclass(frozen=True)
class Coils:
    """The coil maps of a series.

    Attributes
    ----------
    maps : Tensor (virtual coil, y, x), unit root-sum-of-squares or zero
    measured : Tensor (coil, y, x): what combines the measured coils as `maps` combine the virtual ones, so that k-space need
        not be compressed itself
    columns : the columns of x where any coil sees anything
    """

    maps: Tensor
    measured: Tensor
    columns: slice

    @staticmethod
    def of(series: Series, virtual: int | None = None) -> "Coils":
        """Maps of a series by ESPIRiT from its own calibration data, with `virtual` coils at most; None: see `virtual_coils`.

        Raises
        ------
        InputError : too little calibration data
        NumericalError : the maps are zero everywhere
        """
        if series.trajectory is not None and series.matrix is not None:
            shape = series.matrix
            block = calibration(series.kspace, series.trajectory, series.mask, shape)
        else:
            shape = (series.kspace.shape[2], series.kspace.shape[3])
            block = calibration_block(series.kspace, series.mask)
        # The maps do not depend on the scale, but its square must fit in single precision; powers of two round nothing.
        block = block * 2.0 ** -math.frexp(float(block.abs().sum() / max(1, block.numel())))[1]
        matrix = virtual_coils([block], virtual and min(virtual, len(block)))
        maps = maps_from(torch.einsum("vc,cyx->vyx", matrix, block), shape)
        seen = maps.abs().amax((0, 1)).nonzero().flatten()
        if not len(seen):
            raise NumericalError(
                "todo",
                "The coil maps are zero everywhere",
                "The calibration lines must hold signal that the coils tell from noise",
                "Check the scan, or use the method zero-filled, which needs no maps",
            )
        columns = slice(int(seen[0]), int(seen[-1]) + 1) if series.trajectory is None else slice(None)
        return Coils(maps, torch.einsum("vc,vyx->cyx", matrix.conj(), maps), columns)


def norm(A: NonCartesianEncoding, frames: int) -> float:
    """The largest eigenvalue of A.N over all frames, by the power method, a little on the safe side."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((frames, *A.maps.shape[1:]), dtype=A.maps.dtype, generator=generator).to(A.maps.device)
    largest = torch.zeros((frames, 1, 1))
    for _ in range(POWER_STEPS):
        x = A.N(x / frame_energy(x).sqrt().clamp(min=torch.finfo(torch.float32).tiny))
        largest = frame_energy(x).sqrt()
    return 1.03 * float(largest.max())


@dataclass(frozen=True)
class Problem:
    """1/2 ||A x - y||^2 of a normalised series; samples along a trajectory are weighted by their density.

    Attributes
    ----------
    A : the encoding, of which solvers need A.N only; with few virtual coils, for line masks other ones in each column
    rhs : Tensor (frame, y, x'), A.H of the measured k-space; x' are the columns of x where the coils see anything
    start : Tensor (frame, y, x'), in every frame, and in memory once, the coil-combined image of the time-averaged k-space
    shape : (frame, y, x) of the whole images
    columns : where x' lies in x
    """

    A: Encoding | NonCartesianEncoding
    rhs: Tensor
    start: Tensor
    shape: tuple[int, int, int]
    columns: slice

    @staticmethod
    def of(series: Series, coils: Coils, scale: float = 1.0) -> "Problem":
        """The problem of a series, its k-space divided by `scale`, with the maps of its coils; samples outside its mask are ignored."""
        kspace, mask = series.kspace, series.mask
        A: Encoding | NonCartesianEncoding
        maps, measured = coils.maps, coils.measured
        if series.trajectory is not None and series.matrix is not None:
            weights = density(series.trajectory, mask, series.matrix)
            weights = weights / max(1.0, norm(NonCartesianEncoding(maps, series.trajectory, mask, weights), len(kspace)))
            A = NonCartesianEncoding(maps, series.trajectory, mask, weights)
            rhs = NonCartesianEncoding(measured, series.trajectory, mask, weights).H(kspace)
            average = average_images(kspace, series.trajectory, mask, series.matrix)
        else:
            if mask.shape[2] == 1:
                maps, measured = column_virtual_coils(measured)
            A = Encoding(maps, mask, coils.columns)
            rhs = Encoding(measured, mask, coils.columns).H(kspace)
            average = ifft2c(time_average(kspace, mask))
        start = (measured.conj() * average).sum(0)[:, coils.columns] / scale
        rhs /= scale
        return Problem(A, rhs, y_fastest(start).expand_as(rhs), (len(kspace), *start.shape[:1], coils.maps.shape[2]), coils.columns)

    def whole(self, x: Tensor) -> Tensor:
        """Images (frame, y, x) of a solution (frame, y, x'), zero in the other columns.

        Pixels in x' where no coil sees anything hold zero, or what a spatial regularisation continues there from their neighbours.
        """
        images = x.new_zeros(self.shape)
        images[..., self.columns] = x
        return images
