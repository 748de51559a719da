"""The protocol `body`: scores inside a mask of the body, which is made from the reference alone.

In the air around the body a reference holds noise, ghosts or zeros, and so does a reconstruction,
depending on whether its method blanks the air. That decides the SSIM of whole images: half of
their windows may lie in air. Inside the body only the image itself counts.
"""

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from cmrrecon.evaluation.scores import Scores, series_pairs
from cmrrecon.metrics import WINDOW, nmse, psnr, ssim_map
from cmrrecon.tools.errors import InputError

MARGIN = WINDOW // 2

# Standard deviation of the smoothing along y and x, as a fraction of the matrix. It evens noise out
# and is small beside the body.
SMOOTHING = 0.01
# Percentiles of the air and of the brightest tissue. Both hold if there is hardly any air.
AIR = 5
BRIGHTEST = 99
# Above this fraction of the brightest tissue a pixel counts when the tissue level is found.
SURE = 0.1
# Between air and tissue a pixel is body above this fraction. Lower, ghosts and noise join the body;
# higher, arms far from the coils drop out.
THRESHOLD = 0.2
# Above this fraction of tissue the darkest pixels are no air: it is absent, or lost in noise.
NO_AIR = 0.5
# Parts are kept from this fraction of the largest one's area: arms are, folded ghosts are not.
PART = 0.1
RULE = (
    f"body mask from the reference: mean magnitude over the frames, smoothed by {SMOOTHING:.0%} of "
    f"the matrix, over {THRESHOLD:.0%} of the way from air to tissue, parts of at least {PART:.0%} "
    "of the largest, holes filled; everything if the darkest pixels exceed half of tissue"
)


def body_mask(series: Tensor) -> Tensor:
    """The pixels of a series that lie inside the body.

    The mean magnitude over the frames is smoothed with a Gaussian of 1 % of the matrix along y and
    x. Air is its 5th percentile. Tissue is the median of all pixels that are brighter than a tenth
    of the way from air to the 99th percentile. A pixel is body if it is brighter than a fifth of
    the way from air to tissue. An opening by 3 x 3 pixels removes lines and dots; parts smaller
    than a tenth of the largest are dropped; holes, such as the lungs, are filled. Where air is
    brighter than half of tissue, air cannot be separated from the body, and all pixels are body.

    Parameters
    ----------
    series : Tensor of shape (frame, y, x)
        Reference of one slice, magnitudes or complex, finite.

    Returns
    -------
    Tensor of shape (y, x), bool
        True inside the body; may be empty. On the device of the series.
    """
    mean = series.abs().double().mean(0).cpu().numpy()
    smooth = ndimage.gaussian_filter(mean, [SMOOTHING * n for n in mean.shape], mode="nearest")

    air, brightest = np.percentile(smooth, [AIR, BRIGHTEST])
    bright = smooth[smooth > air + SURE * (brightest - air)]
    tissue = np.median(bright) if bright.size else brightest
    if air > NO_AIR * tissue:
        return torch.ones(mean.shape, dtype=torch.bool, device=series.device)

    inside = ndimage.binary_opening(smooth > air + THRESHOLD * (tissue - air), np.ones((3, 3)))
    filled = ndimage.binary_fill_holes(_large_parts(inside))
    return torch.from_numpy(filled).to(series.device)


def score_body(reconstruction: Tensor, reference: Tensor) -> Scores:
    """The scores by `body`; parameters as for `protocols.score`, which states the rule.

    Raises
    ------
    InputError
        If no window of 7 x 7 pixels is centred in the body (`body-empty`), or the reconstruction is
        zero all over the body (`images-flat`).
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
        # The metrics see the pixels of the body as an image of one row.
        pair = expected.reshape(1, -1), scale * scored.reshape(1, -1)
        values = [
            psnr(*pair, expected.max()),
            similarity.mean(),
            nmse(*pair),
            mask.double().mean(),
        ]
        rows.append([float(value) for value in values])

    means = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    per_image = torch.stack(ssim_images, -1)
    return Scores(
        psnr=means[0],
        ssim=means[1],
        nmse=means[2],
        protocol="body",
        order="textbook",
        images=per_image.numel(),
        ssim_images=per_image,
        body_fraction=means[3],
    )


def _large_parts(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest connected part, and every other that is not much smaller."""
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
        f"Protocol body needs a body wide enough for a window of {WINDOW} x {WINDOW} pixels",
        "Check the reference, leave this slice out, or use --protocol fullfov",
    )


def _blank_body(index: int) -> InputError:
    return InputError(
        "images-flat",
        f"The reconstruction is zero all over the body in slice {index}",
        "Every image must have contrast to be scored",
        "Reconstruct the file again, or leave this slice out",
    )
