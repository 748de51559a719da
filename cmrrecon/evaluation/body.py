"""The protocol `body`: scores inside a body mask that is made from the reference alone.

In the air around the body, references and reconstructions contain noise, ghosts or zeros, depending
on whether the method blanks the air. This dominates the SSIM of whole images, because half of their
windows may be in air. Inside the body only the image itself counts.
"""

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from cmrrecon.evaluation.scores import Scores, series_pairs, series_scores
from cmrrecon.metrics import WINDOW, nmse, psnr, ssim_map
from cmrrecon.tools.errors import InputError

MARGIN = WINDOW // 2

# Standard deviation of the smoothing along y and x, as a fraction of the matrix: enough to average
# out noise, but small compared with the body.
SMOOTHING = 0.01
# Percentiles for the air and for the brightest tissue. They work even if there is hardly any air.
AIR = 5
BRIGHTEST = 99
# Pixels above this fraction of the brightest tissue determine the tissue level.
CLEARLY_TISSUE = 0.1
# Pixels above this fraction of the way from air to tissue are body. A lower value would include
# ghosts and noise; a higher value would exclude arms that are far from the coils.
THRESHOLD = 0.2
# If the darkest pixels exceed this fraction of tissue, there is no air, or it is lost in noise.
NO_AIR = 0.5
# Parts with at least this fraction of the largest part's area are kept: arms, but not folded
# ghosts.
PART = 0.1
RULE = (
    "body mask from the reference: pixels whose mean magnitude over the frames, smoothed by "
    f"{SMOOTHING:.0%} of the matrix, is more than {THRESHOLD:.0%} of the way from air to tissue; "
    f"parts of at least {PART:.0%} of the largest; holes filled; all pixels if the darkest exceed "
    "half of tissue"
)


def body_mask(series: Tensor) -> Tensor:
    """Return a mask of the pixels inside the body.

    The mean magnitude over the frames is smoothed with a Gaussian whose standard deviation is 1 %
    of the matrix along y and x. The air level is the 5th percentile of this image. The tissue level
    is the median of all pixels that are brighter than a tenth of the way from air to the 99th
    percentile. A pixel is body if it is brighter than a fifth of the way from air to tissue. An
    opening by 3 x 3 pixels removes lines and dots; parts smaller than a tenth of the largest are
    dropped; holes, such as the lungs, are filled. If the air level exceeds half of the tissue
    level, air cannot be separated from the body, and all pixels are body.

    Parameters
    ----------
    series : Tensor of shape (frame, y, x)
        Finite magnitudes or complex images of the reference, one slice.

    Returns
    -------
    Tensor of shape (y, x), bool
        True inside the body, on the device of the series. The mask may be empty.
    """
    mean = series.abs().double().mean(0).cpu().numpy()
    smooth = ndimage.gaussian_filter(mean, [SMOOTHING * n for n in mean.shape], mode="nearest")

    air, brightest = np.percentile(smooth, [AIR, BRIGHTEST])
    bright = smooth[smooth > air + CLEARLY_TISSUE * (brightest - air)]
    tissue = np.median(bright) if bright.size else brightest
    if air > NO_AIR * tissue:
        return torch.ones(mean.shape, dtype=torch.bool, device=series.device)

    inside = ndimage.binary_opening(smooth > air + THRESHOLD * (tissue - air), np.ones((3, 3)))
    filled = ndimage.binary_fill_holes(_large_parts(inside))
    return torch.from_numpy(filled).to(series.device)


def score_body(reconstruction: Tensor, reference: Tensor) -> Scores:
    """Score by protocol `body`; `protocols.score` describes parameters and rule.

    Raises
    ------
    InputError
        If no window of 7 x 7 pixels is centred in the body (`body-empty`), or if the reconstruction
        is zero everywhere in the body (`images-flat`).
    """
    rows, ssim_images = [], []

    for index, (image, truth) in enumerate(series_pairs(reconstruction, reference)):
        mask = body_mask(truth)
        centres = mask[MARGIN:-MARGIN, MARGIN:-MARGIN]
        if not bool(centres.any()):
            raise _no_body(index)

        scored, expected = image[:, mask], truth[:, mask]
        energy = scored.square().sum()
        if float(energy) == 0:
            raise _blank_body(index)
        scale = (scored * expected).sum() / energy

        similarity = ssim_map(truth, scale * image, expected.amax(-1))[:, centres].mean(-1).cpu()
        ssim_images.append(similarity)
        # The metrics treat the pixels of the body as an image with one row.
        pair = expected.reshape(1, -1), scale * scored.reshape(1, -1)
        rows.append(
            {
                "psnr": psnr(*pair, expected.max()),
                "ssim": similarity.mean(),
                "nmse": nmse(*pair),
                "body_fraction": mask.double().mean(),
            }
        )

    return series_scores("body", rows, ssim_images)


def _large_parts(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Keep the largest connected part and all parts that are not much smaller."""
    parts, count = ndimage.label(inside)
    if count == 0:
        return inside
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    large: npt.NDArray[np.bool_] = (areas >= max(1, PART * areas.max()))[parts]
    return large


def _no_body(index: int) -> InputError:
    return InputError(
        "body-empty",
        f"No body was found in slice {index} of the reference",
        f"The body must be wide enough for a window of {WINDOW} x {WINDOW} pixels",
        "Check the reference, leave this slice out, or use --protocol fullfov",
    )


def _blank_body(index: int) -> InputError:
    return InputError(
        "images-flat",
        f"The reconstruction is zero everywhere in the body in slice {index}",
        "Every image must have contrast to be scored",
        "Reconstruct the file again, or leave this slice out",
    )
