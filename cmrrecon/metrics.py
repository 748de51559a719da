"""Image metrics: PSNR, SSIM, NMSE and HFEN over the last two axes, batched over the leading ones.

All functions except `ssim_map` compute in float64, because `E[x^2] - E[x]^2` in float32 loses the
variance of an image with a large offset. Scaling, cropping and the choice of the reference are not
decided here; a protocol defines these rules (`evaluation.protocols`).
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from cmrrecon.tools.errors import UsageError

# Side of the SSIM windows in pixels.
WINDOW = 7
K1, K2 = 0.01, 0.03
# Side and standard deviation of the Laplacian of Gaussian in pixels.
LOG_SIZE, LOG_SIGMA = 15, 1.5


def psnr(reference: Tensor, image: Tensor, data_range: float | Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio in dB.

    This is `10 log10(L^2 / mean((reference - image)^2))`. It is infinite for identical images.

    Parameters
    ----------
    reference, image : Tensor of shape (..., y, x), real
        The images to compare.
    data_range : float or Tensor
        `L`, a number or a tensor that broadcasts to the leading axes.

    Returns
    -------
    Tensor of shape (...), float64
        One value for each image.

    Raises
    ------
    UsageError
        If the shapes differ (`shape-mismatch`) or an image is complex (`images-complex`).
    """
    reference, image = _pair(reference, image)
    return 10 * torch.log10(
        _range(data_range, reference) ** 2 / (reference - image).square().mean((-2, -1))
    )


def ssim(reference: Tensor, image: Tensor, data_range: float | Tensor) -> Tensor:
    """Compute the structural similarity, averaged over all 7x7 windows fully inside the image.

    The window is uniform, the covariance is the sample covariance (divided by 48), `K1 = 0.01` and
    `K2 = 0.03`. These are the defaults of `skimage.metrics.structural_similarity`, which all
    CMRxRecon scorers use.

    Parameters
    ----------
    reference, image : Tensor of shape (..., y, x), real
        The images to compare, at least 7x7 pixels.
    data_range : float or Tensor
        `L`, a number or a tensor that broadcasts to the leading axes.

    Returns
    -------
    Tensor of shape (...), float64
        One value for each image.

    Raises
    ------
    UsageError
        If an image is smaller than the window (`images-too-small`), the shapes differ
        (`shape-mismatch`) or an image is complex (`images-complex`).

    References
    ----------
    Wang et al., IEEE Trans Image Process 2004;13:600, equation 13.
    """
    return ssim_map(*_pair(reference, image), data_range).mean((-2, -1))


def ssim_map(reference: Tensor, image: Tensor, data_range: float | Tensor) -> Tensor:
    """Compute the structural similarity of every 7x7 window inside the images.

    Parameters and errors are the same as in `ssim`, but shapes and types are not checked and the
    images keep their precision.

    Returns
    -------
    Tensor of shape (..., y - 6, x - 6)
        One value for each window.
    """
    if min(reference.shape[-2:]) < WINDOW:
        raise UsageError(
            "images-too-small",
            f"The images have shape {tuple(reference.shape)} (..., y, x)",
            f"SSIM needs at least {WINDOW} pixels in y and in x",
            "Score larger images",
        )

    mean_r, mean_i = _window_mean(reference), _window_mean(image)
    sample = WINDOW**2 / (WINDOW**2 - 1)
    variances = sample * (
        _window_mean(reference**2) - mean_r**2 + _window_mean(image**2) - mean_i**2
    )
    covariance = sample * (_window_mean(reference * image) - mean_r * mean_i)

    level = torch.as_tensor(data_range, dtype=reference.dtype, device=reference.device)[
        ..., None, None
    ]
    return similarity(mean_r, mean_i, variances, covariance, level)


def similarity(
    mean_a: Tensor, mean_b: Tensor, variances: Tensor, covariance: Tensor, level: Tensor
) -> Tensor:
    """Compute the structural similarity from the moments of windows.

    Parameters
    ----------
    mean_a, mean_b : Tensor of shape (...)
        The means of both images.
    variances : Tensor of shape (...)
        The sum of both variances.
    covariance : Tensor of shape (...)
        The covariance.
    level : Tensor
        `L`, which broadcasts to the others.

    Returns
    -------
    Tensor of shape (...)
        One value for each window.

    References
    ----------
    Wang et al., IEEE Trans Image Process 2004;13:600, equation 13.
    """
    c1, c2 = (K1 * level) ** 2, (K2 * level) ** 2
    ratio: Tensor = (
        (2 * mean_a * mean_b + c1)
        * (2 * covariance + c2)
        / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    )
    return ratio


def nmse(reference: Tensor, image: Tensor) -> Tensor:
    """Compute the normalised mean square error `||reference - image||^2 / ||reference||^2`.

    Parameters
    ----------
    reference, image : Tensor of shape (..., y, x), real
        The images to compare.

    Returns
    -------
    Tensor of shape (...), float64
        One value for each image.

    Raises
    ------
    UsageError
        If the shapes differ (`shape-mismatch`) or an image is complex (`images-complex`).
    """
    reference, image = _pair(reference, image)
    return (reference - image).square().sum((-2, -1)) / reference.square().sum((-2, -1))


def hfen(reference: Tensor, image: Tensor) -> Tensor:
    """Compute the high-frequency error norm over all images together.

    This is `||LoG(reference) - LoG(image)|| / ||LoG(reference)||`, where LoG is
    `laplacian_of_gaussian`.

    Parameters
    ----------
    reference, image : Tensor of shape (..., y, x), real
        The images to compare.

    Returns
    -------
    Tensor of shape (), float64
        One value for all images.

    Raises
    ------
    UsageError
        If the shapes differ (`shape-mismatch`) or an image is complex (`images-complex`).

    References
    ----------
    Ravishankar and Bresler, IEEE Trans Med Imaging 2011;30:1028, section IV.
    """
    reference, image = _pair(reference, image)
    sharp = laplacian_of_gaussian(reference)
    ratio: Tensor = torch.linalg.vector_norm(
        sharp - laplacian_of_gaussian(image)
    ) / torch.linalg.vector_norm(sharp)
    return ratio


def laplacian_of_gaussian(image: Tensor) -> Tensor:
    """Filter with a 15x15 Laplacian of Gaussian with a standard deviation of 1.5 pixels.

    The kernel is `(r^2 - 2 s^2) / s^4 * g(r)` with `g(r) = exp(-r^2 / (2 s^2))` scaled to unit sum.
    Its mean is subtracted, so that the result for a constant image is zero. Edge pixels are
    repeated beyond the border, so that the edge of the field of view does not count as a feature.

    Parameters
    ----------
    image : Tensor of shape (..., y, x), real
        The images to filter.

    Returns
    -------
    Tensor of shape (..., y, x), float64
        The filtered images.
    """
    image = image.to(torch.float64)
    ny, nx = image.shape[-2:]
    position = torch.arange(LOG_SIZE, dtype=torch.float64, device=image.device) - LOG_SIZE // 2
    gauss = torch.exp(-(position**2) / (2 * LOG_SIGMA**2))
    gauss = gauss / gauss.sum()
    curved = (position**2 - LOG_SIGMA**2) / LOG_SIGMA**4 * gauss
    flat = torch.ones_like(gauss)
    mean = 2 * curved.sum() / LOG_SIZE**2

    # The kernel is the sum of three separable products: curved x gauss + gauss x curved - mean x
    # flat. Each product is applied as one matrix along y and one along x.
    terms = ((curved, gauss), (gauss, curved), (-mean * flat, flat))
    return torch.stack(
        [
            _filter_matrix(along_y, ny) @ image @ _filter_matrix(along_x, nx).T
            for along_y, along_x in terms
        ]
    ).sum(0)


def _filter_matrix(taps: Tensor, n: int) -> Tensor:
    """Return the (n, n) matrix that filters an axis with symmetric taps and repeats its edges."""
    offsets = torch.arange(len(taps), device=taps.device) - len(taps) // 2
    source = (torch.arange(n, device=taps.device)[:, None] + offsets).clamp(0, n - 1)
    return taps.new_zeros(n, n).scatter_add_(1, source, taps.expand(n, -1))


def _pair(reference: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return both images in float64; refuse complex ones and different shapes."""
    if reference.shape != image.shape or reference.ndim < 2:
        raise UsageError(
            "shape-mismatch",
            f"The images have shapes {tuple(reference.shape)} and {tuple(image.shape)}",
            "Both must have the same axes (..., y, x)",
            "Crop or resize one of them first",
        )

    if reference.is_complex() or image.is_complex():
        raise UsageError(
            "images-complex",
            "An image is complex",
            "The metrics compare real images",
            "Give magnitudes",
        )

    return reference.to(torch.float64), image.to(torch.float64)


def _range(data_range: float | Tensor, like: Tensor) -> Tensor:
    """Return the data range as a float64 tensor on the images' device."""
    return torch.as_tensor(data_range, dtype=torch.float64, device=like.device)


def _window_mean(image: Tensor) -> Tensor:
    """Average every 7x7 window inside (..., y, x), first along y, then along x."""
    batch = image.reshape(-1, 1, *image.shape[-2:])
    means = avg_pool2d(avg_pool2d(batch, (WINDOW, 1), stride=1), (1, WINDOW), stride=1)
    return means.reshape(*image.shape[:-2], *means.shape[-2:])
