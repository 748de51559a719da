"""Eagle loss: compare the spectra of local variances of image gradients.

For each image and each direction (x and y), the variances of the Scharr gradient in all patches
form a small map. The loss is the mean absolute difference between the weighted magnitude spectra of
the two images' maps, summed over both directions. With the cutoff c, the variants differ in the
weight of the frequency f:

"original"
    `1 - exp(-(f - c)^2 / 2)`. It is largest at zero frequency and zero at `f = c`, so it is not a
    high-pass filter, although the paper calls it one.
"hypercmr"
    `1 / (1 + (f / c)^(2 n))`, as in HyperCMR's code: a low-pass filter because of a wrong sign. The
    spectra are standardised over the batch and cropped after padding.
"high-pass"
    `1 / (1 + (c / f)^(2 n))`, as described in both papers. The spectra are standardised for each
    sample. This is the default.

References: Sun et al., arXiv 2403.10695.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Variant = Literal["original", "hypercmr", "high-pass"]
EPSILON = 1e-8
ORDER = 2


def eagle_loss(
    image: Tensor,
    target: Tensor,
    *,
    patch: int = 5,
    cutoff: float = 0.35,
    variant: Variant = "high-pass",
) -> Tensor:
    """Compute the Eagle loss.

    Parameters
    ----------
    image, target : Tensor of shape (batch, y, x), real
        The images to compare, with the same normalisation.
    patch : int
        The side of the patches in pixels. Pixels beyond the last whole patch are dropped.
    cutoff : float
        `c`, in cycles per patch.
    variant : str
        "original", "hypercmr" or "high-pass"; see the module.

    Returns
    -------
    Tensor of shape ()
        The loss.
    """
    pairs = zip(patch_variances(image, patch), patch_variances(target, patch), strict=True)
    return torch.stack([_spectral_difference(a, b, cutoff, variant) for a, b in pairs]).sum()


def patch_variances(images: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Return maps of the sample variances of the Scharr gradients, with zeros beyond the border.

    Returns
    -------
    tuple of two Tensors of shape (batch, 1, y // patch, x // patch)
        The variances of the gradients along x and along y.
    """
    scharr = images.new_tensor([[-3, 0, 3], [-10, 0, 10], [-3, 0, 3]])
    gradients = functional.conv2d(
        images[:, None], torch.stack([scharr, scharr.T])[:, None], padding=1
    )
    rows, columns = gradients.shape[-2] // patch, gradients.shape[-1] // patch
    cut = gradients[..., : rows * patch, : columns * patch].reshape(
        *gradients.shape[:2], rows, patch, columns, patch
    )
    variances = cut.transpose(3, 4).flatten(-2).var(-1)

    return variances[:, :1], variances[:, 1:]


def frequency(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return `|f|` of shape (h, w) for an unshifted spectrum (.., h, w), in cycles per sample."""
    along = [torch.fft.fftfreq(n, dtype=like.dtype, device=like.device) for n in shape[-2:]]
    return torch.sqrt(along[0][:, None] ** 2 + along[1] ** 2)


def _spectral_difference(a: Tensor, b: Tensor, cutoff: float, variant: Variant) -> Tensor:
    if variant == "original":
        weight = 1 - torch.exp(-0.5 * (frequency(a.shape, a) - cutoff) ** 2)
        # Where the magnitude is exactly zero, the gradient is set to zero.
        first, second = (weight * _magnitude(torch.fft.fft2(part), 0.0) for part in (a, b))
    elif variant == "hypercmr":
        first, second = (_hypercmr_spectrum(part, cutoff) for part in (a, b))
    else:
        f = frequency(a.shape, a)
        weight = torch.where(f > 0, 1 / (1 + (cutoff / f.clamp(min=EPSILON)) ** (2 * ORDER)), 0)
        first, second = (
            weight * _standardised(_magnitude(torch.fft.fft2(part), EPSILON), (1, 2, 3))
            for part in (a, b)
        )

    return (first - second).abs().mean()


def _magnitude(x: Tensor, epsilon: float) -> Tensor:
    power = x.real.square() + x.imag.square() + epsilon
    return torch.where(power > 0, power, 1).sqrt() * (power > 0)


def _standardised(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return (x - x.mean(dims, keepdim=True)) / (x.std(dims, keepdim=True) + EPSILON)


def _hypercmr_spectrum(variances: Tensor, cutoff: float) -> Tensor:
    """Follow HyperCMR's code literally.

    The map is padded to powers of two, its spectrum standardised over the whole batch, weighted,
    and cropped to the size before padding.
    """
    h, w = variances.shape[-2:]
    size = [1 << (n - 1).bit_length() for n in (h, w)]
    spectrum = torch.fft.fft2(functional.pad(variances + EPSILON, (0, size[1] - w, 0, size[0] - h)))
    standard = _standardised(_magnitude(spectrum, EPSILON), (0, 1, 2, 3))
    weight = 1 - 1 / (1 + (cutoff / (frequency(size, variances) + EPSILON)) ** (2 * ORDER))
    return (weight * standard)[..., :h, :w]
