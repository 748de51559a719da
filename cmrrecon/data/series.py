"""One slice of a scan over time, in memory."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cmrrecon.data.acquisition import Acquisition
from cmrrecon.data.mask import SamplingMask, SpokeMask
from cmrrecon.data.noise import Noise
from cmrrecon.tools.errors import UsageError


@dataclass(frozen=True, eq=False)
class Series:
    """One slice over time (or over mapping weights), in memory.

    Attributes
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex64
        K-space, zero where not measured. Along a trajectory, y counts spokes and x their samples.
    mask : SamplingMask
        Measured samples.
    acquisition : Acquisition
        How the scan was acquired.
    noise : Noise or None
        Noise of the coils; None if it was not measured.
    calibration : Tensor of shape (coil, y', x'), complex64, or None
        Separate reference lines; None if there are none.
    maps : Tensor of shape (coil, y, x), complex64, or None
        Supplied coil sensitivity maps; None if they are to be estimated.
    rolled : (int, int)
        Number of samples (y, x) by which k-space was rolled to move its centre to the middle.
    first : int
        The frame of the scan that comes first here; frames before it follow the last one.
    warnings : tuple of str
        Faults in the data and how they were handled, in sentences for the user.
    """

    kspace: Tensor
    mask: SamplingMask
    acquisition: Acquisition = field(default_factory=Acquisition)
    noise: Noise | None = None
    calibration: Tensor | None = None
    maps: Tensor | None = None
    rolled: tuple[int, int] = (0, 0)
    first: int = 0
    warnings: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> "Series":
        """Move the series to another device."""
        calibration, maps = self.calibration, self.maps
        return replace(
            self,
            kspace=self.kspace.to(device),
            mask=self.mask.to(device),
            calibration=None if calibration is None else calibration.to(device),
            maps=None if maps is None else maps.to(device),
        )

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.kspace)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Size (y, x) of the images."""
        return self.mask.image_shape(self.kspace.shape[2], self.kspace.shape[3])

    def scaled(self, factor: float) -> "Series":
        """Return the series with its k-space and noise multiplied by `factor`."""
        noise = None if self.noise is None else self.noise.scaled(factor)
        return replace(self, kspace=self.kspace * factor, noise=noise)

    def kept(self, samples: Tensor) -> "Series":
        """Return the series as if only the samples (frame|1, y, x|1) bool had been measured."""
        calibration = self.mask.calibration_only
        calibration = None if calibration is None else calibration & samples
        mask = replace(self.mask, samples=samples, calibration_only=calibration)
        return replace(self, kspace=self.kspace * samples[:, None], mask=mask)


def require_cartesian(
    mask: SamplingMask | None,
    what: str,
    task: str,
    remedy: str = "Use auto, sense or another method of this program's own for such scans",
) -> None:
    """Refuse non-Cartesian k-space for a task that needs Cartesian k-space.

    Parameters
    ----------
    mask : SamplingMask or None
        The mask to check.
    what, task, remedy : str
        Parts of the message, such as "The scan", "A pattern" and what to do instead.

    Raises
    ------
    UsageError
        If the k-space lies along a trajectory (`needs-cartesian`).
    """
    if isinstance(mask, SpokeMask):
        raise UsageError(
            "needs-cartesian",
            f"{what} contains samples along a trajectory",
            f"{task} needs Cartesian k-space",
            remedy,
        )
