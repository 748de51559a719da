"""Coil maps by a network from the calibration lines, which lines these are, and the networks that have such maps."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from cmrrecon.data import CartesianMask, LineMask
from cmrrecon.networks.base import WindowNetwork
from cmrrecon.networks.cost import Footprint, Kind, footprint, training_bytes
from cmrrecon.networks.layers import recomputed, safe_rss
from cmrrecon.operators.fourier import ifft2c

# Images whose activations are kept at once where they are computed again in the backward pass.
KEPT_TOGETHER = 4


class SensitivityNetwork(nn.Module):
    """Each coil image of the calibration lines goes through a U-Net; maps are the results over their RSS over the coils.

    The lines are those of the frames themselves; separate reference lines and supplied maps are not
    used.

    Parameters
    ----------
    norm_unet : maps complex images (sample, frame, h, w) of any scale to as many
    frames : frames of one coil that the U-Net sees together (PromptMR+), or 1: every frame for itself, so that neighbouring
        windows can share the maps
    """

    def __init__(self, norm_unet: nn.Module, frames: int = 1) -> None:
        super().__init__()
        self.norm_unet, self.frames = norm_unet, frames

    def forward(
        self,
        kspace: Tensor,
        mask: Tensor,
        acs: int | None = None,
        together: int | None = None,
        again: bool = False,
    ) -> Tensor:
        """Maps (batch, frame, coil, y, x) of k-space of that shape, with any number of frames if each is for itself; see `base`.

        Parameters
        ----------
        together : coil images that go through the U-Net at once: fewer need less memory, and give the same. None: all
        again : compute the U-Net's activations again in the backward pass, a few images at once
        """
        images = ifft2c((kspace * calibration_mask(mask.mT, acs).mT).mT)
        # One sample of the U-Net a coil, with one frame or all frames as channels.
        batch, frames, coils, h, w = images.shape
        samples = (
            images.reshape(-1, 1, h, w)
            if self.frames == 1
            else images.transpose(1, 2).reshape(-1, frames, h, w)
        )
        parts = torch.split(samples, together or (KEPT_TOGETHER if again else len(samples)))
        maps = torch.cat([recomputed(again, self._through, part) for part in parts])
        maps = (
            maps.view(images.shape)
            if self.frames == 1
            else maps.view(batch, coils, frames, h, w).transpose(1, 2)
        )
        size = safe_rss(maps)[:, :, None]

        return (maps / torch.where(size > 0, size, 1)).mT

    def _through(self, samples: Tensor) -> Tensor:
        """The images alone, of U-Nets that give more."""
        out: Tensor | tuple[Tensor, ...] = self.norm_unet(samples)
        return out if isinstance(out, Tensor) else out[0]


class UnrolledNetwork(WindowNetwork):
    """A network that goes back and forth between k-space and images, with coil maps of its own making."""

    gives_kspace: ClassVar[bool] = True
    sens_net: SensitivityNetwork

    @property
    def sensitivity(self) -> SensitivityNetwork:
        return self.sens_net

    def window_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        ghost = self.ghost()
        kspace, mask = _window(self.frames, coils, y, x, lines)
        return footprint(
            lambda *given: ghost(given[0], given[1], acs, given[2]), kspace, mask, kspace
        )

    def maps_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        window = _window(self.sens_net.frames, coils, y, x, lines)
        return footprint(self.ghost().sens_net, *window, acs=acs, together=1)

    def training_memory(self, coils: int, y: int, x: int, acs: int) -> int:
        ghost = self.ghost()
        # Masks may differ from frame to frame.
        window = (
            ((1, self.frames, coils, y, x), torch.complex64),
            ((1, self.frames, y, 1), torch.bool),
        )
        return training_bytes(lambda kspace, mask: ghost(kspace, mask, acs).stages, *window)


def _window(frames: int, coils: int, y: int, x: int, lines: bool) -> tuple[Kind, Kind]:
    """Shapes and types of k-space and mask."""
    return ((1, frames, coils, y, x), torch.complex64), ((1, 1, y, 1 if lines else x), torch.bool)


def calibration_mask(mask: Tensor, acs: int | None) -> Tensor:
    """Which samples calibrate the maps: (batch, frame|1, 1, h|1, w), bool, of a mask (batch, frame|1, h|1, w).

    With `acs` given the central lines, or of sample masks the measured part of the central square. Without, of line masks the
    central lines that all frames measured, as many on either side; of sample masks the largest central square that all
    frames measured; at least one line or sample.
    """
    h, w = mask.shape[-2:]
    if h == 1:
        size = (
            central_lines(mask[:, :, 0].all(1))
            if acs is None
            else torch.full(mask.shape[:1], min(acs, w), device=mask.device)
        )
        inside = central(size, w, (w - size + 1) // 2)
        return inside[:, None, None, None, :]

    size = (
        central_square(mask.all(1))
        if acs is None
        else torch.full(mask.shape[:1], min(acs, h, w), device=mask.device)
    )
    rows, columns = (central(size, n, n // 2 - size // 2) for n in (h, w))

    return (rows[:, None, None, :, None] & columns[:, None, None, None, :]) & mask[:, :, None]


def calibration_size(mask: CartesianMask) -> int:
    """The `acs` of a series with this mask, for all its windows alike: what all its frames measured."""
    measured = mask.samples.all(0, keepdim=True)
    if isinstance(mask, LineMask):
        return int(central_lines(measured[..., 0]))
    return int(central_square(measured))


def central(size: Tensor, length: int, start: Tensor) -> Tensor:
    """(batch, length), true on `size` places from `start`."""
    places = torch.arange(length, device=size.device)
    return (places >= start[:, None]) & (places < (start + size)[:, None])


def central_lines(measured: Tensor) -> Tensor:
    """(batch,): twice the shorter of the runs of measured lines to the left and to the right of the middle of (batch, w), at least 1."""
    middle = measured.shape[1] // 2
    runs = [
        side.int().cumprod(1).sum(1)
        for side in (measured[:, :middle].flip(1), measured[:, middle:])
    ]
    return (2 * torch.minimum(*runs)).clamp(min=1)


def central_square(measured: Tensor) -> Tensor:
    """(batch,): the side of the largest central square within (batch, h, w) that was measured, at least 1."""
    h, w = measured.shape[1:]
    side = torch.ones(len(measured), dtype=torch.long, device=measured.device)
    whole = torch.ones(len(measured), dtype=torch.bool, device=measured.device)
    for size in range(1, min(h, w) + 1):
        top, left = h // 2 - size // 2, w // 2 - size // 2
        whole = whole & measured[:, top : top + size, left : left + size].all(-1).all(-1)
        side[whole] = size
    return side
