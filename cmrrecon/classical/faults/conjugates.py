"""Lines, frames or coils that were stored as complex conjugates of the others.

The conjugate of a line is the line of an object mirrored along the readout, and the conjugate of a
coil's k-space the k-space of a mirrored image. Where all are conjugated alike, the whole image is
mirrored, which cannot be seen.
"""

import torch
from torch import Tensor

from cmrrecon.classical.faults.readings import Readings

KERNEL = 3
# Places along the readout that are taken together.
BINS = 2
# A correlation from which a line or frame leans against the others.
AGAINST = 0.6
# The part of the lines that must lean clearly to one side or the other, before anything counts as
# conjugated: 0.78 and more in scans of bodies, 0.4 to 0.5 in two coils around a bottle.
DECIDED = 0.75
# Coils that are compared, the strongest.
MOST_COILS = 16


def leanings(readings: Readings) -> Tensor:
    """How much each line's profile leans to one side of the readout, (frame, y', feature).

    The profile is the energy of the line in hybrid space in each coil and place along x; less its
    mirror image, so that conjugating the line changes the sign. Divided by the line's energy.
    """
    block = readings.block
    width = block.shape[-1]
    # Only magnitudes count, so the block need not lie exactly about the echo.
    profile = torch.fft.ifft(block, dim=-1).abs().square()

    order = torch.arange(width, device=block.device)
    lean = profile - profile[..., -order % width]
    half = lean[..., 1 : 1 + (width - 1) // 2 // BINS * BINS]
    half = half.unflatten(-1, (-1, BINS)).sum(-1)

    total = profile.sum((1, 3)).clamp(min=torch.finfo(torch.float32).tiny)
    leaning: Tensor = half.movedim(1, 2).flatten(2) / total[..., None]
    return leaning


def agreement(vectors: Tensor) -> Tensor:
    """The correlation of each row of (unit, feature) with what most of them share, up to its sign.

    Conjugated units have the other sign than most.
    """
    unit = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-20)
    common = unit[int(vectors.norm(dim=-1).argmax())]

    for _ in range(20):
        common = unit.T @ (unit @ common)
        common = common / common.norm().clamp(min=1e-20)

    found: Tensor = unit @ common
    return found if (found > 0).sum() >= (found < 0).sum() else -found


def lines_apart(readings: Readings, lean: Tensor) -> tuple[float, int]:
    """The part of the central lines that lean against the others, and their number.

    Counted one by one, and in the mean over frames. A single coil tells too little, and so does an
    object as large on both sides, whose lines lean each its own way.
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
    """Which lines (unit, feature) lean against the others; none where too few lean clearly at
    all."""
    found = agreement(lean)
    return (found < -AGAINST) & _decided(found)


def _decided(agreements: Tensor) -> bool:
    """Whether enough lines lean clearly to one side or the other."""
    return bool((agreements.abs() > AGAINST).double().mean() >= DECIDED)


def frames_apart(readings: Readings, lean: Tensor) -> tuple[float, list[int]]:
    """How far the lines of a frame lean against the others, -1 (none) to 1 (all), and of which
    frames.

    Where lines of a frame lean to either side, they are not conjugated with the frame. Of a single
    coil, whose lines differ more, only those are compared that all frames measured.
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
    """How well coils predict each other, as GRAPPA does, from patches of KERNEL x KERNEL samples.

    Parameters
    ----------
    block : Tensor (coil, y, x), k-space without gaps
    """

    def __init__(self, block: Tensor) -> None:
        patches = block.unfold(1, KERNEL, 1).unfold(2, KERNEL, 1).flatten(3).flatten(1, 2)
        self.patches = patches.movedim(0, 1).flatten(1)
        self.middle = patches[..., KERNEL**2 // 2]
        # Of all patches, (coil x sample of the patch, the same), and of them with the middles.
        self.gram = self.patches.mH @ self.patches
        self.stored = self.patches.mH @ self.middle.mT
        self.conjugated = self.patches.mH @ self.middle.mT.conj()
        self.energy = self.middle.abs().square().sum(1).clamp(min=1e-20)

    def better_conjugated(self, group: Tensor) -> float:
        """How many times less is left of a group of coils once conjugated: the logarithm.

        Parameters
        ----------
        group : Tensor (coil,) bool; the others predict it
        """
        others = (~group).repeat_interleave(KERNEL**2)
        gram = self.gram[others][:, others]
        weight = 1e-3 * gram.diagonal().real.mean()
        gram = gram + weight * torch.eye(len(gram), device=gram.device)

        right = torch.stack([self.stored[others][:, group], self.conjugated[others][:, group]])
        explained = (right.conj() * torch.linalg.solve(gram, right)).sum((1, 2)).real
        left = (1 - explained / self.energy[group].sum()).clamp(min=1e-4)
        return float((left[0] / left[1]).log())

    def two_groups(self) -> Tensor:
        """The coils parted into those that predict each other as stored; True for the fewer,
        (coil,) bool.

        Each pair is tried alone, which gives a symmetric matrix: positive where two coils fit as
        they are, negative where one should be conjugated. Its first eigenvector parts them.
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
    """How much better a coil, or a group of them, fits the others once conjugated, and which: a log
    ratio."""
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
