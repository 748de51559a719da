"""SDUM, the network of NV-Raw2Insights: unrolled on coil images, with maps anew in every cascade.

With the normalised zero-filled coil images r of each frame, the Fourier transform F and the mask M,
a cascade n with its map network S_n, its Restormer R_n and its weights W_n is::

    s = S_n(x)                     maps of every frame, from the coil images themselves
    v = R_n(s^H x, label, n)       images of all frames at once
    x <- F^-1 [(1 - M W_n) F (x + s v) + M W_n F r],   starting from x = r

The first maps come from the calibration region alone. In the last cascade, the image and the maps
of the middle frame are combined with the update of each frame, and the results are averaged.

References: Wang et al., arXiv 2512.17137. The names of tensors are those of the published weights.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cmrrecon.data import cyclic_window
from cmrrecon.networks.base import Output, check_window
from cmrrecon.networks.catalog import build
from cmrrecon.networks.cost import Footprint, footprint, training_bytes
from cmrrecon.networks.labelled import LabelledNetwork, Labels
from cmrrecon.networks.layers import recomputed, safe_root, safe_rss
from cmrrecon.networks.sdum_cascade import Cascade, Window
from cmrrecon.networks.sdum_labels import MODALITIES, cautions, codes, sinusoids
from cmrrecon.networks.sdum_maps import Box, calibration_box
from cmrrecon.networks.sdum_restormer import Restormer
from cmrrecon.operators.fourier import fft2c, ifft2c
from cmrrecon.tools.arrays import divisor

# Factors of step and label in the sinusoids.
STEP, LABEL = 50, 10
# Memory of the process in multiples of its tensors: freed memory of one layer does not always fit
# the next. On a CPU it was 1.5 at 10 x 204 x 448 and 1.6 at 10 x 102 x 224.
HEAP = 1.5
# The probability of dropping a branch in training.
DROP = 0.1


class SDUM(LabelledNetwork):
    """The network described in the module; for calling it see `LabelledNetwork.forward`.

    The defaults are the published Base. `acs` is not used: SDUM finds its calibration region
    itself. With several windows in a batch, it is what all of them measured.

    Parameters
    ----------
    cascades : int
        The number of unrolled steps.
    frames : int
        The number of frames in a window, odd.
    channels, blocks, heads : sequence of int
        The sizes of each level of the `Restormer`.
    refinement : int
        The number of its blocks after the decoder.
    ratio : float
        Channels inside its gated layers, in multiples of those outside.
    map_features : sequence of int
        The channels of the map network; see `BasicUnet`.
    map_size : sequence of int
        The size (y, x) of the learned weights of data consistency. Smaller k-space has their
        central part; for larger k-space, the weights at the edge are repeated.
    conditioned : bool
        Whether step and labels condition the Restormers. If not, the labels only choose the weights
        of data consistency.
    modalities : sequence of str
        The modalities in the order of their labels.
    checkpointing : bool
        Keep only the inputs of every cascade for the backward pass and recompute the rest. The
        gradients are the same.
    """

    can_checkpoint: ClassVar[bool] = True
    gives_kspace: ClassVar[bool] = False
    # The calibration region is that of a batch.
    independent: ClassVar[bool] = False

    def __init__(
        self,
        *,
        cascades: int = 18,
        frames: int = 5,
        channels: Sequence[int] = (256, 512),
        blocks: Sequence[int] = (3, 6),
        heads: Sequence[int] = (1, 2),
        refinement: int = 2,
        ratio: float = 3.0,
        map_features: Sequence[int] = (12, 24, 48, 96, 192),
        map_size: Sequence[int] = (328, 806),
        conditioned: bool = True,
        modalities: Sequence[str] = MODALITIES,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "cascades": cascades, "frames": frames, "channels": list(channels),
            "blocks": list(blocks), "heads": list(heads), "refinement": refinement, "ratio": ratio,
            "map_features": list(map_features), "map_size": list(map_size),
            "conditioned": conditioned, "modalities": list(modalities),
        }  # fmt: skip
        self.frames, self.checkpointing = frames, checkpointing
        self.modalities = tuple(modalities)
        self.width = channels[0] if conditioned else None

        self.cascades = nn.ModuleList(
            Cascade(
                frames,
                map_size,
                map_features,
                Restormer(
                    2 * frames, channels, blocks, heads, refinement, ratio,
                    conditioned=conditioned, drop=DROP,
                ),
            )
            for _ in range(cascades)
        )  # fmt: skip

    @property
    def sensitivity(self) -> None:
        return None

    def window(self, frame: int, frames: int) -> list[int]:
        """Return the indices of the frames in the window around a frame; see `cyclic_window`."""
        return cyclic_window(frame, frames, self.frames)

    def forward(
        self,
        kspace: Tensor,
        mask: Tensor,
        acs: int | None = None,
        maps: Tensor | None = None,
        labels: Sequence[Labels] = (),
    ) -> Output:
        """Reconstruct the middle frame; see `LabelledNetwork.forward`.

        Raises
        ------
        InputError
            If the centre of k-space was not measured in all frames (`calibration-empty`).
        UsageError
            If the modality is unknown (`unknown-modality`).
        ValueError
            If maps were given, or there are not as many labels as windows.
        """
        check_window(kspace, mask, self.frames)
        if maps is not None:
            raise ValueError("SDUM computes its own maps")
        if len(labels) not in (0, 1, len(kspace)):
            raise ValueError("labels of each window, or of all together, are needed")
        known = [codes(one, self.modalities) for one in labels or [Labels()]]

        images, mean, scale = normalised(ifft2c(kspace))
        box = calibration_box(mask.expand(-1, -1, -1, kspace.shape[-1]))
        coils = self.unrolled(images, mask, box, known)
        middle = self.frames // 2
        return Output(safe_rss(coils * scale[:, middle] + mean[:, middle]))

    def unrolled(
        self, images: Tensor, mask: Tensor, box: Box, known: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Improve normalised coil images.

        Parameters
        ----------
        images : Tensor of shape (batch, frame, coil, y, x), complex
            The normalised zero-filled images.
        mask : Tensor of shape (batch, frame|1, y, x|1), bool
            The measured samples.
        box : tuple of slice
            The calibration region.
        known : sequence of tuple of int
            The pattern and the label of each window; see `codes`.

        Returns
        -------
        Tensor of shape (batch, coil, y, x), complex
            Normalised coil images of the middle frame.
        """
        kspace = fft2c(images)
        patterns, labels = zip(*known, strict=True)
        window = Window(
            kspace,
            mask.expand(-1, self.frames, -1, -1),
            list(patterns),
            self._sinusoids(LABEL, labels, images),
        )

        skips: tuple[Tensor, ...] = ()
        x, seen = images, _inside(kspace, box)
        for step, cascade in enumerate(self.cascades):
            time = self._sinusoids(STEP, [step] * len(images), images)
            last = step == len(self.cascades) - 1
            x, skips = recomputed(self.checkpointing, cascade, x, seen, window, skips, time, last)
            seen = x
        return x

    def _sinusoids(self, factor: int, values: Sequence[int], images: Tensor) -> Tensor | None:
        if self.width is None:
            return None
        scaled = torch.tensor([float(factor * value) for value in values], device=images.device)
        return sinusoids(scaled, self.width).to(images.real.dtype)

    def unknown(self, labels: Labels) -> tuple[str, ...]:
        """Return sentences about labels that the network was not trained with."""
        codes(labels, self.modalities)
        return cautions(labels, conditioned=self.width is not None)

    def window_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        # All cascades cost the same, and the memory of one is released before the next.
        one = footprint(self._shortened(1)._traced, *_kinds(self.frames, coils, y, x, lines))
        return Footprint(one.flops * len(self.cascades), int(HEAP * one.nbytes))

    def maps_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        return Footprint(0, 0)

    def training_memory(
        self, coils: int, y: int, x: int, acs: int, *, middle_maps: bool = False
    ) -> int:
        kinds = _kinds(self.frames, coils, y, x, True)
        one, two = (
            training_bytes(lambda *given, g=ghost: (g._traced(*given).abs(),), *kinds)
            for ghost in (self._shortened(1), self._shortened(2))
        )
        return one + (len(self.cascades) - 1) * (two - one)

    def _shortened(self, cascades: int) -> "SDUM":
        """Return such a network on the meta device, with at most this number of cascades."""
        config = {**self.config, "cascades": min(cascades, len(self.cascades))}
        with torch.device("meta"):
            made = build("sdum", config)
        assert isinstance(made, SDUM)
        made.checkpointing = self.checkpointing
        return made

    def _traced(self, images: Tensor, mask: Tensor) -> Tensor:
        """Apply all steps to tensors without values, with maps from all of k-space."""
        whole = slice(0, images.shape[-2]), slice(0, images.shape[-1])
        return self.unrolled(images, mask, whole, [(0, 0)])


def normalised(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Subtract the mean of each frame and divide by its standard deviation, over all coils.

    Parameters
    ----------
    images : Tensor of shape (batch, frame, coil, y, x), complex
        Coil images. A frame without signal stays zero.

    Returns
    -------
    images : Tensor of the shape of `images`
        The normalised images.
    mean : Tensor of shape (batch, frame, 1, 1, 1), complex
        The means.
    scale : Tensor of shape (batch, frame, 1, 1, 1), real
        The standard deviations, of the population.
    """
    mean = images.mean((2, 3, 4), keepdim=True)
    centred = images - mean
    variance = torch.view_as_real(centred).square().sum(-1).mean((2, 3, 4), keepdim=True)
    scale = safe_root(variance)
    return centred / divisor(scale), mean, scale


def _inside(kspace: Tensor, box: Box) -> Tensor:
    """Return the images of the k-space in a box."""
    kept = torch.zeros_like(kspace)
    kept[..., box[0], box[1]] = kspace[..., box[0], box[1]]
    return ifft2c(kept)


def _kinds(frames: int, coils: int, y: int, x: int, lines: bool) -> tuple[Any, Any]:
    """Return shape and type of images and mask."""
    images = (1, frames, coils, y, x), torch.complex64
    return images, ((1, frames, y, 1 if lines else x), torch.bool)
