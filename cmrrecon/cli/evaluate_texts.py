"""Scores as text."""

from collections.abc import Mapping

INTERVAL = "mean [95 % bootstrap interval over files]"
# Smaller scores, such as an NMSE, are shown in powers of ten.
SMALL = 0.001


def number_text(value: float | str | None) -> str:
    """A score with two decimals above two, else four; whole numbers as they are, - for none."""
    if value is None or isinstance(value, str):
        return value or "-"
    if isinstance(value, int):
        return str(value)
    if 0 < abs(value) < SMALL:
        return f"{value:.1e}"
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.4f}"


def difference_text(found: Mapping[str, float]) -> str:
    """A mean difference with its interval."""
    return f"{found['mean']:+.4g} [{found['low']:+.4g}, {found['high']:+.4g}]"
