"""The exact scoring rules, so that a number always says how it was made.

`cmrxrecon2023`, `cmrxrecon2024` and `cmrxrecon2025` are the rules of the official programs: crop with `ranking_crop`, then `score`.
`fullfov` is for scans with a known truth: the whole field of view, one scale for a whole series.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmrrecon.formats.names import is_timeless
from cmrrecon.metrics import hfen, nmse, psnr, ssim
from cmrrecon.operators.fourier import centred
from cmrrecon.sampling.plan import round_half_up
from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.tools.provenance import plain

FloatImage = npt.NDArray[np.float32]

YEARS = (2023, 2024, 2025)
PROTOCOLS = ("fullfov", *(f"cmrxrecon{year}" for year in YEARS))
ORDERS = ("official", "textbook")
MAPPING_2024 = ("T1map", "T2map")
MAPPING_2025 = ("T1map", "T2map", "T2smap", "T1mappost", "T1rho")
FRAMES_SCORED = 3
SATURATED = 0.99
AXES = "(frame, slice, y, x)"


@dataclass(frozen=True)
class Scores:
    """The scores of one reconstruction, with the rule that made them.

    Attributes
    ----------
    psnr : dB, mean over the images (`fullfov`: over the series)
    ssim, nmse : mean over the images (`fullfov`: nmse over the series)
    protocol : its long name
    order : `official` or `textbook`; `fullfov` is always `textbook`
    images : number of two-dimensional images
    heart_psnr, hfen : dB and ratio, `fullfov` only
    psnr_images, ssim_images, nmse_images : Tensor (frame, slice) float64 on the CPU; `fullfov` has only ssim_images
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

    def as_dict(self) -> dict[str, Any]:
        """The scalar fields for JSON. JSON has no infinity: an infinite PSNR becomes the string "inf", which float() reads back."""
        names = ("protocol", "order", "psnr", "ssim", "nmse", "heart_psnr", "hfen", "images")
        return {name: plain(getattr(self, name)) for name in names}


def canonical_protocol(protocol: str | int, year: int | None = None) -> str:
    """The long name of a protocol: `2024`, 2024 and `cmrxrecon2024` are one; `cmrxrecon` alone takes the given year."""
    name = str(protocol).lower()
    if name == "cmrxrecon" and year is not None:
        name += str(year)
    elif name.isdigit():
        name = f"cmrxrecon{name}"
    if name not in PROTOCOLS:
        raise UsageError(
            "unknown-protocol",
            f"There is no protocol {protocol!r}"
            + (f" of year {year}" if name.startswith("cmrxrecon") and year is not None else ""),
            f"The protocols are {', '.join(PROTOCOLS)}; a year alone names its challenge",
            "Name one of them",
        )
    return name


def year_of(protocol: str) -> int | None:
    """The year of a challenge's protocol, by its long name; None for `fullfov`."""
    return None if protocol == "fullfov" else int(protocol.removeprefix("cmrxrecon"))


def ranking_slices(count: int) -> slice:
    """The slices that are scored: all if there are fewer than three, else the two in the middle."""
    middle = round_half_up(count / 2)
    return slice(0, count) if count < 3 else slice(middle - 2, middle)


def ranking_crop(images: Tensor, *, base: str, year: int) -> Tensor:
    """The part of a reconstruction that the challenge of a year scores (`run4Ranking`).

    Slices: all if there are fewer than three, else the two in the middle. Pixels: the central third of x and half of y. Frames: the first
    three, except of the mapping bases (2023: of all but cine), which keep all. Where the official functions fail we do what they mean:
    2023 with one slice keeps it, and 2024 with fewer than three frames keeps those there are.

    Parameters
    ----------
    images : Tensor (frame, slice, y, x); without a time axis one frame
    base : base name of the file, such as `cine_sax`
    year : 2023, 2024 or 2025

    Returns
    -------
    Tensor (frame', slice', y', x'), a view

    Raises
    ------
    UsageError : unknown year, or not four axes

    Source: CmrxRecon/CMRxRecon and CMRxRecon2024, CMRxReconDemo/run4Ranking.m; CMRxRecon2025, CMRxReconDemo/run4Ranking_2025.m.
    """
    if year not in YEARS:
        raise UsageError(
            "unknown-protocol",
            f"There is no ranking rule for {year}",
            f"The years are {', '.join(map(str, YEARS))}",
            "Name one of them",
        )
    if images.ndim != 4:
        raise UsageError(
            "images-axes",
            f"The images have shape {tuple(images.shape)}",
            f"The axes must be {AXES}",
            "Add the missing axes of length 1, in that order",
        )
    _, slices, ny, nx = images.shape
    if year == 2023:
        all_frames = base not in ("cine_lax", "cine_sax")
    else:
        all_frames = any(name in base for name in (MAPPING_2024 if year == 2024 else MAPPING_2025))
    if not all_frames:
        images = images[:FRAMES_SCORED]
    images = images[:, ranking_slices(slices)]
    y, x = _central_box(ny, nx)
    return images[..., y, x]


def score(
    reconstruction: Tensor,
    reference: Tensor,
    *,
    protocol: str | int,
    order: str = "official",
    base: str | None = None,
    year: int | None = None,
    heart: tuple[int, int, int, int] | None = None,
    exclude_saturated: bool = False,
) -> Scores:
    """Compare a reconstruction with its reference by one protocol. Nothing is cropped here: `ranking_crop` does that.

    Challenge protocols: every two-dimensional image is normalised on its own, reconstruction and reference alike (2023: by the maximum;
    2024: zero mean, unit standard deviation; 2025: by the 99.5th percentile), and the scores are means over the images. The official
    programs of 2024 and 2025 confuse the two: for data with a time axis the *reconstruction* gives the data range and the
    denominator of the NMSE. Order `official` keeps that, `textbook` always takes the reference. The test-phase program of 2025 removes
    axes of length 1 first and so treats a single slice over time like data without a time axis; `textbook` gives its numbers.

    `fullfov`: one real least-squares scale per series (one slice over time) is applied to the reconstruction. PSNR: mean square error over
    the series, range its maximum. SSIM: per frame with that frame's maximum. NMSE and HFEN over the series. Heart PSNR: the same
    scale and range inside a box. Values are means over the slices. `order`, `base` and `year` have no effect.

    Parameters
    ----------
    reconstruction, reference : Tensor (frame, slice, y, x), magnitudes or complex (the magnitude is taken)
    protocol : `fullfov`, `cmrxrecon2023`, `cmrxrecon2024`, `cmrxrecon2025`, a year, or `cmrxrecon` for that of `year`
    order : `official` or `textbook`
    base : base name of the file; tells data without a time axis (blackblood, T1w, T2w). None: there is a time axis
    year : read only by the protocol `cmrxrecon`
    heart : (y0, y1, x0, x1), the heart box y0:y1, x0:x1 of `fullfov`; None: the central half of y and third of x
    exclude_saturated : `fullfov`: leave pixels of at least 0.99 times the reference's maximum out of the scale, PSNR, heart PSNR and NMSE

    Raises
    ------
    InputError : shapes differ (the official programs give NaN), NaN or infinity, or an image of one value only
    UsageError : unknown protocol or order, or a heart box that is not inside the images

    Source: `calmetric` in Evaluation.py of CmrxRecon/CMRxRecon and, for 2024 and 2025, of CmrxRecon/CMRxRecon2025-snippets.
    """
    name = canonical_protocol(protocol, year)
    if order not in ORDERS:
        raise UsageError(
            "option-value",
            f"There is no order {order!r}",
            f"The orders are {' and '.join(ORDERS)}",
            "Name one of them",
        )
    _check(reconstruction, reference)
    rule = year_of(name)
    if rule is None:
        return _score_fullfov(reconstruction, reference, heart, exclude_saturated)

    swapped = order == "official" and rule != 2023 and not is_timeless(base or "")
    rows = []
    for image, truth in _series_pairs(reconstruction, reference):
        image, truth = _normalise(image, rule), _normalise(truth, rule)
        a, b = (image, truth) if swapped else (truth, image)
        level = a.amax((-2, -1))
        rows.append(torch.stack([psnr(a, b, level), ssim(a, b, level), nmse(a, b)]).cpu())
    table = torch.stack(rows, -1)
    db, similarity, error = table.mean((1, 2)).tolist()
    return Scores(db, similarity, error, name, order, table[0].numel(), None, None, *table)


def _score_fullfov(
    reconstruction: Tensor,
    reference: Tensor,
    heart: tuple[int, int, int, int] | None,
    exclude_saturated: bool,
) -> Scores:
    """`score` for the protocol `fullfov`."""
    ny, nx = reference.shape[-2:]
    y, x = _heart_box(heart, ny, nx)
    rows, ssim_images = [], []
    for image, truth in _series_pairs(reconstruction, reference):
        level = truth.max()
        keep = (
            truth < SATURATED * level
            if exclude_saturated
            else torch.ones_like(truth, dtype=torch.bool)
        )
        image = image * ((image * truth)[keep].sum() / image[keep].square().sum())
        inside = torch.zeros_like(keep)
        inside[:, y, x] = keep[:, y, x]
        ssim_images.append(ssim(truth, image, truth.amax((-2, -1))).cpu())
        # A masked series is one long row of pixels to the metrics.
        scored, scored_truth = image[keep][None], truth[keep][None]
        values = [
            psnr(scored_truth, scored, level),
            ssim_images[-1].mean(),
            nmse(scored_truth, scored),
            psnr(truth[inside][None], image[inside][None], level),
            hfen(truth, image),
        ]
        rows.append([float(value) for value in values])
    db, similarity, error, heart_db, sharpness = (
        torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    )
    per_image = torch.stack(ssim_images, -1)
    return Scores(
        db,
        similarity,
        error,
        "fullfov",
        "textbook",
        per_image.numel(),
        heart_db,
        sharpness,
        ssim_images=per_image,
    )


def _heart_box(heart: tuple[int, int, int, int] | None, ny: int, nx: int) -> tuple[slice, slice]:
    """The box of the heart PSNR, checked."""
    if heart is None:
        return _central_box(ny, nx)
    y0, y1, x0, x1 = heart
    if not (0 <= y0 < y1 <= ny and 0 <= x0 < x1 <= nx):
        raise UsageError(
            "box-outside",
            f"The heart box is y {y0}:{y1}, x {x0}:{x1}",
            f"The images have {ny} x {nx} pixels (y, x)",
            "Give a box inside them",
        )
    return slice(y0, y1), slice(x0, x1)


def _series_pairs(reconstruction: Tensor, reference: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Slice by slice, to bound memory: magnitudes (frame, y, x) float64 of both."""
    for image, truth in zip(reconstruction.unbind(1), reference.unbind(1), strict=True):
        yield image.abs().to(torch.float64), truth.abs().to(torch.float64)


def _normalise(images: Tensor, year: int) -> Tensor:
    """Each image of (frame, y, x) by the rule of a year.

    The official programs do this in float32 and sum over (x, y) in NumPy's order, which shows in the sixth decimal of a PSNR: so must we.
    """
    return torch.stack(
        [
            torch.from_numpy(_normalise_image(image.float().cpu().numpy().T, year).T)
            for image in images
        ]
    ).to(images)


def _normalise_image(image: FloatImage, year: int) -> FloatImage:
    pixels = np.ascontiguousarray(image)
    offset, scale = np.float32(0), pixels.max()
    if year == 2024:
        offset, scale = pixels.mean(), pixels.std() + 1e-8
    elif year == 2025:
        scale = np.percentile(pixels, 99.5)
    normalised: FloatImage = (pixels - offset) / (scale if scale > 0 else 1)
    return normalised


def _check(reconstruction: Tensor, reference: Tensor) -> None:
    """Refuse what has no meaningful score."""
    if reconstruction.shape != reference.shape or reference.ndim != 4:
        raise InputError(
            "shape-mismatch",
            f"The reconstruction has shape {tuple(reconstruction.shape)} and the reference {tuple(reference.shape)} {AXES}",
            f"Both must have the same four axes {AXES}",
            "Compare with the reference of this file, and crop both or neither",
        )
    for what, images in (("reconstruction", reconstruction), ("reference", reference)):
        magnitude = images.abs()
        if not bool(torch.isfinite(magnitude).all()):
            raise InputError(
                "images-not-finite",
                f"The {what} holds NaN or infinity",
                "All pixels must be finite numbers",
                "Reconstruct the file again",
            )
        flat = magnitude.amax((-2, -1)) == magnitude.amin((-2, -1))
        if bool(flat.any()):
            frame, index = flat.nonzero()[0].tolist()
            raise InputError(
                "images-flat",
                f"The {what} is the same everywhere in frame {frame} of slice {index}",
                "Every image must have contrast to be scored",
                "Reconstruct the file again, or leave this slice out",
            )


def _central_box(ny: int, nx: int) -> tuple[slice, slice]:
    """The central half of y and third of x."""
    return centred(ny, round_half_up(ny / 2)), centred(nx, round_half_up(nx / 3))
