"""Fidelity U-Net: a residual U-Net that alternates with a fidelity network.

It works on magnitude images. With the initial image x, and the same weights for k = 1, 2, ..., it
computes::

    r_k = f_(k-1) + U(f_(k-1)),  f_0 = x            (learns noise and artefacts)
    f_k = fidelity(r_k, x)                          (brings the measured image back in)

The loss compares every r_k and f_k with the target. The paper does not state sizes, and shows the
fidelity network only in a figure; this is our interpretation (docs/models.md)::

    "convolutions"   fidelity(r, x) = r + convolutions([r, x])
    "closed-form"    fidelity(r, x) = (r + mu x) / (1 + mu) with a learnt mu > 0,
                     the minimiser of |f - r|^2 + mu |f - x|^2

References: Yu et al., J Clin Med Imaging 2024, no. 1, p. 56 (in Chinese).
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmrrecon.networks.base import Output
from cmrrecon.networks.combined import MagnitudeNetwork
from cmrrecon.networks.layers import standardise
from cmrrecon.networks.unet import UnetBody
from cmrrecon.tools.errors import UsageError

Fidelity = Literal["convolutions", "closed-form"]


class ConvolutionFidelity(nn.Module):
    """Computes `r + convolutions([r, x])` on (batch, 1, y, x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, r: Tensor, x: Tensor) -> Tensor:
        update: Tensor = self.layers(torch.cat([r, x], 1))
        return r + update


class ClosedFormFidelity(nn.Module):
    """Computes `(r + mu x) / (1 + mu)`, where `mu = softplus(raw)` stays positive."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(1))

    def forward(self, r: Tensor, x: Tensor) -> Tensor:
        mu = functional.softplus(self.raw)
        return (r + mu * x) / (1 + mu)


class FidelityUNet(MagnitudeNetwork):
    """The network described in the module; for calling it see `WindowNetwork`.

    `Output.images` are r_1, f_1, r_2, f_2, ...; the last one is the result.

    Parameters
    ----------
    frames : int
        The number of adjacent frames in a window, odd. All calibrate the coils; only the middle one
        is reconstructed.
    channels, pools : int
        The sizes of the U-Net; see `UnetBody`.
    repeats : int
        The number of times the two networks alternate, at least once.
    fidelity : str
        "convolutions" or "closed-form".
    fidelity_channels : int
        The number of channels in the convolutions of the fidelity network.

    Raises
    ------
    UsageError
        If `repeats` is less than one (`option-value`).
    """

    def __init__(
        self,
        *,
        frames: int = 1,
        channels: int = 32,
        pools: int = 4,
        repeats: int = 2,
        fidelity: Fidelity = "convolutions",
        fidelity_channels: int = 32,
    ) -> None:
        super().__init__()
        if repeats < 1:
            raise UsageError(
                "option-value",
                f"{repeats} repeats were requested",
                "At least one repeat is needed",
                "Choose 1, 2 or 3 repeats",
            )

        self.config: dict[str, Any] = {
            "frames": frames, "channels": channels, "pools": pools, "repeats": repeats,
            "fidelity": fidelity, "fidelity_channels": fidelity_channels,
        }  # fmt: skip
        self.frames, self.repeats = frames, repeats
        self.unet = UnetBody(1, 1, channels, pools)
        self.fidelity = (
            ConvolutionFidelity(fidelity_channels)
            if fidelity == "convolutions"
            else ClosedFormFidelity()
        )

    def forward_image(self, x: Tensor) -> Output:
        standard, mean, std = standardise(x, (1, 2))
        given = present = standard[:, None]
        stages = []

        for _ in range(self.repeats):
            residual = present + self.unet(present)
            present = self.fidelity(residual, given)
            stages += [residual, present]

        images = tuple(stage[:, 0] * std + mean for stage in stages)
        return Output(images[-1], images=images)
