"""The adversarial loss of SR-GAN and GENRE-CMR: cross-entropy of a discriminator that sees each candidate beside the zero-filled image.

The papers call real images 0 and reconstructed ones 1, and the generator wants 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

REAL, FAKE = 0.0, 1.0


def discriminator_loss(
    discriminator: nn.Module, images: Sequence[Tensor], target: Tensor, zero_filled: Tensor
) -> Tensor:
    """Mean over the images (batch, y, x), which get no gradient: half for the target as real, half for the image as fake."""
    real = _entropy(discriminator(target, zero_filled), REAL)
    fakes = [_entropy(discriminator(image.detach(), zero_filled), FAKE) for image in images]
    return 0.5 * (real + torch.stack(fakes).mean())


def generator_loss(discriminator: nn.Module, image: Tensor, zero_filled: Tensor) -> Tensor:
    """How far the image is from being taken for real. The discriminator's parameters get no gradient."""
    frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    logits: Tensor = torch.func.functional_call(discriminator, frozen, (image, zero_filled))
    return _entropy(logits, REAL)


def _entropy(logits: Tensor, label: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
