"""What the shell offers for options that take a name.

The names stand here too because the modules that own them load torch, which would make every press
of the tab key take seconds; a test keeps both alike.
"""

from collections.abc import Callable

PROTOCOLS = ("fullfov", "body", "cmrxrecon2023", "cmrxrecon2024", "cmrxrecon2025")
METHODS = (
    "auto",
    "zero-filled",
    "grappa",
    "sense",
    "l1-wavelet",
    "tv",
    "kt-wavelet",
    "temporal-tv",
    "temporal-fourier",
    "llr",
    "low-rank-sparse",
    "sigpy-sense",
    "sigpy-l1-wavelet",
    "sigpy-tv",
    "sigpy-jsense",
)


def offering(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """A completion callback of Typer for one of these names; lists with commas are continued."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in names if name.startswith(last)]

    return complete
