"""Names that options take, for completion in the shell; they are known without loading a library.

Completion answers while the user types, so the names are written down here. Tests hold them
against the registries of the other rooms.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]
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
PATTERNS = ("uniform", "kt-uniform", "kt-gaussian", "kt-radial", "random", "gaussian", "poisson")
PROTOCOLS = ("fullfov", "cmrxrecon2023", "cmrxrecon2024", "cmrxrecon2025")
KINDS = ("cine", "perfusion", "t1map", "t2map")
DEVICES = ("auto", "cpu", "cuda")


class RecipeFacts(NamedTuple):
    """A recipe of the package: its name, the network that it trains, and its source."""

    name: str
    network: str
    paper: str


def recipes() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in (PACKAGE / "recipes").glob("*.toml"))


def recipe_facts() -> list[RecipeFacts]:
    """The recipes with their networks and sources."""
    files = {name: PACKAGE / "recipes" / f"{name}.toml" for name in recipes()}
    read = {name: tomllib.loads(path.read_text(encoding="utf-8")) for name, path in files.items()}
    return [
        RecipeFacts(name, values["network"]["name"], values.get("paper", ""))
        for name, values in read.items()
    ]


def installed_weights() -> list[str]:
    """The networks whose weights come with the package."""
    return sorted(path.stem for path in (PACKAGE / "pretrained").glob("*.safetensors"))


def complete_methods(incomplete: str) -> list[str]:
    """Methods, and networks with installed weights; also the last one of a list with commas."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _begin([*METHODS, *installed_weights()], last)]


def complete_recipes(incomplete: str) -> list[str]:
    """Recipes."""
    return _begin(recipes(), incomplete)


def complete_patterns(incomplete: str) -> list[str]:
    """Sampling patterns."""
    return _begin(PATTERNS, incomplete)


def complete_protocols(incomplete: str) -> list[str]:
    """Scoring protocols."""
    return _begin(PROTOCOLS, incomplete)


def complete_kinds(incomplete: str) -> list[str]:
    """Kinds of simulated scans."""
    return _begin(KINDS, incomplete)


def complete_devices(incomplete: str) -> list[str]:
    """Devices."""
    return _begin(DEVICES, incomplete)


def _begin(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
