"""Parse settings and numbers, and describe sampling, geometry and decisions in words."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    from cmrrecon.data import Geometry
    from cmrrecon.methods.decision import Decision

Value = bool | int | float | str | None
# Members of a record that `sampling_text` uses.
SAMPLING = (
    "pattern",
    "acceleration",
    "effective_acceleration",
    "effective_acceleration_extent",
    "coverage",
)


def parse_settings(texts: Sequence[str]) -> dict[str, Value]:
    """Turn `["weight=0.01", "calibration=first"]` into a dictionary.

    Numbers, true and false are converted to their types; auto becomes None.

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
                "It must have the form key=value",
                "For example, write --set weight=0.01",
            )
        settings[key.strip()] = _value(value.strip())
    return settings


def _value(text: str) -> Value:
    """Convert the text of a setting to its value."""
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
        If the text is not a list of numbers and ranges (`option-value`), or the scan lacks one of
        the slices (`slice-missing`).
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
                "It must be a list of numbers and ranges, counted from 0",
                "For example, write --slices 0,3-5",
            )
        chosen += range(int(match[1]), int(match[2] or match[1]) + 1)

    if not chosen or max(chosen) >= count:
        raise UsageError(
            "slice-missing",
            f"--slices {text} names a slice that the scan lacks",
            f"The scan has {count} slices, numbered from 0 to {count - 1}",
            "Choose from these slices",
        )
    return sorted(set(chosen))


def parse_numbers(text: str, count: int, separator: str, option: str, example: str) -> list[int]:
    """Turn a text such as `"204x448"` into exactly `count` whole numbers.

    Raises
    ------
    UsageError
        If the text has another form (`option-value`).
    """
    parts = text.split(separator)
    if len(parts) != count or not all(p.strip().isdigit() for p in parts):
        raise UsageError(
            "option-value",
            f"{option} was given {text!r}",
            f"It needs {count} whole numbers separated by {separator!r}",
            f"For example, write {example}",
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
    """Describe the sampling, such as `kt-gaussian, nominal R 8, effective R 4.48`.

    If edges of k-space are missing, the text names them and adds R over the measured extent.
    """
    if coverage == "fully sampled" and pattern is None:
        return coverage
    words = [coverage.removeprefix("undersampled").removeprefix(", ")]
    if pattern is not None or coverage.startswith("undersampled") or not coverage:
        nominal = "unknown" if acceleration is None else f"{acceleration:g}"
        words += [pattern or "unknown pattern", f"nominal R {nominal}"]

    effective = f"effective R {effective_acceleration:g}"
    if words[0]:
        effective += f" ({effective_acceleration_extent:g} over the measured extent)"
    return ", ".join(word for word in (*words, effective) if word)


def geometry_words(geometry: "Geometry", encoded: tuple[int, int]) -> list[str]:
    """Describe the voxel size, field of view, positions and times of images, where known.

    Parameters
    ----------
    geometry : Geometry
        Geometry of the images.
    encoded : tuple of int
        Encoded number of pixels (y, x).
    """
    words = []
    y, x = geometry.field_of_view or encoded
    if geometry.voxel_mm is not None:
        height, width, thickness = geometry.voxel_mm
        words.append(f"voxel {height:.3g} x {width:.3g} x {thickness:.3g} mm (y, x, slice)")
        words.append(f"field of view {y * height:.4g} x {x * width:.4g} mm (y, x)")
    if (y, x) != encoded:
        words.append(f"{y} x {x} of {encoded[0]} x {encoded[1]} pixels inside the field of view")

    matrix = geometry.recon_matrix
    if matrix is not None and matrix != (y, x):
        words.append(f"scanner matrix {matrix[0]} x {matrix[1]}")
    span = _span(geometry)
    words += [] if span is None else [f"slices span {span:.4g} mm"]
    if geometry.frame_times_ms:
        first, last = geometry.frame_times_ms[0], geometry.frame_times_ms[-1]
        words.append(f"frames {first:.4g} to {last:.4g} ms")
    return words


def _span(geometry: "Geometry") -> float | None:
    """Return the largest distance between two slice centres in mm; None for one slice."""
    places = geometry.positions_mm or ()
    pairs = ((one, other) for index, one in enumerate(places) for other in places[:index])
    return max((math.dist(one, other) for one, other in pairs), default=None)


def residual_text(residuals: Sequence[float | None]) -> str:
    """Describe the residuals of slices; empty if none is known."""
    known = [residual for residual in residuals if residual is not None]
    return f"; data residual relative to the noise {range_text(known)}" if known else ""


def range_text(values: Sequence[float]) -> str:
    """Format the range of numbers, such as `0.95 to 1.1`; one number if they are equal."""
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def choice_text(decision: "Decision") -> str:
    """Describe a decision without its trials."""
    chosen = f"{decision.method}, weight {decision.weight:g}, {decision.iterations} iterations"
    if (partner := decision.partner) is not None:
        chosen += (
            f", blended with {decision.share:.0%} of {partner.method}, weight {partner.weight:g}, "
            f"{partner.iterations} iterations"
        )
    return chosen


def decision_text(index: int, decision: "Decision") -> str:
    """Describe a decision with its slice, hold-out samples and trials."""
    chosen = choice_text(decision)

    if not decision.trials:
        return f"{chosen} (no trials on slice {index}: {decision.hidden})"

    trials = ", ".join(
        f"{t.method} {t.weight:g} x {t.iterations}: {t.error:.3g}" for t in decision.trials
    )
    text = (
        f"{chosen}; chosen on slice {index} by predicting {decision.hidden} that were held out "
        f"(trials as weight x iterations: error: {trials})"
    )
    return text + _errors_text(decision) + _maps_text(decision)


def _errors_text(decision: "Decision") -> str:
    """Describe the errors of the choice and of each method's best trial, if there are several."""
    methods = {trial.method for trial in decision.trials}
    if len(methods) < 2:
        return ""

    unit, scale = ("noise", decision.noise) if decision.noise else ("hold-out samples", 1.0)
    errors = [f"the choice {decision.error / scale:.4g}"] if decision.error is not None else []
    best = [
        min((t for t in decision.trials if t.method == m), key=lambda t: t.error) for m in methods
    ]
    errors += [
        f"{t.method} {t.error / scale:.4g}" for t in sorted(best, key=lambda t: (t.error, t.method))
    ]
    return (
        f"; squared errors relative to the energy of the {unit}, each at its best weight: "
        f"{', '.join(errors)}"
    )


def _maps_text(decision: "Decision") -> str:
    """Describe the chosen coil maps and the errors with both kinds."""
    if decision.maps_errors is None:
        return ""
    espirit, refined = decision.maps_errors
    return (
        f"; coil maps: {decision.maps} "
        f"(error with ESPIRiT maps {espirit:.4g}, with refined maps {refined:.4g})"
    )
