"""The least-squares term of a series, which every iterative method minimises.

To save time, it uses few virtual coils and leaves out the columns of x where all maps are zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cmrrecon.classical.coils import Coils
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import CartesianMask, LineMask, SpokeMask
from cmrrecon.operators.cartesian import Encoding, encoding, y_fastest
from cmrrecon.operators.coil_images import average_coil_images
from cmrrecon.operators.coils import column_virtual_coils
from cmrrecon.operators.linear import NormalOperator
from cmrrecon.operators.noncartesian import NonCartesianEncoding, density
from cmrrecon.solvers import frame_dot, frame_energy

# Enough to find the largest eigenvalue within a few per cent.
POWER_STEPS = 30


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """The term `1/2 ||A x - y||^2` of a normalised series.

    Samples along a trajectory are weighted by density compensation, and Cartesian samples by their
    number of averages. With two sets of maps, an image consists of two images stacked along y
    (`operators.Encoding`).

    Attributes
    ----------
    A : NormalOperator
        The encoding; solvers need only A.N. It has few virtual coils. For whole lines, they differ
        from column to column.
    rhs : Tensor of shape (frame, y, x'), complex
        A.H of the measured k-space; x' are the columns of x where the maps are not zero.
    combine : Tensor of shape (coil, y, x), complex
        The maps that combine the measured coils.
    columns : slice
        The position of x' in x.
    """

    A: NormalOperator
    rhs: Tensor
    combine: Tensor
    columns: slice

    @staticmethod
    def of(prepared: PreparedSeries, coils: Coils) -> "LeastSquares":
        """Build the least-squares term with the maps of the given coils.

        Samples outside the mask are ignored.
        """
        mask = prepared.mask
        if isinstance(mask, SpokeMask):
            return _along_spokes(prepared, mask, coils)

        assert isinstance(mask, CartesianMask)
        maps, measured = coils.maps, coils.measured
        if isinstance(mask, LineMask):
            maps, measured = column_virtual_coils(measured)

        rhs = encoding(measured, mask, coils.columns).back(prepared.kspace)
        A = encoding(maps, mask, coils.columns)
        return LeastSquares(A, rhs.div_(prepared.scale), measured, coils.columns)

    def explained(self, x: Tensor) -> Tensor:
        """Compute `||y||^2 - ||A x - y||^2`, (frame, 1, 1), for images (frame, y, x')."""
        return frame_dot(x, 2 * self.rhs - self.A.N(x))


@dataclass(frozen=True, eq=False)
class Problem(LeastSquares):
    """A least-squares term with a starting point.

    Attributes
    ----------
    start : Tensor of shape (frame, y, x'), complex
        The coil-combined image of the time-averaged k-space, the same in every frame and stored
        only once.
    shape : tuple of int
        Shape (frame, y, x) of the whole images, of all sets of maps.
    solutions : Mapping of str to Tensor of shape (frame, y, x'), complex
        Solutions that are known already, by the name of the method. Networks that start from them
        need not solve the problem again.
    weights : Mapping of str to float
        Regularisation weights that suit the series, by the name of the method. Networks use them
        for the solutions from which they start.
    cyclic : bool
        Whether the first frame follows the last one, as in gated cine.
    """

    start: Tensor
    shape: tuple[int, int, int]
    solutions: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    cyclic: bool = False

    @staticmethod
    def of(prepared: PreparedSeries, coils: Coils, start: Tensor | None = None) -> "Problem":
        """Build the problem of a series with the maps of the given coils.

        Parameters
        ----------
        prepared : PreparedSeries
            The series.
        coils : Coils
            The maps.
        start : Tensor of shape (frame, y, x'), complex, or None
            Starting images; None for the time average.

        Returns
        -------
        Problem
            The problem.
        """
        term = LeastSquares.of(prepared, coils)
        if start is None:
            average = average_coil_images(prepared.kspace, prepared.mask)
            average = torch.cat([average] * coils.sets, 1)
            combined = (term.combine.conj() * average).sum(0)[:, coils.columns] / prepared.scale
            start = y_fastest(combined).expand_as(term.rhs)

        shape = (len(term.rhs), *coils.maps.shape[1:])
        cyclic = prepared.series.acquisition.cyclic
        return Problem(term.A, term.rhs, term.combine, term.columns, start, shape, cyclic=cyclic)

    def whole(self, x: Tensor) -> Tensor:
        """Place a solution (frame, y, x') in whole images (frame, y, x), zero in the other columns.

        Pixels of x' where all maps are zero are zero, or continue their neighbours smoothly if the
        regularisation is spatial.
        """
        images = x.new_zeros(self.shape)
        images[..., self.columns] = x
        return images

    def first_set(self, x: Tensor) -> "Problem":
        """Return the problem of the images of the first set of maps, for known ones of the others.

        Parameters
        ----------
        x : Tensor of shape (frame, n y, x'), complex
            Images of all sets; those of the first do not matter.

        Returns
        -------
        Problem
            The problem for images (frame, y, x').
        """
        assert isinstance(self.A, Encoding)
        height = self.A.height
        others = x.clone()
        others[:, :height] = 0

        rhs = (self.rhs - self.A.N(others))[:, :height]
        frames, _, width = self.shape
        return Problem(
            self.A.first_set(),
            rhs,
            self.combine[:, :height],
            self.columns,
            self.start[:, :height],
            (frames, height, width),
            cyclic=self.cyclic,
        )


def _along_spokes(prepared: PreparedSeries, mask: SpokeMask, coils: Coils) -> LeastSquares:
    """Build the term of a series along a trajectory, weighted so that A has norm up to one."""
    positions, samples = mask.trajectory.positions, mask.samples
    weights = density(positions, samples, mask.trajectory.matrix)
    raw = NonCartesianEncoding(coils.maps, positions, samples, weights)
    weights = weights / max(1.0, norm(raw, prepared.series.frames))

    A = NonCartesianEncoding(coils.maps, positions, samples, weights)
    back = NonCartesianEncoding(coils.measured, positions, samples, weights)

    rhs = back.H(prepared.kspace).div_(prepared.scale)
    return LeastSquares(A, rhs, coils.measured, coils.columns)


def norm(A: NonCartesianEncoding, frames: int) -> float:
    """Estimate the largest eigenvalue of A.N over all frames by the power method, plus a margin."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((frames, *A.maps.shape[1:]), dtype=A.maps.dtype, generator=generator)
    x = x.to(A.maps.device)

    largest = torch.zeros((frames, 1, 1))
    for _ in range(POWER_STEPS):
        x = A.N(x / frame_energy(x).sqrt().clamp(min=torch.finfo(torch.float32).tiny))
        largest = frame_energy(x).sqrt()

    return 1.03 * float(largest.max())
