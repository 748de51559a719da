"""GRAPPA: missing k-space lines from their measured neighbours."""

import torch
from torch import Tensor

from cmrrecon.errors import UsageError
from cmrrecon.physics.coils import rss
from cmrrecon.physics.fourier import ifft2c
from cmrrecon.physics.sensitivity import CalibrationSource, calibration_data, patch_gram, too_few_lines
from cmrrecon.scan import Series


def grappa(series: Series, *, kernel: int = 5, weight: float = 0.01, calibration: CalibrationSource = "average") -> Tensor:
    """GRAPPA by the rule of the official CMRxRecon baseline, for line masks of any spacing.

    A missing line is a linear combination of all measured samples within kernel x kernel, over all coils. Lines with no
    measured line that near stay zero, as in the official baseline.

    Parameters
    ----------
    series : normalised series
    kernel : odd size of the neighbourhood along y and x
    weight : Tikhonov weight, relative to the norm of the normal matrix over its size
    calibration : weights from the time `average` or the `first` frame

    Returns
    -------
    Tensor (frame, y, x) float32, root-sum-of-squares

    Raises
    ------
    UsageError : the mask changes along the readout, or the kernel is even
    InputError : fewer calibration lines than the kernel

    Griswold et al., Magn Reson Med 2002;47:1202.
    """
    measured = series.mask[..., 0]
    if not bool((series.mask == series.mask[..., :1]).all()):
        raise UsageError(
            "The sampling mask changes along the readout (pseudo-radial)",
            "GRAPPA needs k-space lines that are measured whole or not at all",
            "Use the method sense or sigpy-tv",
        )
    if kernel % 2 == 0:
        raise UsageError(f"The GRAPPA kernel is {kernel}", "It must be odd, with the missing sample in its middle", "Take kernel=5")
    block = calibration_data(series.kspace, series.mask, calibration)
    if min(block.shape[1:]) < kernel:
        raise too_few_lines(min(block.shape[1:]), kernel)
    interpolator = Interpolator(block, kernel, weight)
    return torch.stack([rss(ifft2c(interpolator(k, measured[t % len(measured)]))) for t, k in enumerate(series.kspace)])


class Interpolator:
    """Fills missing lines; the weights of each geometry of neighbours are solved once.

    Parameters
    ----------
    calibration : Tensor (coil, y, x), complex, fully sampled
    kernel, weight : as `grappa`
    """

    def __init__(self, calibration: Tensor, kernel: int, weight: float) -> None:
        self.coils, self.kernel, self.weight = len(calibration), kernel, weight
        shape = (self.coils, kernel, kernel)
        self.gram = patch_gram(calibration, (kernel, kernel)).reshape(*shape, *shape)
        self.solved: dict[tuple[tuple[int, ...], tuple[int, ...]], Tensor] = {}

    def weights(self, rows: tuple[int, ...], columns: tuple[int, ...]) -> Tensor:
        """Weights (coil * row * column, coil) of the neighbours in these rows and columns of the kernel.

        w = (G_SS + weight ||G_SS||_F / |S| I)^-1 G_Sc, where G is the normal matrix of the calibration patches.
        """
        key = (rows, columns)
        if key not in self.solved:
            r, c, centre = list(rows), list(columns), self.kernel // 2
            sources = self.gram[:, r][:, :, c]
            size = self.coils * len(r) * len(c)
            normal = sources[:, :, :, :, r][..., c].reshape(size, size).T
            target = self.gram[:, centre, centre][:, :, r][..., c].reshape(self.coils, size).T
            tikhonov = self.weight * torch.linalg.matrix_norm(normal) / size
            self.solved[key] = torch.linalg.solve(normal + tikhonov * torch.eye(size, dtype=normal.dtype, device=normal.device), target)
        return self.solved[key]

    def __call__(self, frame: Tensor, measured: Tensor) -> Tensor:
        """One frame (coil, y, x) with its missing lines filled; `measured` (y,) bool says which are there."""
        reach = self.kernel // 2
        nx = frame.shape[-1]
        lines = set(measured.nonzero().flatten().tolist())
        geometries: dict[tuple[int, ...], list[int]] = {}
        for y in sorted(set(range(len(measured))) - lines):
            rows = tuple(r for r in range(self.kernel) if y + r - reach in lines)
            if rows:
                geometries.setdefault(rows, []).append(y)
        filled = frame.clone()
        padded = torch.nn.functional.pad(frame, (reach, reach))
        everything = tuple(range(self.kernel))
        for rows, targets in geometries.items():
            near = torch.tensor(targets)[:, None] + torch.tensor(rows) - reach
            # (coil, target, row, x, column) -> (target, x, coil, row, column)
            patches = padded[:, near.to(frame.device)].unfold(-1, self.kernel, 1).permute(1, 3, 0, 2, 4)
            filled[:, targets] = combine(patches, self.weights(rows, everything))
            # At the ends of the readout part of the neighbourhood does not exist: geometries of their own.
            for x in {*range(min(reach, nx)), *range(max(0, nx - reach), nx)}:
                columns = tuple(c for c in everything if 0 <= x + c - reach < nx)
                filled[:, targets, x] = combine(patches[:, x, ..., list(columns)], self.weights(rows, columns))
        return filled


def combine(patches: Tensor, weights: Tensor) -> Tensor:
    """Patches (target.., coil, row, column) times weights (coil * row * column, coil): (coil, target..)."""
    return (patches.flatten(-3) @ weights.to(patches.dtype)).movedim(-1, 0)
