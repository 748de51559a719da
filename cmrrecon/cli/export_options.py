"""Options of `reconstruct` that choose the format of images, and those of NIfTI and DICOM."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cmrrecon.cli import options
from cmrrecon.cli.choices import complete_also, complete_image_formats
from cmrrecon.cli.inputs import STREAM, Job
from cmrrecon.cli.outputs import destination
from cmrrecon.tools.errors import UsageError, suggestion

if TYPE_CHECKING:
    from cmrrecon.formats import Export

PANEL = "Options for NIfTI and DICOM"

Format = Annotated[
    str | None,
    options.option(
        "--format",
        help="Format of the images without -o: h5, mat, npy, npz, cfl, nii, nii.gz, dcm, png or "
        "gif.",
        show_default="h5",
        autocompletion=complete_image_formats,
    ),
]
VoxelSize = Annotated[
    str | None,
    options.option(
        "--voxel-size",
        help="Voxel size in mm of files that do not state it, e.g. 1.5,1.5,8.",
        metavar="Y,X,SLICE",
        show_default="1,1,1 and a warning",
        rich_help_panel=PANEL,
    ),
]
Also = Annotated[
    str | None,
    options.option(
        "--also",
        help="What to write beside the magnitude: phase (in radians), or complex (NIfTI only).",
        show_default=False,
        autocompletion=complete_also,
        rich_help_panel=PANEL,
    ),
]
Enhanced = Annotated[
    bool,
    options.option(
        "--enhanced",
        help="Write DICOM as one Enhanced MR file instead of a folder with one file per slice and "
        "frame.",
        rich_help_panel=PANEL,
    ),
]
PatientId = Annotated[
    str | None,
    options.option(
        "--patient-id",
        help="Name and identifier of the patient in DICOM, better a pseudonym.",
        show_default="anonymous",
        rich_help_panel=PANEL,
    ),
]


def parse_export(
    voxel_size: str | None, also: str | None, enhanced: bool, patient_id: str | None
) -> "Export":
    """Return the options of NIfTI and DICOM files.

    Raises
    ------
    UsageError
        If the voxel size is not three numbers (`option-value`).
    """
    from cmrrecon.formats import Export

    values: Any = None
    if voxel_size is not None:
        parts = voxel_size.split(",")
        try:
            values = tuple(float(part) for part in parts)
        except ValueError:
            values = ()
        if len(values) != 3:
            raise UsageError(
                "option-value",
                f"--voxel-size was given {voxel_size!r}",
                "It must be three sizes in mm, in the order y,x,slice",
                "For example, write --voxel-size 1.5,1.5,8",
            )
    checked: Any = also
    return Export(values, checked, enhanced, patient_id)


def check_format(format_: str | None, output: str | None, export: "Export") -> None:
    """Refuse an unknown format, one that contradicts -o, and options that do not fit it.

    Raises
    ------
    UsageError
        If the format is unknown (`option-value`), or -o has another suffix or is standard output
        (`options-conflict`); see also `Export.check`.
    """
    from cmrrecon.formats.writing import IMAGE_WRITERS

    known = [suffix.removeprefix(".") for suffix in IMAGE_WRITERS]
    if format_ is not None and format_ not in known:
        raise UsageError(
            "option-value",
            f"--format was given {format_!r}",
            f"The formats are {', '.join(known)}",
            suggestion(format_.lower().removeprefix("."), known, "Choose one of them"),
        )

    streamed = output == STREAM
    ending = None if output is None else f".{format_}"
    if format_ is not None and output is not None:
        agrees = format_ == "h5" if streamed else output.lower().endswith(str(ending))
        if not agrees:
            raise UsageError(
                "options-conflict",
                f"--format {format_} was given with -o {output}",
                "Standard output carries .h5" if streamed else "The suffix of -o sets the format",
                "Leave out --format",
            )
    export.check(Path("images.h5" if streamed else output or f"images.{format_ or 'h5'}"))


def target_of(
    job: Job, method: str, output: str | None, out_dir: Path | None, format_: str | None
) -> Path:
    """Return the output for the images of a job.

    Its name is that of the input and the method. Below `--out-dir`, a `.mat` file keeps the name of
    the input, as the challenges require.
    """
    if format_ == "mat" and out_dir is not None:
        return destination(job, output, out_dir, f"{job.stem}.mat")
    return destination(job, output, out_dir, f"{job.stem}_{method}.{format_ or 'h5'}")
