"""What k-space and mask must be like before anything is computed from them."""

import torch
from torch import Tensor

from cmrrecon.data.mask import EMPTY_ALLOWED, SamplingMask
from cmrrecon.tools.errors import InputError


def check_kspace(kspace: Tensor, where: str) -> tuple[Tensor, Tensor]:
    """Refuse NaN, infinity and all-zero frames; find where data are non-zero.

    A coil that is zero in the whole series (switched off, or removed by compression) is not
    counted.

    Parameters
    ----------
    kspace : Tensor (frame, coil, y, x), complex

    Returns
    -------
    Two Tensors (frame, y, x) bool: non-zero in all coils, and in any coil

    Raises
    ------
    InputError : `kspace-not-finite`, `kspace-empty`
    """
    frames, _, y, x = kspace.shape
    measured = torch.empty((frames, y, x), dtype=torch.bool, device=kspace.device)
    touched = torch.empty_like(measured)
    live = torch.stack([(k != 0).flatten(1).any(1) for k in kspace]).any(0)
    for t, frame in enumerate(kspace):
        require_finite(frame, f"{where}, frame {t},")
        if not (frame != 0).any():
            raise InputError(
                "kspace-empty",
                f"{where} holds only zeros in frame {t}",
                "Every frame must hold measured samples",
                "Check the export, or leave this slice out",
            )
        present = frame[live] != 0
        measured[t], touched[t] = present.all(0), present.any(0)
    return measured, touched


def require_finite(kspace: Tensor, where: str) -> None:
    """Refuse NaN and infinity in complex k-space of any shape.

    Raises
    ------
    InputError : `kspace-not-finite`
    """
    if not torch.isfinite(torch.view_as_real(kspace)).all():
        raise InputError(
            "kspace-not-finite",
            f"{where} holds NaN or infinity",
            "All k-space samples must be finite numbers",
            "Export the file again, or leave this slice out",
        )


def check_mask(mask: SamplingMask, touched: Tensor, where: str) -> None:
    """Refuse a mask that disagrees with where any coil holds data, (frame, y, x) bool.

    Raises
    ------
    InputError : `mask-shape`, `mask-disagrees`
    """
    samples = mask.samples
    pairs = zip(samples.shape, touched.shape, strict=True)
    if not all(m in (1, n) for m, n in pairs) or samples.shape[1] != touched.shape[1]:
        raise InputError(
            "mask-shape",
            f"{where}: the mask has shape {tuple(samples.shape)}, "
            f"the data {tuple(touched.shape)} (frame, y, x)",
            "A mask must have the data's y, and its frame and x or length 1 there",
            "Give the mask that belongs to this file",
        )
    outside = int((touched & ~samples).sum())
    if outside:
        raise InputError(
            "mask-disagrees",
            f"{where}: {outside} samples hold data where the mask says nothing was measured",
            "The mask must cover all measured samples",
            "Give the mask that belongs to this file, or remove it to take the non-zero samples",
        )
    claimed = samples.any(-1).expand(touched.shape[:2])
    empty = int((claimed & ~touched.any(-1)).sum())
    if empty > EMPTY_ALLOWED * int(claimed.sum()):
        raise InputError(
            "mask-disagrees",
            f"{where}: {empty} of {int(claimed.sum())} lines that the mask says were measured "
            "hold only zeros",
            "Measured lines must hold data",
            "Give the mask that belongs to this file, or remove it to take the non-zero samples",
        )
