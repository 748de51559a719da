"""Names that the shell completes. They are listed here, because their modules load PyTorch.

`tests/cli/test_help.py` compares them with the registries.
"""

from pathlib import Path

import cmrrecon

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
PATTERNS = (
    "uniform",
    "kt-uniform",
    "kt-gaussian",
    "kt-radial",
    "random",
    "gaussian",
    "poisson",
)


def methods(incomplete: str) -> list[str]:
    """The methods whose names begin like this, the networks with shipped weights among them."""
    folder = Path(cmrrecon.__file__).parent / "pretrained"
    shipped = [path.stem for path in sorted(folder.glob("*.safetensors"))]
    return [name for name in dict.fromkeys((*METHODS, *shipped)) if name.startswith(incomplete)]


def patterns(incomplete: str) -> list[str]:
    """The sampling patterns whose names begin like this."""
    return [name for name in PATTERNS if name.startswith(incomplete)]
