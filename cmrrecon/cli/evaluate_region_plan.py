"""Options of `cmrrecon evaluate --roi`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.tools.errors import InputError, UsageError

if TYPE_CHECKING:
    from cmrrecon.formats.labels import LabelRow

# Scan for which each label map, or each name in the table, was used.
Owners = dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class RegionPlan:
    """The options for scoring regions.

    Attributes
    ----------
    roi : Path
        Label map, folder of label maps, or table of boxes.
    candidates : sequence of Path
        Label maps in the folder.
    rows : sequence of LabelRow or None
        Rows of the table.
    background : str or None
        Region where the noise is measured.
    times : Path or None
        File with the times of a mapping series; None if it is beside the reference.
    """

    roi: Path
    candidates: Sequence[Path]
    rows: "Sequence[LabelRow] | None"
    background: str | None
    times: Path | None


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


def plan_regions(roi: Path | None, background: str | None, times: Path | None) -> RegionPlan | None:
    """Return the plan for --roi, --background and --times; None without --roi.

    Raises
    ------
    UsageError
        If --background or --times is used without --roi (`option-needs`).
    InputError
        If a file or folder does not exist (`file-missing`), or the table cannot be read.
    """
    from cmrrecon.formats.label_maps import is_label_map
    from cmrrecon.formats.labels import read_labels

    if roi is None:
        if background is not None or times is not None:
            raise UsageError(
                "option-needs",
                "--background or --times was given without --roi",
                "They only affect the scores of regions",
                "Add --roi FILE",
            )
        return None
    if not roi.exists():
        raise InputError(
            "file-missing",
            f"{roi} does not exist",
            "--roi needs a label map, a folder of label maps, or labels.csv",
            "Check the path",
        )
    if times is not None and not times.exists():
        raise InputError(
            "file-missing",
            f"{times} does not exist",
            "--times needs a file with the times of a mapping series",
            "Check the path",
        )

    return RegionPlan(
        roi=roi,
        candidates=sorted(filter(is_label_map, roi.rglob("*"))) if roi.is_dir() else (),
        rows=read_labels(roi) if roi.suffix.lower() == ".csv" else None,
        background=background,
        times=times,
    )
