"""Build the record of a scored reconstruction, except for its scores."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmrrecon.data import Acquisition
    from cmrrecon.evaluation.references import Reference

# Properties of a scan that are copied into its record.
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
    """Return the record of a reconstruction without its scores.

    Parameters
    ----------
    name : str
        Name of the file as the user typed it.
    facts : Acquisition
        Properties of the scan.
    reference : Reference
        The reference that it is compared with.
    stamp : mapping or None
        Provenance of the reconstruction.
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
