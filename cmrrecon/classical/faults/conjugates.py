"""Detect lines, frames or coils stored as complex conjugates of the others.

The conjugate of a line is the line of an object mirrored along the readout. The conjugate of a
coil's k-space is the k-space of a mirrored image. If everything is conjugated, the whole image is
mirrored, which cannot be detected.
"""

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings

KERNEL = 3
# Positions along the readout that are summed.
BINS = 2
# A line or frame leans against the others if its correlation with them is below minus this value.
AGAINST = 0.6
# The fraction of lines that must lean clearly to one side or the other before anything counts as
# conjugated: it is at least 0.78 in scans of bodies, and 0.4 to 0.5 with two coils around a bottle.
DECIDED = 0.75
# Only the strongest coils are compared.
MOST_COILS = 16


def leanings(readings: Readings) -> Tensor:
    """How much the profile of each line leans to one side of the readout, (frame, y', feature).

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
    """The correlation of each row of (unit, feature) with what most rows share, up to its sign.

    Conjugated units have the opposite sign to most.
    """
    unit = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-20)
    common = unit[int(vectors.norm(dim=-1).argmax())]

    for _ in range(20):
        common = unit.T @ (unit @ common)
        common = common / common.norm().clamp(min=1e-20)

    found: Tensor = unit @ common
    return found if (found > 0).sum() >= (found < 0).sum() else -found


def lines_apart(readings: Readings, lean: Tensor) -> tuple[float, int]:
    """The fraction of the central lines that lean against the others, and their number.

    Lines are counted one by one, and in the mean over frames. A single coil carries too little
    information. So does an object that is equally large on both sides, whose lines lean at random.
    """
    held = readings.held.any(-1)
    if readings.coils < 2 or not bool(held.any()):
        return 0.0, 0

    single = _against(lean[held])
    counts = held.sum(0)
    mean = (lean * held[..., None]).sum(0)[counts > 0] / counts[counts > 0][:, None]
    together = _against(mean)

    share = max(float(single.double().mean()), float(together.double().mean()))
    found = int(single.sum()) if len(readings.kspace) > 1 else int(together.sum())
    return (share, found) if found >= 2 else (0.0, found)


def _against(lean: Tensor) -> Tensor:
    """Which lines (unit, feature) lean against the others; none if too few lean clearly at all."""
    found = agreement(lean)
    return (found < -AGAINST) & _decided(found)


def _decided(agreements: Tensor) -> bool:
    """Whether enough lines lean clearly to one side or the other."""
    return bool((agreements.abs() > AGAINST).double().mean() >= DECIDED)


def frames_apart(readings: Readings, lean: Tensor) -> tuple[float, list[int]]:
    """How far the lines of a frame lean against the others, and which frames do.

    The value is -1 if no line does and 1 if all do. Frames whose lines lean to both sides are not
    conjugated. With a single coil, whose lines differ more, only lines that all frames measured are
    compared.
    """
    held = readings.held.any(-1)
    if readings.coils < 2:
        held = held & held.all(0)
    if readings.frames < 2 or not bool(held.any()):
        return -1.0, []

    agreements = agreement(lean[held])
    if not _decided(agreements):
        return -1.0, []

    leaning = torch.zeros(held.shape, device=held.device)
    leaning[held] = agreements
    found = -leaning.sum(1) / leaning.abs().sum(1).clamp(min=1e-20)
    return float(found.max()), (found > AGAINST).nonzero().flatten().tolist()


class Predictions:
    """How well coils predict each other, as in GRAPPA, from patches of KERNEL x KERNEL samples.

    Parameters
    ----------
    block : Tensor of shape (coil, y, x), complex
        K-space without gaps.
    """

    def __init__(self, block: Tensor) -> None:
        patches = block.unfold(1, KERNEL, 1).unfold(2, KERNEL, 1).flatten(3).flatten(1, 2)
        self.patches = patches.movedim(0, 1).flatten(1)
        self.middle = patches[..., KERNEL**2 // 2]
        # Products of all patches, (coil x sample of the patch, the same), and with their middles.
        self.gram = self.patches.mH @ self.patches
        self.stored = self.patches.mH @ self.middle.mT
        self.conjugated = self.patches.mH @ self.middle.mT.conj()
        self.energy = self.middle.abs().square().sum(1).clamp(min=1e-20)

    def better_conjugated(self, group: Tensor) -> float:
        """Logarithm of how much smaller the residual of a group of coils becomes by conjugation.

        Parameters
        ----------
        group : Tensor of shape (coil,), bool
            The group; the other coils predict it.

        Returns
        -------
        float
            The log ratio of the residuals.
        """
        others = (~group).repeat_interleave(KERNEL**2)
        gram = self.gram[others][:, others]
        weight = 1e-3 * gram.diagonal().real.mean()
        gram = gram + weight * torch.eye(len(gram), device=gram.device)

        right = torch.stack([self.stored[others][:, group], self.conjugated[others][:, group]])
        explained = (right.conj() * torch.linalg.solve(gram, right)).sum((1, 2)).real
        residual = (1 - explained / self.energy[group].sum()).clamp(min=1e-4)
        return float((residual[0] / residual[1]).log())

    def two_groups(self) -> Tensor:
        """Split the coils into two groups that predict each other as stored, (coil,) bool.

        True marks the smaller group. Each pair of coils is tried alone. This gives a symmetric
        matrix, positive where two coils fit as stored, negative where one of them should be
        conjugated. Its leading eigenvector splits the coils.
        """
        coils, size = len(self.middle), KERNEL**2
        blocks = self.gram.view(coils, size, coils, size)
        own = blocks.diagonal(dim1=0, dim2=2).movedim(-1, 0)
        weight = 1e-3 * own.diagonal(dim1=1, dim2=2).real.mean(1).clamp(min=1e-20)
        own = own + weight[:, None, None] * torch.eye(size, device=own.device)

        def residual(right: Tensor) -> Tensor:
            right = right.view(coils, size, coils)
            explained = (right.conj() * torch.linalg.solve(own, right)).sum(1).real
            return torch.clamp(1 - explained / self.energy, min=1e-4)

        better = (residual(self.conjugated) / residual(self.stored)).log()
        better = (better + better.T).fill_diagonal_(0)
        first: Tensor = torch.linalg.eigh(better).eigenvectors[:, -1] > 0
        return first if 2 * int(first.sum()) <= len(first) else ~first


def coils_apart(readings: Readings) -> tuple[float, list[int]]:
    """How much better a coil, or a group of coils, fits the others once conjugated, and which.

    The gain is the logarithm of a ratio.
    """
    block = readings.average
    if readings.coils < 2 or min(block.shape[1:]) < 2 * KERNEL:
        return 0.0, []

    strongest = block.abs().square().sum((1, 2)).topk(min(MOST_COILS, readings.coils)).indices
    predictions = Predictions(block[strongest])
    alone = torch.eye(len(strongest), dtype=torch.bool, device=block.device)

    groups = [*alone, predictions.two_groups()]
    found = [
        (predictions.better_conjugated(group), strongest[group].tolist())
        for group in groups
        if bool(group.any())
    ]

    return max(found)
