"""The checked request to fit a mapping series, and how it is carried out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmrrecon.data import Acquisition
from cmrrecon.evaluation.map_figures import pixel_aspect
from cmrrecon.evaluation.parametric_map import ParametricMap
from cmrrecon.evaluation.reconstructions import Reconstruction, of_result, open_reconstruction
from cmrrecon.evaluation.segments import Insertion, Segment, aha_segments, segment_values
from cmrrecon.evaluation.weighting_times import checked_times, times_for
from cmrrecon.formats.label_maps import lay_over, read_label_map
from cmrrecon.relaxometry.models import (
    Model,
    check_times,
    fit_pixels,
    has_floor,
    kept_times,
    model_named,
)
from cmrrecon.tools.arrays import as_tensor
from cmrrecon.tools.errors import InputError, NumericalError, UsageError
from cmrrecon.tools.files import as_path

# The model of each official base name.
MODEL_OF = {"t1map": "molli", "t1mappost": "molli", "t2map": "t2", "t2smap": "t2star"}
# Air is what stays below this fraction of the series' 99th percentile in all weightings.
THRESHOLD = 0.05
PERCENTILE = 0.99


@dataclass(frozen=True, kw_only=True)
class FitTask:
    """A request to fit a mapping series, checked.

    Attributes
    ----------
    series : Reconstruction
        The images, with the facts about their scan.
    times : Tensor of shape (frame, slice), float64
        Times in ms.
    model : Model
        The model.
    noise_floor : bool
        Whether to fit a noise floor.
    threshold : float
        As in `fit`.
    segments : Tensor of shape (slice, y, x), int64, or None
        The AHA segments, if there is a label map.
    """

    series: Reconstruction
    times: Tensor
    model: Model
    noise_floor: bool
    threshold: float
    segments: Tensor | None

    @staticmethod
    def of(
        images: Any,
        times: Any,
        *,
        model: str | None,
        noise_floor: bool | None,
        threshold: float,
        labels: Any,
        insertions: Sequence[Insertion] | None,
        levels: Sequence[str] | None,
        base: str | None = None,
        slices: Sequence[int] | None = None,
    ) -> "FitTask":
        """Check a request; parameters and errors are those of `fit`."""
        _check_options(threshold, labels, insertions, levels)
        made, given = _series(images, slices)
        facts = made.facts or Acquisition()
        facts = facts if base is None else replace(facts, base=base)
        chosen = model_for(model, facts.base)

        path = as_path(images, "image file") if isinstance(images, str | Path) else None
        known = times_for(given if times is None else times, facts, path)
        table = checked_times(known, made.images.shape, made.slices, made.name)
        floor = has_floor(chosen, table[:, 0], noise_floor)
        for column in table.unbind(1):
            check_times(kept_times(column, chosen), chosen, with_floor=floor)

        segments = None
        if labels is not None:
            segments = aha_segments(
                _labels(labels, made),
                insertions=insertions,
                levels=levels,
                aspect=pixel_aspect(made.stamp or {}),
            )
        return FitTask(
            series=made,
            times=table,
            model=chosen,
            noise_floor=floor,
            threshold=threshold,
            segments=segments,
        )

    def run(self) -> ParametricMap:
        """Fit all slices.

        Raises
        ------
        InputError
            If no pixel is finite (`images-not-finite`).
        NumericalError
            If no pixel can be fitted (`fit-failed`).
        """
        magnitude = self.series.images.abs()
        finite = magnitude.isfinite().all(0)
        if not bool(finite.any()):
            raise InputError(
                "images-not-finite",
                f"{self.series.name} has no pixel that is finite in all weightings",
                "A fit needs numbers",
                "Check how the images were made",
            )
        brightest = magnitude.amax(0)
        tissue = finite & (brightest > self.threshold * _percentile(brightest[finite]))

        parts = torch.full((3, *finite.shape), torch.nan, device=magnitude.device)
        for z, inside in enumerate(tissue):
            found = fit_pixels(
                magnitude[:, z, inside],
                self.times[:, z],
                self.model,
                noise_floor=self.noise_floor,
            )
            parts[:, z, inside] = torch.stack(found).float()

        values, deviation, residual = parts
        fitted = int(values.isfinite().sum())
        if not fitted:
            raise NumericalError(
                "fit-failed",
                f"No {self.model.parameter} can be fitted to any pixel of {self.series.name}",
                f"The signal must follow {self.model.formula}",
                "Check the times and the model",
            )

        segments: tuple[Segment, ...] = ()
        if self.segments is not None:
            segments = segment_values(values, self.segments.to(values.device))
        return ParametricMap(
            parameter=self.model.parameter,
            model=self.model.name,
            noise_floor=self.noise_floor,
            values=values,
            deviation=deviation,
            residual=residual,
            times=self.times,
            fitted=fitted,
            failed=int(tissue.sum()) - fitted,
            air=int((finite & ~tissue).sum()),
            broken=int((~finite).sum()),
            segments=segments,
            provenance=self.facts(),
        )

    def facts(self) -> dict[str, Any]:
        """Return what the provenance of the images says about their scan, for that of the map."""
        stamp = self.series.stamp or {}
        known = {name: stamp[name] for name in ("acquisition", "geometry") if name in stamp}
        return {**known, "config": {"slices": list(self.series.slices or ())}}


def _series(images: Any, slices: Sequence[int] | None) -> tuple[Reconstruction, Any]:
    """Return the images, and the times of an object that has them."""
    given = None
    if isinstance(images, str | Path):
        path = as_path(images, "image file")
        made, _ = open_reconstruction(path, str(path))
    elif hasattr(images, "images"):
        made = of_result(images.images, images.provenance)
    elif hasattr(images, "image"):
        made, given = Reconstruction(images.image, images.scan.acquisition), images.times
    else:
        made = Reconstruction(as_tensor(images, "images", "(frame, slice, y, x)"))

    if made.images.ndim != 4:
        raise InputError(
            "images-axes",
            f"The images have shape {tuple(made.images.shape)}",
            "A mapping series has the axes (frame, slice, y, x)",
            "Add the missing axes of length 1, in that order",
        )
    numbers = tuple(made.slices or range(made.images.shape[1]) if slices is None else slices)
    if len(numbers) != made.images.shape[1]:
        raise UsageError(
            "option-value",
            f"{len(numbers)} slice numbers were given for {made.images.shape[1]} slices",
            "Each slice of the images needs its number within the scan",
            "Give one number for each slice, or leave them out",
        )
    return replace(made, slices=numbers), given


def model_for(name: str | None, base: str) -> Model:
    """Return the model of a name, or else that of a base name.

    Raises
    ------
    UsageError
        If the name is unknown (`unknown-model`), or missing and the base name is not that of a
        mapping series (`option-needs`).
    """
    if name is not None:
        return model_named(name)
    if base.lower() not in MODEL_OF:
        raise UsageError(
            "option-needs",
            f"The base name {base} does not say which relaxation time to fit",
            "It is known for T1map, T1mappost, T2map and T2smap",
            "Choose a model, such as molli, saturation, t2 or t2star",
        )
    return model_named(MODEL_OF[base.lower()])


def _check_options(threshold: float, labels: Any, insertions: Any, levels: Any) -> None:
    """Refuse a threshold that is no fraction, and options of segments without a label map."""
    if not 0 <= threshold < 1:
        raise UsageError(
            "option-value",
            f"The threshold of air is {threshold:g}",
            "It is a fraction of the 99th percentile, from 0 to below 1",
            f"Use, for example, {THRESHOLD:g}",
        )
    if labels is None and (insertions is not None or levels is not None):
        raise UsageError(
            "option-needs",
            "Insertion points or levels were given without a label map",
            "The segments divide the myocardium of a label map",
            "Add the label map with --labels",
        )


def _labels(labels: Any, made: Reconstruction) -> Tensor:
    """Return the labels of the images' slices, (slice, y, x)."""
    if isinstance(labels, str | Path):
        path = as_path(labels, "label map")
        stored, name = read_label_map(path), str(path)
    else:
        stored, name = as_tensor(labels, "labels", "(slice, y, x)").long(), "in memory"

    numbers = made.slices or ()
    count = stored.shape[-3] if stored.ndim > 2 else 0
    scan = tuple(range(count)) if count > max(numbers) else numbers
    placed = lay_over(stored, tuple(made.images.shape), numbers, scan, name)
    if len(placed) > 1:
        raise InputError(
            "shape-mismatch",
            f"The label map {name} has {len(placed)} frames",
            "All weightings of a mapping series share one myocardium",
            "Use a label map with one frame",
        )
    return placed[0]


def _percentile(values: Tensor) -> float:
    """Return the 99th percentile of values (pixel,)."""
    return float(values.kthvalue(max(1, round(PERCENTILE * len(values)))).values)
