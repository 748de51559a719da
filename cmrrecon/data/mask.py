"""Sampling masks: which k-space samples were measured, and how that is known.

There are three kinds of mask, each with its own class: whole readout lines (`LineMask`), single
Cartesian samples (`SampleMask`), and spokes of a trajectory (`SpokeMask`). Code that depends on the
kind checks the class, never the length of an axis. Only `SamplingMask.of` chooses a kind from the
values of a mask.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from cmrrecon.data.coverage import Coverage, Region, extent_of
from cmrrecon.data.trajectory import Trajectory
from cmrrecon.tools.errors import UsageError


class MaskSource(Enum):
    """Where the information about the measured samples comes from."""

    HEADER = "header"
    FILE = "mask file"
    NON_ZERO = "non-zero samples"
    GIVEN = "given"


@dataclass(frozen=True, eq=False)
class SamplingMask(ABC):
    """Which samples of a series were measured.

    Attributes
    ----------
    samples : Tensor, bool, broadcastable to (frame, y, x)
        True where measured; the subclasses define the shape.
    source : MaskSource
        Where the mask comes from.
    calibration_only : Tensor of the shape of `samples`, bool, or None
        Samples measured only for calibration, not part of the image data; None if there are none.
    centre : (int, int) or None
        Index (y, x) of the centre of k-space; None to find it from the energy, see
        `operators.centre`.
    averages : Tensor that broadcasts with `samples`, or None
        Number of times each sample was measured; the stored value is the mean. None if each was
        measured once.
    KIND : str
        `lines`, `samples` or `trajectory`, shown to users and in JSON.
    UNIT : str
        Plural name of the unit of measurement, such as `lines`.
    """

    KIND: ClassVar[str]
    UNIT: ClassVar[str]

    samples: Tensor
    source: MaskSource = MaskSource.GIVEN
    calibration_only: Tensor | None = None
    centre: tuple[int, int] | None = None
    averages: Tensor | None = None

    @staticmethod
    def of(samples: Tensor, source: MaskSource = MaskSource.GIVEN) -> "CartesianMask":
        """Make a Cartesian mask from a tensor, in its simplest form.

        The mask has one frame if all frames are the same, and is a mask of whole lines if it does
        not change along x.

        Parameters
        ----------
        samples : Tensor of shape (frame|1, y, x|1), bool
            True where measured.
        source : MaskSource
            Where the mask comes from.

        Raises
        ------
        UsageError
            If the tensor does not have three axes or is not bool (`mask-shape`).
        """
        if samples.ndim != 3 or samples.dtype != torch.bool:
            raise UsageError(
                "mask-shape",
                f"The mask has shape {tuple(samples.shape)} and type {samples.dtype}",
                "A bool mask (frame or 1, y, x or 1) is needed",
                "Add the missing axes of length 1, and compare with zero",
            )

        samples = once_if_alike(samples)
        if bool((samples == samples[..., :1]).all()):
            return LineMask(samples[..., :1].clone(), source)
        return SampleMask(samples.clone(), source)

    def frame(self, t: int) -> Tensor:
        """Return the samples of frame `t`, (y, x|1) bool."""
        return self.samples[t % len(self.samples)]

    @property
    def varies(self) -> bool:
        """Whether the measured positions differ between frames."""
        return len(self.samples) > 1

    def over(self, frames: int) -> Tensor:
        """Expand the samples to the given number of frames, (frame, y, x|1)."""
        return self.samples.expand(frames, -1, -1)

    def chosen(self, samples: Tensor) -> Self:
        """Return a mask of the same kind and source with other samples."""
        return replace(self, samples=samples, calibration_only=None)

    def without(self, hidden: Tensor) -> Self:
        """Return the mask without the samples `hidden`, (frame|1, y, x|1) bool."""
        return self.chosen(self.samples & ~hidden)

    def averaged(self, counts: Tensor | None) -> Self:
        """Set the number of times each sample was measured; None if each was measured once."""
        return replace(self, averages=counts)

    def to(self, device: torch.device | str) -> Self:
        """Move the mask to another device."""
        calibration, averages = self.calibration_only, self.averages
        return replace(
            self,
            samples=self.samples.to(device),
            calibration_only=None if calibration is None else calibration.to(device),
            averages=None if averages is None else averages.to(device),
        )

    @property
    def image_data(self) -> Tensor:
        """The measured samples (frame|1, y, x|1), without those measured only for calibration."""
        if self.calibration_only is None:
            return self.samples
        return self.samples & ~self.calibration_only

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether every sample of a Cartesian grid was measured in every frame.

        The inverse Fourier transform of such a series is its image. Isolated zeros count as
        measured, see `measured`.
        """

    @abstractmethod
    def effective_acceleration(self, over: Literal["matrix", "extent"] = "matrix") -> float:
        """Return the number of all samples divided by the number of measured ones.

        Calibration samples count as measured.

        Parameters
        ----------
        over : "matrix" or "extent"
            Whether to count all samples of the matrix or only those within the measured extent.
            In the extent, partial Fourier and low resolution do not count as acceleration.
        """

    def described(self) -> dict[str, Any]:
        """Describe how much was measured, for records and provenance."""
        return {"effective_acceleration": round(self.effective_acceleration(), 2)}

    def image_shape(self, y: int, x: int) -> tuple[int, int]:
        """Return the size (y, x) of the images of k-space with y lines of x samples."""
        return y, x


def once_if_alike(samples: Tensor) -> Tensor:
    """Reduce samples (frame|1, y, x|1) to a single frame if all frames are alike."""
    return samples[:1] if bool((samples == samples[:1]).all()) else samples


class CartesianMask(SamplingMask):
    """A mask on a Cartesian grid, (frame|1, y, x|1)."""

    @property
    def complete(self) -> bool:
        """Whether every sample was measured in every frame."""
        return bool(self.samples.all())

    @property
    def coverage(self) -> Coverage:
        """How much of the matrix was measured: all, a contiguous part, or a part with gaps."""
        return Coverage.of(self.samples, self.centre)

    @property
    def weights(self) -> Tensor | None:
        """Weights of the samples in a least-squares term; None if all are equal.

        The mean of n measurements has a variance of `sigma^2 / n`, so the weight of a sample is the
        number of its measurements divided by the largest number.
        """
        counts = self.averages
        if counts is None:
            return None

        largest = counts.max()
        if bool(((counts == largest) | ~self.samples).all()):
            return None
        return counts.to(torch.float32) / largest

    @property
    def echo(self) -> slice | None:
        """The measured columns of x; None unless they are contiguous and the same in all lines."""
        lines, columns = self.samples.any(2, keepdim=True), self.samples.any(1).any(0)
        _, stretch = extent_of(self.samples)

        alike = bool(columns[stretch].all()) and bool((self.samples == lines & columns).all())
        return stretch if alike and bool(columns.any()) else None

    def extent(self) -> Region:
        """Find the smallest block (y, x) that contains all measured samples of all frames."""
        return extent_of(self.samples)

    def described(self) -> dict[str, Any]:
        """Describe how much was measured: effective R of matrix and extent, and coverage."""
        return {
            **super().described(),
            "effective_acceleration_extent": round(self.effective_acceleration("extent"), 2),
            "coverage": self.coverage.label,
        }

    def trimmed(self, empty: Tensor) -> "CartesianMask":
        """Return the mask without lines (frame|1, y) bool that turned out to be empty."""
        samples = once_if_alike(self.samples & ~empty[..., None])
        calibration = self.calibration_only
        return replace(
            self,
            samples=samples,
            calibration_only=None
            if calibration is None
            else calibration.expand(len(samples), -1, -1) & samples,
        )

    def narrowed(self, columns: slice, x: int) -> "CartesianMask":
        """Return the mask restricted to `columns` of a readout of x samples."""
        inside = torch.zeros(x, dtype=torch.bool, device=self.samples.device)
        inside[columns] = True

        calibration = self.calibration_only
        return SampleMask(
            self.samples & inside,
            self.source,
            calibration_only=None if calibration is None else calibration & inside,
            centre=self.centre,
            averages=self.averages,
        )

    def effective_acceleration(self, over: Literal["matrix", "extent"] = "matrix") -> float:
        """Return the samples of the matrix, or of the extent, divided by the measured samples."""
        whole = self.samples
        if over == "extent":
            y, x = self.extent()
            whole = whole[:, y, x]
        return float(whole.numel() / max(1, int(self.samples.sum())))


@dataclass(frozen=True, eq=False)
class LineMask(CartesianMask):
    """Whole readout lines: `samples` has the shape (frame|1, y, 1)."""

    KIND = UNIT = "lines"

    @property
    def echo(self) -> slice:
        """All columns."""
        return slice(None)

    def __post_init__(self) -> None:
        for part in (self.samples, self.averages):
            if part is not None and part.shape[2:] != (1,):
                raise ValueError(f"lines are (frame or 1, y, 1), not {tuple(part.shape)}")

    def averaged(self, counts: Tensor | None) -> Self:
        """Set the number of times each line was measured, which is the minimum along x."""
        return super().averaged(None if counts is None else counts.amin(-1, keepdim=True))


class SampleMask(CartesianMask):
    """Single samples of a Cartesian grid, (frame|1, y, x), such as a pseudo-radial pattern."""

    KIND = UNIT = "samples"


@dataclass(frozen=True, eq=False, kw_only=True)
class SpokeMask(SamplingMask):
    """Spokes along a trajectory: `samples` has the shape (frame|1, spoke, 1).

    Attributes
    ----------
    trajectory : Trajectory
        Positions of the samples of every spoke.
    """

    KIND, UNIT = "trajectory", "spokes"
    trajectory: Trajectory

    def to(self, device: torch.device | str) -> Self:
        """Move the mask to another device."""
        return replace(super().to(device), trajectory=self.trajectory.to(device))

    @property
    def varies(self) -> bool:
        """Whether the measured positions differ between frames."""
        return len(self.samples) > 1 or len(self.trajectory.positions) > 1

    @property
    def complete(self) -> bool:
        """Always False, because spokes never fill a Cartesian grid."""
        return False

    def effective_acceleration(self, over: Literal["matrix", "extent"] = "matrix") -> float:
        """Return the spokes of full sampling, pi / 2 * n for n pixels, per measured spoke."""
        full = math.ceil(math.pi / 2 * max(self.trajectory.matrix))
        return len(self.samples) * full / max(1, int(self.samples.sum()))

    def image_shape(self, y: int, x: int) -> tuple[int, int]:
        """Return the size (y, x) of the images, which is the matrix of the trajectory."""
        return self.trajectory.matrix
