"""The scores of regions that `cmrrecon evaluate --roi` reports: lesion-focused, SNR and CNR."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from cmrrecon.evaluation.regions import (
    NOISE_RULE,
    RULE,
    Region,
    average,
    contrast_to_noise,
    focused,
    merged,
    signal_to_noise,
    together,
)
from cmrrecon.tools.errors import InputError, UsageError, suggestion

# A region of this name is the background unless another one is chosen.
BACKGROUND = "background"


def region_scores(
    images: Tensor,
    expected: Tensor,
    regions: Sequence[Region],
    *,
    background: str | None,
    source: str,
    lesions: bool,
) -> dict[str, Any]:
    """Compute LF-PSNR and LF-SSIM of each region, and SNR and CNR if there is a background.

    Parameters
    ----------
    images, expected : Tensor of shape (frame, slice, y, x)
        Reconstruction and reference as whole images.
    regions : sequence of Region
        The regions on these images.
    background : str or None
        Region where the noise is measured; None for the region called `background`, if any.
    source : str
        Name of the file with the regions.
    lesions : bool
        Whether the regions are boxes of lesions, which are also scored together.

    Returns
    -------
    dict
        `file`, `rule` and `regions` (scores by region); `lesions` (scores over all boxes); with a
        background also `noise_rule`, `background` and `contrasts` (CNR by pair of regions).

    Raises
    ------
    InputError
        If only the background is labelled (`labels-empty`).
    UsageError
        If there is no region of the given name (`unknown-region`).
    """
    named = {region.name: region.mask for region in merged(regions)}
    noise = _noise_region(background, named, source)
    scored = [region for region in regions if region.name != noise]
    if not scored:
        raise InputError(
            "labels-empty",
            f"Only the background is labelled in {source}",
            "Scores need at least one other region",
            "Label the regions to score as well",
        )

    table = focused(images, expected, scored)
    found: dict[str, dict[str, float | None]] = {}
    for name in dict.fromkeys(region.name for region in scored):
        psnr, ssim = average(table, [n for n, region in enumerate(scored) if region.name == name])
        found[name] = {"lf_psnr": psnr, "lf_ssim": ssim}

    result: dict[str, Any] = {"file": source, "rule": RULE, "regions": found}
    if lesions:
        psnr, ssim = average(table, range(len(scored)))
        result["lesions"] = {"boxes": len(scored), "lf_psnr": psnr, "lf_ssim": ssim}
    if noise is not None:
        result |= _over_noise({"": images, "reference_": expected}, found, named, noise)
    return result


def _noise_region(background: str | None, named: Mapping[str, Tensor], source: str) -> str | None:
    """Return the region where the noise is measured, if there is one."""
    noise = background or (BACKGROUND if BACKGROUND in named else None)
    if noise is not None and noise not in named:
        raise UsageError(
            "unknown-region",
            f"There is no region {noise!r}",
            f"The regions of {source} are {', '.join(named)}",
            suggestion(noise, named, "Choose one of them with --background"),
        )
    return noise


def _over_noise(
    both: Mapping[str, Tensor],
    found: dict[str, dict[str, float | None]],
    masks: Mapping[str, Tensor],
    noise: str,
) -> dict[str, Any]:
    """Add the SNR of each region to its scores in `found`; return the CNR and the noise rule."""
    for name, scores in found.items():
        scores |= {
            f"{of}snr": signal_to_noise(series, masks[name], masks[noise])
            for of, series in both.items()
        }
    return {
        "noise_rule": NOISE_RULE,
        "background": noise,
        "contrasts": _contrasts(both, found, masks, noise),
    }


def _contrasts(
    both: Mapping[str, Tensor], names: Iterable[str], masks: Mapping[str, Tensor], noise: str
) -> dict[str, dict[str, float | None]]:
    """Return the CNR of each pair of regions that share an image with the background."""
    contrasts: dict[str, dict[str, float | None]] = {}
    for one, two in itertools.combinations(names, 2):
        if not together(masks[one], masks[two], masks[noise]):
            continue
        signed = {
            f"{of}cnr": contrast_to_noise(series, masks[one], masks[two], masks[noise])
            for of, series in both.items()
        }
        # The sign only depends on the order of the two regions, so it is dropped.
        contrasts[f"{one}, {two}"] = {
            key: None if value is None else abs(value) for key, value in signed.items()
        }
    return contrasts
