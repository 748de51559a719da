"""The exact scoring rules; every score states its protocol.

`cmrxrecon2023`, `cmrxrecon2024` and `cmrxrecon2025` are the rules of the official programs: crop
with `ranking_crop`, then `score`. `fullfov` and `body` use one scale for a whole series; `fullfov`
scores the whole field of view, `body` only the pixels inside the body.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmrrecon.evaluation.body import score_body
from cmrrecon.evaluation.fullfov import Box, score_fullfov
from cmrrecon.evaluation.ranking import AXES, YEARS
from cmrrecon.evaluation.scores import Scores, series_pairs
from cmrrecon.formats.names import is_timeless
from cmrrecon.metrics import nmse, psnr, ssim
from cmrrecon.tools.errors import InputError, UsageError

FloatImage = npt.NDArray[np.float32]

SERIES_PROTOCOLS = ("fullfov", "body")
PROTOCOLS = (*SERIES_PROTOCOLS, *(f"cmrxrecon{year}" for year in YEARS))
ORDERS = ("official", "textbook")


def canonical_protocol(protocol: str | int, year: int | None = None) -> str:
    """Return the full name of a protocol.

    `2024`, 2024 and `cmrxrecon2024` mean the same; `cmrxrecon` means the challenge of the given
    year.

    Raises
    ------
    UsageError
        If there is no such protocol (`unknown-protocol`).
    """
    name = str(protocol).lower()
    if name == "cmrxrecon" and year is not None:
        name += str(year)
    elif name.isdigit():
        name = f"cmrxrecon{name}"

    if name not in PROTOCOLS:
        raise UsageError(
            "unknown-protocol",
            f"There is no protocol {protocol!r}"
            + (
                f" for the year {year}" if name.startswith("cmrxrecon") and year is not None else ""
            ),
            f"The protocols are {', '.join(PROTOCOLS)}; a year stands for its challenge",
            "Use one of them",
        )
    return name


def year_of(protocol: str) -> int | None:
    """Return the year in a protocol's full name; None for `fullfov` and `body`."""
    return None if protocol in SERIES_PROTOCOLS else int(protocol.removeprefix("cmrxrecon"))


def rule_text(protocol: str, order: str, *, crop: bool, exclude_saturated: bool = False) -> str:
    """Describe the complete scoring rule for titles.

    Parameters
    ----------
    protocol : str
        Full name of the protocol.
    order : str
        `official` or `textbook`.
    crop : bool
        Whether the challenge protocols score the ranking crop.
    exclude_saturated : bool
        Whether `fullfov` ignores saturated pixels.
    """
    if protocol == "body":
        return "body (inside a mask made from the reference)"
    if protocol == "fullfov":
        return protocol + (" without saturated pixels" if exclude_saturated else "")
    return f"{protocol}, {order} order, {'ranking crop' if crop else 'not cropped'}"


def score(
    reconstruction: Tensor,
    reference: Tensor,
    *,
    protocol: str | int,
    order: str = "official",
    base: str | None = None,
    year: int | None = None,
    heart: Box | None = None,
    exclude_saturated: bool = False,
) -> Scores:
    """Compare a reconstruction with its reference by one protocol.

    This function does not crop, see `ranking_crop`.

    Parameters
    ----------
    reconstruction, reference : Tensor of shape (frame, slice, y, x)
        Magnitudes or complex images, whose magnitudes are compared.
    protocol : str or int
        `fullfov`, `body`, `cmrxrecon2023`, `cmrxrecon2024`, `cmrxrecon2025`, a year, or `cmrxrecon`
        for the challenge of `year`.
    order : {"official", "textbook"}
        For the challenges: the argument order of their programs, or always the reference first.
    base : str, optional
        Base name of the file, which identifies data without a time axis (blackblood, T1w, T2w).
        None: there is a time axis.
    year : int, optional
        Used only with the protocol `cmrxrecon`.
    heart : tuple of int, optional
        For `fullfov`: box (y0, y1, x0, x1) of the heart PSNR; by default the central half of y and
        third of x.
    exclude_saturated : bool
        For `fullfov`: exclude pixels of at least 0.99 times the reference's maximum from the scale,
        PSNR, heart PSNR and NMSE.

    Returns
    -------
    Scores
        The scores and their protocol.

    Raises
    ------
    InputError
        If the shapes differ (`shape-mismatch`; the official programs return NaN), pixels are NaN or
        infinite (`images-not-finite`), an image is constant (`images-flat`), or no body is found
        (`body-empty`).
    UsageError
        If the protocol (`unknown-protocol`) or order (`option-value`) is unknown, the heart box is
        not inside the images (`box-outside`), or an option does not belong to the protocol
        (`options-conflict`).

    Notes
    -----
    Challenges: every two-dimensional image is normalised separately, for reconstruction
    and reference alike (2023: by the maximum; 2024: to zero mean and unit standard deviation; 2025:
    by the 99.5th percentile), and the scores are means over the images. The official programs of
    2024 and 2025 swap the arguments: for data with a time axis, the data range and the denominator
    of the NMSE come from the *reconstruction*. Order `official` reproduces this, `textbook` uses
    the reference. The test-phase program of 2025 removes axes of length 1 first, and so treats a
    single slice over time as data without a time axis; `textbook` reproduces its numbers.

    `fullfov`: one real least-squares scale per series (one slice over time) is applied to the
    reconstruction. PSNR uses the mean square error over the series and its maximum as the data
    range. SSIM is computed per frame, with the frame's maximum as the data range. NMSE and HFEN are
    computed over the series. The heart PSNR uses the same scale and range inside a box. All scores
    are means over the slices.

    `body`: like `fullfov`, but only over the pixels of `body_mask`. The scale is fitted to them;
    PSNR and NMSE are computed over them, with their maximum as the data range. SSIM is the mean
    over all windows centred in the mask, with the frame's maximum inside the mask as the data
    range. There is no heart PSNR and no HFEN.

    `order`, `base` and `year` have no effect on `fullfov` and `body`.

    References
    ----------
    `calmetric` in Evaluation.py of CmrxRecon/CMRxRecon; for 2024 and 2025, of
    CmrxRecon/CMRxRecon2025-snippets.
    """
    name = canonical_protocol(protocol, year)
    if order not in ORDERS:
        raise UsageError(
            "option-value",
            f"There is no order {order!r}",
            f"The orders are {' and '.join(ORDERS)}",
            "Use one of them",
        )
    check_options(name, heart, exclude_saturated)
    _check(reconstruction, reference)

    if name == "fullfov":
        return score_fullfov(reconstruction, reference, heart, exclude_saturated)
    if name == "body":
        return score_body(reconstruction, reference)
    return _score_challenge(reconstruction, reference, name, order, base)


def check_options(protocol: str, heart: Box | None, exclude_saturated: bool) -> None:
    """Refuse options of `fullfov` together with another protocol, given by its full name.

    Raises
    ------
    UsageError
        If an option does not belong to the protocol (`options-conflict`).
    """
    if protocol != "fullfov" and (heart is not None or exclude_saturated):
        raise UsageError(
            "options-conflict",
            f"A heart box or the exclusion of saturated pixels was requested with {protocol}",
            "Only fullfov has these options",
            "Omit them, or use the protocol fullfov",
        )


def _score_challenge(
    reconstruction: Tensor, reference: Tensor, name: str, order: str, base: str | None
) -> Scores:
    """Score by the protocol of a challenge, given by its full name."""
    year = int(name.removeprefix("cmrxrecon"))
    swapped = order == "official" and year != 2023 and not is_timeless(base or "")
    rows = []

    for image, truth in series_pairs(reconstruction, reference):
        image, truth = _normalise(image, year), _normalise(truth, year)
        a, b = (image, truth) if swapped else (truth, image)
        level = a.amax((-2, -1))
        rows.append(torch.stack([psnr(a, b, level), ssim(a, b, level), nmse(a, b)]).cpu())

    table = torch.stack(rows, -1)
    means = table.mean((1, 2)).tolist()
    return Scores(
        psnr=means[0],
        ssim=means[1],
        nmse=means[2],
        protocol=name,
        order=order,
        images=table[0].numel(),
        psnr_images=table[0],
        ssim_images=table[1],
        nmse_images=table[2],
    )


def _normalise(images: Tensor, year: int) -> Tensor:
    """Normalise each image of (frame, y, x) by one year's rule.

    The official programs use float32 and sum over (x, y) in NumPy's order. This affects the sixth
    decimal of a PSNR, so it is reproduced here.
    """
    return torch.stack(
        [
            torch.from_numpy(_normalise_image(image.float().cpu().numpy().T, year).T)
            for image in images
        ]
    ).to(images)


def _normalise_image(image: FloatImage, year: int) -> FloatImage:
    """Normalise one image (x, y) by one year's rule."""
    pixels = np.ascontiguousarray(image)
    offset, scale = np.float32(0), pixels.max()
    if year == 2024:
        offset, scale = pixels.mean(), pixels.std() + 1e-8
    elif year == 2025:
        scale = np.percentile(pixels, 99.5)
    normalised: FloatImage = (pixels - offset) / (scale if scale > 0 else 1)
    return normalised


def _check(reconstruction: Tensor, reference: Tensor) -> None:
    """Refuse images that have no meaningful score."""
    if reconstruction.shape != reference.shape or reference.ndim != 4:
        raise InputError(
            "shape-mismatch",
            f"The reconstruction has shape {tuple(reconstruction.shape)}, but the reference has "
            f"{tuple(reference.shape)} {AXES}",
            f"Both must have the same four axes {AXES}",
            "Use the reference of this file, and crop both or neither",
        )

    for what, images in (("reconstruction", reconstruction), ("reference", reference)):
        magnitude = images.abs()
        if not bool(torch.isfinite(magnitude).all()):
            raise InputError(
                "images-not-finite",
                f"The {what} contains NaN or infinity",
                "All pixels must be finite numbers",
                "Reconstruct the file again",
            )
        flat = magnitude.amax((-2, -1)) == magnitude.amin((-2, -1))
        if bool(flat.any()):
            frame, index = flat.nonzero()[0].tolist()
            raise InputError(
                "images-flat",
                f"The {what} is constant in frame {frame} of slice {index}",
                "Every image must have contrast to be scored",
                "Reconstruct the file again, or leave this slice out",
            )
