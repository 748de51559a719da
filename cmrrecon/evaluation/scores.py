"""The scores of one reconstruction, and the pairs of series that they compare."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cmrrecon.tools.provenance import plain

SCALARS = ("protocol", "order", "psnr", "ssim", "nmse", "heart_psnr", "hfen", "images")


@dataclass(frozen=True)
class Scores:
    """The scores of one reconstruction, with the rule that was used.

    Attributes
    ----------
    psnr : float
        In dB, mean over the images (`fullfov`, `body`: over the series).
    ssim : float
        Mean over the images.
    nmse : float
        Mean over the images (`fullfov`, `body`: over the series).
    protocol : str
        Full name of the protocol.
    order : str
        `official` or `textbook`; always `textbook` for `fullfov` and `body`.
    images : int
        Number of two-dimensional images.
    heart_psnr : float or None
        PSNR inside the heart box in dB, `fullfov` only.
    hfen : float or None
        High-frequency error norm, `fullfov` only.
    body_fraction : float or None
        Fraction of pixels inside the body mask, averaged over the slices, `body` only.
    psnr_images : Tensor of shape (frame, slice), float64, on the CPU, or None
        PSNR of each image, challenges only.
    ssim_images : Tensor of shape (frame, slice), float64, on the CPU
        SSIM of each image.
    nmse_images : Tensor of shape (frame, slice), float64, on the CPU, or None
        NMSE of each image, challenges only.
    """

    psnr: float
    ssim: float
    nmse: float
    protocol: str
    order: str
    images: int
    heart_psnr: float | None = None
    hfen: float | None = None
    psnr_images: Tensor | None = field(default=None, compare=False, repr=False)
    ssim_images: Tensor | None = field(default=None, compare=False, repr=False)
    nmse_images: Tensor | None = field(default=None, compare=False, repr=False)
    body_fraction: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the scalar fields for JSON.

        JSON has no infinity, so an infinite PSNR becomes the string "inf", which `float` can parse.
        Only `body` has the field `body_fraction`.
        """
        names = (*SCALARS, *(() if self.body_fraction is None else ("body_fraction",)))
        return {name: plain(getattr(self, name)) for name in names}


def series_scores(
    protocol: str, rows: Sequence[Mapping[str, Tensor]], ssim_images: Sequence[Tensor]
) -> Scores:
    """Return the scores of a protocol that scores whole series.

    Parameters
    ----------
    protocol : str
        Name of the protocol.
    rows : sequence over slices of mapping of str to Tensor
        Scores of each series by their field in `Scores`; their means are returned.
    ssim_images : sequence over slices of Tensor of shape (frame,)
        SSIM of each image, on the CPU.
    """
    values = torch.tensor(
        [[float(value) for value in row.values()] for row in rows], dtype=torch.float64
    )
    per_image = torch.stack(list(ssim_images), -1)
    return Scores(
        **dict(zip(rows[0], values.mean(0).tolist(), strict=True)),
        protocol=protocol,
        order="textbook",
        images=per_image.numel(),
        ssim_images=per_image,
    )


def series_pairs(reconstruction: Tensor, reference: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield both series of each slice in turn, to save memory.

    Parameters
    ----------
    reconstruction, reference : Tensor of shape (frame, slice, y, x)
        Magnitudes or complex images.

    Yields
    ------
    tuple of two Tensors of shape (frame, y, x), float64
        Magnitudes of the reconstruction and of the reference.
    """
    for image, truth in zip(reconstruction.unbind(1), reference.unbind(1), strict=True):
        yield image.abs().to(torch.float64), truth.abs().to(torch.float64)
