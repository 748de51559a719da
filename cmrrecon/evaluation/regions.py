"""Scores over regions of images: signal and contrast to noise, and how well lesions are reconstructed.

Images are (frame, slice, y, x). A region is where a label map has one value, or a box around a lesion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.formats.labels import LabelRow
from cmrrecon.metrics import WINDOW, ssim_map
from cmrrecon.tools.errors import InputError

RULE = (
    "whole images, one least-squares scale per series; LF-PSNR: peak is the maximum of the reference series; "
    "LF-SSIM: windows centred in the region; means over boxes, then images"
)
NOISE_RULE = "SNR = mean / std of the background, CNR = difference of means / std of the background, in each image, then their mean"
MARGIN = WINDOW // 2


@dataclass(frozen=True)
class Region:
    """Some pixels with a name: a label's number, or what a box is labelled. Tensor (frame|1, slice, y, x) bool."""

    name: str
    mask: Tensor


def labelled(labels: Tensor) -> list[Region]:
    """The regions of a label map (frame|1, slice, y, x), one for each label but 0."""
    return [
        Region(str(value), labels == value)
        for value in labels.flatten().bincount().nonzero().flatten().tolist()
        if value
    ]


def boxes(rows: Sequence[LabelRow], shape: tuple[int, ...], numbers: Sequence[int]) -> list[Region]:
    """The boxes of a table of labels, those on these slices; labels of whole images are left out.

    Parameters
    ----------
    rows : of one scan
    shape : of the images, (frame, slice, y, x)
    numbers : the images' slice numbers

    Raises
    ------
    InputError : a box is not inside the images
    """
    slices, y, x = shape[1:]
    found = []
    for row in rows:
        if row.box is None or (row.slice is not None and row.slice not in numbers):
            continue
        y0, y1, x0, x1 = row.box
        if y1 > y or x1 > x:
            raise InputError(
                "box-outside",
                f"The box of {row.label} in {row.file} is y {y0}:{y1}, x {x0}:{x1}",
                f"The images have {y} x {x} pixels (y, x)",
                "Give a box inside them, in pixels of the whole matrix",
            )
        mask = torch.zeros((1, slices, y, x), dtype=torch.bool)
        mask[:, slice(None) if row.slice is None else numbers.index(row.slice), y0:y1, x0:x1] = True
        found.append(Region(row.label, mask))
    return found


def merged(regions: Sequence[Region]) -> list[Region]:
    """One region for each name: boxes of the same label together."""
    masks: dict[str, Tensor] = {}
    for region in regions:
        masks[region.name] = (
            masks[region.name] | region.mask if region.name in masks else region.mask
        )
    return [Region(name, mask) for name, mask in masks.items()]


def together(*masks: Tensor) -> bool:
    """Whether any image holds pixels of all the masks (frame|1, slice, y, x)."""
    present = [mask.any(-1).any(-1) for mask in masks]
    return bool(torch.stack(torch.broadcast_tensors(*present)).all(0).any())  # type: ignore[no-untyped-call]


def focused(image: Tensor, reference: Tensor, regions: Sequence[Region]) -> Tensor:
    """PSNR and SSIM of each region in each image, of the whole images and not of a cut-out.

    One real least-squares scale per series (slice over time) is applied to the reconstruction, as in `fullfov`. PSNR: mean square error
    over the region's pixels, peak the maximum of the whole reference series. SSIM: the similarity of the windows centred in the region, of
    7 x 7 pixels with that frame's maximum as range; windows reach beyond the region.

    Parameters
    ----------
    image, reference : Tensor (frame, slice, y, x), magnitudes or complex
    regions : at least one

    Returns
    -------
    Tensor (2, region, frame, slice) float64, PSNR in dB and SSIM; NaN where the region has no pixel

    Raises
    ------
    InputError : a region lies in the outermost 3 pixels, where no window is centred; or a reconstruction without signal, or with NaN

    Source: the lesion-focused scores of Ju et al., Med. Image Anal. 2026, which the public part of the paper does not define.
    """
    frames, slices = reference.shape[:2]
    table = torch.full(
        (2, len(regions), frames, slices), torch.nan, dtype=torch.float64, device=reference.device
    )
    for z in range(slices):
        present = [n for n, region in enumerate(regions) if bool(region.mask[:, z].any())]
        if not present:
            continue
        truth, series = reference[:, z].abs().double(), image[:, z].abs().double()
        factor = (series * truth).sum() / series.square().sum()
        if not bool(factor.isfinite()):
            raise InputError(
                "images-not-finite",
                f"The reconstruction or the reference is zero everywhere or not finite in slice {z} of the images",
                "All pixels must be finite numbers, and some not zero",
                "Reconstruct the file again, or leave this slice out",
            )
        series = factor * series
        error = (truth - series).square()
        similarity = ssim_map(truth, series, truth.amax((-2, -1)))
        for n in present:
            mask = regions[n].mask[:, z].to(truth.device)
            inner = mask[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
            if bool((mask.any((-2, -1)) & ~inner.any((-2, -1))).any()):
                raise InputError(
                    "region-at-edge",
                    f"Region {regions[n].name} lies within {MARGIN} pixels of the edge",
                    f"No window of {WINDOW} x {WINDOW} pixels is centred there, so there is no SSIM",
                    "Draw it larger, or leave it out",
                )
            table[0, n, :, z] = 10 * torch.log10(truth.max() ** 2 / _mean(error, mask))
            table[1, n, :, z] = _mean(similarity, inner)
    return table


def average(table: Tensor, chosen: Sequence[int]) -> tuple[float, float]:
    """LF-PSNR and LF-SSIM of some regions of a table of `focused`: means over the regions of an image, then over the images."""
    psnr, similarity = table[:, list(chosen)].nanmean(1).flatten(1).nanmean(1).tolist()
    return psnr, similarity


def signal_to_noise(images: Tensor, region: Tensor, background: Tensor) -> float | None:
    """SNR = mean over the region / standard deviation over the background, in each image, and then the mean over the images.

    Parameters
    ----------
    images : Tensor (frame, slice, y, x), magnitudes or complex
    region, background : Tensor (frame|1, slice, y, x) bool

    Returns
    -------
    the ratio, or None where the background is constant: a method that blanks it leaves no noise to compare with. The standard
    deviation is that of the pixels (divided by their number)

    Raises
    ------
    InputError : no image holds both

    Source: J. Clin. Med. Imaging 2024, "fidelity" network of Neusoft, its two formulas for SNR and CNR.
    """
    return _ratio(_levels(images, region)[0], _levels(images, background)[1])


def contrast_to_noise(
    images: Tensor, first: Tensor, second: Tensor, background: Tensor
) -> float | None:
    """CNR = (mean over the first region - mean over the second) / standard deviation over the background; the rest as `signal_to_noise`.

    It has a sign: negative where the first region is the darker one.
    """
    return _ratio(
        _levels(images, first)[0] - _levels(images, second)[0], _levels(images, background)[1]
    )


def _ratio(signal: Tensor, noise: Tensor) -> float | None:
    """Mean of signal / noise over the images that have both."""
    both = ~(signal.isnan() | noise.isnan())
    if not bool(both.any()):
        raise InputError(
            "regions-apart",
            "The regions and the background are on no image together",
            "Noise is measured in the same image",
            "Draw them on the same slices",
        )
    if not bool((noise[both] > 0).all()):
        return None
    return float((signal[both] / noise[both]).mean())


def _levels(images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the mask in each image, (frame, slice) float64; NaN where the mask is empty."""
    means, deviations = [], []
    # Slice by slice, to bound memory.
    for series, inside in zip(images.unbind(1), mask.to(images.device).unbind(1), strict=True):
        magnitude = series.abs().double()
        mean = _mean(magnitude, inside)
        means.append(mean)
        deviations.append(_mean((magnitude - mean[:, None, None]).square(), inside).sqrt())
    return torch.stack(means, 1), torch.stack(deviations, 1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (frame, y, x) over a mask (frame|1, y, x), (frame,); NaN where it is empty."""
    return torch.where(mask, values, 0).sum((-2, -1)) / mask.sum((-2, -1))
