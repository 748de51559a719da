"""Phase-encoding lines with learnt positions, part of LF-MRI (Ju et al., Med Image Anal 2026).

Like `lf_mri`, this is our interpretation, because no code is public.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cmrrecon.operators.fourier import fftc, ifftc


class LearnableSampling(nn.Module):
    """Phase-encoding lines at learnt positions anywhere in k-space.

    An explicit Fourier matrix along y lets gradients reach the positions p, one for each line::

        E[line, n] = exp(-2 pi i (p[line] - 1/2) (n - N // 2)) / sqrt(N),  n = 0 .. N - 1

    p = 1/2 is the centre of k-space, and p + 1 is the same line as p. The initial lines are evenly
    spaced. If there are as many lines as pixels, they are the lines of the centred Fourier
    transform.

    Parameters
    ----------
    length : int
        N, the number of pixels along y.
    lines : int
        The number of measured lines.
    """

    def __init__(self, *, length: int, lines: int) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"length": length, "lines": lines}
        self.length = length
        self.positions = nn.Parameter(0.5 + (torch.arange(lines) - lines // 2) / lines)

    def matrix(self) -> Tensor:
        """Return E of shape (line, y), complex."""
        pixels = torch.arange(self.length, device=self.positions.device) - self.length // 2
        phase = -2 * torch.pi * (self.positions[:, None] - 0.5) * pixels
        return torch.polar(torch.full_like(phase, self.length**-0.5), phase)

    def forward(self, images: Tensor) -> Tensor:
        """Transform images (coil, y, x), complex, to the lines (coil, line, x) of their k-space."""
        return self.matrix() @ fftc(images, -1)

    def adjoint(self, kspace: Tensor) -> Tensor:
        """Apply the adjoint, not the inverse: from lines (coil, line, x) to images (coil, y, x)."""
        return ifftc(self.matrix().mH @ kspace, -1)
