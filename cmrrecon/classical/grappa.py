"""GRAPPA: missing k-space lines from their measured neighbours."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from cmrrecon.classical.coils import reference_block
from cmrrecon.data import CartesianMask, Series, require_cartesian
from cmrrecon.operators.coils import rss
from cmrrecon.operators.espirit import patch_gram, require_calibration
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.operators.sensitivity import CalibrationSource, calibration_data, echo
from cmrrecon.tools.configuration import AtLeast
from cmrrecon.tools.errors import NumericalError, UsageError


@dataclass(frozen=True)
class GrappaOptions:
    """Options of `grappa`.

    Attributes
    ----------
    kernel : odd size of the neighbourhood along y and x
    weight : Tikhonov weight, relative to the norm of the normal matrix over its size
    calibration : weights from the time `average` or the `first` frame
    """

    kernel: Annotated[int, AtLeast(1)] = 5
    weight: Annotated[float, AtLeast(0)] = 0.01
    calibration: CalibrationSource = "average"


def grappa(series: Series, options: GrappaOptions | None = None) -> Tensor:
    """GRAPPA by the rule of the official CMRxRecon baseline, for line masks of any spacing.

    A missing line is a linear combination of all measured samples within kernel x kernel, over all
    coils. Its weights minimise the squared error over all places of the kernel in the calibration
    data, plus `weight` ||G||_F / n ||w||^2 (G: normal matrix of the n neighbours). Lines with no
    measured line that near stay zero in the official baseline; here they are filled in turns, from
    lines filled before, but for those of `beyond`. Readouts that are cut on one side are filled as
    far as they were measured.

    Parameters
    ----------
    series : normalised series; separate reference lines calibrate where there are any

    Returns
    -------
    Tensor (frame, y, x) float32, root-sum-of-squares

    Raises
    ------
    UsageError : `needs-cartesian`, `needs-lines`, `option-value` (an even kernel)
    InputError : fewer calibration lines than the kernel, or calibration lines of zeros or with NaN
        or infinity
    NumericalError : `weight-too-small` for the calibration lines to determine the weights

    Source: Griswold et al., Magn Reson Med 2002;47:1202.
    """
    options = options or GrappaOptions()
    mask, columns = _lines(series)
    if options.kernel % 2 == 0:
        raise UsageError(
            "option-value",
            f"The GRAPPA kernel is {options.kernel}",
            "It must be odd, with the missing sample in its middle",
            "Take kernel=5",
        )
    block = _calibration(series, mask, options.calibration)
    require_calibration(block, options.kernel)
    fill = Interpolator(block, options.kernel, options.weight)
    image_data = mask.chosen(mask.image_data)
    images = []
    for t, frame in enumerate(series.kspace):
        samples = image_data.frame(t)
        whole = torch.zeros_like(frame)
        held = frame if mask.calibration_only is None else frame * samples
        whole[..., columns] = filled(fill, held[..., columns], samples.any(1))
        images.append(rss(ifft2c(whole)))
    return torch.stack(images)


def filled(fill: "Interpolator", frame: Tensor, measured: Tensor) -> Tensor:
    """A frame (coil, y, x) with its missing lines filled, those out of reach from lines filled before.

    Parameters
    ----------
    measured : Tensor (y,) bool
    """
    wanted = ~beyond(measured)
    frame, there = fill(frame, measured), measured | fill.reached(measured)
    while bool((wanted & ~there).any()):
        frame = fill(frame, there, wanted)
        there = there | (fill.reached(there) & wanted)
    return frame


def beyond(measured: Tensor) -> Tensor:
    """The lines (y,) at either end of k-space that are not GRAPPA's to fill: partial Fourier, or low resolution.

    An end belongs to the pattern if it is no longer than the longest gap between measured lines.
    """
    places = measured.nonzero().flatten()
    outside = torch.zeros_like(measured)
    if not len(places):
        return ~outside
    first, last = int(places[0]), int(places[-1])
    gap = int((places.diff() - 1).max()) if len(places) > 1 else 0
    outside[:first] = first > gap
    outside[last + 1 :] = len(measured) - 1 - last > gap
    return outside


def _calibration(series: Series, mask: CartesianMask, source: CalibrationSource) -> Tensor:
    """What calibrates the weights, (coil, y', x')."""
    if series.calibration is not None:
        return reference_block(series.calibration)
    return calibration_data(series.kspace, mask, source)


def _lines(series: Series) -> tuple[CartesianMask, slice]:
    """The mask of a series of lines, and the columns of x that these hold; refuses other masks."""
    mask = series.mask
    require_cartesian(mask, "The series", "The method grappa", "Use the method auto or sense")
    assert isinstance(mask, CartesianMask)
    columns = echo(mask)
    if columns is None:
        raise UsageError(
            "needs-lines",
            "The sampling mask changes along the readout (pseudo-radial)",
            "GRAPPA needs k-space lines that are measured whole or not at all",
            "Use the method sense or auto",
        )
    return mask, columns


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
                    "weight-too-small",
                    f"The calibration lines do not determine the GRAPPA weights at weight {self.weight:g}",
                    "Some coils or samples follow from others, and only a positive weight chooses among them",
                    "Give a larger weight, such as 0.01",
                )
            solved = torch.cholesky_solve(self.gram[targets][:, sources].T, factor)
            self.solved[key] = solved.reshape(len(columns), len(rows) * self.coils, self.coils)
        return self.solved[key]

    def reached(self, measured: Tensor) -> Tensor:
        """The lines (y,) that have a measured line within the kernel."""
        near = torch.nn.functional.max_pool1d(
            measured[None].float(), self.kernel, stride=1, padding=self.kernel // 2
        )
        return near[0] > 0

    def __call__(self, frame: Tensor, measured: Tensor, wanted: Tensor | None = None) -> Tensor:
        """One frame (coil, y, x) with its missing lines filled as far as the kernel reaches.

        Parameters
        ----------
        measured : Tensor (y,) bool, which lines are there
        wanted : Tensor (y,) bool, which to fill; None: all
        """
        reach = self.kernel // 2
        nx = frame.shape[-1]
        lines = set(measured.nonzero().flatten().tolist())
        geometries: dict[tuple[int, ...], list[int]] = {}
        missing = ~measured if wanted is None else wanted & ~measured
        for y in missing.nonzero().flatten().tolist():
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
                made.baddbmm_(
                    w.T.expand(len(targets), -1, -1), neighbours[..., column : column + nx]
                )
            # At the ends of the readout part of the neighbourhood does not exist: geometries of their own.
            for x in {*range(min(reach, nx)), *range(max(0, nx - reach), nx)}:
                columns = range(max(0, reach - x), min(self.kernel, nx + reach - x))
                patches = neighbours[..., x + columns.start : x + columns.stop].mT.flatten(1)
                made[..., x] = patches @ self.weights(rows, columns).to(frame.dtype).flatten(0, 1)
            filled[targets] = made
        return filled.transpose(0, 1)
