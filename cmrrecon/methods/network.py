"""Trained networks as methods: the common part of networks for windows and for whole series."""

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
from cmrrecon.networks.problem_network import ProblemNetwork
from cmrrecon.operators.fourier import centred, fftc, ifftc
from cmrrecon.tools.configuration import AtLeast
from cmrrecon.tools.devices import DTYPES, Precision
from cmrrecon.tools.errors import UsageError

# Images with fewer columns are useless.
SMALLEST_WIDTH = 16
# A whole network reaches this fraction of the speed of single convolutions, as measured with
# PromptMR on two cores.
EFFICIENCY = 0.8
Network = TypeVar("Network", WindowNetwork, ProblemNetwork, SeriesNetwork)


@dataclass(frozen=True)
class NetworkOptions:
    """Options of networks.

    Attributes
    ----------
    precision : Precision
        Number format of the convolutions.
    acs : int or None
        Number of calibration lines; None uses the number in the file, otherwise the number of lines
        that all frames measured.
    oversampling : int
        Factor of readout oversampling to cut off before the network runs; for whole lines only.
    compile : bool
        Whether to compile the convolutions first.
    """

    precision: Precision = "fp32"
    acs: Annotated[int, AtLeast(1)] | None = None
    oversampling: Annotated[int, AtLeast(1)] = 1
    compile: bool = False


@dataclass(eq=False)
class NetworkMethod(Method):
    """A trained network as a method: base of the methods for windows and for whole series.

    Attributes
    ----------
    name : str
        See `Method`.
    summary : str
        See `Method`.
    trained : AnyNetwork
        The network, on any device.
    of : Weights
        Its weights, with their origin.
    """

    name: str
    summary: str
    trained: Any
    of: Weights
    Options = NetworkOptions
    predicts = True
    advice = "Check the weights; with precision=bf16, try fp32"
    _ready: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    def weights(self) -> Weights:
        """Return the weights of the network."""
        return self.of

    def training_facts(self, decision: Decision | None) -> Mapping[str, str]:
        """Return the metadata of the weights."""
        return self.of.metadata

    def adaptable(self, options: NetworkOptions) -> Adaptable:
        """Return the network, which can be adapted under any options."""
        return Adaptable(self.trained, self.with_network)

    def with_network(self, network: AnyNetwork) -> "NetworkMethod":
        """Return the method with another network of the same class, such as an adapted copy."""
        return replace(self, trained=network, _ready={})

    def check(self, series: Series, options: NetworkOptions) -> None:
        """Refuse a series that the network cannot reconstruct.

        Raises
        ------
        UsageError
            If the k-space is not Cartesian (`needs-cartesian`), or its oversampling cannot be cut
            off (`needs-lines`, `option-value`).
        """
        require_cartesian(series.mask, "The series", f"The network {self.name}")
        factor, width = options.oversampling, series.kspace.shape[-1]
        if factor == 1:
            return

        if not isinstance(series.mask, LineMask):
            raise UsageError(
                "needs-lines",
                "The oversampling cannot be cut off, because the mask changes along the readout",
                "It can be cut off without loss only if whole lines were measured",
                "Leave out --set oversampling",
            )

        if width < SMALLEST_WIDTH * factor:
            raise UsageError(
                "option-value",
                f"An oversampling of {factor} leaves {width // factor} of {width} columns",
                f"At least {SMALLEST_WIDTH} must remain",
                "Scanners oversample the readout by 2: use --set oversampling=2",
            )

    def ready(self, options: NetworkOptions, device: torch.device) -> Any:
        """Return the network on the device, in the requested precision."""
        key = (options.precision, options.compile, device)
        if key not in self._ready:
            dtype = DTYPES[options.precision]
            self._ready[key] = prepare(self.trained, dtype, device, compiled=options.compile)
        return self._ready[key]


def seconds(flops: int, options: NetworkOptions, device: torch.device) -> float:
    """Predict the time in seconds of `flops` network operations on a device."""
    return flops / (EFFICIENCY * speed(device, DTYPES[options.precision]))


def prepare(
    network: Network, dtype: torch.dtype, device: torch.device, *, compiled: bool = False
) -> Network:
    """Make a network ready for inference on the device, with channels-last weights.

    For lower precision, the result is a copy in which only the convolutions run in that precision,
    not the physics around them. For single precision, it is the network itself.
    """

    def lowered(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(part.to(dtype) if isinstance(part, Tensor) else part for part in inputs)

    ready = (network if dtype == torch.float32 else copy.deepcopy(network)).eval().to(device)
    for module in ready.convolutions():
        if dtype != torch.float32:
            # The output keeps this precision until it is combined with single-precision images.
            module.to(dtype).register_forward_pre_hook(lowered)
        channels_last(module)
        if compiled:
            module.compile()

    return ready


def cut(prepared: PreparedSeries, options: NetworkOptions) -> PreparedSeries:
    """Cut off the readout oversampling of a series; the series itself if there is none."""
    if options.oversampling == 1:
        return prepared
    kspace = without_oversampling(prepared.series.kspace, options.oversampling)
    return PreparedSeries(replace(prepared.series, kspace=kspace))


def on_middle_columns(images: Tensor, width: int) -> Tensor:
    """Place images (frame, y, x) on the middle columns of a wider field of view, zero elsewhere."""
    if images.shape[-1] == width:
        return images
    placed = images.new_zeros((*images.shape[:2], width))
    placed[..., centred(width, images.shape[-1])] = images
    return placed


def without_oversampling(kspace: Tensor, factor: int) -> Tensor:
    """Return the k-space of the middle 1 / factor of the field of view along x.

    For whole lines, this loses nothing, because they do not mix columns of the image.
    """
    width = kspace.shape[-1]
    return fftc(ifftc(kspace, -1)[..., centred(width, width // factor)], -1)


def exact_convolutions() -> Any:
    """Return a context manager for full single precision on GPUs, which may otherwise use TF32."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def refuse_acs(name: str, options: NetworkOptions) -> None:
    """Refuse the option `acs` for a network that finds its calibration samples itself.

    Raises
    ------
    UsageError
        If the option was set (`option-value`).
    """
    if options.acs is not None:
        raise UsageError(
            "option-value",
            f"The option acs of {name} was set to {options.acs}",
            "This network uses the calibration lines that all frames measured",
            "Leave the option out",
        )
