"""Positions of the samples of non-Cartesian k-space."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cmrrecon.tools.errors import InputError

# Positions may exceed n/2 by this factor: spoke ends are rounded, and some scanners measure
# positions from the edges of the samples.
EXCESS = 1.01


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Positions of all samples, and the size of the images they encode.

    Attributes
    ----------
    positions : Tensor of shape (frame|1, spoke, sample, 2), float32
        Position (y, x) of every sample in cycles per field of view: between -n/2 and n/2 for a
        matrix of n pixels.
    matrix : (int, int)
        Size (y, x) of the images in pixels.
    """

    positions: Tensor
    matrix: tuple[int, int]

    def to(self, device: torch.device | str) -> "Trajectory":
        """Move the trajectory to another device."""
        return replace(self, positions=self.positions.to(device))

    def check(self, shape: tuple[int, ...], where: str) -> None:
        """Refuse a trajectory that does not fit the k-space.

        Parameters
        ----------
        shape : tuple of int
            Shape (frame, ..., spoke, sample) of the k-space.
        where : str
            Name of the source of the k-space, for the message.

        Raises
        ------
        InputError
            If the shapes do not match (`trajectory-shape`), or the positions are not in cycles per
            field of view (`trajectory-units`).
        """
        frames, spokes, samples = shape[0], shape[-2], shape[-1]
        positions, matrix = self.positions, self.matrix
        fits = positions.shape[1:] == (spokes, samples, 2) and positions.shape[0] in (1, frames)

        if not fits or min(matrix) < 1:
            raise InputError(
                "trajectory-shape",
                f"{where}: the trajectory has shape {tuple(positions.shape)}, "
                f"the matrix is {matrix}",
                f"A trajectory (frame 1 or {frames}, spoke {spokes}, sample {samples}, 2) "
                "and a matrix (y, x) are needed",
                "Store the positions of all samples, and the size of the images",
            )

        # This form of the comparison refuses NaN too.
        reach = positions.abs().amax((0, 1, 2)) / torch.tensor(matrix, device=positions.device)

        inside = bool((reach <= EXCESS / 2).all())
        relative = min(matrix) > 2 and bool((positions.abs() <= 0.5).all())

        if not inside or relative:
            reached = ", ".join(f"{float(r):.4g}" for r in reach)
            raise InputError(
                "trajectory-units",
                f"{where}: the trajectory reaches {reached} of the matrix {matrix} (y, x)",
                "Positions are in cycles per field of view: between -n/2 and n/2 for n pixels, "
                "about half of the matrix",
                "Multiply positions between -0.5 and 0.5 by the matrix, or correct the matrix",
            )
