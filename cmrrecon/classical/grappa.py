"""GRAPPA: predict missing k-space lines from their measured neighbours."""

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from cmrrecon.classical.coils import reference_block
from cmrrecon.classical.completion import completed
from cmrrecon.data import CartesianMask, Series, require_cartesian
from cmrrecon.operators.centre import rolled_mask
from cmrrecon.operators.coils import rss
from cmrrecon.operators.espirit import require_calibration
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.operators.patches import patch_gram
from cmrrecon.operators.sensitivity import CalibrationSource, calibration_data
from cmrrecon.tools.configuration import AtLeast
from cmrrecon.tools.errors import NumericalError, UsageError

# Size of the kernel in the official baseline. It grows along y only, for lines out of its reach.
KERNEL = 5


@dataclass(frozen=True)
class GrappaOptions:
    """Options of `grappa`.

    Attributes
    ----------
    kernel : int or None
        Odd size of the neighbourhood along y and x. None uses 5, and for lines out of its reach a
        taller kernel, up to half the number of calibration lines.
    weight : float
        Tikhonov weight, relative to the norm of the normal matrix divided by its size.
    calibration : {"average", "first"}
        Whether the weights come from the time average or from the first frame.
    """

    kernel: Annotated[int, AtLeast(1)] | None = None
    weight: Annotated[float, AtLeast(0)] = 0.01
    calibration: CalibrationSource = "average"


def grappa(series: Series, options: GrappaOptions | None = None) -> Tensor:
    """Reconstruct lines of any spacing by GRAPPA, as in the official CMRxRecon baseline.

    A missing line is a linear combination of all measured samples within the kernel, over all
    coils. The weights w minimise the squared error over all positions of the kernel in the
    calibration data, plus `weight * ||G||_F / n * ||w||^2`, where G is the normal matrix of the n
    neighbours. The official baseline leaves a line at zero if no measured line is within the
    kernel; here, a taller kernel fills it, see `heights`. If readouts are cut on one side, only
    their measured part is filled.

    Parameters
    ----------
    series : Series
        Normalised series. Separate reference lines are used for calibration if there are any.
    options : GrappaOptions or None
        None for the defaults.

    Returns
    -------
    Tensor of shape (frame, y, x), float32
        Root-sum-of-squares images.

    Raises
    ------
    UsageError
        If the mask does not consist of lines (`needs-cartesian`, `needs-lines`), or a given kernel
        is even (`option-value`) or leaves lines empty (`kernel-too-small`).
    InputError
        If there are fewer calibration lines than the kernel needs (`calibration-too-small`), or
        they are all zero (`calibration-empty`) or not finite (`kspace-not-finite`).
    NumericalError
        If the calibration lines do not determine the weights (`weight-too-small`).

    References
    ----------
    Griswold et al., Magn Reson Med 2002;47:1202.
    """
    options = options or GrappaOptions()
    series = _as_read_out(series)
    mask, columns = _lines(series)
    _check_kernel(options.kernel, mask)

    block = _calibration(series, mask, options.calibration)
    require_calibration(block, options.kernel or KERNEL)

    fill = _Fill(block, options)
    images = []
    for t, frame in enumerate(series.kspace):
        samples = mask.image_data[t % len(mask.samples)]
        image_kspace = frame if mask.calibration_only is None else frame * samples
        whole = torch.zeros_like(frame)
        whole[..., columns] = fill(image_kspace[..., columns], samples.any(1))
        images.append(rss(ifft2c(whole)))

    return torch.stack(images)


def cautions(series: Series, options: GrappaOptions) -> tuple[str, ...]:
    """Warn of lines that stay empty; errors are those of `grappa`.

    `Method.reconstruct` warns of a missing side of k-space.
    """
    series = _as_read_out(series)
    mask, _ = _lines(series)
    block = _calibration(series, mask, options.calibration)

    most = tallest(block.shape[1], options.kernel)
    lines = mask.image_data.any(2)
    if mask.coverage.one_sided:
        lines = lines[:, mask.extent()[0]]

    empty = sum(
        int((~measured & (heights(measured, options.kernel or KERNEL, most) == 0)).sum())
        for measured in lines
    )
    if not empty:
        return ()
    return (
        f"GRAPPA leaves {empty} of {lines.numel()} lines of k-space empty: they lie outside the "
        "measured part, or too far from measured lines for the number of calibration lines; the "
        "methods auto and sense make better use of the measured lines",
    )


def heights(measured: Tensor, kernel: int, most: int) -> Tensor:
    """Find the height of the kernel that fills each line, an int tensor (y,).

    The height is 0 for measured lines, for lines that no kernel up to `most` reaches, and for lines
    outside the measured extent (partial Fourier, low resolution) that `kernel` does not reach.

    Parameters
    ----------
    measured : Tensor of shape (y,), bool
        The measured lines.
    kernel : int
        Smallest height.
    most : int
        Largest height.
    """
    places = measured.nonzero().flatten()
    if not len(places):
        return torch.zeros_like(measured, dtype=torch.int64)

    lines = torch.arange(len(measured), device=measured.device)
    distance = (lines[:, None] - places).abs().amin(1)
    needed = (2 * distance + 1).clamp(min=kernel)

    inside = (lines > places[0]) & (lines < places[-1])
    reached = (needed <= most) & (inside | (needed == kernel)) & ~measured
    return torch.where(reached, needed, 0)


def tallest(lines: int, kernel: int | None) -> int:
    """Return the tallest kernel that the calibration lines allow: half their number.

    This leaves enough patches. A given kernel is returned unchanged.
    """
    return max(KERNEL, (lines // 2) // 2 * 2 + 1) if kernel is None else kernel


def _check_kernel(kernel: int | None, mask: CartesianMask) -> None:
    """Refuse a given kernel that is even or leaves lines between measured ones empty."""
    if kernel is None:
        return
    if kernel % 2 == 0:
        raise UsageError(
            "option-value",
            f"The GRAPPA kernel is {kernel}",
            "It must be odd, with the missing sample in its middle",
            "Use kernel=5",
        )

    lines = mask.image_data.any(2)
    needed = max(int(heights(measured, kernel, 2 * len(measured) + 1).amax()) for measured in lines)
    if needed > kernel:
        raise UsageError(
            "kernel-too-small",
            f"A GRAPPA kernel of {kernel} does not reach all lines between the measured ones",
            f"A kernel of {needed} does, but needs at least {needed} calibration lines",
            f"Give kernel={needed}, or leave it out so that it can grow",
        )


def _as_read_out(series: Series) -> Series:
    """Roll readouts back to the stored order, so that partial echoes do not wrap around."""
    offset, mask = series.rolled[1], series.mask
    if not offset or not isinstance(mask, CartesianMask):
        return series
    kspace, rolled = series.kspace.roll(-offset, 3), rolled_mask(mask, (0, -offset))
    return replace(series, kspace=kspace, mask=rolled, rolled=(series.rolled[0], 0))


def _calibration(series: Series, mask: CartesianMask, source: CalibrationSource) -> Tensor:
    """Select the samples (coil, y', x') that calibrate the weights."""
    if series.calibration is not None:
        return reference_block(series.calibration)
    filled = completed(series.kspace, mask)
    return calibration_data(series.kspace, mask, source) if filled is None else filled


def _lines(series: Series) -> tuple[CartesianMask, slice]:
    """Return the mask of a series of lines and the columns of x they cover; refuse other masks."""
    mask = series.mask
    require_cartesian(mask, "The series", "The method grappa", "Use the method auto or sense")
    assert isinstance(mask, CartesianMask)
    columns = mask.echo
    if columns is None:
        raise UsageError(
            "needs-lines",
            "The sampling mask changes along the readout (pseudo-radial)",
            "GRAPPA needs k-space lines that were measured completely or not at all",
            "Use the method sense or auto",
        )

    return mask, columns


class _Fill:
    """Fills each missing line of a frame (coil, y, x) with the smallest kernel that reaches it."""

    def __init__(self, block: Tensor, options: GrappaOptions) -> None:
        self.block, self.weight = block, options.weight
        self.kernel = options.kernel or KERNEL
        self.most = tallest(block.shape[1], options.kernel)
        self.interpolators: dict[int, Interpolator] = {}

    def __call__(self, frame: Tensor, measured: Tensor) -> Tensor:
        needed = heights(measured, self.kernel, self.most)
        for height in {self.kernel, *needed[needed > 0].tolist()}:
            filled = self._interpolator(height)(frame, measured, needed == height)
            frame = torch.where((needed == height)[:, None], filled, frame)
        return frame

    def _interpolator(self, height: int) -> "Interpolator":
        if height not in self.interpolators:
            kernel = height, self.kernel
            self.interpolators[height] = Interpolator(self.block, kernel, self.weight)
        return self.interpolators[height]


class Interpolator:
    """Fills missing lines by linear combinations of their neighbours.

    All weights come from the same normal matrix, and are computed once per geometry of neighbours.

    Parameters
    ----------
    calibration : Tensor of shape (coil, y, x), complex
        Fully sampled calibration data.
    kernel : tuple of int
        Odd size (y, x) of the neighbourhood.
    weight : float
        As for `grappa`.
    """

    def __init__(self, calibration: Tensor, kernel: tuple[int, int], weight: float) -> None:
        self.coils, self.kernel, self.weight = len(calibration), kernel, weight
        self.gram = patch_gram(calibration, kernel)
        self.solved: dict[tuple[tuple[int, ...], range], Tensor] = {}

    def weights(self, rows: tuple[int, ...], columns: range) -> Tensor:
        """Return the weights (column, row * coil, coil) of neighbours in given rows and columns.

        They are w = (G_SS + weight ||G_SS||_F / n I)^-1 G_Sc, in complex128, where G is the normal
        matrix of the calibration patches, S the set of n neighbours, and c the missing sample.
        """
        key = (rows, columns)
        if key not in self.solved:
            places = torch.arange(len(self.gram)).reshape(self.coils, *self.kernel)
            sources = places[:, rows][..., columns].permute(2, 1, 0).flatten().to(self.gram.device)
            targets = places[:, self.kernel[0] // 2, self.kernel[1] // 2].to(self.gram.device)

            normal = self.gram[sources][:, sources].T
            normal.diagonal().add_(self.weight * torch.linalg.matrix_norm(normal) / len(sources))

            factor, failed = torch.linalg.cholesky_ex(normal)
            if bool(failed):
                raise NumericalError(
                    "weight-too-small",
                    "The calibration lines do not determine the GRAPPA weights at weight "
                    f"{self.weight:g}",
                    "Some coils or samples depend on others, so the solution is not unique without "
                    "a positive weight",
                    "Give a larger weight, such as 0.01",
                )

            solved = torch.cholesky_solve(self.gram[targets][:, sources].T, factor)
            self.solved[key] = solved.reshape(len(columns), len(rows) * self.coils, self.coils)

        return self.solved[key]

    def __call__(self, frame: Tensor, measured: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Fill the missing lines of one frame (coil, y, x) as far as the kernel reaches.

        Parameters
        ----------
        frame : Tensor of shape (coil, y, x), complex
            K-space of the frame.
        measured : Tensor of shape (y,), bool
            The measured lines.
        wanted : Tensor of shape (y,), bool, or None
            The lines to fill; None for all.

        Returns
        -------
        Tensor of shape (coil, y, x), complex
            The filled k-space.
        """
        height, width = self.kernel
        above, reach, nx = height // 2, width // 2, frame.shape[-1]

        lines = set(measured.nonzero().flatten().tolist())
        geometries: dict[tuple[int, ...], list[int]] = {}

        missing = ~measured if wanted is None else wanted & ~measured
        for y in missing.nonzero().flatten().tolist():
            rows = tuple(r for r in range(height) if y + r - above in lines)
            if rows:
                geometries.setdefault(rows, []).append(y)

        # Only measured lines are neighbours, so missing lines can be written in place.
        padded = torch.nn.functional.pad(frame.transpose(0, 1), (reach, reach))
        filled = padded[..., reach : reach + nx]
        for rows, targets in geometries.items():
            indices = torch.tensor(targets)[:, None] + torch.tensor(rows) - above
            neighbours = padded[indices.to(frame.device)].flatten(1, 2)  # (target, row * coil, x)

            values = frame.new_zeros((len(targets), self.coils, nx))
            # Shifts along the readout are views of the same samples, so no patches are copied.
            for column, w in enumerate(self.weights(rows, range(width)).to(frame.dtype)):
                values.baddbmm_(
                    w.T.expand(len(targets), -1, -1), neighbours[..., column : column + nx]
                )

            # At the ends of the readout, part of the neighbourhood is missing, so weights differ.
            for x in {*range(min(reach, nx)), *range(max(0, nx - reach), nx)}:
                columns = range(max(0, reach - x), min(width, nx + reach - x))
                patches = neighbours[..., x + columns.start : x + columns.stop].mT.flatten(1)
                values[..., x] = patches @ self.weights(rows, columns).to(frame.dtype).flatten(0, 1)

            filled[targets] = values

        return filled.transpose(0, 1)
