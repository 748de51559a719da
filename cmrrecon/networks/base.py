"""What every network takes and what it gives.

There are two kinds. A `WindowNetwork` is called with a window of adjacent frames and reconstructs
the one in the middle:

    network(kspace, mask, acs=None, maps=None) -> Output

kspace : Tensor (batch, frame, coil, y, x), complex64, of any scale: the output scales along. Zero where not measured
mask : Tensor (batch, frame|1, y, x|1), bool. Its shape says what kind it is: (.., y, 1) are whole lines, (.., y, x) single samples
acs : how many central lines calibrate the coil maps, of sample masks the side of the central square; None: see `calibration_mask`
maps : Tensor (batch, frame, coil, y, x), complex: the coil maps, if they are known already

A `SeriesNetwork` solves the least-squares problem of a whole series, as the iterative methods do.

Inside, published networks have the readout first and the phase encoding last, so networks swap y and x on entry and on exit.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from cmrrecon.classical.problem import Problem
from cmrrecon.networks.catalog import build, name_of
from cmrrecon.networks.cost import Footprint
from cmrrecon.networks.layers import ConvolutionalBody
from cmrrecon.solvers import Monitor, Solution, never
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from cmrrecon.networks.sensitivity import SensitivityNetwork

# More steps than any network has.
MOST_STEPS = 100


@dataclass(frozen=True)
class Output:
    """What a network makes of a window; all of its middle frame.

    Attributes
    ----------
    image : Tensor (batch, y, x), real: the magnitude, on the scale of root-sum-of-squares
    kspace : Tensor (batch, coil, y, x), complex, or None from networks that never go back to k-space
    maps : Tensor (batch, coil, y, x), complex: the coil maps, or None
    images : the image after each cascade, the last is `image`; empty from networks whose losses need only the last
        (GENRE-CMR: in training mode, otherwise the last one only)
    kspaces : the k-space after each cascade, likewise
    features : a Tensor (batch, channel, ..) a cascade: what losses compare between domains
    """

    image: Tensor
    kspace: Tensor | None = None
    maps: Tensor | None = None
    images: tuple[Tensor, ...] = ()
    kspaces: tuple[Tensor, ...] = ()
    features: tuple[Tensor, ...] = ()

    @property
    def stages(self) -> tuple[Tensor, ...]:
        """The image after each cascade, or the last alone from networks that give no others."""
        return self.images or (self.image,)


class ReconstructionNetwork(nn.Module, ABC):
    """What the two kinds have in common.

    Attributes
    ----------
    config : what `catalog.build` makes such a network of; JSON can hold it
    can_checkpoint : whether activations can be computed again in the backward pass
    checkpointing : whether they are
    """

    config: dict[str, Any]
    can_checkpoint: ClassVar[bool] = False
    checkpointing: bool = False

    def convolutions(self) -> Iterator[nn.Module]:
        """The parts that may run in lower precision and with channels last."""
        return (module for module in self.modules() if isinstance(module, ConvolutionalBody))

    def ghost(self) -> Self:
        """The same network without numbers, on PyTorch's meta device, to tell what it costs."""
        with torch.device("meta"):
            made = build(name_of(self), self.config)
        assert isinstance(made, type(self))
        made.checkpointing = self.checkpointing
        return made


class WindowNetwork(ReconstructionNetwork):
    """A network for windows of adjacent frames.

    Attributes
    ----------
    frames : width of the window, odd
    gives_kspace : whether its outputs have k-space, so that it can be adapted to a scan
    """

    frames: int
    gives_kspace: ClassVar[bool]

    @property
    @abstractmethod
    def sensitivity(self) -> "SensitivityNetwork | None":
        """What makes the coil maps; None where they are no part of the network."""

    @property
    def shares_maps(self) -> bool:
        """Whether the maps of a frame are the same in all windows."""
        return self.sensitivity is not None and self.sensitivity.frames == 1

    @abstractmethod
    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, maps: Tensor | None = None
    ) -> Output:
        """Reconstruct the middle frame; see the module.

        Raises
        ------
        UsageError : shapes that do not belong together, or another number of frames
        """

    @abstractmethod
    def window_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        """Cost of one window whose maps are given.

        Parameters
        ----------
        coils, y, x : size of the k-space
        lines : whether its mask has whole lines, or else single samples
        acs : calibration lines
        """

    @abstractmethod
    def maps_cost(self, coils: int, y: int, x: int, *, lines: bool, acs: int) -> Footprint:
        """Cost of the maps that one more frame needs, made coil by coil; see `window_cost`."""

    @abstractmethod
    def training_memory(self, coils: int, y: int, x: int, acs: int) -> int:
        """Bytes for one window to go forward and backward, with a mask of whole lines."""


class SeriesNetwork(ReconstructionNetwork):
    """A network for whole series: it goes on from a least-squares problem, step by step."""

    @abstractmethod
    def forward(
        self, kspace: Tensor, mask: Tensor, acs: int | None = None, columns: slice | None = None
    ) -> Output:
        """Magnitudes of one series, kspace (1, frame, coil, y, x); `Output.image` is (frame, y, x).

        Parameters
        ----------
        columns : of x that are reconstructed, and that `Output.image` has (line masks only)
        """

    @abstractmethod
    def steps(self, problem: Problem, weight: float = 1.0) -> Iterator[Tensor]:
        """The images (frame, y, x'), complex, of a normalised series after every step.

        Parameters
        ----------
        weight : the trust in the network against the data, in multiples of what it has learnt
        """

    @abstractmethod
    def cost(self, frames: int, y: int, x: int) -> Footprint:
        """Cost of a series, excluding data consistency and the starting images."""

    def solve(
        self,
        problem: Problem,
        *,
        weight: float = 1.0,
        iterations: int = MOST_STEPS,
        monitor: Monitor = never,
    ) -> Solution:
        """As the solvers of the classical methods; without gradients.

        Parameters
        ----------
        problem, weight : see `steps`
        iterations : at most so many of its steps
        monitor : see `solvers.Monitor`
        """
        changes = []
        with torch.no_grad():
            x = problem.start
            for step, after in enumerate(
                itertools.islice(self.steps(problem, weight), iterations), 1
            ):
                changes.append(
                    float(
                        (after - x).norm() / after.norm().clamp(min=torch.finfo(torch.float32).tiny)
                    )
                )
                x = after
                if monitor(step, x):
                    break

        return Solution(x, tuple(changes))


def build_network(
    name: str, config: Mapping[str, Any] | None = None
) -> WindowNetwork | SeriesNetwork:
    """A network that reconstructs, with fresh parameters; errors as of `catalog.build`.

    Raises
    ------
    UsageError : the name is of a discriminator
    """
    network = build(name, config)
    if not isinstance(network, WindowNetwork | SeriesNetwork):
        raise UsageError(
            "network-kind",
            f"{name} judges images and reconstructs none",
            "A network that reconstructs is needed",
            "Choose another one of `cmrrecon models`",
        )
    return network


def check_window(kspace: Tensor, mask: Tensor, frames: int | None = None) -> None:
    """Refuse what no network can take.

    Raises
    ------
    UsageError : shapes that do not belong together, or another number of frames than the network was made for
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
            "Complex k-space (batch, frame, coil, y, x) and a mask (batch, frame or 1, y, x or 1) with the same sizes are needed",
            "Give k-space and mask of the same series",
        )

    if frames is not None and kspace.shape[1] != frames:
        raise UsageError(
            "window-width",
            f"The window has {kspace.shape[1]} frames",
            f"This network was made for windows of {frames} adjacent frames",
            "Make windows with `cmrrecon.data.window`",
        )


AnyNetwork = WindowNetwork | SeriesNetwork
