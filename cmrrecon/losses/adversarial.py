"""Adversarial loss of SR-GAN and GENRE-CMR.

It is the cross-entropy of a discriminator that sees each candidate together with the zero-filled
image. As in the papers, real images have the label 0 and reconstructed images the label 1, and the
generator aims for 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

REAL, FAKE = 0.0, 1.0


def discriminator_loss(
    discriminator: nn.Module, images: Sequence[Tensor], target: Tensor, zero_filled: Tensor
) -> Tensor:
    """Compute the discriminator's loss, half for the target as real and half for images as fake.

    Parameters
    ----------
    discriminator : nn.Module
        Maps a candidate and the zero-filled image to logits.
    images : sequence of Tensor of shape (batch, y, x), real
        Reconstructed images; the loss is their mean. They receive no gradient.
    target : Tensor of shape (batch, y, x), real
        The reference images.
    zero_filled : Tensor of shape (batch, y, x), real
        The images that the reconstruction starts from.

    Returns
    -------
    Tensor of shape ()
        The loss.
    """
    # All candidates are judged in one call, which costs less than one call for each.
    candidates = torch.cat([target, *(image.detach() for image in images)])
    logits = discriminator(candidates, zero_filled.repeat(1 + len(images), 1, 1))
    real, fake = logits.tensor_split([len(target)])
    return 0.5 * (_entropy(real, REAL) + _entropy(fake, FAKE))


def generator_loss(discriminator: nn.Module, image: Tensor, zero_filled: Tensor) -> Tensor:
    """Compute the generator's loss: the cross-entropy of the image against the label "real".

    The discriminator's parameters receive no gradient. For the parameters see `discriminator_loss`.
    """
    frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    logits: Tensor = torch.func.functional_call(discriminator, frozen, (image, zero_filled))
    return _entropy(logits, REAL)


def _entropy(logits: Tensor, label: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
