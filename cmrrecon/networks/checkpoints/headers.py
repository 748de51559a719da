"""The metadata of safetensors files, read without torch and without the weights."""

import json
from pathlib import Path

# The reference implementation accepts no longer headers.
MOST_BYTES = 100_000_000
PRETRAINED = Path(__file__).parents[2] / "pretrained"


def installed_metadata() -> dict[Path, dict[str, str]]:
    """The weights that came with the package, and what their files say of them."""
    return {path: metadata(path) for path in sorted(PRETRAINED.glob("*.safetensors"))}


def metadata(path: Path) -> dict[str, str]:
    """The metadata of a file of the package; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= MOST_BYTES else {}
        return dict(header.get("__metadata__", {}))
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
