"""`cmrrecon fit`: fit T1, T2 or T2* to the images of a mapping series."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cmrrecon.cli import export_options, inputs, options, outputs, running
from cmrrecon.cli.choices import complete_map_formats, complete_models
from cmrrecon.cli.console import Console
from cmrrecon.cli.fit_job import Plan, fit_job, is_mapping_series
from cmrrecon.cli.help import examples
from cmrrecon.cli.label_files import label_maps_in
from cmrrecon.cli.settings import parse_numbers
from cmrrecon.tools.errors import InputError, UsageError

EXAMPLE = examples(
    "cmrrecon fit rec/T1map.h5 --times data/T1map.csv -o t1.png",
    "cmrrecon fit rec/ --times data/ --format nii.gz --out-dir maps",
    "cmrrecon fit T1map.h5 --labels T1map_label.nii.gz --json",
    "cmrrecon fit echoes.npy --model t2star --times echoes.csv",
)


def fit(
    files: options.Inputs,
    times: Annotated[
        Path | None,
        options.option(
            "--times",
            help="Table of the times in ms, or a folder to search for <base>.csv of each scan.",
            show_default="<base>.csv beside the images",
        ),
    ] = None,
    model: Annotated[
        str | None,
        options.option(
            "--model",
            help="molli, inversion, saturation, t2, t2-line or t2star.",
            show_default="by base name: molli for T1map and T1mappost, t2 for T2map, t2star for "
            "T2smap",
            autocompletion=complete_models,
        ),
    ] = None,
    noise_floor: Annotated[
        bool | None,
        options.option(
            "--noise-floor/--no-noise-floor",
            help="For t2 and t2star: fit a constant noise floor.",
            show_default="with at least 5 different times",
        ),
    ] = None,
    threshold: Annotated[
        float,
        options.option(
            "--threshold",
            help="Air: pixels below this fraction of the 99th percentile in all weightings; 0 fits "
            "all pixels.",
        ),
    ] = 0.05,
    labels: Annotated[
        Path | None,
        options.option(
            "--labels",
            help="Label map (1 left ventricle, 2 myocardium, 3 right ventricle), or a folder of "
            "<base>_label files, for means in the AHA segments.",
            show_default=False,
        ),
    ] = None,
    insertion: Annotated[
        list[str] | None,
        options.option(
            "--insertion",
            help="Anterior and inferior insertion of the right ventricle in pixels; once, or once "
            "for each slice.",
            metavar="Y,X,Y,X",
            show_default="from label 3",
        ),
    ] = None,
    levels: Annotated[
        str | None,
        options.option(
            "--levels",
            help="Level of each slice, e.g. basal,mid,apical; - leaves a slice out.",
            show_default="thirds, the first at the base",
        ),
    ] = None,
    window: Annotated[
        str | None,
        options.option(
            "--window",
            help="For png: values in ms at the ends of the colour bar, e.g. 800,1400.",
            metavar="LOW,HIGH",
            show_default="T1 0,2000; T2 0,120; T2* 0,60",
        ),
    ] = None,
    output: options.Output = None,
    out_dir: options.OutDir = None,
    format_: Annotated[
        str | None,
        options.option(
            "--format",
            help="Format without -o: h5, mat, npy, npz, nii, nii.gz, dcm or png.",
            show_default="h5",
            autocompletion=complete_map_formats,
        ),
    ] = None,
    voxel_size: export_options.VoxelSize = None,
    enhanced: export_options.Enhanced = False,
    patient_id: export_options.PatientId = None,
    overwrite: options.Overwrite = False,
    fail_fast: options.FailFast = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Fit T1, T2 or T2* in ms to each pixel of a mapping series.

    Without -o or --out-dir the map is written beside the images as
    <name>_T1.h5. Beside each map are its standard deviation, <name>_T1_sd, and
    the residual of the fit, <name>_T1_residual. Pixels of air and those that
    cannot be fitted are NaN (DICOM: 0; png: black).

    molli corrects the apparent T1* for the readout: T1 = T1* (B / A - 1).
    inversion does not. evaluate --roi uses the same fits: molli and t2-line.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console), TemporaryDirectory(prefix="cmrrecon-") as claims:
        from cmrrecon.evaluation.map_figures import check_window
        from cmrrecon.evaluation.parametric_map import check_map_suffix
        from cmrrecon.evaluation.reconstructions import is_quantity

        _check_files(output, format_, labels)
        example = Path(output or f"map.{format_ or 'h5'}")
        check_map_suffix(example)
        export = export_options.parse_export(voxel_size, None, enhanced, patient_id)
        export.check(example)
        limits = (
            None
            if window is None
            else parse_numbers(window, 2, ",", "--window", "--window 800,1400")
        )
        ends = None if limits is None else (float(limits[0]), float(limits[1]))
        check_window(ends)

        plan = Plan(
            times=times,
            model=model,
            noise_floor=noise_floor,
            threshold=threshold,
            labels=labels,
            label_maps=() if labels is None else label_maps_in(labels),
            insertions=_insertions(insertion),
            levels=None if levels is None else tuple(levels.split(",")),
            window=ends,
            output=output,
            out_dir=out_dir,
            format=format_ or "h5",
            export=export,
            overwrite=overwrite,
            dry_run=dry_run,
            claims=Path(claims),
        )
        jobs = inputs.find_jobs(files, is_mapping_series, accompanies=is_quantity)
        outputs.check_output(output, out_dir, len(jobs), "images", as_json=json)
        running.run_jobs(
            jobs, lambda job: fit_job(job, plan, console), console, fail_fast=fail_fast
        )


def _check_files(output: str | None, format_: str | None, labels: Path | None) -> None:
    """Refuse standard output, a format together with -o, and labels that do not exist."""
    if output == inputs.STREAM:
        raise UsageError(
            "options-conflict",
            "-o - was given",
            "A map consists of several files, which standard output cannot carry",
            "Name a file",
        )

    if output is not None and format_ is not None:
        raise UsageError(
            "options-conflict",
            f"--format {format_} was given with -o {output}",
            "The suffix of -o sets the format",
            "Leave out --format",
        )

    if labels is not None and not labels.exists():
        raise InputError(
            "file-missing",
            f"{labels} does not exist",
            "--labels needs a label map or a folder of label maps",
            "Check the path",
        )


def _insertions(given: Sequence[str] | None) -> list[tuple[int, int, int, int]] | None:
    """Parse the values of --insertion; None without the option."""
    if not given:
        return None
    rows = [parse_numbers(text, 4, ",", "--insertion", "--insertion 40,52,71,55") for text in given]
    return [(top, left, bottom, right) for top, left, bottom, right in rows]
