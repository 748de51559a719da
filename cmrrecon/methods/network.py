"""A trained network as a method: windows of adjacent frames in, the images of their middle frames out."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cmrrecon.classical.problem import Coils
from cmrrecon.data.scan import Series, require_cartesian, window
from cmrrecon.methods.auto import AUTO, Choice
from cmrrecon.methods.registry import METHODS, Method, Solved, checked_options, finite, get_method, memory_shortage
from cmrrecon.networks.base import SeriesNetwork, WindowNetwork
from cmrrecon.networks.catalog import NETWORKS, name_of
from cmrrecon.networks.checkpoints import weights
from cmrrecon.networks.cost import Footprint, speed
from cmrrecon.networks.layers import channels_last
from cmrrecon.networks.sensitivity import calibration_size
from cmrrecon.operators.fourier import centred, fftc, ifftc
from cmrrecon.tools.errors import NumericalError, UsageError, is_memory_shortage
from cmrrecon.tools.provenance import file_digest

Precision = Literal["fp32", "bf16"]
DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Fewer columns are no image.
SMALLEST_WIDTH = 16
DEFAULTS: Mapping[str, Any] = {"precision": "fp32", "acs": AUTO, "oversampling": 1, "compile": False}
KINDS: Mapping[str, Any] = {"precision": Precision, "acs": int, "oversampling": int, "compile": bool}
# The part of a GPU's free memory that is planned for; the rest is for what cuDNN needs and for fragments.
GPU_SHARE = 0.6
# The part of the speed of single convolutions that whole networks reach, measured with PromptMR on two cores.
EFFICIENCY = 0.8


@dataclass(frozen=True)
class Batch:
    """How much goes through a network at once: windows, and coil images through its sensitivity network.

    One of each on a CPU, where larger batches leave the cache and are slower.
    """

    windows: int = 1
    coils: int = 1

    def halved(self) -> "Batch | None":
        """A smaller one, or None if there is none."""
        if self.windows == self.coils == 1:
            return None
        return Batch(max(1, self.windows // 2), max(1, self.coils // 2))


@dataclass(frozen=True)
class Prediction:
    """What a series will cost: operations, memory beyond the network and the libraries in bytes, and seconds."""

    flops: int
    nbytes: int
    seconds: float


@dataclass(frozen=True)
class NetworkMethod:
    """A trained network, called as `Method` is.

    Attributes
    ----------
    name : for messages and file names
    network : see `cmrrecon.networks.base`
    summary : one line
    digest : SHA-256 of the weights' file, part of the recipe of an output
    metadata : of the weights' file
    """

    name: str
    network: WindowNetwork | SeriesNetwork
    summary: str
    digest: str
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    gpu: bool = True
    candidates: tuple[str, ...] = ()
    _ready: dict[tuple[Any, ...], WindowNetwork | SeriesNetwork] = field(default_factory=dict, repr=False)
    _costs: dict[tuple[Any, ...], Footprint] = field(default_factory=dict, repr=False)

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options, those given checked: `precision` of the convolutions ("fp32", "bf16"), `acs` (calibration lines, or "auto"),
        `oversampling` of the readout that is cut off before the network (whole; line masks only), `compile`.

        Raises
        ------
        UsageError : an option that there is not, or a value of the wrong kind
        """
        return checked_options(self.name, options, DEFAULTS, KINDS)

    def __call__(self, series: Series, options: Mapping[str, Any] | None = None, choice: Choice | None = None) -> Tensor:
        """Images of a series, see `solved`."""
        return self.solved(series, options, choice).images

    def solved(self, series: Series, options: Mapping[str, Any] | None = None, choice: Choice | None = None) -> Solved:
        """Magnitudes (frame, y, x) float32 of a series; of networks for whole series complex64. Normalised before, scaled back after.

        If memory runs out, it is tried again with smaller batches.

        Raises
        ------
        UsageError, NumericalError, MemoryShortage : as from other methods
        """
        settings = self.check(options or {})
        self._check_series(series, settings)
        device = series.kspace.device
        network = self._prepared(settings, device)
        batch: Batch | None = self.batch(series, settings)
        while batch is not None:
            try:
                # Full single precision on GPUs that would round to ten bits for speed.
                with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                    return self._images(network, series, settings, batch)
            except Exception as error:
                if not is_memory_shortage(error):
                    raise
                shortage = type(error)
            # Outside the handler: the error's frames hold all that the failed attempt had made.
            batch = batch.halved()
            if device.type == "cuda":
                torch.cuda.empty_cache()
        raise memory_shortage(self.name, series) from shortage()

    def _check_series(self, series: Series, settings: Mapping[str, Any]) -> None:
        require_cartesian(series, f"The network {self.name}")
        if isinstance(self.network, SeriesNetwork) and settings["acs"] != AUTO:
            raise UsageError(
                "todo",
                f"The option acs of {self.name} was given {settings['acs']}",
                "This network takes the calibration lines that all frames measured",
                "Leave the option out",
            )
        factor, width = settings["oversampling"], series.kspace.shape[-1]
        if factor == 1:
            return
        if series.mask.shape[-1] > 1:
            raise UsageError(
                "todo",
                "The readout's oversampling was to be cut off, but the mask changes along the readout",
                "Only whole lines can be cut without loss",
                "Leave out --set oversampling",
            )
        if width < SMALLEST_WIDTH * factor:
            raise UsageError(
                "todo",
                f"An oversampling of {factor} leaves {width // factor} of {width} columns",
                f"At least {SMALLEST_WIDTH} must be left",
                "Scanners oversample the readout by 2: use --set oversampling=2",
            )

    def batch(self, series: Series, settings: Mapping[str, Any]) -> Batch:
        """What fits into the memory at hand; a whole series is one window."""
        device = series.kspace.device
        if device.type == "cpu" or isinstance(self.network, SeriesNetwork):
            return Batch()
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = GPU_SHARE * (torch.cuda.mem_get_info(device)[0] + cached)
        frames, coils = series.kspace.shape[:2]
        window, coil = self._of_one_window(series, settings).nbytes, self._of_maps(series, settings).nbytes
        return Batch(max(1, min(frames, int(free / window))), max(1, min(frames * coils, int(free / max(coil, 1)))))

    def predict(self, series: Series, settings: Mapping[str, Any]) -> Prediction:
        """The cost of a series, with one window and one coil at a time; of networks that start from CG-SENSE images, without these.

        Errors as of the call.
        """
        self._check_series(series, settings)
        frames, _, y, x = series.kspace.shape
        if isinstance(self.network, SeriesNetwork):
            return self._predict_whole(self.network, series, settings)
        window, maps = self._of_one_window(series, settings), self._of_maps(series, settings)
        flops = frames * (window.flops + maps.flops)
        kspace = series.kspace.nbytes // settings["oversampling"]
        kept = (kspace if settings["oversampling"] > 1 else 0) + (kspace if self.network.shares_maps else 0) + 4 * frames * y * x
        kept += kspace * self.network.frames // frames * (1 if self.network.sensitivity is None else 2)
        device = series.kspace.device
        seconds = flops / (EFFICIENCY * speed(device, DTYPES[settings["precision"]]))
        return Prediction(flops, kept + max(window.nbytes, maps.nbytes), seconds)

    def _predict_whole(self, network: SeriesNetwork, series: Series, settings: Mapping[str, Any]) -> Prediction:
        """The same of networks for whole series, without their data consistency and what they set out from."""
        frames, _, y, x = series.kspace.shape
        key = (frames, y, x // settings["oversampling"])
        if key not in self._costs:
            self._costs[key] = network.cost(*key)
        cost = self._costs[key]
        seconds = cost.flops / (EFFICIENCY * speed(series.kspace.device, DTYPES[settings["precision"]]))
        return Prediction(cost.flops, series.kspace.nbytes + cost.nbytes, seconds)

    def _of_one_window(self, series: Series, settings: Mapping[str, Any]) -> Footprint:
        """Of a window with its maps given."""
        assert isinstance(self.network, WindowNetwork)
        return self._cost(self.network.window_cost, series, settings)

    def _of_maps(self, series: Series, settings: Mapping[str, Any]) -> Footprint:
        """Of the maps that a frame needs, made coil by coil."""
        assert isinstance(self.network, WindowNetwork)
        return self._cost(self.network.maps_cost, series, settings)

    def _cost(self, cost: Callable[..., Footprint], series: Series, settings: Mapping[str, Any]) -> Footprint:
        _, coils, y, x = series.kspace.shape
        size = coils, y, x // settings["oversampling"]
        lines, acs = series.mask.shape[-1] == 1, acs_of(series, settings)
        key = (cost.__name__, *size, lines, acs)
        if key not in self._costs:
            self._costs[key] = cost(*size, lines=lines, acs=acs)
        return self._costs[key]

    def _prepared(self, settings: Mapping[str, Any], device: torch.device) -> WindowNetwork | SeriesNetwork:
        """The network on the device, in the precision asked for."""
        key = (settings["precision"], settings["compile"], device)
        if key not in self._ready:
            self._ready[key] = prepare(self.network, DTYPES[settings["precision"]], device, compiled=settings["compile"])
        return self._ready[key]

    def _images(self, network: WindowNetwork | SeriesNetwork, series: Series, settings: Mapping[str, Any], batch: Batch) -> Solved:
        factor, width = settings["oversampling"], series.kspace.shape[-1]
        if factor > 1:
            series = replace(series, kspace=without_oversampling(series.kspace, factor))
        if isinstance(network, SeriesNetwork):
            whole, coils = network.images_and_coils(series)
            placed = whole.new_zeros((*whole.shape[:2], width))
            placed[..., centred(width, whole.shape[-1])] = whole
            return self._checked(placed, coils if factor == 1 else None)
        scale = series.scale()
        kspace, mask, acs = series.kspace, series.mask, acs_of(series, settings)
        frames = len(kspace)
        images = kspace.real.new_zeros((frames, kspace.shape[2], width))
        inside = centred(width, kspace.shape[-1])
        with torch.inference_mode():
            shared, sensitivity = None, network.sensitivity
            if sensitivity is not None and network.shares_maps:
                shared = torch.empty_like(kspace)
                for t, frame in enumerate(kspace):
                    shared[t] = sensitivity(frame[None, None] / scale, mask[None, None, t % len(mask)], acs, batch.coils)[0, 0]
            for first in range(0, frames, batch.windows):
                middles = range(first, min(first + batch.windows, frames))
                rows = torch.tensor([window(t, frames, network.frames) for t in middles], device=kspace.device)
                masks = mask[rows] if len(mask) > 1 else mask[None].expand(len(rows), -1, -1, -1)
                windows, given = kspace[rows] / scale, {}
                if sensitivity is not None:
                    given["maps"] = sensitivity(windows, masks, acs, batch.coils) if shared is None else shared[rows]
                images[middles.start : middles.stop, :, inside] = network(windows, masks, acs, **given).image
        return self._checked(images.mul_(scale))

    def _checked(self, images: Tensor, coils: Coils | None = None) -> Solved:
        if not finite(images):
            raise NumericalError(
                "todo",
                f"The network {self.name} gave NaN or infinity",
                "All pixels must be finite numbers",
                "Check the weights, and with --set precision=bf16 try fp32",
            )
        return Solved(images, coils)


def find_method(name: str) -> Method | NetworkMethod:
    """The method of that name, or the network of that name with the weights that are installed.

    Raises
    ------
    UsageError : there is none, or no weights for it
    """
    if name in METHODS or name not in NETWORKS or NETWORKS[name].discriminator:
        return get_method(name)
    path = weights.installed_file(name)
    if not path.is_file():
        raise UsageError(
            "todo",
            f"No weights are installed for the network {name}",
            "A network reconstructs only with trained weights",
            "Give a file with --checkpoint, or choose another method",
        )
    return from_file(path, name)


def from_file(path: Path, name: str | None = None) -> NetworkMethod:
    """The network of a checkpoint, named by what it is; errors as `weights.load`."""
    loaded = weights.load(path)
    kind = name_of(loaded.network)
    if not isinstance(loaded.network, WindowNetwork | SeriesNetwork):
        raise UsageError(
            "todo", f"{path.name} holds {kind}, a discriminator", "It judges images and reconstructs none", "Give a reconstruction network"
        )
    return NetworkMethod(name or kind, loaded.network, f"{kind} with the weights of {path.name}", file_digest(path), loaded.metadata)


def prepare(
    network: WindowNetwork | SeriesNetwork, dtype: torch.dtype, device: torch.device, *, compiled: bool = False
) -> WindowNetwork | SeriesNetwork:
    """A network made ready for inference on the device, weights channels last.

    In lower precision it is a copy of which the U-Nets alone are lowered, not the physics around them; else it is the network itself.
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


def acs_of(series: Series, settings: Mapping[str, Any]) -> int:
    """The calibration lines, the same for all windows: as given, as the file says, or as many as all frames of the series measured."""
    if settings["acs"] != AUTO:
        return int(settings["acs"])
    return series.acquisition.acs or calibration_size(series.mask)


def without_oversampling(kspace: Tensor, factor: int) -> Tensor:
    """K-space of the middle 1 / factor of the field of view along x; loses nothing of line masks, which never mix columns of the image."""
    width = kspace.shape[-1]
    return fftc(ifftc(kspace, -1)[..., centred(width, width // factor)], -1)
