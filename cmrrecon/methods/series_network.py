"""Networks for whole series as methods."""

from dataclasses import dataclass

import torch

from cmrrecon.classical.air import with_air
from cmrrecon.classical.measured_coils import coil_average, measured_images, measured_maps
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.classical.refined_maps import refined
from cmrrecon.classical.still import started
from cmrrecon.data import LineMask, Series
from cmrrecon.methods.base import Fit, Outcome, Prediction
from cmrrecon.methods.decision import Decision
from cmrrecon.methods.network import (
    NetworkMethod,
    NetworkOptions,
    cut,
    exact_convolutions,
    on_middle_columns,
    refuse_acs,
    seconds,
)


@dataclass(eq=False)
class SeriesNetworkMethod(NetworkMethod):
    """A `SeriesNetwork` as a method: it returns magnitudes (frame, y, x) float32."""

    def _images(
        self, prepared: PreparedSeries, options: NetworkOptions, decision: Decision | None
    ) -> Outcome:
        self.check(prepared.series, options)
        network = self.ready(options, prepared.kspace.device)
        inner = cut(prepared, options)

        samples = inner.mask.samples
        with exact_convolutions(), torch.inference_mode():
            output = network((inner.kspace / inner.scale)[None], samples[None], options.acs)
        images = output.image * inner.scale
        return Outcome(on_middle_columns(images, prepared.kspace.shape[-1]))

    def predict(self, series: Series, options: NetworkOptions) -> Prediction:
        """Predict the cost of a series, excluding classical steps."""
        self.check(series, options)
        frames, coils, y, x = series.kspace.shape
        lines = isinstance(series.mask, LineMask)
        cost = self.trained.cost(frames, coils, y, x // options.oversampling, lines=lines)
        time = seconds(cost.flops, options, series.kspace.device)
        return Prediction(cost.flops, series.kspace.nbytes + cost.nbytes, time)


@dataclass(eq=False)
class ProblemNetworkMethod(SeriesNetworkMethod):
    """A `ProblemNetwork` as a method, with complex images.

    It uses refined coil maps, or two sets of ESPIRiT maps if the body folds over.
    """

    cyclic = True

    def check(self, series: Series, options: NetworkOptions) -> None:
        """Refuse a series that the network cannot reconstruct, and the option `acs`."""
        super().check(series, options)
        refuse_acs(self.name, options)

    def _images(
        self, prepared: PreparedSeries, options: NetworkOptions, decision: Decision | None
    ) -> Outcome:
        self.check(prepared.series, options)
        network = self.ready(options, prepared.kspace.device)
        inner = cut(prepared, options)
        with exact_convolutions():
            coils = inner.coils()
            coils = coils if coils.sets > 1 else refined(inner, coils)
            problem = started(inner, coils)
            x = network.solve(problem).x

        whole = problem.whole(x) * inner.scale
        images = measured_images(whole, coils, None)
        images = with_air(inner, *coil_average(whole, coils), images)
        if inner is prepared:
            fit = Fit(prepared, coils, problem, x)
            return Outcome(images, measured_maps(coils, None), fit)
        return Outcome(on_middle_columns(images, prepared.kspace.shape[-1]))
