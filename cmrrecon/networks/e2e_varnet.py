"""E2E-VarNet: the end-to-end variational network, a common baseline.

With the measured k-space y, the mask M, the Fourier transform F and the coil maps S, which a U-Net
estimates from the calibration lines, each cascade computes::

    k <- k - eta M (k - y) - F S U(S^H F^-1 k),  starting from k = y

The original network uses single frames. Here adjacent frames can be additional channels of the
U-Nets U.

References: Sriram et al., MICCAI 2020, arXiv 2004.06688.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cmrrecon.networks.base import Output, check_window
from cmrrecon.networks.layers import safe_rss, standardise
from cmrrecon.networks.promptmr import combine
from cmrrecon.networks.sensitivity import SensitivityNetwork, UnrolledNetwork
from cmrrecon.networks.unet import UnetBody
from cmrrecon.operators.fourier import fft2c, ifft2c


class NormUnet(nn.Module):
    """A `UnetBody` on complex images (batch, image, h, w) of any size and scale.

    Real and imaginary parts become channels. Each is standardised by its mean and standard
    deviation over a sample, and the result is scaled back.
    """

    def __init__(self, images: int, channels: int, pools: int) -> None:
        super().__init__()
        self.unet = UnetBody(2 * images, 2 * images, channels, pools)

    def forward(self, x: Tensor) -> Tensor:
        standard, mean, std = standardise(torch.stack([x.real, x.imag], 1), (2, 3, 4))
        parts = self.unet(standard.flatten(1, 2)).view(standard.shape) * std + mean
        return torch.complex(parts[:, 0].contiguous(), parts[:, 1].contiguous())


class VarNetCascade(nn.Module):
    """One cascade: its U-Net and eta."""

    def __init__(self, frames: int, channels: int, pools: int) -> None:
        super().__init__()
        self.model = NormUnet(frames, channels, pools)
        self.dc_weight = nn.Parameter(torch.ones(1))

    def forward(self, k: Tensor, y: Tensor, m: Tensor, s: Tensor) -> Tensor:
        """Compute the next k-space (batch, frame, coil, h, w)."""
        update = self.model(combine(ifft2c(k), s))
        stepped: Tensor = k - self.dc_weight * m * (k - y) - fft2c(update[:, :, None] * s)
        return stepped


class E2EVarNet(UnrolledNetwork):
    """The network described in the module; for calling it see `WindowNetwork`.

    Parameters
    ----------
    cascades : int
        The number of unrolled steps.
    frames : int
        The number of adjacent frames in a window, odd.
    channels, pools : int
        The sizes of the U-Net in every cascade; see `UnetBody`.
    sensitivity_channels, sensitivity_pools : int
        The sizes of the U-Net that computes the maps.
    """

    def __init__(
        self,
        *,
        cascades: int = 12,
        frames: int = 1,
        channels: int = 18,
        pools: int = 4,
        sensitivity_channels: int = 8,
        sensitivity_pools: int = 4,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "cascades": cascades, "frames": frames, "channels": channels, "pools": pools,
            "sensitivity_channels": sensitivity_channels, "sensitivity_pools": sensitivity_pools,
        }  # fmt: skip
        self.frames = frames
        self.sens_net = SensitivityNetwork(NormUnet(1, sensitivity_channels, sensitivity_pools))
        self.cascades = nn.ModuleList(
            VarNetCascade(frames, channels, pools) for _ in range(cascades)
        )

    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, maps: Tensor | None = None
    ) -> Output:
        """Reconstruct the middle frame; see `WindowNetwork.forward`."""
        check_window(kspace, mask, self.frames)
        if maps is None:
            maps = self.sens_net(kspace, mask, acs)

        k = y = kspace.mT
        m, s = mask.mT[:, :, None], maps.mT
        for cascade in self.cascades:
            k = cascade(k, y, m, s)

        middle = self.frames // 2
        k = k[:, middle]
        return Output(safe_rss(ifft2c(k)).mT, k.mT, maps[:, middle])
