"""Coil maps that a network computes from calibration lines, and the networks with such maps."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from cmrrecon.data import CartesianMask, LineMask
from cmrrecon.networks.base import WindowNetwork
from cmrrecon.networks.cost import Footprint, Kind, footprint, training_bytes
from cmrrecon.networks.layers import recomputed, safe_rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.tools.arrays import divisor

# The number of images that are recomputed together in the backward pass.
KEPT_TOGETHER = 4


class SensitivityNetwork(nn.Module):
    """Passes each coil image of the calibration lines through a U-Net, then normalises the coils.

    The maps have unit root-sum-of-squares. The calibration lines come from the frames themselves;
    separate reference lines and supplied maps are not used.

    Parameters
    ----------
    norm_unet : nn.Module or None
        Maps complex images (sample, frame, h, w) of any scale to images of the same shape. None
        only normalises the coil images.
    frames : int
        The number of frames of a coil that the U-Net sees together (PromptMR+). With 1 every frame
        is processed separately, so that neighbouring windows can share their maps.
    """

    def __init__(self, norm_unet: nn.Module | None, frames: int = 1) -> None:
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
        """Compute the coil maps.

        Parameters
        ----------
        kspace : Tensor of shape (batch, frame, coil, y, x), complex
            Zero where not measured. If frames are processed separately, any number is allowed.
        mask : Tensor of shape (batch, frame|1, y, x|1), bool
            The measured samples.
        acs : int or None
            See `calibration_mask`.
        together : int or None
            The number of coil images that pass through the U-Net at once. A smaller number needs
            less memory and leads to the same result. None processes all at once.
        again : bool
            Recompute the U-Net's activations in the backward pass, a few images at a time.

        Returns
        -------
        Tensor of shape (batch, frame, coil, y, x), complex
            The maps.
        """
        maps = self.refined(self.first_images(kspace, mask, acs), together, again)
        size = divisor(safe_rss(maps)[:, :, None])
        return (maps / size if torch.is_grad_enabled() else maps.div_(size)).mT

    def first_images(self, kspace: Tensor, mask: Tensor, acs: int | None) -> Tensor:
        """Return the coil images (batch, frame, coil, h, w) of the calibration lines."""
        return ifft2c((kspace * calibration_mask(mask.mT, acs).mT).mT)

    def refined(self, images: Tensor, together: int | None, again: bool) -> Tensor:
        """Return coil images (batch, frame, coil, h, w) after the U-Net.

        Without gradients, the result takes the place of `images`.
        """
        # Each coil is a sample of the U-Net, with one frame or all frames as channels.
        batch, frames, coils, h, w = images.shape
        samples = (
            images.reshape(-1, 1, h, w)
            if self.frames == 1
            else images.transpose(1, 2).reshape(-1, frames, h, w)
        )

        together = together or (KEPT_TOGETHER if again else len(samples))
        parts = torch.split(samples, together)
        if torch.is_grad_enabled():
            maps = torch.cat([recomputed(again, self._images_of, part) for part in parts])
        else:
            maps, memory = samples, self._memory(parts[0])
            for part in parts:
                part.copy_(self._images_of(part, memory))

        if self.frames == 1:
            return maps.view(images.shape)
        return maps.view(batch, coils, frames, h, w).transpose(1, 2)

    def _memory(self, samples: Tensor) -> Tensor | None:
        """Return the memory that all calls of the U-Net share; None if it needs none."""
        return None

    def _images_of(self, samples: Tensor, memory: Tensor | None = None) -> Tensor:
        """Apply the U-Net and return only its images, if it has several outputs."""
        assert self.norm_unet is not None
        out: Tensor | tuple[Tensor, ...] = self.norm_unet(samples)
        return out if isinstance(out, Tensor) else out[0]


class UnrolledNetwork(WindowNetwork):
    """A network that alternates between k-space and images, and computes its own coil maps."""

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

    def training_memory(
        self, coils: int, y: int, x: int, acs: int, *, middle_maps: bool = False
    ) -> int:
        ghost, shared = self.ghost(), middle_maps and self.shares_maps
        # Masks may differ from frame to frame.
        window = (
            ((1, self.frames, coils, y, x), torch.complex64),
            ((1, self.frames, y, 1), torch.bool),
        )

        def trained(kspace: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
            maps = ghost.middle_maps(kspace, mask, acs) if shared else None
            return tuple(ghost(kspace, mask, acs, maps).stages)

        return training_bytes(trained, *window)


def _window(frames: int, coils: int, y: int, x: int, lines: bool) -> tuple[Kind, Kind]:
    """Return the shapes and types of k-space and mask."""
    return ((1, frames, coils, y, x), torch.complex64), ((1, 1, y, 1 if lines else x), torch.bool)


def calibration_mask(mask: Tensor, acs: int | None) -> Tensor:
    """Select the samples that calibrate the coil maps.

    Parameters
    ----------
    mask : Tensor of shape (batch, frame|1, h|1, w), bool
        The measured samples: lines if h is 1, single samples otherwise.
    acs : int or None
        The number of central lines; for sample masks the side of the central square (only its
        measured samples are used). None uses samples that were measured in all frames: for line
        masks the central lines, equally many on either side, and for sample masks the largest
        central square; at least one line or sample.

    Returns
    -------
    Tensor of shape (batch, frame|1, 1, h|1, w), bool
        True for calibration samples.
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
    """Return `acs` for all windows of a series: the central lines or square of all its frames."""
    measured = mask.samples.all(0, keepdim=True)
    if isinstance(mask, LineMask):
        return int(central_lines(measured[..., 0]))
    return int(central_square(measured))


def central(size: Tensor, length: int, start: Tensor) -> Tensor:
    """Return (batch, length), bool, which is true at `size` positions from `start` on."""
    positions = torch.arange(length, device=size.device)
    return (positions >= start[:, None]) & (positions < (start + size)[:, None])


def central_lines(measured: Tensor) -> Tensor:
    """Return the number of central lines of masks (batch, w), equal on either side, at least 1.

    This is twice the shorter of the two runs of measured lines next to the middle.
    """
    middle = measured.shape[1] // 2
    runs = [
        side.int().cumprod(1).sum(1)
        for side in (measured[:, :middle].flip(1), measured[:, middle:])
    ]
    return (2 * torch.minimum(*runs)).clamp(min=1)


def central_square(measured: Tensor) -> Tensor:
    """Return the side of the largest fully measured central square of (batch, h, w), at least 1."""
    h, w = measured.shape[1:]
    side = torch.ones(len(measured), dtype=torch.long, device=measured.device)
    whole = torch.ones(len(measured), dtype=torch.bool, device=measured.device)
    for size in range(1, min(h, w) + 1):
        top, left = h // 2 - size // 2, w // 2 - size // 2
        whole = whole & measured[:, top : top + size, left : left + size].all(-1).all(-1)
        side[whole] = size
    return side
