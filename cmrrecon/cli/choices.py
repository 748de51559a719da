"""Names that options accept, for shell completion.

Completion must respond while the user types, so the names are listed here instead of loading
libraries. Tests compare them with the registries of the other rooms.
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
PROTOCOLS = ("fullfov", "body", "cmrxrecon2023", "cmrxrecon2024", "cmrxrecon2025")
KINDS = ("cine", "perfusion", "t1map", "t2map")
DEVICES = ("auto", "cpu", "cuda")
MODELS = ("molli", "inversion", "saturation", "t2", "t2-line", "t2star")
MAP_FORMATS = ("h5", "mat", "npy", "npz", "nii", "nii.gz", "dcm", "png")
IMAGE_FORMATS = ("h5", "mat", "npz", "npy", "cfl", "png", "gif", "nii", "nii.gz", "dcm")
ALSO = ("phase", "complex")


class RecipeFacts(NamedTuple):
    """A recipe of the package: its name, the network it trains, and its source."""

    name: str
    network: str
    paper: str


def recipes() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(path.stem for path in (PACKAGE / "recipes").glob("*.toml"))


def recipe_facts() -> list[RecipeFacts]:
    """Return the recipes with their networks and sources."""
    files = {name: PACKAGE / "recipes" / f"{name}.toml" for name in recipes()}
    read = {name: tomllib.loads(path.read_text(encoding="utf-8")) for name, path in files.items()}
    return [
        RecipeFacts(name, values["network"]["name"], values.get("paper", ""))
        for name, values in read.items()
    ]


def installed_weights() -> list[str]:
    """Return the names of the networks whose weights come with the package."""
    return sorted(path.stem for path in (PACKAGE / "pretrained").glob("*.safetensors"))


def complete_methods(incomplete: str) -> list[str]:
    """Complete a method or a network with installed weights, also at the end of a comma list."""
    before, comma, last = incomplete.rpartition(",")
    return [
        f"{before}{comma}{name}" for name in _starting_with([*METHODS, *installed_weights()], last)
    ]


def complete_recipes(incomplete: str) -> list[str]:
    """Complete the name of a recipe."""
    return _starting_with(recipes(), incomplete)


def complete_patterns(incomplete: str) -> list[str]:
    """Complete the name of a sampling pattern."""
    return _starting_with(PATTERNS, incomplete)


def complete_protocols(incomplete: str) -> list[str]:
    """Complete the name of a scoring protocol."""
    return _starting_with(PROTOCOLS, incomplete)


def complete_kinds(incomplete: str) -> list[str]:
    """Complete the kind of a simulated scan."""
    return _starting_with(KINDS, incomplete)


def complete_models(incomplete: str) -> list[str]:
    """Complete a model of relaxation."""
    return _starting_with(MODELS, incomplete)


def complete_map_formats(incomplete: str) -> list[str]:
    """Complete a format of fitted maps."""
    return _starting_with(MAP_FORMATS, incomplete)


def complete_devices(incomplete: str) -> list[str]:
    """Complete the name of a device."""
    return _starting_with(DEVICES, incomplete)


def complete_image_formats(incomplete: str) -> list[str]:
    """Complete a format of images."""
    return _starting_with(IMAGE_FORMATS, incomplete)


def complete_also(incomplete: str) -> list[str]:
    """Complete what is written beside the magnitude."""
    return _starting_with(ALSO, incomplete)


def _starting_with(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
