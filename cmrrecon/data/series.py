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
    kspace : Tensor (frame, coil, y, x) complex64, zero where not measured; along a trajectory y
        are spokes and x their samples
    mask : SamplingMask
    acquisition : Acquisition
    noise : Noise, or None where it was not measured
    calibration : Tensor (coil, y', x') complex64, separate reference lines; None if there are none
    maps : Tensor (coil, y, x) complex64, supplied coil maps; None: they are estimated
    rolled : by how many samples (y, x) the k-space was rolled to bring its centre into the middle
    warnings : what was wrong with the data and what was done about it, in sentences for the user
    """

    kspace: Tensor
    mask: SamplingMask
    acquisition: Acquisition = field(default_factory=Acquisition)
    noise: Noise | None = None
    calibration: Tensor | None = None
    maps: Tensor | None = None
    rolled: tuple[int, int] = (0, 0)
    warnings: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> "Series":
        """The same series on another device."""
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
        """(y, x) of the images."""
        return self.mask.image_shape(self.kspace.shape[2], self.kspace.shape[3])

    def scaled(self, factor: float) -> "Series":
        """The series with its k-space multiplied by `factor`, its noise with it."""
        noise = None if self.noise is None else self.noise.scaled(factor)
        return replace(self, kspace=self.kspace * factor, noise=noise)

    def kept(self, samples: Tensor) -> "Series":
        """The series as if only these of its samples had been measured, (frame|1, y, x|1) bool."""
        only = self.mask.calibration_only
        only = None if only is None else only & samples
        mask = replace(self.mask, samples=samples, calibration_only=only)
        return replace(self, kspace=self.kspace * samples[:, None], mask=mask)


def require_cartesian(
    mask: SamplingMask | None,
    what: str,
    task: str,
    remedy: str = "Use auto, sense or another method of this program's own for such scans",
) -> None:
    """Refuse k-space along a trajectory for a task that only Cartesian k-space allows.

    Parameters
    ----------
    what, task : for the message, as in "The scan" and "A pattern"

    Raises
    ------
    UsageError : `needs-cartesian`
    """
    if isinstance(mask, SpokeMask):
        raise UsageError(
            "needs-cartesian",
            f"{what} holds samples along a trajectory",
            f"{task} needs Cartesian k-space",
            remedy,
        )
