"""Non-Cartesian k-space: the encoding operator, density compensation and gridding.

A trajectory (frame or 1, spoke, sample, 2) consists of positions (y, x) in cycles per field of
view, between -n/2 and n/2 for a matrix of n pixels. K-space has the shape (frame, coil, spoke,
sample), and its mask (frame or 1, spoke, 1). NUFFTs run on the CPU (see `nufft`). The normal
operator, which solvers call repeatedly, runs on the device of the tensors.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from cmrrecon.operators.fourier import centred, fft2c
from cmrrecon.operators.linear import LinearOperator
from cmrrecon.operators.nufft import adjoint, forward
from cmrrecon.tools.errors import UsageError

# After this many passes of the density compensation, images hardly change.
DENSITY_PASSES = 5
# Relative error and grid oversampling of its NUFFTs; a smaller error would not improve the weights.
DENSITY_ACCURACY = (1e-3, 1.25)


class NonCartesianEncoding(LinearOperator):
    """Fourier transform at the positions of a trajectory x coil maps: `A(x)`, `A.H(k)`, `A.N(x)`.

    The forward operator is::

        A(x)[t, c, j] = mask[t, j] / sqrt(ny nx)
                        sum_r maps[c, r] x[t, r] exp(-2 pi i k[t, j] . r / n)

    Pixels r are counted from n // 2, so this is `fft2c`, evaluated at any position. With weights W,
    A.H(k) is A^H W k and A.N(x) is A^H W A x, as in weighted least squares.

    A.N needs no NUFFT. A^H W A is a convolution for each coil, computed by FFTs of about twice the
    matrix. The transform of its kernel is computed once per frame (Toeplitz embedding).

    Parameters
    ----------
    maps : Tensor of shape (coil, y, x), complex
        Coil sensitivity maps.
    trajectory : Tensor of shape (frame or 1, spoke, sample, 2), real
        Positions (y, x) in cycles per field of view.
    mask : Tensor of shape (frame or 1, spoke, 1), bool
        The measured spokes.
    weights : Tensor of shape (frame or 1, spoke, sample) or None
        Non-negative weights, such as the result of `density`; None for ones.

    Raises
    ------
    UsageError
        If the parts do not fit together (`shape-mismatch`). The methods also raise it if finufft is
        not installed (`package-missing`).

    References
    ----------
    Toeplitz embedding: Fessler et al., IEEE Trans Signal Process 2005;53:3393.
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
                f"The maps have shape {tuple(maps.shape)}, "
                f"the trajectory {tuple(trajectory.shape)}, the mask {tuple(mask.shape)}"
                + ("" if weights is None else f", the weights {tuple(weights.shape)}"),
                "Maps (coil, y, x), a trajectory (frame or 1, spoke, sample, 2), a mask (frame or "
                "1, spoke, 1) and weights (frame or 1, spoke, sample) must have the same spokes",
                "Give all of them from the same series",
            )

        self.maps, self.trajectory, self.mask, self.weights = maps, trajectory, mask, weights
        self._frames = max(frames, default=1)
        self._doubled = (fast_length(2 * maps.shape[1]), fast_length(2 * maps.shape[2]))
        self._kernels: dict[int, Tensor] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Map images (frame, y, x) to k-space (frame, coil, spoke, sample).

        Samples that were not measured are zero.
        """
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
        """Map k-space (frame, coil, spoke, sample) to images (frame, y, x) by the weighted adjoint.

        Spokes outside the mask are ignored.
        """
        self._check_frames(len(kspace))
        coils = _coil_images(
            kspace, self.trajectory, self.mask, self.weights, tuple(self.maps.shape[1:])
        )
        return torch.stack([(self.maps.conj() * images).sum(0) for images in coils])

    def N(self, images: Tensor) -> Tensor:
        """Apply the normal operator A.H(A(x)) to images (frame, y, x).

        It processes one coil of one frame at a time; on a GPU, one frame.
        """
        self._check_frames(len(images))
        _, y, x = self.maps.shape
        doubled_y, doubled_x = self._doubled

        # One coil fits into the cache of a CPU; a GPU needs large batches.
        coils_at_once = len(self.maps) if self.maps.is_cuda else 1
        out = []

        for t, image in enumerate(images):
            kernel = self._kernel(t)
            total = torch.zeros_like(image)

            for maps in torch.split(self.maps, coils_at_once):
                # Rows that consist only of padding are not transformed along x.
                padded = torch.fft.fft(
                    torch.fft.fft(maps * image, n=doubled_x, dim=-1), n=doubled_y, dim=-2
                )
                padded *= kernel

                convolved = torch.fft.ifft(torch.fft.ifft(padded, dim=-2)[:, :y], dim=-1)[..., :x]
                total = total + (maps.conj() * convolved).sum(0)

            out.append(total)

        return torch.stack(out)

    def _kernel(self, frame: int) -> Tensor:
        """Compute the transform of the convolution kernel of A^H W A, which is real.

        The kernel is the sum over j of w[j] exp(2 pi i k[j] . r / n) / (ny nx).
        """
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

            # Positions have more cycles in the larger field of view. The ratio may not be an
            # integer, so it needs double precision.
            wider = torch.tensor(
                [m / n for m, n in zip(self._doubled, (y, x), strict=True)], dtype=torch.float64
            )
            kernel = adjoint(
                weights.to(self.maps), points.double() * wider.to(points.device), self._doubled
            )

            kernel *= math.sqrt(math.prod(self._doubled)) / (y * x)

            # The largest lag has no opposite, and no two pixels are that far apart. Without it, the
            # kernel is Hermitian and its transform is real.
            kernel[0], kernel[:, 0] = 0, 0
            self._kernels[frame] = torch.fft.fft2(torch.fft.ifftshift(kernel)).real.clone()

        return self._kernels[frame]

    def _check_frames(self, frames: int) -> None:
        if self._frames not in (1, frames):
            raise UsageError(
                "shape-mismatch",
                f"The trajectory, mask or weights have {self._frames} frames and the data {frames}",
                "Each must have a single frame or the frames of the data",
                "Give the trajectory, mask and weights that belong to these data",
            )


def density(trajectory: Tensor, mask: Tensor, matrix: tuple[int, int]) -> Tensor:
    """Compute the density compensation: the area of k-space that each sample represents.

    The unit is (cycles per field of view)^2, and the area is at most about 1. Each pass divides the
    weights by their weighted sum around each sample. The weighting kernel is the transform of a
    triangle of twice the field of view, which is never negative. This works for any trajectory, and
    positions on a Cartesian grid get weight 1.

    Parameters
    ----------
    trajectory : Tensor of shape (frame or 1, spoke, sample, 2), real
        Positions (y, x) in cycles per field of view.
    mask : Tensor of shape (frame or 1, spoke, 1), bool
        The measured spokes.
    matrix : tuple of int
        Size (y, x) of the image.

    Returns
    -------
    Tensor of shape (frame or 1, spoke, sample), float32
        Weights on the device of the trajectory; zero for spokes that were not measured.

    References
    ----------
    Pipe, Menon, Magn Reson Med 1999;41:179.
    """
    y, x = matrix
    window = (1 - torch.arange(-y, y).abs() / y)[:, None] * (1 - torch.arange(-x, x).abs() / x) * 4

    frames = max(len(trajectory), len(mask))
    weights = trajectory.new_zeros((frames, *trajectory.shape[1:3]), dtype=torch.float32)

    for t in range(frames):
        measured = _at(mask, t)[:, 0]
        points = _at(trajectory, t)[measured].flatten(0, 1).cpu()

        areas = torch.ones(len(points))

        for _ in range(DENSITY_PASSES):
            blurred = window * adjoint(
                areas.to(torch.complex64), 2 * points, (2 * y, 2 * x), DENSITY_ACCURACY
            )
            sums = forward(blurred, 2 * points, DENSITY_ACCURACY).real
            # The sum includes the weight itself; if it is smaller, that is a rounding error.
            areas = areas / torch.maximum(sums, areas)

        weights[t, measured] = areas.to(weights.device).reshape(-1, weights.shape[2])

    return weights


def grid(kspace: Tensor, trajectory: Tensor, mask: Tensor, matrix: tuple[int, int]) -> Tensor:
    """Grid k-space with density compensation, the counterpart of a zero-filled inverse transform.

    Parameters
    ----------
    kspace : Tensor of shape (frame, coil, spoke, sample), complex
        K-space.
    trajectory : Tensor of shape (frame or 1, spoke, sample, 2), real
        Positions (y, x) in cycles per field of view.
    mask : Tensor of shape (frame or 1, spoke, 1), bool
        The measured spokes.
    matrix : tuple of int
        Size (y, x) of the images.

    Returns
    -------
    Tensor of shape (frame, coil, y, x), complex
        Coil images.
    """
    return torch.stack(
        list(_coil_images(kspace, trajectory, mask, density(trajectory, mask, matrix), matrix))
    )


def average_images(
    kspace: Tensor, trajectory: Tensor, mask: Tensor, matrix: tuple[int, int]
) -> Tensor:
    """Compute coil images (coil, y, x) from the samples of all frames, as if they were one frame.

    Parameters are those of `grid`.
    """
    frames, _, spokes, samples = kspace.shape
    trajectory, mask = trajectory.expand(frames, -1, -1, -1), mask.expand(frames, -1, -1)

    merged = density(
        trajectory.reshape(1, frames * spokes, samples, 2),
        mask.reshape(1, frames * spokes, 1),
        matrix,
    )

    weights = merged.reshape(frames, spokes, samples)

    images = kspace.new_zeros((kspace.shape[1], *matrix))
    for part in _coil_images(kspace, trajectory, mask, weights, matrix):
        images += part

    return images


def calibration(
    kspace: Tensor, trajectory: Tensor, mask: Tensor, matrix: tuple[int, int], size: int = 24
) -> Tensor:
    """Compute the centre (coil, cy, cx) of the Cartesian k-space of all frames together.

    It is used to calibrate the coils. Parameters are those of `grid`, and `size`, the value of cy
    and cx unless the matrix is smaller.
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
    """Yield the weighted adjoint of each frame, (coil, y, x)."""
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
    """Return the smallest length of at least `least` for which FFTs are fast.

    This is a multiple of 16 without prime factors above 7.
    """
    sixteenths = math.ceil(least / 16)
    while (2 * 3 * 5 * 7) ** 16 % sixteenths:
        sixteenths += 1
    return 16 * sixteenths


def _at(tensor: Tensor, frame: int) -> Tensor:
    """Return the values of one frame, from a tensor that may have one frame for all."""
    return tensor[frame if len(tensor) > 1 else 0]
