"""Detect coils that were read as slices of a single coil."""

import math

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings
from cmrrecon.data import Scan, SpokeMask

KERNEL = 3
# Fewer slices predict each other too poorly; more slices cost time.
FEWEST, MOST = 4, 8


def kinship(blocks: Tensor) -> float:
    """Compare two predictions of the median slice from the others: as coils, and by likeness.

    The result is the ratio of the residuals: likeness uses single samples, and coils predict each
    other from patches. Slices of a body look alike, and a patch of k-space adds little to the
    sample itself. Coils look different, but their patches predict each other.

    Parameters
    ----------
    blocks : Tensor of shape (slice, y, x), complex
        K-space around its centre.

    Returns
    -------
    float
        The ratio.
    """
    patches = blocks.unfold(1, KERNEL, 1).unfold(2, KERNEL, 1).flatten(3).flatten(1, 2)
    middle = patches[..., KERNEL**2 // 2 : KERNEL**2 // 2 + 1]

    gains = []
    for index in range(len(blocks)):
        others = [i for i in range(len(blocks)) if i != index]
        by_likeness, by_coils = (
            _residual(torch.cat([given[i] for i in others], -1), middle[index, :, 0])
            for given in (middle, patches)
        )
        gains.append(by_likeness / by_coils)

    return sorted(gains)[len(gains) // 2]


def _residual(given: Tensor, wanted: Tensor) -> float:
    """Return the fraction of `wanted` (sample) that `given` (sample, feature) cannot predict."""
    gram = given.mH @ given
    weight = 1e-4 * gram.diagonal().real.mean()
    rhs = given.mH @ wanted
    solution = torch.linalg.solve(gram + weight * torch.eye(len(gram), device=gram.device), rhs)
    explained = float((rhs.conj() * solution).sum().real / wanted.abs().square().sum())
    return max(1e-3, 1 - explained)


def as_coils(scan: Scan, readings: Readings, index: int) -> float:
    """Return the `kinship` of neighbouring slices; 0 if the scan has several coils or few slices.

    Parameters
    ----------
    scan : Scan
        The scan.
    readings : Readings
        The readings of slice `index`, the only slice that is not read here.
    index : int
        Number of the slice.

    Returns
    -------
    float
        The ratio.
    """
    count, coils = scan.shape[1:3]
    if coils != 1 or count < FEWEST or isinstance(readings.mask, SpokeMask):
        return 0.0

    first = max(0, min(index - MOST // 2, count - MOST))
    blocks = []
    for i in range(first, min(count, first + MOST)):
        kspace = readings.kspace if i == index else scan.read_slice(i).to(readings.kspace.device)
        block = _block(kspace[:, 0, readings.rows, readings.columns])
        largest = float(block.abs().max()) if block.numel() else 0.0
        if 0 < largest < math.inf:
            blocks.append(block / largest)

    lines = min((len(block) for block in blocks), default=0)
    if len(blocks) < FEWEST or lines < 2 * KERNEL + 1:
        return 0.0
    return kinship(torch.stack([block[:lines] for block in blocks]))


def _block(kspace: Tensor) -> Tensor:
    """Average (frame, y, x) over the frames that measured each sample, and cut it at gaps along y.

    The result has the shape (y', x').
    """
    counts = (kspace != 0).sum(0)
    filled = counts.amin(-1) > 0
    middle = len(filled) // 2

    after = (~filled[middle:]).nonzero().flatten()
    before = (~filled[:middle]).nonzero().flatten()

    first = int(before[-1]) + 1 if len(before) else 0
    last = middle + int(after[0]) if len(after) else len(filled)
    return (kspace.sum(0) / counts.clamp(min=1))[first:last]
