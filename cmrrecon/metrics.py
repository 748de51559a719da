"""Image metrics: PSNR, SSIM, NMSE and HFEN over the last two axes, batched over the leading ones.

All but `ssim_map` compute in float64 whatever the input: E[x^2] - E[x]^2 in float32 loses the variance of an image with a large offset.
They know nothing of scales, crops or which image is the reference: those rules make a protocol (`evaluation.protocols`).
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from cmrrecon.tools.errors import UsageError

WINDOW = 7
LOG_SIZE, LOG_SIGMA = 15, 1.5


def psnr(reference: Tensor, image: Tensor, data_range: float | Tensor) -> Tensor:
    """Peak signal-to-noise ratio 10 log10(L^2 / mean((reference - image)^2)) in dB; infinite for identical images.

    Parameters
    ----------
    reference, image : Tensor (..., y, x) real
    data_range : L, a number or a Tensor broadcastable to the leading axes

    Returns
    -------
    Tensor (...) float64
    """
    reference, image = _pair(reference, image)
    return 10 * torch.log10(
        _range(data_range, reference) ** 2 / (reference - image).square().mean((-2, -1))
    )


def ssim(reference: Tensor, image: Tensor, data_range: float | Tensor) -> Tensor:
    """Structural similarity, mean over all 7x7 windows that lie fully inside the image.

    Uniform window, sample covariance (divided by 48), K1 = 0.01, K2 = 0.03: what `skimage.metrics.structural_similarity`
    computes by default, and with it all CMRxRecon scorers.

    Parameters
    ----------
    reference, image : Tensor (..., y, x) real, at least 7x7
    data_range : L, a number or a Tensor broadcastable to the leading axes

    Returns
    -------
    Tensor (...) float64

    Raises
    ------
    UsageError : an image is smaller than the window

    Source: Wang et al., IEEE Trans. Image Process. 13:600 (2004), equation 13.
    """
    return ssim_map(*_pair(reference, image), data_range).mean((-2, -1))


def ssim_map(reference: Tensor, image: Tensor, data_range: float | Tensor) -> Tensor:
    """The similarity of every 7x7 window inside the images, (..., y - 6, x - 6), in the images' own precision; the rest as `ssim`."""
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
    c1, c2 = (0.01 * level) ** 2, (0.03 * level) ** 2
    similarity: Tensor = (
        (2 * mean_r * mean_i + c1)
        * (2 * covariance + c2)
        / ((mean_r**2 + mean_i**2 + c1) * (variances + c2))
    )

    return similarity


def nmse(reference: Tensor, image: Tensor) -> Tensor:
    """Normalised mean square error ||reference - image||^2 / ||reference||^2.

    Parameters
    ----------
    reference, image : Tensor (..., y, x) real

    Returns
    -------
    Tensor (...) float64
    """
    reference, image = _pair(reference, image)
    return (reference - image).square().sum((-2, -1)) / reference.square().sum((-2, -1))


def hfen(reference: Tensor, image: Tensor) -> Tensor:
    """High-frequency error norm ||LoG(reference) - LoG(image)|| / ||LoG(reference)|| over all images given.

    Parameters
    ----------
    reference, image : Tensor (..., y, x) real

    Returns
    -------
    Tensor, a float64 scalar; LoG as in `laplacian_of_gaussian`

    Source: Ravishankar and Bresler, IEEE Trans. Med. Imaging 30:1028 (2011), section IV.
    """
    reference, image = _pair(reference, image)
    sharp = laplacian_of_gaussian(reference)
    ratio: Tensor = torch.linalg.vector_norm(
        sharp - laplacian_of_gaussian(image)
    ) / torch.linalg.vector_norm(sharp)
    return ratio


def laplacian_of_gaussian(image: Tensor) -> Tensor:
    """The image filtered with a 15x15 Laplacian of Gaussian of 1.5 pixels standard deviation.

    The kernel is (r^2 - 2 s^2) / s^4 * g(r) with g(r) = exp(-r^2 / (2 s^2)) scaled to unit sum, minus its own mean so that a constant image
    gives zero. Beyond the border the image repeats its edge pixels, so the edge of the field of view is no feature.

    Parameters
    ----------
    image : Tensor (..., y, x) real

    Returns
    -------
    Tensor (..., y, x) float64
    """
    image = image.to(torch.float64)
    ny, nx = image.shape[-2:]
    position = torch.arange(LOG_SIZE, dtype=torch.float64, device=image.device) - LOG_SIZE // 2
    gauss = torch.exp(-(position**2) / (2 * LOG_SIGMA**2))
    gauss = gauss / gauss.sum()
    curved = (position**2 - LOG_SIGMA**2) / LOG_SIGMA**4 * gauss
    flat = torch.ones_like(gauss)
    mean = 2 * curved.sum() / LOG_SIZE**2

    # The kernel is a sum of three products, curved x gauss + gauss x curved - mean x flat: one matrix for y and one for x each.
    terms = ((curved, gauss), (gauss, curved), (-mean * flat, flat))
    return torch.stack(
        [
            _filter_matrix(along_y, ny) @ image @ _filter_matrix(along_x, nx).T
            for along_y, along_x in terms
        ]
    ).sum(0)


def _filter_matrix(taps: Tensor, n: int) -> Tensor:
    """The (n, n) matrix that filters an axis of length n with symmetric taps and repeats the edge beyond the border."""
    offsets = torch.arange(len(taps), device=taps.device) - len(taps) // 2
    source = (torch.arange(n, device=taps.device)[:, None] + offsets).clamp(0, n - 1)
    return taps.new_zeros(n, n).scatter_add_(1, source, taps.expand(n, -1))


def _pair(reference: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Both images in float64, after a check that they are real and of one shape."""
    if reference.shape != image.shape or reference.ndim < 2:
        raise UsageError(
            "shape-mismatch",
            f"The images have shapes {tuple(reference.shape)} and {tuple(image.shape)}",
            "Both must have the same axes (..., y, x)",
            "Bring them to one shape first",
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
    """The data range as a float64 tensor on the images' device."""
    return torch.as_tensor(data_range, dtype=torch.float64, device=like.device)


def _window_mean(image: Tensor) -> Tensor:
    """Mean over every 7x7 window inside (..., y, x), one axis after the other: (..., y - 6, x - 6)."""
    batch = image.reshape(-1, 1, *image.shape[-2:])
    means = avg_pool2d(avg_pool2d(batch, (WINDOW, 1), stride=1), (1, WINDOW), stride=1)
    return means.reshape(*image.shape[:-2], *means.shape[-2:])
