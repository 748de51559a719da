"""Training samples, and batches of them on the device of the network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cmrrecon.networks.base import Output, WindowNetwork
from cmrrecon.networks.labelled import LabelledNetwork, Labels
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c


@dataclass(frozen=True)
class Sample:
    """One window of adjacent frames, or a whole series, divided by the scale of its scan.

    For a whole series, `kspace` contains all frames, `target` has the shape (frame, y, x'), and
    `target_kspace` the shape (frame, coil, y, x).

    Attributes
    ----------
    kspace : Tensor of shape (frame, coil, y, x), complex
        K-space, zero where not measured.
    mask : Tensor of shape (frame|1, y, x|1), bool
        Measured samples.
    acs : int
        Number of calibration lines.
    target : Tensor of shape (y, x)
        RSS image of the fully sampled middle frame.
    target_kspace : Tensor of shape (coil, y, x), complex
        Fully sampled k-space of the middle frame.
    limit : float
        The largest pixel of the target's scan, which is the data range of the SSIM.
    domain, name : str
        The domain and the name of the scan.
    classes : Tensor of shape (class,)
        For each class of lesions in the recipe, 1 if it is present and 0 if it is not; NaN in a
        slice without labels.
    lesion : Tensor of shape (y, x), bool
        True inside the boxes of lesions.
    columns : slice or None
        Columns of x in `target`, for a whole series; None for a window.
    labels : Labels
        Pattern, R and modality, for networks that need them.
    """

    kspace: Tensor
    mask: Tensor
    acs: int
    target: Tensor
    target_kspace: Tensor
    limit: float
    domain: str
    name: str
    classes: Tensor
    lesion: Tensor
    columns: slice | None = None
    labels: Labels = field(default_factory=Labels)


@dataclass(frozen=True)
class Batch:
    """Samples with the same matrix, stacked along the first axis, on the device of the network.

    The attributes are the same as in `Sample`; the domain is the domain of the first sample. A
    whole series is a batch of its own, and its frames form the first axis of `target`,
    `target_kspace` and `limit`.
    """

    kspace: Tensor
    mask: Tensor
    acs: int
    target: Tensor
    target_kspace: Tensor
    limit: Tensor
    domain: str
    classes: Tensor
    lesion: Tensor
    columns: slice | None = None
    labels: tuple[Labels, ...] = ()

    def zero_filled(self) -> Tensor:
        """Return the zero-filled RSS (batch, y, x) of the middle frame or of a whole series."""
        if self.columns is None:
            return rss(ifft2c(self.kspace[:, self.kspace.shape[1] // 2]))
        return rss(ifft2c(self.kspace[0]))[..., self.columns]

    def given_to(self, network: nn.Module, *, middle_maps: bool = False) -> Output:
        """Apply a network to the batch.

        With `middle_maps`, a network with coil maps of single frames has those of the middle frame
        in all frames.
        """
        more: dict[str, Any] = {} if self.columns is None else {"columns": self.columns}
        if middle_maps and isinstance(network, WindowNetwork) and network.shares_maps:
            more["maps"] = network.middle_maps(self.kspace, self.mask, self.acs)
        if isinstance(network, LabelledNetwork):
            more["labels"] = self.labels

        output: Output = network(self.kspace, self.mask, self.acs, **more)
        return output


def collate(found: Sequence[Sample], device: torch.device) -> Batch:
    """Stack samples into a batch; masks of different kinds become the most general kind."""
    frames, width = max(len(s.mask) for s in found), max(s.mask.shape[-1] for s in found)

    def stacked(parts: Iterable[Tensor]) -> Tensor:
        return torch.stack(list(parts)).to(device)

    targets = [s.target if s.target.ndim == 3 else s.target[None] for s in found]
    kspaces = [s.target_kspace if s.columns else s.target_kspace[None] for s in found]
    return Batch(
        kspace=stacked(s.kspace for s in found),
        mask=stacked(s.mask.expand(frames, -1, width) for s in found),
        acs=found[0].acs,
        target=torch.cat(targets).to(device),
        target_kspace=torch.cat(kspaces).to(device),
        limit=torch.tensor(
            [s.limit for s, target in zip(found, targets, strict=True) for _ in target],
            device=device,
        ),
        domain=found[0].domain,
        classes=stacked(s.classes for s in found),
        lesion=stacked(s.lesion for s in found),
        columns=found[0].columns,
        labels=tuple(s.labels for s in found),
    )
