"""What LF-MRI adds to the loss: classification by image-level labels, and the error inside boxes around lesions.

Ju et al., LF-MRI, Med Image Anal 2026. Its equations of the loss are not public. Labels of whole images train the classifier (introduction,
section 3.2); binary cross-entropy is the usual choice, and the term of the boxes is ours: the paper needs none.
"""

import torch
from torch import Tensor
from torch.nn import functional


def classification_loss(logits: Tensor, present: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over all that is known; zero if nothing is.

    Parameters
    ----------
    logits : Tensor (batch, class)
    present : Tensor (batch, class), 1 where a kind of lesion is present, 0 where it is absent, NaN where that is not known
    """
    known = ~present.isnan()
    each = functional.binary_cross_entropy_with_logits(
        logits, torch.where(known, present, 0), reduction="none"
    )
    return (each * known).sum() / known.sum().clamp(min=1)


def lesion_loss(image: Tensor, target: Tensor, lesion: Tensor) -> Tensor:
    """Mean absolute difference inside the boxes over the mean of the whole target, so that it compares with `l1_loss`; zero without boxes.

    Parameters
    ----------
    image, target : Tensor (batch, y, x), real
    lesion : Tensor (batch, y, x) bool, true inside the boxes
    """
    size = target.abs().mean()
    inside = ((image - target).abs() * lesion).sum() / lesion.sum().clamp(min=1)
    return inside / torch.where(size > 0, size, 1)
