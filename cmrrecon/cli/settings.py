"""Short texts of the command line: settings and numbers parsed, sampling and decisions in words."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from cmrrecon.data import Geometry
    from cmrrecon.methods.decision import Decision

Value = bool | int | float | str | None
# Members of a record that `sampling_text` describes.
SAMPLING = (
    "pattern",
    "acceleration",
    "effective_acceleration",
    "effective_acceleration_extent",
    "coverage",
)


def parse_settings(texts: Sequence[str]) -> dict[str, Value]:
    """Turn `["weight=0.01", "calibration=first"]` into a dictionary.

    Numbers, true and false become values of their type; auto becomes None.

    Raises
    ------
    UsageError
        If a text is not `key=value` (`option-value`).
    """
    settings: dict[str, Value] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (equals and key.strip() and value.strip()):
            raise UsageError(
                "option-value",
                f"--set was given {text!r}",
                "It needs key=value",
                "Write for example --set weight=0.01",
            )
        settings[key.strip()] = _value(value.strip())
    return settings


def _value(text: str) -> Value:
    """The value that a text stands for."""
    if text.lower() == "auto":
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_slices(text: str | None, count: int) -> list[int]:
    """Turn `"0,3-5"` into [0, 3, 4, 5]; None means all `count` slices.

    Raises
    ------
    UsageError
        If the text is no list of numbers and ranges (`option-value`), or the scan lacks a slice
        of it (`slice-missing`).
    """
    if text is None:
        return list(range(count))

    chosen: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise UsageError(
                "option-value",
                f"--slices was given {text!r}",
                "It needs numbers and ranges, counted from 0",
                "Write for example --slices 0,3-5",
            )
        chosen += range(int(match[1]), int(match[2] or match[1]) + 1)

    if not chosen or max(chosen) >= count:
        raise UsageError(
            "slice-missing",
            f"--slices {text} names a slice that the scan lacks",
            f"The scan has {count} slices, 0 to {count - 1}",
            "Choose among these",
        )
    return sorted(set(chosen))


def parse_numbers(text: str, count: int, separator: str, option: str, example: str) -> list[int]:
    """Turn `"204x448"` into [204, 448]: exactly `count` whole numbers.

    Raises
    ------
    UsageError
        If it is not (`option-value`).
    """
    parts = text.split(separator)
    if len(parts) != count or not all(p.strip().isdigit() for p in parts):
        raise UsageError(
            "option-value",
            f"{option} was given {text!r}",
            f"It needs {count} whole numbers separated by {separator!r}",
            f"Write for example {example}",
        )
    return [int(p) for p in parts]


def sampling_text(
    *,
    pattern: str | None,
    acceleration: float | None,
    effective_acceleration: float,
    effective_acceleration_extent: float | None = None,
    coverage: str = "",
) -> str:
    """Describe sampling as `kt-gaussian, nominal R 8, effective R 4.48`.

    Missing edges of k-space are named, with R over the measured extent.
    """
    if coverage == "fully sampled" and pattern is None:
        return coverage
    words = [coverage.removeprefix("undersampled").removeprefix(", ")]
    if pattern is not None or coverage.startswith("undersampled") or not coverage:
        nominal = "not known" if acceleration is None else f"{acceleration:g}"
        words += [pattern or "pattern not known", f"nominal R {nominal}"]

    effective = f"effective R {effective_acceleration:g}"
    if words[0]:
        effective += f" ({effective_acceleration_extent:g} over the measured extent)"
    return ", ".join(word for word in (*words, effective) if word)


def geometry_words(geometry: "Geometry", encoded: tuple[int, int]) -> list[str]:
    """Voxel size, field of view, positions and times of images, as far as they are known.

    Parameters
    ----------
    geometry : Geometry
        Geometry of the images.
    encoded : tuple of int
        Their number of pixels (y, x) as encoded.
    """
    words = []
    y, x = geometry.field_of_view or encoded
    if geometry.voxel_mm is not None:
        height, width, thickness = geometry.voxel_mm
        words.append(f"voxel {height:.3g} x {width:.3g} x {thickness:.3g} mm (y, x, slice)")
        words.append(f"field of view {y * height:.4g} x {x * width:.4g} mm (y, x)")
    if (y, x) != encoded:
        words.append(f"{y} x {x} of {encoded[0]} x {encoded[1]} pixels inside it")

    matrix = geometry.recon_matrix
    if matrix is not None and matrix != (y, x):
        words.append(f"scanner's matrix {matrix[0]} x {matrix[1]}")
    span = _span(geometry)
    words += [] if span is None else [f"slices span {span:.4g} mm"]
    if geometry.frame_times_ms:
        first, last = geometry.frame_times_ms[0], geometry.frame_times_ms[-1]
        words.append(f"frames {first:.4g} to {last:.4g} ms")
    return words


def _span(geometry: "Geometry") -> float | None:
    """Largest distance between the centres of two slices, in mm; None for one slice."""
    places = geometry.positions_mm or ()
    pairs = ((one, other) for index, one in enumerate(places) for other in places[:index])
    return max((math.dist(one, other) for one, other in pairs), default=None)


def residual_text(residuals: Sequence[float | None]) -> str:
    """The residuals of slices in words; empty if none is known."""
    known = [residual for residual in residuals if residual is not None]
    return f"; residual of the data over their noise {range_text(known)}" if known else ""


def range_text(values: Sequence[float]) -> str:
    """The range of some numbers, such as `0.95 to 1.1`; a single number where they are equal."""
    least, most = f"{min(values):.3g}", f"{max(values):.3g}"
    return least if least == most else f"{least} to {most}"


def decision_text(index: int, decision: "Decision") -> str:
    """The decision on a slice, what it was based on, and all trials."""
    chosen = f"{decision.method}, weight {decision.weight:g}, {decision.iterations} iterations"
    if (partner := decision.partner) is not None:
        chosen += (
            f", blended with {decision.share:.0%} of {partner.method}, weight {partner.weight:g}, "
            f"{partner.iterations} iterations"
        )

    if not decision.trials:
        return f"{chosen} (no trials on slice {index}: {decision.hidden})"

    tried = ", ".join(
        f"{t.method} {t.weight:g} x {t.iterations}: {t.error:.3g}" for t in decision.trials
    )
    text = (
        f"{chosen}, chosen on slice {index} by predicting {decision.hidden} "
        f"(trials, weight x iterations: error: {tried})"
    )
    return text + _errors_text(decision) + _maps_text(decision)


def _errors_text(decision: "Decision") -> str:
    """The errors of the choice and of the best trial of each method, if there were several."""
    methods = {trial.method for trial in decision.trials}
    if len(methods) < 2:
        return ""

    unit, each = ("noise", decision.noise) if decision.noise else ("the hidden samples", 1.0)
    errors = [f"the choice {decision.error / each:.4g}"] if decision.error is not None else []
    best = [
        min((t for t in decision.trials if t.method == m), key=lambda t: t.error) for m in methods
    ]
    errors += [
        f"{t.method} {t.error / each:.4g}" for t in sorted(best, key=lambda t: (t.error, t.method))
    ]
    return (
        f"; squared errors over the energy of {unit}, each at its best weight: {', '.join(errors)}"
    )


def _maps_text(decision: "Decision") -> str:
    """Which coil maps were chosen, and the errors with either kind."""
    if decision.maps_errors is None:
        return ""
    espirit, refined = decision.maps_errors
    return (
        f"; coil maps: {decision.maps} "
        f"(error with ESPIRiT maps {espirit:.4g}, with refined maps {refined:.4g})"
    )
