"""The record of a scored reconstruction, apart from its scores."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmrrecon.data import Acquisition
    from cmrrecon.evaluation.references import Reference

# Facts of a scan that its record repeats.
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
    """The record of a reconstruction without its scores.

    Parameters
    ----------
    name : str
        Name of the file as it was given.
    facts : Acquisition
        Facts of its scan.
    reference : Reference
        What it is compared with.
    stamp : mapping or None
        Its provenance.
    """
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
