"""Losses for LF-MRI: classification with image-level labels, and the error inside lesion boxes.

The loss equations of the paper (Ju et al., LF-MRI, Med Image Anal 2026) are not public. Its
classifier is trained with labels of whole images (introduction, section 3.2), for which binary
cross-entropy is the usual choice. The term for boxes is our own; the paper has no such term.
"""

import torch
from torch import Tensor
from torch.nn import functional

from cmrrecon.tools.arrays import divisor


def classification_loss(logits: Tensor, present: Tensor) -> Tensor:
    """Compute the binary cross-entropy, averaged over the known labels.

    Parameters
    ----------
    logits : Tensor of shape (batch, class)
        The classifier's output.
    present : Tensor of shape (batch, class)
        1 where a kind of lesion is present, 0 where it is absent, NaN where the label is unknown.

    Returns
    -------
    Tensor of shape ()
        The loss; zero if no label is known.
    """
    known = ~present.isnan()
    each = functional.binary_cross_entropy_with_logits(
        logits, torch.where(known, present, 0), reduction="none"
    )
    return (each * known).sum() / known.sum().clamp(min=1)


def lesion_loss(image: Tensor, target: Tensor, lesion: Tensor) -> Tensor:
    """Compute the mean absolute difference inside the boxes, relative to the mean of the target.

    The mean is computed over the whole target, so that the loss is comparable to `l1_loss`.

    Parameters
    ----------
    image, target : Tensor of shape (batch, y, x), real
        The images to compare.
    lesion : Tensor of shape (batch, y, x), bool
        True inside the boxes.

    Returns
    -------
    Tensor of shape ()
        The loss; zero without boxes.
    """
    size = target.abs().mean()
    inside = ((image - target).abs() * lesion).sum() / lesion.sum().clamp(min=1)
    return inside / divisor(size)
