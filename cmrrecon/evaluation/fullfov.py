"""The protocol `fullfov`: scores over the whole field of view, with one scale per series."""

import torch
from torch import Tensor

from cmrrecon.evaluation.ranking import central_box
from cmrrecon.evaluation.scores import Scores, series_pairs, series_scores
from cmrrecon.metrics import hfen, nmse, psnr, ssim
from cmrrecon.tools.errors import UsageError

SATURATED = 0.99

Box = tuple[int, int, int, int]


def score_fullfov(
    reconstruction: Tensor, reference: Tensor, heart: Box | None, exclude_saturated: bool
) -> Scores:
    """Score by protocol `fullfov`; `protocols.score` describes parameters and rule."""
    ny, nx = reference.shape[-2:]
    y, x = _heart_box(heart, ny, nx)
    rows, ssim_images = [], []

    for image, truth in series_pairs(reconstruction, reference):
        level = truth.max()
        keep = torch.ones_like(truth, dtype=torch.bool)
        if exclude_saturated:
            keep = truth < SATURATED * level
        inside = torch.zeros_like(keep)
        inside[:, y, x] = keep[:, y, x]

        image = image * ((image * truth)[keep].sum() / image[keep].square().sum())
        ssim_images.append(ssim(truth, image, truth.amax((-2, -1))).cpu())

        # The metrics treat the remaining pixels as an image with one row.
        scored, scored_truth = image[keep][None], truth[keep][None]
        rows.append(
            {
                "psnr": psnr(scored_truth, scored, level),
                "ssim": ssim_images[-1].mean(),
                "nmse": nmse(scored_truth, scored),
                "heart_psnr": psnr(truth[inside][None], image[inside][None], level),
                "hfen": hfen(truth, image),
            }
        )

    return series_scores("fullfov", rows, ssim_images)


def _heart_box(heart: Box | None, ny: int, nx: int) -> tuple[slice, slice]:
    """Check the box of the heart PSNR; the default is the central half of y and third of x."""
    if heart is None:
        return central_box(ny, nx)
    y0, y1, x0, x1 = heart
    if not (0 <= y0 < y1 <= ny and 0 <= x0 < x1 <= nx):
        raise UsageError(
            "box-outside",
            f"The heart box is y {y0}:{y1}, x {x0}:{x1}",
            f"The images have {ny} x {nx} pixels (y, x)",
            "Choose a box inside them",
        )
    return slice(y0, y1), slice(x0, x1)
