"""The labels of SDUM: pattern, R and modality as numbers, and how networks are given them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cmrrecon.networks.labelled import Labels
from cmrrecon.tools.errors import UsageError, suggestion

# Words in the names of patterns, and accelerations, that have a label.
PATTERNS = ("uniform", "gaussian", "radial")
ACCELERATIONS = (8, 16, 24)
# The modalities of the published Base and Large networks.
MODALITIES = (
    "BlackBlood", "Cine", "Flow2d", "LGE", "Mapping", "Perfusion", "T1rho", "T1w", "T2w",
)  # fmt: skip
# Those of the published Small network, and of CMRxRecon as a whole.
ALL_MODALITIES = ("Aorta", *MODALITIES, "Tagging")
UNKNOWN = -1
# Frequencies of the sinusoids fall to 1 / PERIOD.
PERIOD = 10000


def codes(labels: Labels, modalities: Sequence[str]) -> tuple[int, int]:
    """Return the number of the pattern, and the label, by the rule of the published program.

    Unknown patterns and accelerations count as -1. The weights of data consistency are then those
    of the last pattern.

    Parameters
    ----------
    labels : Labels
        Pattern, R and modality.
    modalities : sequence of str
        The modalities in the order of their labels; upper and lower case are the same.

    Raises
    ------
    UsageError
        If the modality is unknown (`unknown-modality`).
    """
    names = [name.lower() for name in modalities]
    modality = (labels.modality or "").lower()

    if modality not in names:
        raise UsageError(
            "unknown-modality",
            f"The modality of the scan is {labels.modality or 'unknown'}",
            f"This network was trained on: {', '.join(modalities)}",
            suggestion(labels.modality or "", modalities, "Give it with --set modality=NAME"),
        )

    pattern = _pattern(labels)
    known = labels.acceleration in ACCELERATIONS
    acceleration = ACCELERATIONS.index(int(labels.acceleration or 0)) if known else UNKNOWN

    # The first factor is the number of patterns, in the place of the number of accelerations.
    size = len(names)
    label = pattern * len(PATTERNS) * size + acceleration * size + names.index(modality)
    return pattern, label


def cautions(labels: Labels, *, conditioned: bool) -> tuple[str, ...]:
    """Return warnings about a pattern or R on which SDUM was not trained."""
    sentences = []
    if _pattern(labels) == UNKNOWN:
        sentences.append(
            f"SDUM was trained on the sampling patterns {', '.join(PATTERNS)}, but that of this "
            f"scan is {labels.pattern or 'unknown'}, so expect worse images; if it is one of them, "
            "use --set pattern=NAME"
        )
    if conditioned and labels.acceleration not in ACCELERATIONS:
        given = "unknown" if labels.acceleration is None else f"{labels.acceleration:g}"
        sentences.append(
            f"SDUM was trained on R = {', '.join(map(str, ACCELERATIONS))}, but that of this scan "
            f"is {given}, so expect worse images; if it is one of them, use --set acceleration=R"
        )
    return tuple(sentences)


def sinusoids(value: Tensor, width: int) -> Tensor:
    """Return `cos` and then `sin` of values (batch,) at `width / 2` frequencies, as float32."""
    half = width // 2
    numbers = torch.arange(half, dtype=torch.float32, device=value.device)
    angles = value.float()[:, None] * torch.exp(-math.log(PERIOD) * numbers / half)
    return torch.cat([angles.cos(), angles.sin()], 1)


def _pattern(labels: Labels) -> int:
    """Return the number of the first pattern whose word is in the name, or -1."""
    name = (labels.pattern or "").lower()
    return next((number for number, word in enumerate(PATTERNS) if word in name), UNKNOWN)
