"""Finding and loading the reference images that a reconstruction is scored against."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrrecon import formats
from cmrrecon.errors import InputError
from cmrrecon.physics.coils import rss
from cmrrecon.physics.fourier import ifft2c
from cmrrecon.scan import Acquisition

TRUTH = "_truth"


def acquisition_of(path: Path, stamp: Mapping[str, Any] | None) -> Acquisition:
    """What is known of the scan an image file came from: its provenance, else its file and folder names."""
    known = (stamp or {}).get("acquisition")
    if not isinstance(known, dict):
        return formats.parse_name(path)
    return Acquisition(**{f.name: known[f.name] for f in fields(Acquisition) if f.name in known})


def find_reference(acquisition: Acquisition, candidates: Sequence[Path]) -> Path:
    """The candidate file of the same base, subject, centre and vendor; a noise-free truth is preferred to k-space.

    Raises
    ------
    InputError : none fits, or several do
    """
    wanted = _identity(acquisition)
    matches = []
    for path in candidates:
        facts = formats.parse_name(path.with_name(path.name.replace(TRUTH, "")))
        if facts.pattern is None and all(a == b or a is None or b is None for a, b in zip(wanted, _identity(facts), strict=True)):
            matches.append(path)
    best = [path for path in matches if TRUTH in path.stem] or matches
    if len(best) != 1:
        raise InputError(
            f"{len(best)} reference files fit {acquisition.base} of subject {acquisition.subject or 'unknown'}",
            "Exactly one must fit, by base name, subject, centre and vendor",
            "Give the reference file itself with --truth",
        )
    return best[0]


def _identity(facts: Acquisition) -> tuple[str | None, ...]:
    return (facts.base, facts.subject, facts.centre, facts.vendor)


def load_reference(path: Path) -> tuple[Tensor, str]:
    """Reference magnitudes (frame, slice, y, x) float32 and what they are: stored images, or the RSS of full k-space.

    Raises
    ------
    InputError : the k-space is undersampled
    """
    if formats.kind(path) == "images":
        source = "noise-free truth" if TRUTH in path.stem else "stored images"
        return formats.read_images(path).abs().float(), source
    scan = formats.read(path)
    slices = []
    for index in range(scan.shape[1]):
        series = scan.series(index)
        if not bool(series.mask.all()):
            raise InputError(
                f"{path} is undersampled", "A reference must be fully sampled", "Give the fully sampled file or truth images with --truth"
            )
        slices.append(torch.stack([rss(ifft2c(frame), 0) for frame in series.kspace]))
    return torch.stack(slices, 1), "RSS of fully sampled k-space"
