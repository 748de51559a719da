"""Phase-encoding lines whose positions are learnt, part of LF-MRI (Ju et al., Med Image Anal 2026); our reconstruction, as `lf_mri`."""

from typing import Any

import torch
from torch import Tensor, nn

from cmrrecon.operators.fourier import fftc, ifftc


class LearnableSampling(nn.Module):
    """Phase-encoding lines anywhere in k-space, whose positions are learnt; part of the same unpublished method.

    With an explicit Fourier matrix along y, through which gradients reach the positions p, one a line:

        E[line, n] = exp(-2 pi i (p[line] - 1/2) (n - N // 2)) / sqrt(N),  n = 0 .. N - 1

    p = 1/2 is the centre of k-space, and p + 1 the same line as p. The lines start evenly spaced; as many as pixels are the
    lines of the centred Fourier transform.

    Parameters
    ----------
    length : N, pixels along y
    lines : how many lines are measured
    """

    def __init__(self, *, length: int, lines: int) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"length": length, "lines": lines}
        self.length = length
        self.positions = nn.Parameter(0.5 + (torch.arange(lines) - lines // 2) / lines)

    def matrix(self) -> Tensor:
        """E, (line, y), complex."""
        pixels = torch.arange(self.length, device=self.positions.device) - self.length // 2
        phase = -2 * torch.pi * (self.positions[:, None] - 0.5) * pixels
        return torch.polar(torch.full_like(phase, self.length**-0.5), phase)

    def forward(self, images: Tensor) -> Tensor:
        """Images (coil, y, x), complex, to the lines (coil, line, x) of their k-space."""
        return self.matrix() @ fftc(images, -1)

    def adjoint(self, kspace: Tensor) -> Tensor:
        """Lines (coil, line, x) to images (coil, y, x): not an inverse."""
        return ifftc(self.matrix().mH @ kspace, -1)
