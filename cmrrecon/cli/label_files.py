"""Find the label map of a scan: a given file, or a file in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.tools.errors import InputError

if TYPE_CHECKING:
    from cmrrecon.data import Acquisition

# Scan for which each label map, or each name in the table, was used.
Owners = dict[str, tuple[str, ...]]


def label_maps_in(labels: Path) -> Sequence[Path]:
    """List the label maps in a folder; none for a file."""
    from cmrrecon.formats.label_maps import is_label_map

    return sorted(filter(is_label_map, labels.rglob("*"))) if labels.is_dir() else ()


def label_map_of(
    labels: Path, candidates: Sequence[Path], facts: "Acquisition", owners: Owners
) -> Path:
    """Return the label map of a scan.

    Parameters
    ----------
    labels : Path
        Label map, or folder of label maps.
    candidates : sequence of Path
        The result of `label_maps_in`.
    facts : Acquisition
        Properties of the scan.
    owners : dict
        Scans to which labels belong; that of a given label map is added.

    Raises
    ------
    InputError
        If the label map belongs to another scan (`labels-mismatch`), or not exactly one in the
        folder matches (`labels-missing`, `labels-ambiguous`).
    """
    from cmrrecon.evaluation.references import disagreement
    from cmrrecon.formats.label_maps import scan_of

    if not labels.is_dir():
        other = disagreement(facts, scan_of(labels))
        if other:
            raise InputError(
                "labels-mismatch",
                f"The label map {labels} belongs to {other}",
                "Labels must belong to the scan of the images",
                "Use the label map of this scan, or a folder of label maps",
            )
        claim(owners, str(labels), facts.centre, facts.vendor, facts.subject)
        return labels

    fitting = [
        path
        for path in candidates
        if scan_of(path).base == facts.base and not disagreement(facts, scan_of(path))
    ]
    if len(fitting) != 1:
        raise InputError(
            "labels-ambiguous" if fitting else "labels-missing",
            f"{len(fitting)} label maps in {labels} match {facts.base} of subject "
            f"{facts.subject or 'unknown'}",
            f"Exactly one must match, named {facts.base}_label in the folder of its subject",
            "Name the label map itself",
        )
    return fitting[0]


def claim(owners: Owners, name: str, *scan: str | None) -> None:
    """Record in `owners` the scan to which labels belong.

    Raises
    ------
    InputError
        If they already belong to another scan (`labels-ambiguous`).
    """
    claimant = tuple(part or "unknown" for part in scan)
    owner = owners.setdefault(name, claimant)
    if owner != claimant:
        raise InputError(
            "labels-ambiguous",
            f"The labels {name} match {'/'.join(owner)} and {'/'.join(claimant)}",
            "Labels must belong to a single scan",
            "Use a folder of label maps, or write more of each file's path in the table",
        )
