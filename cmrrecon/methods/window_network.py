"""Networks for windows of adjacent frames as methods."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import CartesianMask, LineMask, Series
from cmrrecon.methods.base import Outcome, Prediction, memory_shortage
from cmrrecon.methods.decision import Decision
from cmrrecon.methods.network import (
    NetworkMethod,
    NetworkOptions,
    cut,
    exact_convolutions,
    on_middle_columns,
    seconds,
)
from cmrrecon.networks.cost import Footprint
from cmrrecon.networks.sensitivity import calibration_size
from cmrrecon.operators.coil_images import time_average
from cmrrecon.operators.sensitivity import Calibration
from cmrrecon.tools.devices import device_memory
from cmrrecon.tools.errors import is_memory_shortage

# Fraction of a GPU's free memory to plan for; the rest is for cuDNN and fragmentation.
GPU_SHARE = 0.6
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Batch:
    """Batch sizes of a network and of its map network.

    On a CPU both are one, because larger batches do not fit into the cache and are slower.

    Attributes
    ----------
    windows : int
        Number of windows that the network processes at once.
    coils : int
        Number of coil images that its map network processes at once.
    """

    windows: int = 1
    coils: int = 1

    def halved(self) -> "Batch | None":
        """Return a batch of half the size; None if it is as small as possible."""
        if self.windows == self.coils == 1:
            return None
        return Batch(max(1, self.windows // 2), max(1, self.coils // 2))


@dataclass(eq=False)
class WindowNetworkMethod(NetworkMethod):
    """A `WindowNetwork` as a method: it returns magnitudes (frame, y, x) float32.

    If memory runs out, it tries again with smaller batches.
    """

    _costs: dict[tuple[Any, ...], tuple[Footprint, Footprint]] = field(
        default_factory=dict, repr=False
    )

    def _images(
        self, prepared: PreparedSeries, options: NetworkOptions, decision: Decision | None
    ) -> Outcome:
        series = prepared.series
        self.check(series, options)
        network = self.ready(options, series.kspace.device)

        inner, acs = cut(prepared, options), self.acs(series, options)
        beside = self.beside(series, options)
        batch: Batch | None = self.batch(series, options)

        while batch is not None:
            try:
                with exact_convolutions():
                    images = windowed(network, inner, acs, batch, beside)
                return Outcome(on_middle_columns(images.mul_(inner.scale), series.kspace.shape[-1]))
            except Exception as error:
                if not is_memory_shortage(error):
                    raise
                shortage = type(error)

            # Leave the handler first: the error keeps the memory of the failed attempt in use.
            batch = batch.halved()
            if series.kspace.device.type == "cuda":
                torch.cuda.empty_cache()

        raise memory_shortage(self.name, series) from shortage()

    def acs(self, series: Series, options: NetworkOptions) -> int | None:
        """Return the number of calibration lines; None if the network has a rule of its own."""
        return options.acs if self.trained.own_calibration else acs_of(series, options)

    def beside(self, series: Series, options: NetworkOptions) -> dict[str, Any]:
        """Return what the network is given beside k-space, mask and calibration lines."""
        return {}

    def batch(self, series: Series, options: NetworkOptions) -> Batch:
        """Return the largest batch that fits into the available memory."""
        device = series.kspace.device
        if device.type == "cpu":
            return Batch()
        free = GPU_SHARE * device_memory(device)

        frames, coils = series.kspace.shape[:2]
        window_cost, maps_cost = self.costs(series, options)
        most = frames if self.trained.independent else 1
        windows = max(1, min(most, int(free / window_cost.nbytes)))
        return Batch(windows, max(1, min(frames * coils, int(free / max(maps_cost.nbytes, 1)))))

    def costs(self, series: Series, options: NetworkOptions) -> tuple[Footprint, Footprint]:
        """Predict the cost of a window with given maps, and of the maps of each further frame."""
        _, coils, y, x = series.kspace.shape
        size = (coils, y, x // options.oversampling)
        known = {"lines": isinstance(series.mask, LineMask), "acs": acs_of(series, options)}
        key = (*size, *known.values())
        if key not in self._costs:
            network = self.trained
            costs = network.window_cost(*size, **known), network.maps_cost(*size, **known)
            self._costs[key] = costs
        return self._costs[key]

    def predict(self, series: Series, options: NetworkOptions) -> Prediction:
        """Predict the cost of a series, with one window and one coil at a time.

        For networks that start from CG-SENSE images, the cost excludes these images.
        """
        self.check(series, options)
        frames, _, y, x = series.kspace.shape
        window_cost, maps_cost = self.costs(series, options)

        network, kspace = self.trained, series.kspace.nbytes // options.oversampling
        flops = frames * (window_cost.flops + maps_cost.flops)
        whole = (options.oversampling > 1) + network.shares_maps
        makes_maps = network.sensitivity is not None

        kept = whole * kspace + 4 * frames * y * x
        kept += kspace * network.frames // frames * (2 if makes_maps else 1)
        time = seconds(flops, options, series.kspace.device)
        return Prediction(flops, kept + max(window_cost.nbytes, maps_cost.nbytes), time)


def windowed(
    network: Any,
    prepared: PreparedSeries,
    acs: int | None,
    batch: Batch,
    beside: Mapping[str, Any] = NOTHING,
) -> Tensor:
    """Reconstruct normalised magnitudes (frame, y, x) of a series, window by window."""
    kspace, scale, samples = prepared.kspace, prepared.scale, prepared.mask.samples
    frames = len(kspace)
    images = kspace.real.new_empty((frames, *kspace.shape[2:]))

    with torch.inference_mode():
        average = _average_maps(network, prepared, acs, batch)
        sharing = network.shares_maps and average is None
        shared = _shared_maps(network, prepared, acs, batch) if sharing else None

        for first in range(0, frames, batch.windows):
            middles = range(first, min(first + batch.windows, frames))
            rows = torch.tensor([network.window(t, frames) for t in middles]).to(kspace.device)

            masks = (
                samples[rows]
                if prepared.mask.varies
                else samples[None].expand(len(rows), -1, -1, -1)
            )

            windows, maps = kspace[rows].div_(scale), None
            if average is not None:
                maps = average.expand(len(rows), network.frames, -1, -1, -1)
            elif network.sensitivity is not None:
                estimate = network.sensitivity
                maps = (
                    estimate(windows, masks, acs, batch.coils) if shared is None else shared[rows]
                )

            output = network(windows, masks, acs, maps=maps, **beside)
            images[middles.start : middles.stop] = output.image

    return images


def _average_maps(
    network: Any, prepared: PreparedSeries, acs: int | None, batch: Batch
) -> Tensor | None:
    """Estimate the maps of all windows if only the time average calibrates.

    The shape is (1, frame or 1, coil, y, x). None if every frame measured its calibration lines, or
    the network has no coil maps.
    """
    mask, estimate = prepared.mask, network.sensitivity
    assert isinstance(mask, CartesianMask)
    if estimate is None or not Calibration.of(mask).averaged:
        return None

    average = time_average(prepared.kspace, mask.samples) / prepared.scale
    union = mask.samples.any(0)[None, None]
    maps: Tensor = estimate(average.expand(1, estimate.frames, -1, -1, -1), union, acs, batch.coils)
    return maps


def _shared_maps(network: Any, prepared: PreparedSeries, acs: int | None, batch: Batch) -> Tensor:
    """Estimate the maps (frame, coil, y, x) of every frame, the same in all windows."""
    shared = torch.empty_like(prepared.kspace)
    for t, frame in enumerate(prepared.kspace):
        mask = prepared.mask.frame(t)[None, None]
        shared[t] = network.sensitivity(frame[None, None] / prepared.scale, mask, acs, batch.coils)[
            0, 0
        ]
    return shared


def acs_of(series: Series, options: NetworkOptions) -> int:
    """Return the number of calibration lines, the same for all windows.

    This is the given number, otherwise the number in the file, otherwise the number of lines that
    all frames measured. If these are too few, it is the number of lines in the time average.
    """
    if options.acs is not None:
        return options.acs
    assert isinstance(series.mask, CartesianMask)

    found = Calibration.of(series.mask)
    known = series.acquisition.acs
    return known or (found.lines if found.averaged else calibration_size(series.mask))
