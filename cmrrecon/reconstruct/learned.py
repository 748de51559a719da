"""A trained network as a method: windows of adjacent frames in, the images of their middle frames out."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cmrrecon.errors import NumericalError, UsageError, is_memory_shortage
from cmrrecon.networks import weights
from cmrrecon.networks.catalog import NETWORKS
from cmrrecon.networks.sensitivity import calibration_size
from cmrrecon.physics.fourier import centred, fftc, ifftc
from cmrrecon.provenance import file_digest
from cmrrecon.reconstruct.auto import AUTO, Choice
from cmrrecon.reconstruct.footprint import Footprint, footprint, speed
from cmrrecon.reconstruct.methods import METHODS, Method, checked_options, get_method, memory_shortage
from cmrrecon.scan import Series, require_cartesian, window

Precision = Literal["fp32", "bf16"]
# Where shipped weights are installed.
PRETRAINED = Path(__file__).parents[1] / "pretrained"
DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
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
    network : see `cmrrecon.networks.interface`
    summary : one line
    digest : SHA-256 of the weights' file, part of the recipe of an output
    """

    name: str
    network: nn.Module
    summary: str
    digest: str
    gpu: bool = True
    candidates: tuple[str, ...] = ()
    _ready: dict[tuple[Any, ...], nn.Module] = field(default_factory=dict, repr=False)

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options, those given checked: `precision` of the convolutions ("fp32", "bf16"), `acs` (calibration lines, or "auto"),
        `oversampling` of the readout that is cut off before the network (whole; line masks only), `compile`.

        Raises
        ------
        UsageError : an option that there is not, or a value of the wrong kind
        """
        return checked_options(self.name, options, DEFAULTS, KINDS)

    def __call__(self, series: Series, options: Mapping[str, Any] | None = None, choice: Choice | None = None) -> Tensor:
        """Magnitudes (frame, y, x) float32 of a series; normalised before, scaled back after.

        If memory runs out, it is tried again with smaller batches.

        Raises
        ------
        UsageError, NumericalError, MemoryShortage : as from other methods
        """
        require_cartesian(series, f"The network {self.name}")
        settings = self.check(options or {})
        device = series.kspace.device
        network = self._prepared(settings, device)
        batch: Batch | None = self.batch(series, settings)
        while batch is not None:
            try:
                return self._images(network, series, settings, batch)
            except Exception as error:
                if not is_memory_shortage(error):
                    raise
                shortage = error
            # Outside the handler, which keeps what the failed attempt held.
            batch = batch.halved()
            if device.type == "cuda":
                torch.cuda.empty_cache()
        raise memory_shortage(self.name, series) from shortage

    def batch(self, series: Series, settings: Mapping[str, Any]) -> Batch:
        """What fits into the memory at hand."""
        if series.kspace.device.type == "cpu":
            return Batch()
        free = GPU_SHARE * torch.cuda.mem_get_info(series.kspace.device)[0]
        frames, coils = series.kspace.shape[:2]
        one = self._of_one_window(series, settings).nbytes
        return Batch(max(1, min(frames, int(free / one))), max(1, min(frames * coils, int(coils * free / one))))

    def predict(self, series: Series, settings: Mapping[str, Any]) -> Prediction:
        """The cost of a series. Where maps are shared between windows, they are counted once a frame."""
        frames, _, y, x = series.kspace.shape
        window = self._of_one_window(series, settings)
        maps = self._of_maps(series, settings) if self._shares_maps() else Footprint(0, 0)
        flops = frames * (window.flops + maps.flops)
        kept = series.kspace.nbytes * (1 + self._shares_maps()) * self.frames // frames + 4 * frames * y * x
        device = series.kspace.device
        seconds = flops / (EFFICIENCY * speed(device, DTYPES[settings["precision"]]))
        return Prediction(flops, kept + max(window.nbytes, maps.nbytes), seconds)

    def _shares_maps(self) -> bool:
        return bool(getattr(self.network, "maps_of_single_frames", False))

    def _of_one_window(self, series: Series, settings: Mapping[str, Any]) -> Footprint:
        """Without the maps, if these are shared between windows."""
        _, coils, y, x = series.kspace.shape
        shape = (1, self.frames, coils, y, x // settings["oversampling"])
        if hasattr(self.network, "forward_image"):
            return footprint(self.network, ((1, *shape[3:]), torch.float32), method="forward_image")
        mask = (1, 1, y, series.mask.shape[-1] if series.mask.shape[-1] == 1 else shape[-1])
        given: dict[str, Any] = {"maps": torch.empty(shape, dtype=torch.complex64, device="meta")} if self._shares_maps() else {}
        return footprint(self.network, (shape, torch.complex64), (mask, torch.bool), acs=acs_of(series, settings), **given)

    def _of_maps(self, series: Series, settings: Mapping[str, Any]) -> Footprint:
        """The maps of one frame."""
        _, coils, y, x = series.kspace.shape
        shape, options = (1, 1, coils, y, x // settings["oversampling"]), {"acs": acs_of(series, settings), "together": 1}
        mask = (1, 1, y, series.mask.shape[-1] if series.mask.shape[-1] == 1 else shape[-1])
        return footprint(self.network, (shape, torch.complex64), (mask, torch.bool), method="sensitivity_maps", **options)

    @property
    def frames(self) -> int:
        """The width of a window."""
        return int(self.network.frames)  # type: ignore[arg-type]

    def _prepared(self, settings: Mapping[str, Any], device: torch.device) -> nn.Module:
        """The network on the device, in the precision asked for."""
        key = (settings["precision"], settings["compile"], device)
        if key not in self._ready:
            self._ready[key] = prepare(self.network, DTYPES[settings["precision"]], device, compiled=settings["compile"])
        return self._ready[key]

    def _images(self, network: nn.Module, series: Series, settings: Mapping[str, Any], batch: Batch) -> Tensor:
        scale = series.scale()
        kspace, mask, acs = series.kspace, series.mask, acs_of(series, settings)
        factor, width = settings["oversampling"], kspace.shape[-1]
        if factor > 1:
            kspace = without_oversampling(kspace, mask, factor)
        frames = len(kspace)
        images = kspace.real.new_zeros((frames, kspace.shape[2], width))
        inside = centred(width, kspace.shape[-1])
        with torch.inference_mode():
            maps = self._maps(network, kspace, mask, acs, batch) if self._shares_maps() else None
            for first in range(0, frames, batch.windows):
                middles = range(first, min(first + batch.windows, frames))
                rows = torch.tensor([window(t, frames, self.frames) for t in middles], device=kspace.device)
                masks = mask[rows] if len(mask) > 1 else mask[None].expand(len(rows), -1, -1, -1)
                given = {} if maps is None else {"maps": maps[rows]}
                images[middles.start : middles.stop, :, inside] = network(kspace[rows] / scale, masks, acs, **given).image
        if not bool(torch.isfinite(images).all()):
            raise NumericalError(
                f"The network {self.name} gave NaN or infinity", "All pixels must be finite numbers", "Try --set precision=fp32"
            )
        return images.mul_(scale).clone()

    def _maps(self, network: Any, kspace: Tensor, mask: Tensor, acs: int, batch: Batch) -> Tensor:
        """Maps (frame, coil, y, x), a frame at a time."""
        maps = torch.empty_like(kspace)
        for t, frame in enumerate(kspace):
            own = mask[t % len(mask)]
            maps[t] = network.sensitivity_maps(frame[None, None], own[None, None], acs, batch.coils)[0, 0]
        return maps


def find_method(name: str) -> Method | NetworkMethod:
    """The method of that name, or the network of that name with the weights that are installed.

    Raises
    ------
    UsageError : there is none, or no weights for it
    """
    if name in METHODS or name not in NETWORKS:
        return get_method(name)
    path = PRETRAINED / f"{name}.safetensors"
    if not path.is_file():
        raise UsageError(
            f"No weights are installed for the network {name}",
            "A network reconstructs only with trained weights",
            "Give a file with --checkpoint, or choose another method",
        )
    return from_file(path, name)


def from_file(path: Path, name: str | None = None) -> NetworkMethod:
    """The network of a checkpoint, named by what it is; errors as `weights.load`."""
    loaded = weights.load(path)
    kind = loaded.metadata.get("network", "network")
    return NetworkMethod(name or kind, loaded.network, f"{kind} with the weights of {path.name}", file_digest(path))


def prepare(network: nn.Module, dtype: torch.dtype, device: torch.device, *, compiled: bool = False) -> nn.Module:
    """A copy of a network for inference: channels last, and the U-Nets alone, not the physics around them, in another precision."""

    def lowered(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(part.to(dtype) if isinstance(part, Tensor) else part for part in inputs)

    ready = copy.deepcopy(network).eval().to(device)
    for module in unets(ready):
        # What comes out is of that precision too, until it meets the images around it.
        module.to(dtype).register_forward_pre_hook(lowered)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            module.compile()
    return ready


def unets(network: nn.Module) -> Iterator[nn.Module]:
    """What of a network is only convolutions: by agreement the modules named `unet`."""
    return (module for name, module in network.named_modules() if name.rpartition(".")[2] == "unet")


def acs_of(series: Series, settings: Mapping[str, Any]) -> int:
    """The calibration lines, the same for all windows: as given, as the file says, or as many as all frames of the series measured."""
    if settings["acs"] != AUTO:
        return int(settings["acs"])
    return series.acquisition.acs or calibration_size(series.mask)


def without_oversampling(kspace: Tensor, mask: Tensor, factor: int) -> Tensor:
    """K-space of the middle 1 / factor of the field of view along x; exact, as a line mask never mixes columns of the image.

    Raises
    ------
    UsageError : the mask changes along x
    """
    if mask.shape[-1] > 1:
        raise UsageError(
            "The readout's oversampling was to be cut off, but the mask changes along the readout",
            "Only whole lines can be cut without loss",
            "Leave out --set oversampling",
        )
    width = kspace.shape[-1]
    return fftc(ifftc(kspace, -1)[..., centred(width, width // factor)], -1)
