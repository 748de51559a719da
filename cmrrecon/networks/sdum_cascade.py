"""One unrolled step of SDUM: new maps, an update by the Restormer, and data consistency."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmrrecon.networks.sdum_labels import PATTERNS
from cmrrecon.networks.sdum_maps import MapNetwork
from cmrrecon.networks.sdum_restormer import Restormer
from cmrrecon.operators.fourier import fft2c, ifft2c


@dataclass(frozen=True)
class Window:
    """What all cascades need to know of a batch of windows.

    Attributes
    ----------
    kspace : Tensor of shape (batch, frame, coil, y, x), complex
        F r, the transform of the normalised images.
    mask : Tensor of shape (batch, frame, y, x|1), bool
        The measured samples.
    patterns : list of int
        Which map of weights each window has.
    label : Tensor of shape (batch, width), or None
        The sinusoids of the labels; None without a condition.
    """

    kspace: Tensor
    mask: Tensor
    patterns: list[int]
    label: Tensor | None


class Cascade(nn.Module):
    """One unrolled step.

    Parameters
    ----------
    frames : int
        The number of frames in a window.
    map_size, map_features : sequence of int
        See `SDUM`.
    restormer : Restormer
        The image network.
    """

    def __init__(
        self,
        frames: int,
        map_size: Sequence[int],
        map_features: Sequence[int],
        restormer: Restormer,
    ) -> None:
        super().__init__()
        self.dc_weight_map = nn.Parameter(torch.ones(len(PATTERNS), frames, 1, *map_size, 1))
        self.coil_sensitivity_model = MapNetwork(map_features)
        self.recon_model = restormer

    def forward(
        self,
        x: Tensor,
        seen: Tensor,
        window: Window,
        skips: tuple[Tensor, ...],
        time: Tensor | None,
        last: bool,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Improve coil images.

        Parameters
        ----------
        x : Tensor of shape (batch, frame, coil, y, x), complex
            The coil images.
        seen : Tensor of the shape of `x`
            The coil images from which the maps are computed.
        window : Window
            The batch.
        skips : tuple of Tensor
            Features of the step before; empty in the first step.
        time : Tensor of shape (batch, width), or None
            The sinusoids of the step; None without a condition.
        last : bool
            Whether this is the last step, which leaves only the middle frame.

        Returns
        -------
        x : Tensor of shape (batch, frame, coil, y, x), complex
            The coil images; (batch, coil, y, x) after the last step.
        skips : tuple of Tensor
            Features for the next step.
        """
        frames = range(x.shape[1])
        maps = [self.coil_sensitivity_model(seen[:, t]) for t in frames]
        combined = torch.stack([(maps[t].conj() * x[:, t]).sum(1) for t in frames], -1)
        channels = torch.view_as_real(combined).flatten(-2)

        v, skips = self.recon_model(channels, skips, time, window.label)
        v = torch.view_as_complex(v.to(channels.dtype).unflatten(-1, (-1, 2)).contiguous())
        weights = self._weights(window)

        if not last:
            steps = [_consistent(x, maps, v[..., t], t, weights[:, t], window) for t in frames]
            return torch.stack([ifft2c(k) for k in steps], 1), skips

        middle = len(frames) // 2
        kspace = torch.zeros_like(x[:, 0])
        for t in frames:
            kspace = kspace + _consistent(x, maps, v[..., t], middle, weights[:, t], window)
        return ifft2c(kspace / len(frames)), skips

    def _weights(self, window: Window) -> Tensor:
        """Return the weights (batch, frame, 1, y, x) of data consistency."""
        sizes = window.kspace.shape[-2:]
        weights = self.dc_weight_map[:, :, 0, :, :, 0]
        for axis, size in zip((2, 3), sizes, strict=True):
            surplus = weights.shape[axis] - size
            if surplus > 0:
                weights = weights.narrow(axis, surplus // 2, size)

        pads: list[int] = []
        for axis, size in zip((3, 2), reversed(sizes), strict=True):
            missing = size - weights.shape[axis]
            pads += [missing // 2, missing - missing // 2]
        padded = functional.pad(weights[window.patterns], pads, "replicate")
        return padded[:, :, None]


def _consistent(
    x: Tensor, maps: list[Tensor], update: Tensor, frame: int, weights: Tensor, window: Window
) -> Tensor:
    """Return the k-space of a frame after an update (batch, y, x), closer to the data."""
    kspace = fft2c(x[:, frame] + maps[frame] * update[:, None])
    weights = weights * window.mask[:, frame, None]
    return kspace + weights * (window.kspace[:, frame] - kspace)
