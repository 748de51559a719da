"""GRAPPA: missing k-space lines from their measured neighbours."""

import torch
from torch import Tensor

from cmrrecon.data.scan import Series, require_cartesian
from cmrrecon.operators.coils import rss
from cmrrecon.operators.espirit import patch_gram, require_calibration
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.operators.sensitivity import CalibrationSource, calibration_data
from cmrrecon.tools.errors import NumericalError, UsageError


def grappa(series: Series, *, kernel: int = 5, weight: float = 0.01, calibration: CalibrationSource = "average") -> Tensor:
    """GRAPPA by the rule of the official CMRxRecon baseline, for line masks of any spacing.

    A missing line is a linear combination of all measured samples within kernel x kernel, over all coils. Its weights
    minimise the squared error over all places of the kernel in the calibration data, plus `weight` ||G||_F / n ||w||^2 (G: normal
    matrix of the n neighbours). Lines with no measured line that near stay zero, as in the official baseline.

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
    InputError : fewer calibration lines than the kernel, or calibration lines of zeros or with NaN or infinity
    NumericalError : `weight` is too small for the calibration lines to determine the weights

    Griswold et al., Magn Reson Med 2002;47:1202.
    """
    require_cartesian(series, "The method grappa", "Use the method auto, sense or another that is not SigPy's")
    measured = series.mask[..., 0]
    if not bool((series.mask == series.mask[..., :1]).all()):
        raise UsageError(
            "todo",
            "The sampling mask changes along the readout (pseudo-radial)",
            "GRAPPA needs k-space lines that are measured whole or not at all",
            "Use the method sense or auto",
        )
    if kernel % 2 == 0:
        raise UsageError("todo", f"The GRAPPA kernel is {kernel}", "It must be odd, with the missing sample in its middle", "Take kernel=5")
    block = calibration_data(series.kspace, series.mask, calibration)
    require_calibration(block, kernel)
    interpolator = Interpolator(block, kernel, weight)
    return torch.stack([rss(ifft2c(interpolator(k, measured[t % len(measured)]))) for t, k in enumerate(series.kspace)])


class Interpolator:
    """Fills missing lines; the weights of each geometry of neighbours are solved once, all from the same normal matrix.

    Parameters
    ----------
    calibration : Tensor (coil, y, x), complex, fully sampled
    kernel, weight : as `grappa`
    """

    def __init__(self, calibration: Tensor, kernel: int, weight: float) -> None:
        self.coils, self.kernel, self.weight = len(calibration), kernel, weight
        self.gram = patch_gram(calibration, (kernel, kernel))
        self.solved: dict[tuple[tuple[int, ...], range], Tensor] = {}

    def weights(self, rows: tuple[int, ...], columns: range) -> Tensor:
        """Weights (column, row * coil, coil) complex128 of the neighbours in these rows and columns of the kernel.

        w = (G_SS + weight ||G_SS||_F / |S| I)^-1 G_Sc, where G is the normal matrix of the calibration patches.
        """
        key = (rows, columns)
        if key not in self.solved:
            places = torch.arange(len(self.gram)).reshape(self.coils, self.kernel, self.kernel)
            sources = places[:, rows][..., columns].permute(2, 1, 0).flatten().to(self.gram.device)
            targets = places[:, self.kernel // 2, self.kernel // 2].to(self.gram.device)
            normal = self.gram[sources][:, sources].T
            normal.diagonal().add_(self.weight * torch.linalg.matrix_norm(normal) / len(sources))
            factor, failed = torch.linalg.cholesky_ex(normal)
            if bool(failed):
                raise NumericalError(
                    "todo",
                    f"The calibration lines do not determine the GRAPPA weights at weight {self.weight:g}",
                    "Some coils or samples follow from others, and only a positive weight chooses among them",
                    "Give a larger weight, such as 0.01",
                )
            solved = torch.cholesky_solve(self.gram[targets][:, sources].T, factor)
            self.solved[key] = solved.reshape(len(columns), len(rows) * self.coils, self.coils)
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
        # Only measured lines are neighbours, so the missing ones are written in between.
        padded = torch.nn.functional.pad(frame.transpose(0, 1), (reach, reach))
        filled = padded[..., reach : reach + nx]
        for rows, targets in geometries.items():
            near = torch.tensor(targets)[:, None] + torch.tensor(rows) - reach
            neighbours = padded[near.to(frame.device)].flatten(1, 2)  # (target, row * coil, x)
            made = frame.new_zeros((len(targets), self.coils, nx))
            # A shift along the readout is another view of the same samples: no patches are copied.
            for column, w in enumerate(self.weights(rows, range(self.kernel)).to(frame.dtype)):
                made.baddbmm_(w.T.expand(len(targets), -1, -1), neighbours[..., column : column + nx])
            # At the ends of the readout part of the neighbourhood does not exist: geometries of their own.
            for x in {*range(min(reach, nx)), *range(max(0, nx - reach), nx)}:
                columns = range(max(0, reach - x), min(self.kernel, nx + reach - x))
                patches = neighbours[..., x + columns.start : x + columns.stop].mT.flatten(1)
                made[..., x] = patches @ self.weights(rows, columns).to(frame.dtype).flatten(0, 1)
            filled[targets] = made
        return filled.transpose(0, 1)
