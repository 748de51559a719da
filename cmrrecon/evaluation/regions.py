"""Scores over regions of images: signal and contrast to noise, and lesion-focused scores.

Images are (frame, slice, y, x). A region is one label of a label map, or a box around a lesion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrrecon.formats.labels import LabelRow
from cmrrecon.metrics import WINDOW, ssim_map
from cmrrecon.tools.errors import InputError

RULE = (
    "whole images, one least-squares scale per series; LF-PSNR: peak is the maximum of the "
    "reference series; LF-SSIM: windows centred in the region; means over boxes, then images"
)
NOISE_RULE = (
    "SNR = mean / std of the background, CNR = difference of means / std of the background, "
    "in each image, then their mean"
)
MARGIN = WINDOW // 2


@dataclass(frozen=True)
class Region:
    """A named set of pixels.

    Attributes
    ----------
    name : str
        The number of a label, or the label of a box.
    mask : Tensor of shape (frame|1, slice, y, x), bool
        True inside the region.
    """

    name: str
    mask: Tensor


def labelled(labels: Tensor) -> list[Region]:
    """Return a region for each non-zero label of a label map (frame|1, slice, y, x)."""
    return [
        Region(str(value), labels == value)
        for value in labels.flatten().bincount().nonzero().flatten().tolist()
        if value
    ]


def boxes(rows: Sequence[LabelRow], shape: tuple[int, ...], numbers: Sequence[int]) -> list[Region]:
    """Return the boxes on the given slices as regions, ignoring labels of whole images.

    Parameters
    ----------
    rows : sequence of LabelRow
        Labels of one scan.
    shape : tuple of int
        Shape (frame, slice, y, x) of the images.
    numbers : sequence of int
        Slice numbers of the images.

    Raises
    ------
    InputError
        If a box is not inside the images (`box-outside`).
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
                "Choose a box inside them, in pixels of the whole matrix",
            )

        mask = torch.zeros((1, slices, y, x), dtype=torch.bool)
        mask[:, slice(None) if row.slice is None else numbers.index(row.slice), y0:y1, x0:x1] = True
        found.append(Region(row.label, mask))
    return found


def merged(regions: Sequence[Region]) -> list[Region]:
    """Merge regions of the same name, such as boxes with the same label."""
    masks: dict[str, Tensor] = {}
    for region in regions:
        masks[region.name] = (
            masks[region.name] | region.mask if region.name in masks else region.mask
        )
    return [Region(name, mask) for name, mask in masks.items()]


def together(*masks: Tensor) -> bool:
    """Return whether any image has pixels of all masks (frame|1, slice, y, x)."""
    present = [mask.any(-1).any(-1) for mask in masks]
    return bool(torch.stack(torch.broadcast_tensors(*present)).all(0).any())  # type: ignore[no-untyped-call]


def focused(image: Tensor, reference: Tensor, regions: Sequence[Region]) -> Tensor:
    """Compute PSNR and SSIM of each region in each image.

    The images are not cut. One real least-squares scale per series (slice over time) is applied to
    the reconstruction, as in `fullfov`. PSNR uses the mean square error over the region's pixels
    and the maximum of the whole reference series as the peak. SSIM is the mean over the windows of
    7 x 7 pixels that are centred in the region, with the frame's maximum as the data range; windows
    may extend beyond the region.

    Parameters
    ----------
    image, reference : Tensor of shape (frame, slice, y, x)
        Magnitudes or complex images.
    regions : sequence of Region
        At least one region.

    Returns
    -------
    Tensor of shape (2, region, frame, slice), float64
        PSNR in dB and SSIM; NaN where the region has no pixel.

    Raises
    ------
    InputError
        If a region is within the outermost 3 pixels, where no window is centred (`region-at-edge`),
        or if the reconstruction is zero or not finite (`images-not-finite`).

    References
    ----------
    Lesion-focused scores of Ju et al., Med. Image Anal. 2026. The public part of the paper does not
    define them.
    """
    frames, slices = reference.shape[:2]
    table = torch.full(
        (2, len(regions), frames, slices), torch.nan, dtype=torch.float64, device=reference.device
    )

    for z in range(slices):
        present = [n for n, region in enumerate(regions) if bool(region.mask[:, z].any())]
        if not present:
            continue

        truth = reference[:, z].abs().double()
        series = _fitted(image[:, z].abs().double(), truth, z)
        error = (truth - series).square()
        similarity = ssim_map(truth, series, truth.amax((-2, -1)))

        for n in present:
            mask = regions[n].mask[:, z].to(truth.device)
            inner = mask[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
            if bool((mask.any((-2, -1)) & ~inner.any((-2, -1))).any()):
                raise InputError(
                    "region-at-edge",
                    f"Region {regions[n].name} is within {MARGIN} pixels of the edge",
                    f"The SSIM needs windows of {WINDOW} x {WINDOW} pixels centred in the region",
                    "Draw it larger, or omit it",
                )
            table[0, n, :, z] = 10 * torch.log10(truth.max() ** 2 / _mean(error, mask))
            table[1, n, :, z] = _mean(similarity, inner)
    return table


def _fitted(series: Tensor, truth: Tensor, z: int) -> Tensor:
    """Scale a series by the real factor that fits it to the reference by least squares."""
    factor = (series * truth).sum() / series.square().sum()
    if not bool(factor.isfinite()):
        raise InputError(
            "images-not-finite",
            f"Reconstruction or reference is zero everywhere or not finite in slice {z}",
            "All pixels must be finite, and some must be non-zero",
            "Reconstruct the file again, or leave this slice out",
        )
    return factor * series


def average(table: Tensor, chosen: Sequence[int]) -> tuple[float, float]:
    """Average some regions in the result of `focused` to LF-PSNR and LF-SSIM.

    Scores are averaged over the regions of each image, then over the images.
    """
    psnr, similarity = table[:, list(chosen)].nanmean(1).flatten(1).nanmean(1).tolist()
    return psnr, similarity


def signal_to_noise(images: Tensor, region: Tensor, background: Tensor) -> float | None:
    """Return the SNR of a region: mean / standard deviation of the background.

    The ratio is computed in each image and averaged over the images. The standard deviation is
    normalised by the number of pixels.

    Parameters
    ----------
    images : Tensor of shape (frame, slice, y, x)
        Magnitudes or complex images.
    region, background : Tensor of shape (frame|1, slice, y, x), bool
        True inside the region, and where the noise is measured.

    Returns
    -------
    float or None
        The ratio; None if the background is constant, for example after a method that blanks it.

    Raises
    ------
    InputError
        If no image contains both (`regions-apart`).

    References
    ----------
    Formulas for SNR and CNR in J. Clin. Med. Imaging 2024, "fidelity" network of Neusoft.
    """
    return _ratio(_levels(images, region)[0], _levels(images, background)[1])


def contrast_to_noise(
    images: Tensor, first: Tensor, second: Tensor, background: Tensor
) -> float | None:
    """Return the CNR of two regions: difference of means / standard deviation of the background.

    The CNR is negative if the first region is darker. Everything else is as in `signal_to_noise`.
    """
    difference = _levels(images, first)[0] - _levels(images, second)[0]
    return _ratio(difference, _levels(images, background)[1])


def _ratio(signal: Tensor, noise: Tensor) -> float | None:
    """Average signal / noise over the images that have both."""
    both = ~(signal.isnan() | noise.isnan())
    if not bool(both.any()):
        raise InputError(
            "regions-apart",
            "No image contains both the regions and the background",
            "The noise is measured in the same image as the signal",
            "Draw all of them on the same slices",
        )
    if not bool((noise[both] > 0).all()):
        return None
    return float((signal[both] / noise[both]).mean())


def _levels(images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and standard deviation over a mask in each image, (frame, slice) float64.

    Both are NaN where the mask is empty.
    """
    means, deviations = [], []

    # Work slice by slice to save memory.
    for series, inside in zip(images.unbind(1), mask.to(images.device).unbind(1), strict=True):
        magnitude = series.abs().double()
        mean = _mean(magnitude, inside)
        means.append(mean)
        deviations.append(_mean((magnitude - mean[:, None, None]).square(), inside).sqrt())
    return torch.stack(means, 1), torch.stack(deviations, 1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average values (frame, y, x) over a mask (frame|1, y, x); NaN in frames where it is empty."""
    return torch.where(mask, values, 0).sum((-2, -1)) / mask.sum((-2, -1))
