"""PromptMR: unrolled reconstruction of adjacent frames with prompted U-Nets (Xin et al., STACOM 2023, arXiv 2309.13839).

Two variants of the same layers and state dict, y being the measured k-space, M the mask, F the Fourier transform, S the maps:

    "kspace"  k <- k - lambda M (k - y) - F S U(S^H F^-1 k),  k = y at first         (checkpoints of the PromptMR repository)
    "image"   x <- x - lambda (A^H A x - A^H y) - U(x),  A = M F S,  x = A^H y at first  (plain ones of the PromptMR-plus repository)
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmrrecon.networks.interface import Output, check_window, safe_rss
from cmrrecon.networks.prompt_unet import CASCADE_UNET, SENSITIVITY_UNET, NormPromptUnet, UnetConfig
from cmrrecon.networks.sensitivity import SensitivityNetwork
from cmrrecon.physics.fourier import fft2c, ifft2c

Variant = Literal["kspace", "image"]


class Cascade(nn.Module):
    """One unrolled step: its U-Net, and lambda."""

    def __init__(self, images_in: int, images_out: int, unet: UnetConfig, shared: nn.PReLU, *, history: int = 0) -> None:
        super().__init__()
        self.dc_weight = nn.Parameter(torch.ones(1))
        self.model = NormPromptUnet(images_in, images_out, unet, shared, history=history)


class PromptMR(nn.Module):
    """See the module; called as `interface` says.

    Parameters
    ----------
    variant : which iteration
    cascades : number of steps
    frames : adjacent frames of a window, an odd number
    unet, sensitivity_unet : sizes of the U-Nets
    checkpointing : keep only the inputs of every cascade for the backward pass and compute the rest again; gradients are the same
    """

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
            "variant": variant, "cascades": cascades, "frames": frames, "unet": asdict(unet), "sensitivity_unet": asdict(sensitivity_unet),
        }  # fmt: skip
        self.variant, self.frames, self.checkpointing = variant, frames, checkpointing
        shared = nn.PReLU()
        self.sens_net = SensitivityNetwork(NormPromptUnet(1, 1, sensitivity_unet, shared))
        self.cascades = nn.ModuleList(Cascade(frames, frames, unet, shared) for _ in range(cascades))

    def forward(self, kspace: Tensor, mask: Tensor, acs: int | None = None, maps: Tensor | None = None) -> Output:
        """Reconstruct the middle frame; `maps` (batch, frame, coil, y, x) if they are known already."""
        check_window(kspace, mask, self.frames)
        if maps is None:
            maps = recomputed(self.checkpointing, self.sens_net, kspace, mask, acs)
        y, m, s = kspace.mT, mask.mT[:, :, None], maps.mT
        middle = self.frames // 2
        if self.variant == "kspace":
            k = y
            for cascade in self.cascades:
                k = recomputed(self.checkpointing, kspace_step, cascade, k, y, m, s)
            k = k[:, middle]
        else:
            x0 = x = combine(ifft2c(y * m), s)
            for cascade in self.cascades:
                x = recomputed(self.checkpointing, image_step, cascade, x, x0, m, s)
            k = fft2c(x[:, middle, None] * s[:, middle])
        return Output(safe_rss(ifft2c(k)).mT, k.mT, maps[:, middle])


def kspace_step(cascade: Cascade, k: Tensor, y: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """One step of the variant "kspace" on (batch, frame, coil, h, w)."""
    update = cascade.model(combine(ifft2c(k), s))[0]
    stepped: Tensor = k - cascade.dc_weight * m * (k - y) - fft2c(update[:, :, None] * s)
    return stepped


def image_step(cascade: Cascade, x: Tensor, x0: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """One step of the variant "image" on (batch, frame, h, w)."""
    stepped: Tensor = x - cascade.dc_weight * (normal(x, m, s) - x0) - cascade.model(x)[0]
    return stepped


def combine(coil_images: Tensor, s: Tensor) -> Tensor:
    """S^H: (batch, frame, coil, h, w) to (batch, frame, h, w)."""
    return (coil_images * s.conj()).sum(2)


def normal(x: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """A^H A x on (batch, frame, h, w), A = M F S."""
    return combine(ifft2c(fft2c(x[:, :, None] * s) * m), s)


def recomputed(again: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments); computed again in the backward pass, instead of keeping what it needs, if `again`."""
    if again and torch.is_grad_enabled():
        return checkpoint(function, *arguments, use_reentrant=False)
    return function(*arguments)
