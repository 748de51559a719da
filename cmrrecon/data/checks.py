"""Check k-space and mask before anything is computed from them."""

import torch
from torch import Tensor

from cmrrecon.data.mask import SamplingMask
from cmrrecon.data.measured import not_finite
from cmrrecon.tools.errors import InputError

# Within the extent of the data, at most this fraction of a mask's lines may hold only zeros.
EMPTY_ALLOWED = 0.25


def require_finite(kspace: Tensor, where: str) -> None:
    """Refuse NaN and infinity.

    Parameters
    ----------
    kspace : Tensor of any shape, complex
        The samples to check.
    where : str
        Name of their source, for the message.

    Raises
    ------
    InputError
        If any value is not finite (`kspace-not-finite`).
    """
    if not torch.isfinite(torch.view_as_real(kspace)).all():
        raise not_finite(where)


def check_mask(mask: SamplingMask, touched: Tensor, where: str) -> Tensor:
    """Refuse a mask that disagrees with the data.

    Parameters
    ----------
    mask : SamplingMask
        The mask to check.
    touched : Tensor of shape (frame, y, x), bool
        Where any coil has data.
    where : str
        Name of the source of the data, for the message.

    Returns
    -------
    Tensor of shape (frame, y), bool
        Lines that the mask marks as measured but that hold only zeros. They are few, or at the
        edges of k-space.

    Raises
    ------
    InputError
        If the shapes do not match (`mask-shape`), if data lie outside the mask, or if too many
        measured lines hold only zeros (`mask-disagrees`).
    """
    samples = mask.samples

    pairs = zip(samples.shape, touched.shape, strict=True)
    if not all(m in (1, n) for m, n in pairs) or samples.shape[1] != touched.shape[1]:
        raise InputError(
            "mask-shape",
            f"{where}: the mask has shape {tuple(samples.shape)}, "
            f"the data {tuple(touched.shape)} (frame, y, x)",
            "y must be the same as in the data; frame and x must be the same or 1",
            "Give the mask that belongs to this file",
        )

    outside = int((touched & ~samples).sum())
    if outside:
        raise InputError(
            "mask-disagrees",
            f"{where}: {outside} samples hold data where the mask says nothing was measured",
            "The mask must cover all measured samples",
            "Give the mask that belongs to this file, or remove it to use the non-zero samples",
        )

    claimed = samples.any(-1).expand(touched.shape[:2])
    filled = touched.any(-1)
    empty = claimed & ~filled

    lines = filled.any(0).nonzero().flatten()
    inside = slice(int(lines[0]), int(lines[-1]) + 1)
    count, total = int(empty[:, inside].sum()), int(claimed[:, inside].sum())

    if count > EMPTY_ALLOWED * total:
        raise InputError(
            "mask-disagrees",
            f"{where}: {count} of {total} lines that the mask says were measured hold only zeros",
            "Measured lines must hold data",
            "Give the mask that belongs to this file, or remove it to use the non-zero samples",
        )

    return empty
