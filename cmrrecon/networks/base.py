"""Base classes of all networks: their inputs and outputs.

There are two kinds. A `WindowNetwork` takes a window of adjacent frames and reconstructs the middle
one. A `SeriesNetwork` reconstructs all frames of a series at once; see also `problem_network`.

In published networks the readout comes first and the phase encoding last, so networks swap y and x
at their input and output.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from cmrrecon.data.windows import window
from cmrrecon.networks.catalog import build, name_of
from cmrrecon.networks.cost import Footprint
from cmrrecon.networks.layers import ConvolutionalBody
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from cmrrecon.networks.sensitivity import SensitivityNetwork


@dataclass(frozen=True)
class Output:
    """The result of a network for the middle frame of a window.

    Attributes
    ----------
    image : Tensor of shape (batch, y, x), real
        The magnitude, on the scale of a root-sum-of-squares.
    kspace : Tensor of shape (batch, coil, y, x), complex, or None
        The k-space; None for networks that never return to k-space.
    maps : Tensor of shape (batch, coil, y, x), complex, or None
        The coil sensitivity maps.
    images : tuple of Tensor of shape (batch, y, x)
        The images after each cascade; the last one is `image`. Empty for networks whose losses need
        only the last one. GENRE-CMR returns all of them in training mode only.
    kspaces : tuple of Tensor of shape (batch, coil, y, x)
        The k-space after each cascade; the same rules apply.
    features : tuple of Tensor of shape (batch, channel, ...)
        The features of each cascade, which losses compare between domains.
    scale : Tensor of shape (batch,), or None
        The numbers by which the network divided the k-space of each window, if losses need them.
    """

    image: Tensor
    kspace: Tensor | None = None
    maps: Tensor | None = None
    images: tuple[Tensor, ...] = ()
    kspaces: tuple[Tensor, ...] = ()
    features: tuple[Tensor, ...] = ()
    scale: Tensor | None = None

    @property
    def stages(self) -> tuple[Tensor, ...]:
        """The image after each cascade, or only the last one if there are no others."""
        return self.images or (self.image,)


class ReconstructionNetwork(nn.Module, ABC):
    """Common base of both kinds.

    Attributes
    ----------
    config : dict
        The configuration from which `catalog.build` builds such a network, in plain values for
        JSON.
    can_checkpoint : bool
        Whether the network can recompute its activations in the backward pass.
    checkpointing : bool
        Whether it does.
    """

    config: dict[str, Any]
    can_checkpoint: ClassVar[bool] = False
    checkpointing: bool = False

    def convolutions(self) -> Iterator[nn.Module]:
        """Yield the parts that may run in lower precision and with channels last."""
        return (module for module in self.modules() if isinstance(module, ConvolutionalBody))

    def ghost(self) -> Self:
        """Return the same network on PyTorch's meta device, without values, to measure its cost."""
        with torch.device("meta"):
            made = build(name_of(self), self.config)
        assert isinstance(made, type(self))
        made.checkpointing = self.checkpointing
        return made


class WindowNetwork(ReconstructionNetwork):
    """A network for windows of adjacent frames.

    Attributes
    ----------
    frames : int
        The width of the window, odd.
    gives_kspace : bool
        Whether its outputs include k-space, so that it can be adapted to a scan.
    own_calibration : bool
        Whether it chooses its calibration lines itself, unless the user gives their number.
    independent : bool
        Whether the windows of a batch do not change each other's results.
    """

    frames: int
    gives_kspace: ClassVar[bool]
    own_calibration: ClassVar[bool] = False
    independent: ClassVar[bool] = True

    def window(self, frame: int, frames: int) -> list[int]:
        """Return the indices of the frames in the window around a frame; see `data.window`."""
        return window(frame, frames, self.frames)

    @property
    @abstractmethod
    def sensitivity(self) -> "SensitivityNetwork | None":
        """The part that computes the coil maps; None for networks without one."""

    @property
    def shares_maps(self) -> bool:
        """Whether neighbouring windows share frames, which have the same maps in all of them."""
        return self.frames > 1 and self.sensitivity is not None and self.sensitivity.frames == 1

    @abstractmethod
    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, maps: Tensor | None = None
    ) -> Output:
        """Reconstruct the middle frame of a window.

        Parameters
        ----------
        kspace : Tensor of shape (batch, frame, coil, y, x), complex64
            Zero where not measured. Its scale is arbitrary, and the output has the same scale.
        mask : Tensor of shape (batch, frame|1, y, x|1), bool
            (..., y, 1) means whole lines, (..., y, x) single samples.
        acs : int or None
            The number of central lines that calibrate the coil maps; for sample masks the side of
            the central square. For None see `calibration_mask`.
        maps : Tensor of shape (batch, frame, coil, y, x), complex, or None
            The coil maps, if they are already known.

        Returns
        -------
        Output
            The result for the middle frame.

        Raises
        ------
        UsageError
            If the shapes do not match (`shape-mismatch`) or the number of frames is wrong
            (`window-width`).
        """

    @abstractmethod
    def window_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        """Return the cost of one window with known maps.

        Parameters
        ----------
        coils, y, x : int
            The size of the k-space.
        lines : bool
            Whether the mask has whole lines instead of single samples.
        acs : int
            The number of calibration lines.

        Returns
        -------
        Footprint
            Operations and memory.
        """

    @abstractmethod
    def maps_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        """Return the cost of the maps of one frame, computed coil by coil; see `window_cost`."""

    @abstractmethod
    def training_memory(
        self, coils: int, y: int, x: int, acs: int, *, middle_maps: bool = False
    ) -> int:
        """Return the bytes for the forward and backward pass of one window with a line mask.

        With `middle_maps`, networks that share maps have those of the middle frame in all frames.
        """

    def middle_maps(self, kspace: Tensor, mask: Tensor, acs: int | None) -> Tensor:
        """Return the maps of the middle frame, the same in all frames of a window.

        Only for networks that share maps; see `forward` for arguments and shapes.
        """
        estimate, middle = self.sensitivity, [self.frames // 2]
        assert estimate is not None
        chosen = mask if mask.shape[1] == 1 else mask[:, middle]
        maps: Tensor = estimate(kspace[:, middle], chosen, acs, again=self.checkpointing)
        return maps.expand(-1, self.frames, -1, -1, -1)


class SeriesNetwork(ReconstructionNetwork):
    """A network that reconstructs all frames of a series at once."""

    @abstractmethod
    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, columns: slice | None = None
    ) -> Output:
        """Reconstruct the magnitudes of one series.

        Parameters
        ----------
        kspace : Tensor of shape (1, frame, coil, y, x), complex
            Zero where not measured.
        mask : Tensor of shape (1, frame|1, y, x|1), bool
            (..., y, 1) means whole lines, (..., y, x) single samples.
        acs : int or None
            See `WindowNetwork.forward`. A `ProblemNetwork` calibrates from the series itself.
        columns : slice or None
            The columns of x to reconstruct (line masks only). None reconstructs all.

        Returns
        -------
        Output
            `Output.image` has the shape (frame, y, x), restricted to these columns. In all other
            images, the frames take the place of the batch too.
        """

    @abstractmethod
    def cost(self, frames: int, coils: int, y: int, x: int, *, lines: bool) -> Footprint:
        """Return the cost of a series, excluding classical steps such as the starting images.

        Parameters
        ----------
        frames, coils, y, x : int
            The size of the k-space.
        lines : bool
            Whether the mask has whole lines instead of single samples.

        Returns
        -------
        Footprint
            Operations and memory.
        """


def build_network(
    name: str, config: Mapping[str, Any] | None = None
) -> WindowNetwork | SeriesNetwork:
    """Build a reconstruction network with new parameters; see `catalog.build`.

    Raises
    ------
    UsageError
        If the network is a discriminator (`network-kind`), or for the reasons listed in
        `catalog.build`.
    """
    network = build(name, config)
    if not isinstance(network, WindowNetwork | SeriesNetwork):
        raise UsageError(
            "network-kind",
            f"{name} is a discriminator, which does not reconstruct images",
            "A reconstruction network is needed",
            "Choose another network from `cmrrecon models`",
        )
    return network


def check_window(kspace: Tensor, mask: Tensor, frames: int | None = None) -> None:
    """Refuse input that no network accepts.

    Raises
    ------
    UsageError
        If the shapes do not match (`shape-mismatch`) or the window does not have the number of
        frames that the network expects (`window-width`).
    """
    fits = kspace.ndim == 5 and mask.ndim == 4 and kspace.is_complex()
    if fits:
        batch, present, _, y, x = kspace.shape
        fits = (
            mask.shape[0] == batch
            and mask.shape[1] in (1, present)
            and mask.shape[2] == y
            and mask.shape[3] in (1, x)
        )

    if not fits:
        raise UsageError(
            "shape-mismatch",
            f"The k-space has shape {tuple(kspace.shape)} and the mask {tuple(mask.shape)}",
            "Complex k-space (batch, frame, coil, y, x) and a mask (batch, frame or 1, y, x or 1) "
            "with the same sizes are needed",
            "Give k-space and mask of the same series",
        )

    if frames is not None and kspace.shape[1] != frames:
        raise UsageError(
            "window-width",
            f"The window has {kspace.shape[1]} frames",
            f"This network needs windows of {frames} adjacent frames",
            "Make windows with `cmrrecon.data.window`",
        )


AnyNetwork = WindowNetwork | SeriesNetwork
