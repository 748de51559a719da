"""Non-Cartesian k-space: samples at any positions, through finufft (the optional extra `nufft`), and what is made of them.

A trajectory (frame|1, spoke, sample, 2) gives positions (y, x) in cycles per field of view: between -n/2 and n/2 for a matrix of
n pixels. K-space is (frame, coil, spoke, sample), its mask (frame|1, spoke, 1). finufft is used directly and not through
mri-nufft: two of its functions are all that is needed. NUFFTs run on the CPU whatever the device of the tensors; the
normal operator, which solvers call again and again, runs on their device.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from cmrrecon.operators.fourier import centred, fft2c
from cmrrecon.operators.linear import LinearOperator
from cmrrecon.operators.nufft import adjoint, forward
from cmrrecon.tools.errors import UsageError

# Density compensation: passes after which images hardly change any more, and the error that is small enough for weights.
DENSITY_PASSES = 5
DENSITY_ACCURACY = (1e-3, 1.25)


class NonCartesianEncoding(LinearOperator):
    """Coil maps x Fourier transform at the positions of a trajectory: `A(x)`, its adjoint `A.H(k)` and `A.N(x)` = `A.H(A(x))`.

    A(x)[t, c, j] = mask[t, j] sum over r of maps[c, r] x[t, r] exp(-2 pi i k[t, j] . r / n) / sqrt(ny nx), with pixels r counted from
    n // 2: the transform `fft2c`, at positions between its samples too. With weights, A.H and A.N are those of weighted least
    squares, A^H W k and A^H W A x.

    A.N needs no NUFFT: A^H W A is a convolution for each coil, done with FFTs of about twice the matrix and the transform of
    its kernel, which is computed once a frame (Toeplitz embedding: Fessler et al., IEEE Trans Signal Process 2005;53:3393).

    Parameters
    ----------
    maps : Tensor (coil, y, x), complex
    trajectory : Tensor (frame|1, spoke, sample, 2), cycles per field of view, last axis (y, x)
    mask : Tensor (frame|1, spoke, 1), bool: which spokes were measured
    weights : Tensor (frame|1, spoke, sample), not negative, such as those of `density`; None for ones

    Raises
    ------
    UsageError : the parts do not belong together; when it is used, that finufft is not installed
    """

    def __init__(
        self, maps: Tensor, trajectory: Tensor, mask: Tensor, weights: Tensor | None = None
    ) -> None:
        spokes = trajectory.shape[1:2]
        frames = {len(part) for part in (trajectory, mask, weights) if part is not None} - {1}
        fits = maps.ndim == 3 and trajectory.ndim == 4 and trajectory.shape[3] == 2
        fits = (
            fits
            and mask.shape[1:] == (*spokes, 1)
            and (weights is None or weights.shape[1:] == trajectory.shape[1:3])
        )

        if not fits or len(frames) > 1:
            raise UsageError(
                "shape-mismatch",
                f"The maps have shape {tuple(maps.shape)}, the trajectory {tuple(trajectory.shape)}, the mask {tuple(mask.shape)}"
                + ("" if weights is None else f", the weights {tuple(weights.shape)}"),
                "Maps (coil, y, x), a trajectory (frame or 1, spoke, sample, 2), a mask (frame or 1, spoke, 1) "
                "and weights (frame or 1, spoke, sample) of the same spokes are needed",
                "Give those of the same series",
            )

        self.maps, self.trajectory, self.mask, self.weights = maps, trajectory, mask, weights
        self._frames = max(frames, default=1)
        self._doubled = (fast_length(2 * maps.shape[1]), fast_length(2 * maps.shape[2]))
        self._kernels: dict[int, Tensor] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Images (frame, y, x) to k-space (frame, coil, spoke, sample), zero where not measured."""
        self._check_frames(len(images))
        kspace = self.maps.new_zeros((len(images), len(self.maps), *self.trajectory.shape[1:3]))
        for t, image in enumerate(images):
            measured = _at(self.mask, t)[:, 0]
            points = _at(self.trajectory, t)[measured]
            kspace[t][:, measured] = forward(self.maps * image, points.flatten(0, 1)).reshape(
                len(self.maps), *points.shape[:2]
            )
        return kspace

    def H(self, kspace: Tensor) -> Tensor:
        """Adjoint, weighted: k-space (frame, coil, spoke, sample) to images (frame, y, x); spokes outside the mask are ignored."""
        self._check_frames(len(kspace))
        coils = _coil_images(
            kspace, self.trajectory, self.mask, self.weights, tuple(self.maps.shape[1:])
        )
        return torch.stack([(self.maps.conj() * images).sum(0) for images in coils])

    def N(self, images: Tensor) -> Tensor:
        """Normal operator A.H(A(x)) on images (frame, y, x), holding one coil of one frame at a time (on a GPU, one frame)."""
        self._check_frames(len(images))
        _, y, x = self.maps.shape
        doubled_y, doubled_x = self._doubled

        # One coil fits into the cache of a CPU; a GPU wants much to do at once.
        together = len(self.maps) if self.maps.is_cuda else 1
        out = []

        for t, image in enumerate(images):
            kernel = self._kernel(t)
            total = torch.zeros_like(image)

            for maps in torch.split(self.maps, together):
                # Rows and columns that are only padding are not transformed.
                padded = torch.fft.fft(
                    torch.fft.fft(maps * image, n=doubled_x, dim=-1), n=doubled_y, dim=-2
                )
                padded *= kernel

                convolved = torch.fft.ifft(torch.fft.ifft(padded, dim=-2)[:, :y], dim=-1)[..., :x]
                total = total + (maps.conj() * convolved).sum(0)

            out.append(total)

        return torch.stack(out)

    def _kernel(self, frame: int) -> Tensor:
        """Transform, real, of the convolution kernel of A^H W A: sum over j of w[j] exp(2 pi i k[j] . r / n) / (ny nx)."""
        frame = frame if self._frames > 1 else 0

        if frame not in self._kernels:
            y, x = self.maps.shape[1:]
            measured = _at(self.mask, frame)[:, 0]
            points = _at(self.trajectory, frame)[measured].flatten(0, 1)

            weights = (
                torch.ones_like(points[:, 0])
                if self.weights is None
                else _at(self.weights, frame)[measured].flatten()
            )

            # A larger field of view has more cycles; in double precision, as the quotient is no whole number.
            wider = torch.tensor(
                [m / n for m, n in zip(self._doubled, (y, x), strict=True)], dtype=torch.float64
            )
            kernel = adjoint(
                weights.to(self.maps), points.double() * wider.to(points.device), self._doubled
            )

            kernel *= math.sqrt(math.prod(self._doubled)) / (y * x)

            # The largest lag has no opposite one, and never meets two pixels. Without them the kernel is Hermitian and its transform real.
            kernel[0], kernel[:, 0] = 0, 0
            self._kernels[frame] = torch.fft.fft2(torch.fft.ifftshift(kernel)).real.clone()

        return self._kernels[frame]

    def _check_frames(self, frames: int) -> None:
        if self._frames not in (1, frames):
            raise UsageError(
                "shape-mismatch",
                f"The trajectory, mask or weights have {self._frames} frames and the data {frames}",
                "They must have as many frames as the data, or one for all",
                "Cut all to the same frames",
            )


def density(trajectory: Tensor, mask: Tensor, matrix: tuple[int, int]) -> Tensor:
    """Density compensation: the area of k-space in (cycles per field of view)^2 that each sample stands for, at most about 1.

    Divides the weights again and again by their own sum around each sample, weighed with a kernel as wide as the field of view
    demands: the transform of a triangle of twice the field of view, which is never negative. So it works for any
    trajectory, and positions on a Cartesian grid have weight 1 (Pipe, Menon, Magn Reson Med 1999;41:179).

    Parameters
    ----------
    trajectory : Tensor (frame|1, spoke, sample, 2)
    mask : Tensor (frame|1, spoke, 1), bool
    matrix : (y, x)

    Returns
    -------
    Tensor (frame|1, spoke, sample) float32, on the device of the trajectory: zero for spokes that were not measured
    """
    y, x = matrix
    window = (1 - torch.arange(-y, y).abs() / y)[:, None] * (1 - torch.arange(-x, x).abs() / x) * 4

    frames = max(len(trajectory), len(mask))
    weights = trajectory.new_zeros((frames, *trajectory.shape[1:3]), dtype=torch.float32)

    for t in range(frames):
        measured = _at(mask, t)[:, 0]
        points = _at(trajectory, t)[measured].flatten(0, 1).cpu()

        found = torch.ones(len(points))

        for _ in range(DENSITY_PASSES):
            blurred = window * adjoint(
                found.to(torch.complex64), 2 * points, (2 * y, 2 * x), DENSITY_ACCURACY
            )
            around = forward(blurred, 2 * points, DENSITY_ACCURACY).real
            # The weight itself is part of the sum; below it is only rounding.
            found = found / torch.maximum(around, found)

        weights[t, measured] = found.to(weights.device).reshape(-1, weights.shape[2])

    return weights


def grid(kspace: Tensor, trajectory: Tensor, mask: Tensor, matrix: tuple[int, int]) -> Tensor:
    """Density-compensated adjoint, what a zero-filled inverse transform is for Cartesian k-space.

    Parameters
    ----------
    kspace : Tensor (frame, coil, spoke, sample), complex
    trajectory, mask, matrix : see `density`

    Returns
    -------
    Tensor (frame, coil, y, x)
    """
    return torch.stack(
        list(_coil_images(kspace, trajectory, mask, density(trajectory, mask, matrix), matrix))
    )


def average_images(
    kspace: Tensor, trajectory: Tensor, mask: Tensor, matrix: tuple[int, int]
) -> Tensor:
    """Coil images (coil, y, x) of the samples of all frames together, as if they were one. Parameters as `grid`."""
    frames, _, spokes, samples = kspace.shape
    trajectory, mask = trajectory.expand(frames, -1, -1, -1), mask.expand(frames, -1, -1)

    together = density(
        trajectory.reshape(1, frames * spokes, samples, 2),
        mask.reshape(1, frames * spokes, 1),
        matrix,
    )

    weights = together.reshape(frames, spokes, samples)

    images = kspace.new_zeros((kspace.shape[1], *matrix))
    for part in _coil_images(kspace, trajectory, mask, weights, matrix):
        images += part

    return images


def calibration(
    kspace: Tensor, trajectory: Tensor, mask: Tensor, matrix: tuple[int, int], size: int = 24
) -> Tensor:
    """The centre of Cartesian k-space that all frames together have, for coil calibration: (coil, cy, cx).

    Parameters
    ----------
    kspace, trajectory, mask, matrix : see `grid`
    size : cy and cx, at most as many as the matrix has
    """
    y, x = matrix
    full = fft2c(average_images(kspace, trajectory, mask, matrix))
    return full[:, centred(y, min(size, y)), centred(x, min(size, x))].clone()


def _coil_images(
    kspace: Tensor,
    trajectory: Tensor,
    mask: Tensor,
    weights: Tensor | None,
    matrix: tuple[int, ...],
) -> Iterator[Tensor]:
    """Weighted adjoint of each frame, (coil, y, x)."""
    y, x = matrix
    for t, frame in enumerate(kspace):
        measured = _at(mask, t)[:, 0]
        samples = (
            frame[:, measured]
            if weights is None
            else frame[:, measured] * _at(weights, t)[measured]
        )
        yield adjoint(samples.flatten(1), _at(trajectory, t)[measured].flatten(0, 1), (y, x))


def fast_length(least: int) -> int:
    """The smallest length from `least` on for which FFTs are fast: a multiple of 16 with no prime factor above 7."""
    sixteenths = math.ceil(least / 16)
    while (2 * 3 * 5 * 7) ** 16 % sixteenths:
        sixteenths += 1
    return 16 * sixteenths


def _at(tensor: Tensor, frame: int) -> Tensor:
    """This frame, of a tensor that may have one for all."""
    return tensor[frame if len(tensor) > 1 else 0]
