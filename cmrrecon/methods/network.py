"""Trained networks as methods: what those for windows and those for whole series share."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar

import torch
from torch import Tensor, nn

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import LineMask, Series, require_cartesian
from cmrrecon.methods.base import Adaptable, Method, Weights
from cmrrecon.methods.decision import Decision
from cmrrecon.networks.base import AnyNetwork, SeriesNetwork, WindowNetwork
from cmrrecon.networks.cost import speed
from cmrrecon.networks.layers import channels_last
from cmrrecon.operators.fourier import centred, fftc, ifftc
from cmrrecon.tools.configuration import AtLeast
from cmrrecon.tools.devices import DTYPES, Precision
from cmrrecon.tools.errors import UsageError

# Fewer columns are no image.
SMALLEST_WIDTH = 16
# The part of the speed of single convolutions that whole networks reach, measured with PromptMR on
# two cores.
EFFICIENCY = 0.8
Network = TypeVar("Network", WindowNetwork, SeriesNetwork)


@dataclass(frozen=True)
class NetworkOptions:
    """Options of networks.

    Attributes
    ----------
    precision : of the convolutions
    acs : calibration lines; None: as the file says, or as many as all frames measured
    oversampling : of the readout, cut off before the network; whole lines only
    compile : whether the convolutions are compiled first
    """

    precision: Precision = "fp32"
    acs: Annotated[int, AtLeast(1)] | None = None
    oversampling: Annotated[int, AtLeast(1)] = 1
    compile: bool = False


@dataclass(eq=False)
class NetworkMethod(Method):
    """A trained network as a method; the base of two final classes.

    Attributes
    ----------
    name, summary : see `Method`
    trained : the network, on any device
    of : its weights
    """

    name: str
    summary: str
    trained: Any
    of: Weights
    Options = NetworkOptions
    predicts = True
    advice = "Check the weights, and with precision=bf16 try fp32"
    _ready: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    def weights(self) -> Weights:
        """Its weights."""
        return self.of

    def training_facts(self, decision: Decision | None) -> Mapping[str, str]:
        """Metadata of its weights."""
        return self.of.metadata

    def adaptable(self, options: NetworkOptions) -> Adaptable:
        """The network itself."""
        return Adaptable(self.trained, self.with_network)

    def with_network(self, network: AnyNetwork) -> "NetworkMethod":
        """The method with other weights of the same network."""
        return replace(self, trained=network, _ready={})

    def check(self, series: Series, options: NetworkOptions) -> None:
        """Refuse a series that the network cannot take.

        Raises
        ------
        UsageError : `needs-cartesian`, `needs-lines`, `option-value`
        """
        require_cartesian(series.mask, "The series", f"The network {self.name}")
        factor, width = options.oversampling, series.kspace.shape[-1]
        if factor == 1:
            return

        if not isinstance(series.mask, LineMask):
            raise UsageError(
                "needs-lines",
                "The readout's oversampling was to be cut off, but the mask changes along the readout",
                "Only whole lines can be cut without loss",
                "Leave out --set oversampling",
            )

        if width < SMALLEST_WIDTH * factor:
            raise UsageError(
                "option-value",
                f"An oversampling of {factor} leaves {width // factor} of {width} columns",
                f"At least {SMALLEST_WIDTH} must be left",
                "Scanners oversample the readout by 2: use --set oversampling=2",
            )

    def ready(self, options: NetworkOptions, device: torch.device) -> Any:
        """The network on the device, in the precision asked for."""
        key = (options.precision, options.compile, device)
        if key not in self._ready:
            dtype = DTYPES[options.precision]
            self._ready[key] = prepare(self.trained, dtype, device, compiled=options.compile)
        return self._ready[key]


def seconds(flops: int, options: NetworkOptions, device: torch.device) -> float:
    """How long a network takes for so many operations on a device."""
    return flops / (EFFICIENCY * speed(device, DTYPES[options.precision]))


def prepare(
    network: Network, dtype: torch.dtype, device: torch.device, *, compiled: bool = False
) -> Network:
    """A network made ready for inference on the device, weights channels last.

    In lower precision it is a copy of which the convolutions alone are lowered, not the physics
    around them; else it is the network itself.
    """

    def lowered(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(part.to(dtype) if isinstance(part, Tensor) else part for part in inputs)

    ready = (network if dtype == torch.float32 else copy.deepcopy(network)).eval().to(device)
    for module in ready.convolutions():
        if dtype != torch.float32:
            # What comes out is of that precision too, until it meets the images around it.
            module.to(dtype).register_forward_pre_hook(lowered)
        channels_last(module)
        if compiled:
            module.compile()

    return ready


def cut(prepared: PreparedSeries, options: NetworkOptions) -> PreparedSeries:
    """The series with the readout's oversampling cut off; itself if there is none."""
    if options.oversampling == 1:
        return prepared
    kspace = without_oversampling(prepared.series.kspace, options.oversampling)
    return PreparedSeries(replace(prepared.series, kspace=kspace))


def on_middle_columns(images: Tensor, width: int) -> Tensor:
    """Images (frame, y, x) on the middle columns of a field of view of this width, else zero."""
    if images.shape[-1] == width:
        return images
    placed = images.new_zeros((*images.shape[:2], width))
    placed[..., centred(width, images.shape[-1])] = images
    return placed


def without_oversampling(kspace: Tensor, factor: int) -> Tensor:
    """K-space of the middle 1 / factor of the field of view along x.

    Loses nothing of whole lines, which never mix columns of the image.
    """
    width = kspace.shape[-1]
    return fftc(ifftc(kspace, -1)[..., centred(width, width // factor)], -1)


def exact_convolutions() -> Any:
    """A `with` block of full single precision on GPUs that would round to ten bits for speed."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
