"""What `cmrrecon evaluate --roi` asks of the regions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.tools.errors import InputError, UsageError

if TYPE_CHECKING:
    from cmrrecon.formats.labels import LabelRow


@dataclass(frozen=True, kw_only=True)
class RegionPlan:
    """What the command line asks of the regions.

    Attributes
    ----------
    roi : Path
        Label map, folder of label maps, or table of boxes.
    candidates : sequence of Path
        Label maps in the folder.
    rows : sequence of LabelRow or None
        Rows of the table.
    background : str or None
        Region in which noise is measured.
    times : Path or None
        Times of mapping series, unless they lie beside the reference.
    owners : dict
        Label map, or name in the table, to the scan it was used for.
    """

    roi: Path
    candidates: Sequence[Path]
    rows: "Sequence[LabelRow] | None"
    background: str | None
    times: Path | None
    owners: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def claim(self, name: str, *scan: str | None) -> None:
        """Note that labels belong to a scan.

        Raises
        ------
        InputError
            If they belong to another one already (`labels-ambiguous`).
        """
        claimant = tuple(part or "unknown" for part in scan)
        owner = self.owners.setdefault(name, claimant)
        if owner != claimant:
            raise InputError(
                "labels-ambiguous",
                f"The labels {name} fit {'/'.join(owner)} and {'/'.join(claimant)}",
                "Labels belong to one scan",
                "Give a folder of label maps, or in a table more of the path of each file",
            )


def plan_regions(roi: Path | None, background: str | None, times: Path | None) -> RegionPlan | None:
    """The plan of --roi, --background and --times; None without --roi.

    Raises
    ------
    UsageError
        If --roi is missing (`option-needs`).
    InputError
        If the regions do not exist (`file-missing`), or the table cannot be read.
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
            f"The regions {roi} do not exist",
            "A label map, a folder of them or labels.csv was expected",
            "Check --roi",
        )

    return RegionPlan(
        roi=roi,
        candidates=sorted(filter(is_label_map, roi.rglob("*"))) if roi.is_dir() else (),
        rows=read_labels(roi) if roi.suffix.lower() == ".csv" else None,
        background=background,
        times=times,
    )
