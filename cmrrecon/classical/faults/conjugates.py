"""Detect lines, frames or coils stored as complex conjugates of the others.

The conjugate of a line is the line of an object that is mirrored along the readout. The conjugate
of a coil's k-space is the k-space of a mirrored image. If everything is conjugated, the whole image
is mirrored, which cannot be detected.
"""

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings

KERNEL = 3
# Number of positions along the readout that are summed.
BINS = 2
# A line or frame leans against the others if its correlation with them is below minus this value.
AGAINST = 0.6
# Nothing counts as conjugated unless at least this fraction of the lines lean clearly to one side
# or the other. The fraction is at least 0.78 in scans of bodies, and 0.4 to 0.5 for a bottle with
# two coils around it.
DECIDED = 0.75
# Only the strongest coils are compared.
MOST_COILS = 16


def leanings(readings: Readings) -> Tensor:
    """Measure how much each line leans to one side of the readout, (frame, y', feature).

    The profile is the energy of the line in hybrid space, for each coil and position along x. Its
    mirror image is subtracted, so that conjugating the line changes the sign. The result is divided
    by the energy of the line.
    """
    block = readings.block
    width = block.shape[-1]
    # Only magnitudes count, so the block need not be centred exactly on the echo.
    profile = torch.fft.ifft(block, dim=-1).abs().square()

    order = torch.arange(width, device=block.device)
    lean = profile - profile[..., -order % width]
    half = lean[..., 1 : 1 + (width - 1) // 2 // BINS * BINS]
    half = half.unflatten(-1, (-1, BINS)).sum(-1)

    total = profile.sum((1, 3)).clamp(min=torch.finfo(torch.float32).tiny)
    leaning: Tensor = half.movedim(1, 2).flatten(2) / total[..., None]
    return leaning


def agreement(vectors: Tensor) -> Tensor:
    """Correlate each row of (unit, feature) with the pattern that most rows share, up to a sign.

    Conjugated units have the opposite sign.
    """
    unit = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-20)
    common = unit[int(vectors.norm(dim=-1).argmax())]

    for _ in range(20):
        common = unit.T @ (unit @ common)
        common = common / common.norm().clamp(min=1e-20)

    correlation: Tensor = unit @ common
    return correlation if (correlation > 0).sum() >= (correlation < 0).sum() else -correlation


def conjugated_lines(readings: Readings, lean: Tensor) -> tuple[float, int]:
    """Return the fraction of the central lines that lean against the others, and their number.

    Lines are counted both one by one and in the mean over frames, and the larger fraction is used.
    The result is zero for a single coil, which carries too little information, and for a symmetric
    object, whose lines lean at random.
    """
    measured = readings.block_measured.any(-1)
    if readings.coils < 2 or not bool(measured.any()):
        return 0.0, 0

    single = _against(lean[measured])
    counts = measured.sum(0)
    mean = (lean * measured[..., None]).sum(0)[counts > 0] / counts[counts > 0][:, None]
    together = _against(mean)

    share = max(float(single.double().mean()), float(together.double().mean()))
    count = int(single.sum()) if len(readings.kspace) > 1 else int(together.sum())
    return (share, count) if count >= 2 else (0.0, count)


def _against(lean: Tensor) -> Tensor:
    """Mark the lines (unit, feature) that lean against the others; none if too few lean clearly."""
    correlation = agreement(lean)
    return (correlation < -AGAINST) & _decided(correlation)


def _decided(agreements: Tensor) -> bool:
    """Return whether enough lines lean clearly to one side or the other."""
    return bool((agreements.abs() > AGAINST).double().mean() >= DECIDED)


def conjugated_frames(readings: Readings, lean: Tensor) -> tuple[float, list[int]]:
    """Measure how far the lines of a frame lean against the others, and find conjugated frames.

    The value is -1 if no line leans against the others and 1 if all do. A frame is not conjugated
    if its lines lean to both sides. With a single coil, lines differ more, so only lines that all
    frames measured are compared.
    """
    measured = readings.block_measured.any(-1)
    if readings.coils < 2:
        measured = measured & measured.all(0)
    if readings.frames < 2 or not bool(measured.any()):
        return -1.0, []

    agreements = agreement(lean[measured])
    if not _decided(agreements):
        return -1.0, []

    leaning = torch.zeros(measured.shape, device=measured.device)
    leaning[measured] = agreements
    against = -leaning.sum(1) / leaning.abs().sum(1).clamp(min=1e-20)
    return float(against.max()), (against > AGAINST).nonzero().flatten().tolist()


class Predictions:
    """How well coils predict each other from patches of KERNEL x KERNEL samples, as in GRAPPA.

    Parameters
    ----------
    block : Tensor of shape (coil, y, x), complex
        K-space without gaps.
    """

    def __init__(self, block: Tensor) -> None:
        patches = block.unfold(1, KERNEL, 1).unfold(2, KERNEL, 1).flatten(3).flatten(1, 2)
        self.patches = patches.movedim(0, 1).flatten(1)
        self.middle = patches[..., KERNEL**2 // 2]
        # Products of patches with patches, (coil x sample, coil x sample), and with their middles.
        self.gram = self.patches.mH @ self.patches
        self.stored = self.patches.mH @ self.middle.mT
        self.conjugated = self.patches.mH @ self.middle.mT.conj()
        self.energy = self.middle.abs().square().sum(1).clamp(min=1e-20)

    def better_conjugated(self, group: Tensor) -> float:
        """Return the log of the factor by which conjugating a group of coils reduces its residual.

        Parameters
        ----------
        group : Tensor of shape (coil,), bool
            The group, which the other coils predict.

        Returns
        -------
        float
            The logarithm of the ratio of the residuals.
        """
        others = (~group).repeat_interleave(KERNEL**2)
        gram = self.gram[others][:, others]
        weight = 1e-3 * gram.diagonal().real.mean()
        gram = gram + weight * torch.eye(len(gram), device=gram.device)

        rhs = torch.stack([self.stored[others][:, group], self.conjugated[others][:, group]])
        explained = (rhs.conj() * torch.linalg.solve(gram, rhs)).sum((1, 2)).real
        residual = (1 - explained / self.energy[group].sum()).clamp(min=1e-4)
        return float((residual[0] / residual[1]).log())

    def two_groups(self) -> Tensor:
        """Split the coils into two groups that predict each other as stored, (coil,) bool.

        True marks the smaller group. Comparing each pair of coils results in a symmetric matrix,
        which is positive if the two coils fit as stored and negative if one of them should be
        conjugated. Its leading eigenvector splits the coils.
        """
        coils, size = len(self.middle), KERNEL**2
        blocks = self.gram.view(coils, size, coils, size)
        own = blocks.diagonal(dim1=0, dim2=2).movedim(-1, 0)
        weight = 1e-3 * own.diagonal(dim1=1, dim2=2).real.mean(1).clamp(min=1e-20)
        own = own + weight[:, None, None] * torch.eye(size, device=own.device)

        def residual(rhs: Tensor) -> Tensor:
            rhs = rhs.view(coils, size, coils)
            explained = (rhs.conj() * torch.linalg.solve(own, rhs)).sum(1).real
            return torch.clamp(1 - explained / self.energy, min=1e-4)

        better = (residual(self.conjugated) / residual(self.stored)).log()
        better = (better + better.T).fill_diagonal_(0)
        first: Tensor = torch.linalg.eigh(better).eigenvectors[:, -1] > 0
        return first if 2 * int(first.sum()) <= len(first) else ~first


def conjugated_coils(readings: Readings) -> tuple[float, list[int]]:
    """Measure how much better some coils fit the others once conjugated, and find these coils.

    The improvement is the logarithm of a ratio of residuals.
    """
    block = readings.average
    if readings.coils < 2 or min(block.shape[1:]) < 2 * KERNEL:
        return 0.0, []

    strongest = block.abs().square().sum((1, 2)).topk(min(MOST_COILS, readings.coils)).indices
    predictions = Predictions(block[strongest])
    singles = torch.eye(len(strongest), dtype=torch.bool, device=block.device)

    groups = [*singles, predictions.two_groups()]
    found = [
        (predictions.better_conjugated(group), strongest[group].tolist())
        for group in groups
        if bool(group.any())
    ]

    return max(found)
