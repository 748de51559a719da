"""Fidelity U-Net: a residual U-Net and a fidelity network in turns (Yu et al., J Clin Med Imaging 2024, no. 1, p. 56, in Chinese).

On magnitude images, x being what the coils and lines gave, for k = 1, 2, .. with the same weights:

    r_k = f_(k-1) + U(f_(k-1)),  f_0 = x                 (learns the noise and the artefacts)
    f_k = fidelity(r_k, x)                               (lets the measured image take part again)

The loss looks at every r_k and f_k. The paper gives neither the sizes nor, but for a figure, the fidelity network; this is our
reading (docs/models.md):

    "convolutions"   fidelity(r, x) = r + convolutions([r, x])
    "closed-form"    fidelity(r, x) = (r + mu x) / (1 + mu), mu > 0 learnt: the minimum of |f - r|^2 + mu |f - x|^2
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
    """r + convolutions([r, x]) on (batch, 1, y, x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, r: Tensor, x: Tensor) -> Tensor:
        update: Tensor = self.layers(torch.cat([r, x], 1))
        return r + update


class ClosedFormFidelity(nn.Module):
    """(r + mu x) / (1 + mu); mu = softplus(raw) stays positive."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(1))

    def forward(self, r: Tensor, x: Tensor) -> Tensor:
        mu = functional.softplus(self.raw)
        return (r + mu * x) / (1 + mu)


class FidelityUNet(MagnitudeNetwork):
    """See the module; called as `base` says. `Output.images` are r_1, f_1, r_2, f_2, ..; the last is the image.

    Parameters
    ----------
    frames : adjacent frames of a window, an odd number; all calibrate the coils, only the middle one is seen
    channels, pools : of the U-Net, see `UnetBody`
    repeats : how often both networks come in turn, once or more
    fidelity : which fidelity network
    fidelity_channels : of its convolutions

    Raises
    ------
    UsageError : no repeat
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
                f"{repeats} repeats were asked for",
                "The networks must take part once or more",
                "Ask for 1, 2 or 3 repeats",
            )

        self.config: dict[str, Any] = {
            "frames": frames, "channels": channels, "pools": pools, "repeats": repeats, "fidelity": fidelity,
            "fidelity_channels": fidelity_channels,
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
