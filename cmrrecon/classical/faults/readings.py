"""The inputs of the fault checks: line energies, the centre of k-space, and the block around it.

They are small, and each is computed once per series. Only the line energies use all samples.
"""

from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from cmrrecon.classical.whitening import Whitening
from cmrrecon.data import Series

# Size of the block around the centre of k-space that most checks use.
LINES, COLUMNS = 24, 64


class Readings:
    """Quantities that the fault checks use, each computed once from a series.

    Parameters
    ----------
    series : Series
        The series as measured, of any scale.
    """

    def __init__(self, series: Series) -> None:
        self.series = series
        self.kspace, self.mask = series.kspace, series.mask
        self.frames, self.coils, self.y, self.x = series.kspace.shape

    @cached_property
    def white(self) -> "Readings":
        """The readings of the whitened series if coils need whitening, otherwise these readings.

        Without whitening, the noise of a single coil could dominate the profile of a line along x.
        """
        whitening = Whitening.of(self.series)
        return self if whitening is None else Readings(whitening.series(self.series))

    @cached_property
    def parts(self) -> Tensor:
        """Energy of the beginning, middle and end of each line, (frame, coil, y, 3) float64.

        The middle is an eighth of the readout.
        """
        cuts = (0, *self.middle, self.x)
        pieces = [self.kspace[..., a:b] for a, b in pairwise(cuts)]
        norms = [torch.linalg.vector_norm(torch.view_as_real(p), dim=(-2, -1)) for p in pieces]
        return torch.stack(norms, -1).double().square()

    @property
    def middle(self) -> tuple[int, int]:
        """Start and end of the middle of the readout."""
        half = max(1, self.x // 16)
        return self.x // 2 - half, self.x // 2 + half

    @cached_property
    def coil_lines(self) -> Tensor:
        """Energy of each line in each coil, (frame, coil, y) float64."""
        return self.parts.sum(-1)

    @cached_property
    def outer(self) -> Tensor:
        """Mean energy of the measured samples of each line outside its middle, (frame, y)."""
        first, last = self.middle
        samples = self.mask.samples
        if samples.shape[-1] == 1:
            counts = samples[..., 0].double() * (first + self.x - last)
        else:
            counts = samples[..., :first].sum(-1) + samples[..., last:].sum(-1)

        return self.parts[..., ::2].sum((1, 3)) / counts.expand(self.frames, -1).clamp(min=1)

    @cached_property
    def lines(self) -> Tensor:
        """Mean energy of the measured samples of each line, (frame, y); zero without samples."""
        counts = self.mask.samples.double().mean(-1).expand(self.frames, -1)
        return self.coil_lines.sum(1) / counts.clamp(min=1 / self.x)

    @cached_property
    def measured(self) -> Tensor:
        """The lines with data, (frame, y) bool."""
        return self.lines > 0

    @cached_property
    def row(self) -> int:
        """The line on which the energy is centred."""
        return int(concentration(self.row_energy).argmax())

    @cached_property
    def row_energy(self) -> Tensor:
        """Energy of each line, averaged over the frames that measured it, (y,) float64."""
        return self.lines.sum(0) / self.measured.sum(0).clamp(min=1)

    @cached_property
    def rows(self) -> slice:
        """The lines around `row`."""
        return _around(self.row, self.y, LINES)

    @cached_property
    def central(self) -> Tensor:
        """Energy of the samples of the central lines, summed over coils, (frame, y', x) float32."""
        return energy_of(self.kspace[:, :, self.rows])

    @cached_property
    def column(self) -> int:
        """The sample of the readout on which the energy of the central lines is centred."""
        return int(concentration(self.column_energy).argmax())

    @cached_property
    def column_energy(self) -> Tensor:
        """Energy of each sample of the readout in the central lines, (x,) float64."""
        return self.central.sum((0, 1)).double()

    @cached_property
    def columns(self) -> slice:
        """The samples of the readout around `column`."""
        return _around(self.column, self.x, COLUMNS)

    @cached_property
    def block(self) -> Tensor:
        """K-space around its centre, (frame, coil, y', x'), divided by its largest magnitude."""
        block = self.kspace[:, :, self.rows, self.columns]
        return block / block.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)

    @cached_property
    def block_measured(self) -> Tensor:
        """The measured samples of the block, (frame, y', x') bool."""
        return self.central[..., self.columns] > 0

    @cached_property
    def average(self) -> Tensor:
        """Average (coil, y', x') of the block over the frames that measured each sample.

        It is cut to the lines around the middle, up to the first gap on either side.
        """
        counts = self.block_measured.sum(0)
        average = self.block.sum(0) / counts.clamp(min=1)
        filled = counts.amin(-1) > 0

        middle = self.row - self.rows.start
        first, last = middle, middle
        while first > 0 and filled[first - 1]:
            first -= 1
        while last < len(filled) - 1 and filled[last + 1]:
            last += 1
        return average[:, first : last + 1]


def energy_of(kspace: Tensor) -> Tensor:
    """Sum the energy of k-space (frame, coil, ...) over coils, in float32.

    The sum runs coil by coil to save memory.
    """
    energy = kspace.real[:, 0].square()
    for coil in range(kspace.shape[1]):
        real, imaginary = kspace.real[:, coil], kspace.imag[:, coil]
        if coil:
            energy.addcmul_(real, real)
        energy.addcmul_(imaginary, imaginary)
    return energy


def _around(middle: int, length: int, part: int) -> slice:
    """Return `part` of `length` positions, centred on `middle` as far as the edges allow."""
    start = min(max(0, middle - part // 2), max(0, length - part))
    return slice(start, min(length, start + part))


def concentration(energy: Tensor) -> Tensor:
    """Average the logarithm of the energies near each position; single spikes hardly change it."""
    positive = energy > 0
    least = energy[positive].amin() if bool(positive.any()) else energy.new_tensor(1.0)
    logs = (energy / least).clamp(min=1).log()
    reach = max(2, len(energy) // 16)
    return torch.stack([logs.roll(step) for step in range(-reach, reach + 1)]).mean(0)
