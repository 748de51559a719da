"""PromptMR: unrolled reconstruction of adjacent frames with prompted U-Nets.

There are two variants with the same layers and state dict. With the measured k-space y, the mask M,
the Fourier transform F and the coil maps S, they are::

    "kspace"  k <- k - lambda M (k - y) - F S U(S^H F^-1 k),  starting from k = y
    "image"   x <- x - lambda (A^H A x - A^H y) - U(x),  A = M F S,  starting from x = A^H y

The checkpoints of the PromptMR repository belong to "kspace", and the plain PromptMR checkpoints of
the PromptMR-plus repository to "image".

References: Xin et al., STACOM 2023, arXiv 2309.13839.
"""

from dataclasses import asdict
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cmrrecon.networks.base import Output, check_window
from cmrrecon.networks.layers import recomputed, safe_rss
from cmrrecon.networks.prompt_unet import CASCADE_UNET, SENSITIVITY_UNET, NormPromptUnet, UnetConfig
from cmrrecon.networks.sensitivity import SensitivityNetwork, UnrolledNetwork

Variant = Literal["kspace", "image"]


class Cascade(nn.Module):
    """One unrolled step: its U-Net and lambda."""

    def __init__(
        self,
        images_in: int,
        images_out: int,
        unet: UnetConfig,
        shared: nn.PReLU,
        *,
        history: int = 0,
    ) -> None:
        super().__init__()
        self.dc_weight = nn.Parameter(torch.ones(1))
        self.model = NormPromptUnet(images_in, images_out, unet, shared, history=history)


class PromptMR(UnrolledNetwork):
    """The network described in the module; for calling it see `WindowNetwork`.

    Parameters
    ----------
    variant : str
        The iteration: "kspace" or "image".
    cascades : int
        The number of unrolled steps.
    frames : int
        The number of adjacent frames in a window, odd.
    unet, sensitivity_unet : UnetConfig
        The sizes of the U-Nets in the cascades and for the maps.
    checkpointing : bool
        Keep only the inputs of every cascade for the backward pass and recompute the rest. The
        gradients are the same.
    """

    can_checkpoint: ClassVar[bool] = True

    def __init__(
        self,
        *,
        variant: Variant = "kspace",
        cascades: int = 12,
        frames: int = 5,
        unet: UnetConfig = CASCADE_UNET,
        sensitivity_unet: UnetConfig = SENSITIVITY_UNET,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "variant": variant, "cascades": cascades, "frames": frames,
            "unet": asdict(unet), "sensitivity_unet": asdict(sensitivity_unet),
        }  # fmt: skip
        self.variant, self.frames, self.checkpointing = variant, frames, checkpointing

        shared = nn.PReLU()
        self.sens_net = SensitivityNetwork(NormPromptUnet(1, 1, sensitivity_unet, shared))
        self.cascades = nn.ModuleList(
            Cascade(frames, frames, unet, shared) for _ in range(cascades)
        )

    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, maps: Tensor | None = None
    ) -> Output:
        """Reconstruct the middle frame; see `WindowNetwork.forward`."""
        check_window(kspace, mask, self.frames)
        if maps is None:
            maps = self.sens_net(kspace, mask, acs, again=self.checkpointing)
        y, m, s = enter(kspace, mask, maps)
        middle = self.frames // 2

        if self.variant == "kspace":
            k = y
            for cascade in self.cascades:
                k = recomputed(self.checkpointing, kspace_step, cascade, k, y, m, s)
            k = k[:, middle]
        else:
            x0 = x = combine(to_images(y * m, m), s)
            for cascade in self.cascades:
                x = recomputed(self.checkpointing, image_step, cascade, x, x0, m, s)
            k = to_kspace(x[:, middle, None] * s[:, middle], m)

        image, k = leave(k, m)
        return Output(image, k, maps[:, middle])


def kspace_step(cascade: Cascade, k: Tensor, y: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """Do one step of the variant "kspace" on (batch, frame, coil, h, w)."""
    update = corner_first(cascade.model(centre_first(combine(to_images(k, m), s)))[0])
    stepped: Tensor = k - cascade.dc_weight * m * (k - y) - to_kspace(update[:, :, None] * s, m)
    return stepped


def image_step(cascade: Cascade, x: Tensor, x0: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """Do one step of the variant "image" on (batch, frame, h, w)."""
    update = corner_first(cascade.model(centre_first(x))[0])
    stepped: Tensor = x - cascade.dc_weight * (normal(x, m, s) - x0) - update
    return stepped


def combine(coil_images: Tensor, s: Tensor) -> Tensor:
    """Apply S^H: combine coil images (batch, frame, coil, h, w) to images (batch, frame, h, w)."""
    return (coil_images * s.conj()).sum(2)


def normal(x: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """Apply `A^H A` with A = M F S to images (batch, frame, h, w), all with corners first."""
    return combine(to_images(to_kspace(x[:, :, None] * s, m) * m, m), s)


# Between cascades, k-space, coil images and maps are (..., x, y) and have their centres in the
# corner, as plain Fourier transforms expect. Centring the few combined images for the U-Nets leads
# to the same result and costs less than centring every coil in every transform.
#
# Line masks never mix columns. Their k-space is transformed to images along x once, at the start,
# and every later transform is along y alone.


def enter(kspace: Tensor, mask: Tensor, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return k-space, mask and maps as they are between cascades; see `WindowNetwork.forward`."""
    y, m, s = corner_first(kspace.mT), corner_first(mask.mT[:, :, None]), corner_first(maps.mT)
    return (torch.fft.ifft(y, dim=-2, norm="ortho") if has_lines(m) else y), m, s


def leave(k: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    """Return RSS images (batch, y, x) and k-space (batch, coil, y, x) of a frame."""
    images = centre_first(safe_rss(to_images(k, m))).mT
    whole = torch.fft.fft(k, dim=-2, norm="ortho") if has_lines(m) else k
    return images, centre_first(whole).mT


def has_lines(m: Tensor) -> bool:
    """Return whether a mask (batch, frame, 1, x|1, y) has whole lines."""
    return m.shape[-2] == 1


def to_kspace(x: Tensor, m: Tensor) -> Tensor:
    """Apply the orthonormal Fourier transform along the axes that the mask undersamples."""
    k: Tensor = torch.fft.fftn(x, dim=(-1,) if has_lines(m) else (-2, -1), norm="ortho")
    return k


def to_images(k: Tensor, m: Tensor) -> Tensor:
    """Apply the inverse of `to_kspace`, which is also its adjoint."""
    x: Tensor = torch.fft.ifftn(k, dim=(-1,) if has_lines(m) else (-2, -1), norm="ortho")
    return x


def corner_first(x: Tensor) -> Tensor:
    """Move the centre of the last two axes to the corner."""
    shifted: Tensor = torch.fft.ifftshift(x, (-2, -1))
    return shifted


def centre_first(x: Tensor) -> Tensor:
    """Move the corner of the last two axes to the centre."""
    shifted: Tensor = torch.fft.fftshift(x, (-2, -1))
    return shifted
