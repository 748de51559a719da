"""Eagle: the spectra of local variances of image gradients (Sun et al., arXiv 2403.10695), as published, as HyperCMR runs it, and as meant.

For the Scharr gradients along x and y of both images: the variance of every patch makes a small map, and the loss is the mean
difference of the maps' weighted magnitude spectra, summed over both gradients. The variants differ in the weight:

    "original"    1 - exp(-(f - c)^2 / 2), largest at zero frequency and zero at f = c: not the high-pass it is called
    "hypercmr"    HyperCMR's code: 1 / (1 + (f / c)^(2 n)), a low-pass by a sign; spectra standardised over the batch and cut after padding
    "high-pass"   1 / (1 + (c / f)^(2 n)), what both papers describe; spectra standardised a sample; the default
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
    """The loss, a scalar.

    Parameters
    ----------
    image, target : Tensor (batch, y, x), real; normalised alike
    patch : side of the patches in pixels; a remainder is dropped
    cutoff : c, cycles a patch
    variant : see the module
    """
    pairs = zip(patch_variances(image, patch), patch_variances(target, patch), strict=True)
    return torch.stack([_spectral_difference(a, b, cutoff, variant) for a, b in pairs]).sum()


def patch_variances(images: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Maps (batch, 1, y // patch, x // patch) of the sample variances of the Scharr gradients along x and y; zeros beyond the border."""
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
    """|f| (h, w) of an unshifted spectrum of shape (.., h, w), in cycles a sample."""
    along = [torch.fft.fftfreq(n, dtype=like.dtype, device=like.device) for n in shape[-2:]]
    return torch.sqrt(along[0][:, None] ** 2 + along[1] ** 2)


def _spectral_difference(a: Tensor, b: Tensor, cutoff: float, variant: Variant) -> Tensor:
    if variant == "original":
        weight = 1 - torch.exp(-0.5 * (frequency(a.shape, a) - cutoff) ** 2)
        # A magnitude of exactly zero has no gradient.
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
    """To the letter: padded to powers of two, standardised over the whole batch, weighted, and cut to the size before padding."""
    h, w = variances.shape[-2:]
    size = [1 << (n - 1).bit_length() for n in (h, w)]
    spectrum = torch.fft.fft2(functional.pad(variances + EPSILON, (0, size[1] - w, 0, size[0] - h)))
    standard = _standardised(_magnitude(spectrum, EPSILON), (0, 1, 2, 3))
    weight = 1 - 1 / (1 + (cutoff / (frequency(size, variances) + EPSILON)) ** (2 * ORDER))
    return (weight * standard)[..., :h, :w]
