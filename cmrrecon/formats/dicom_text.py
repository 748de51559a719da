"""Texts in DICOM files, without the names of files and people."""

from collections.abc import Mapping
from typing import Any

# Entries of the provenance that name no file, folder or person.
KEPT = (
    "cmrrecon",
    "config",
    "config_hash",
    "seed",
    "device",
    "created",
    "python",
    "torch",
    "notice",
    "geometry",
    "export",
    "choice",
    "adapted",
    "data_residual",
    "coverage",
    "effective_acceleration",
    "effective_acceleration_extent",
)
# Facts about the acquisition that do not come from free text.
FACTS = ("modality", "pattern", "acceleration", "acs", "seed", "field_strength", "venc")


def nameless(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance without names: of the inputs, only the digests are kept."""
    kept = {name: provenance[name] for name in KEPT if name in provenance}
    inputs = provenance.get("inputs") or []
    acquisition = provenance.get("acquisition") or {}

    kept["config"] = dict(kept.get("config") or {})
    kept["inputs"] = [{"sha256": entry.get("sha256")} for entry in inputs]
    kept["acquisition"] = {name: acquisition[name] for name in FACTS if name in acquisition}
    return kept


def described(provenance: Mapping[str, Any], part: str) -> str:
    """Return the description of a series: modality, method, quantity and part."""
    modality = (provenance.get("acquisition") or {}).get("modality")
    method = (provenance.get("config") or {}).get("method")
    quantity = provenance.get("quantity")
    words = [modality, "cmrrecon", method, quantity, None if part == "magnitude" else part]
    return " ".join(str(word) for word in words if word)


def shortened(text: str, most: int) -> str:
    r"""Return a text with at most `most` characters, and without \, which separates values."""
    plain = text.replace("\\", "/")
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."
