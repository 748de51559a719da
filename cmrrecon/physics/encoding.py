"""The one linear operator between images and multi-coil Cartesian k-space."""

import torch
from torch import Tensor

from cmrrecon.errors import UsageError
from cmrrecon.physics.fourier import fft2c, fftc, ifft2c, ifftc


class Encoding:
    """Sampling x Fourier transform x coil maps, frame by frame: `A(x)`, its adjoint `A.H(k)` and `A.N(x)` = `A.H(A(x))`.

    A(x)[t, c] = mask[t] * fft2c(maps[c] * x[t])   (Pruessmann et al., Magn Reson Med 1999;42:952)

    Parameters
    ----------
    maps : Tensor (coil, y, x), complex
    mask : Tensor (frame|1, y, x|1), bool

    Raises
    ------
    UsageError : maps and mask do not belong together
    """

    def __init__(self, maps: Tensor, mask: Tensor) -> None:
        if maps.ndim != 3 or mask.ndim != 3 or mask.shape[1] != maps.shape[1] or mask.shape[2] not in (1, maps.shape[2]):
            raise UsageError(
                f"The maps have shape {tuple(maps.shape)} and the mask {tuple(mask.shape)}",
                "Maps (coil, y, x) and a mask (frame or 1, y, x or 1) with the same y and x are needed",
                "Give maps and mask of the same series",
            )
        self.maps, self.mask = maps, mask

    def _frame_mask(self, frame: int) -> Tensor:
        return self.mask[frame if self.mask.shape[0] > 1 else 0]

    def _check_frames(self, frames: int) -> None:
        if self.mask.shape[0] not in (1, frames):
            raise UsageError(
                f"The mask has {self.mask.shape[0]} frames and the data {frames}",
                "A mask must have as many frames as the data, or one for all",
                "Cut both to the same frames",
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Images (frame, y, x) to k-space (frame, coil, y, x), zero where not measured."""
        self._check_frames(images.shape[0])
        kspace = self.maps.new_empty((images.shape[0], *self.maps.shape))
        for t, image in enumerate(images):
            kspace[t] = fft2c(self.maps * image) * self._frame_mask(t)
        return kspace

    def H(self, kspace: Tensor) -> Tensor:
        """Adjoint: k-space (frame, coil, y, x) to images (frame, y, x); samples outside the mask are ignored."""
        self._check_frames(kspace.shape[0])
        return torch.stack([(self.maps.conj() * ifft2c(k * self._frame_mask(t))).sum(0) for t, k in enumerate(kspace)])

    def N(self, images: Tensor) -> Tensor:
        """Normal operator A.H(A(x)) on images (frame, y, x), holding one frame of k-space at a time.

        Along a readout that is sampled alike everywhere the transform and its inverse cancel, so a line mask
        needs transforms along y only.
        """
        self._check_frames(images.shape[0])
        dims: tuple[int, ...] = (-2,) if self.mask.shape[-1] == 1 else (-2, -1)
        out = []
        for t, image in enumerate(images):
            kspace = fftc(self.maps * image, dims) * self._frame_mask(t)
            out.append((self.maps.conj() * ifftc(kspace, dims)).sum(0))
        return torch.stack(out)
