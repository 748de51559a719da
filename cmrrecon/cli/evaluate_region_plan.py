"""Options of `cmrrecon evaluate --roi`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.cli.label_files import label_maps_in
from cmrrecon.tools.errors import InputError, UsageError

if TYPE_CHECKING:
    from cmrrecon.formats.labels import LabelRow


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


def plan_regions(roi: Path | None, background: str | None, times: Path | None) -> RegionPlan | None:
    """Return the plan for --roi, --background and --times; None without --roi.

    Raises
    ------
    UsageError
        If --background or --times is used without --roi (`option-needs`).
    InputError
        If a file or folder does not exist (`file-missing`), or the table cannot be read.
    """
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
        candidates=label_maps_in(roi),
        rows=read_labels(roi) if roi.suffix.lower() == ".csv" else None,
        background=background,
        times=times,
    )
