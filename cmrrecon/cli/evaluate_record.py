"""What the record of a scored reconstruction says beside its scores."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmrrecon.data import Acquisition
    from cmrrecon.evaluation.references import Reference

# What is known of a scan that its record repeats.
FACTS = (
    "modality",
    "base",
    "subject",
    "centre",
    "vendor",
    "coil",
    "pattern",
    "acceleration",
    "acs",
    "seed",
)


def facts_for_record(
    name: str, facts: "Acquisition", reference: "Reference", stamp: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What the record of a reconstruction says beside its scores."""
    from cmrrecon.evaluation.runs import weights_of

    return {
        "status": "done",
        "input": name,
        "reference": str(reference.path),
        "reference_is": reference.source,
        "reference_remarks": reference.remarks,
        **{key: getattr(facts, key) for key in FACTS},
        "method": (stamp or {}).get("config", {}).get("method"),
        **weights_of(stamp),
    }
