"""Format scores as text."""

from collections.abc import Mapping

INTERVAL = "mean [95 % bootstrap interval over files]"
# Smaller scores, such as an NMSE, are shown in scientific notation.
SMALL = 0.001


def number_text(value: float | str | None) -> str:
    """Format a score: two decimals from 2 upwards, else four; integers unchanged; `-` for None."""
    if value is None or isinstance(value, str):
        return value or "-"
    if isinstance(value, int):
        return str(value)
    if 0 < abs(value) < SMALL:
        return f"{value:.1e}"
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.4f}"


def difference_text(found: Mapping[str, float]) -> str:
    """Format a mean difference with its interval."""
    return f"{found['mean']:+.4g} [{found['low']:+.4g}, {found['high']:+.4g}]"
