"""`cmrrecon submit`: make the package that a CMRxRecon challenge expects."""

from pathlib import Path
from typing import Annotated

from cmrrecon.cli import inputs, options, running
from cmrrecon.cli.choices import complete_methods
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.inputs import Job
from cmrrecon.cli.submit_package import Plan, find_cases, write_package
from cmrrecon.cli.submit_results import make_results
from cmrrecon.tools.errors import InputError, OutputError, UsageError, suggestion

UNCERTAINTY = "_uncertainty"
EXAMPLE = examples(
    "cmrrecon submit rec/ --validation ChallengeData_ValSet/ --year 2025",
    "cmrrecon submit ChallengeData_ValSet/ --year 2025 -m kt-unrolled",
    "cmrrecon submit /input --year 2024 --no-crop -o /output  # a folder",
)


def submit(
    files: options.Inputs,
    year: Annotated[
        int, options.option("--year", help="Challenge: 2023, 2024 or 2025.", metavar="YEAR")
    ],
    validation: Annotated[
        Path | None,
        options.option(
            "--validation",
            help="Validation set of the challenge, which says what is expected.",
            show_default="the k-space among the inputs",
        ),
    ] = None,
    output: Annotated[
        Path,
        options.option(
            "--output", "-o", help="Zip file to write, or a folder for the same files without zip."
        ),
    ] = Path("Submission.zip"),
    task: Annotated[
        str | None,
        options.option(
            "--task",
            help="Task of the challenge, such as TaskR1.",
            show_default="from the folders",
        ),
    ] = None,
    crop: Annotated[
        bool,
        options.option(
            "--crop/--no-crop",
            help="Crop as in the validation phase, or keep whole images as in the test phase.",
        ),
    ] = True,
    allow_missing: Annotated[
        bool,
        options.option("--allow-missing", help="Write the zip file even if files are missing."),
    ] = False,
    method: Annotated[
        str | None,
        options.option(
            "--method",
            "-m",
            help="Method to reconstruct the inputs with, if they are k-space.",
            show_default="auto",
            autocompletion=complete_methods,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        options.option(
            "--checkpoint",
            help="Weights of a network to reconstruct the inputs with.",
            show_default=False,
        ),
    ] = None,
    results: Annotated[
        Path | None,
        options.option(
            "--results",
            help="Folder for the reconstructions, which are kept.",
            show_default="<output>_results",
        ),
    ] = None,
    device: options.Device = "auto",
    limit: Annotated[
        float | None,
        options.option(
            "--limit",
            help="Seconds that the challenge allows for a case; slower cases are listed.",
            min=0,
            show_default=False,
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        options.option(
            "--manifest",
            help="File for the list of members with their SHA-256.",
            show_default="<output>.manifest.json; none for a folder",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Make the package that a CMRxRecon challenge expects, and check every file.

    Inputs are images, or the validation set itself, which is then reconstructed
    first. Names, folders, crop and variable are those of the year. Every file of
    the validation set must be there with the right shape and finite values. What
    is missing or faulty is listed; then no zip file is written unless
    --allow-missing is given. A folder gets all files that are right.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        plan = Plan(
            year=_checked_year(year),
            task=_checked_task(task, year),
            crop=crop,
            allow_missing=allow_missing,
            output=output,
            manifest=manifest,
            limit=limit,
        )
        folder = results or output.with_name(f"{output.stem}_results")
        images, scans = _sorted_inputs(files, folder)
        _check_method(images, method, checkpoint, results)
        expected = scans if validation is None else _sorted_inputs([str(validation)], folder)[1]
        if not expected:
            raise InputError(
                "validation-missing",
                "There is no undersampled k-space of a challenge among the inputs",
                "The validation set says which files are expected, and with which shape",
                "Add --validation with its folder",
            )
        if not images and not scans:
            raise InputError(
                "file-missing",
                "There are neither images nor undersampled k-space among the inputs",
                "submit packs images, or reconstructs a validation set",
                "Check the path",
            )
        _refuse_existing(output, overwrite)

        expected = _of_one_split(expected, console)
        cases, failed = find_cases(expected, plan, console)
        if not cases:
            raise InputError(
                "validation-missing",
                f"None of the {len(expected)} scans of the validation set can be used",
                "At least one must have a place in the package",
                "See the messages above",
            )

        seconds: dict[str, float] = {}
        if not images:
            chosen = expected if validation is None else _of_one_split(scans, console)
            images, seconds = make_results(
                chosen, folder, method, checkpoint, device, console, overwrite=overwrite
            )
        write_package(images, cases, plan, seconds, failed, console)


def _checked_year(year: int) -> int:
    """Refuse a year without rules."""
    from cmrrecon.evaluation.ranking import YEARS

    if year not in YEARS:
        raise UsageError(
            "option-value",
            f"--year was given {year}",
            f"The rules of {', '.join(map(str, YEARS))} are known",
            "Choose one of them",
        )
    return year


def _checked_task(task: str | None, year: int) -> str | None:
    """Refuse a task that the challenge of that year does not have."""
    from cmrrecon.formats.submission import TASKS

    if task is not None and task not in TASKS[year]:
        names = ", ".join(TASKS[year]) or "none"
        raise UsageError(
            "option-value",
            f"--task was given {task!r}",
            f"The tasks in the paths of {year} are: {names}",
            suggestion(task, TASKS[year], "Choose one of them, or leave it out"),
        )
    return task


def _sorted_inputs(files: list[str], results: Path) -> tuple[list[Job], list[Job]]:
    """Return the images and the undersampled scans among the inputs.

    Images in the folder for results, if it is inside an input, are those of an earlier run.
    """
    from cmrrecon import formats

    jobs = inputs.find_jobs(files, lambda path: formats.is_images(path) or formats.is_scan(path))
    scans = [job for job in jobs if formats.is_scan(job.path) and _is_case(job.path)]
    others = {job.path for job in scans}
    images = [job for job in jobs if job.path not in others and formats.is_images(job.path)]
    kept = [job for job in images if not _accompanies(job.path) and not _is_earlier(job, results)]
    return kept, scans


def _is_earlier(job: Job, results: Path) -> bool:
    """Return whether a file is in the folder for results, and that is inside an input."""
    if not job.found:
        return False
    parents, folder = job.path.absolute().parents, results.absolute()
    searched = parents[len(job.folder.parts)]
    return folder in parents and searched in folder.parents


def _is_case(path: Path) -> bool:
    """Return whether a scan is named like undersampled k-space of a challenge."""
    from cmrrecon import formats

    return formats.parse_name(path).pattern is not None


def _of_one_split(scans: list[Job], console: Console) -> list[Job]:
    """Keep the validation set, else the test set; other scans only if there is neither."""
    from cmrrecon import formats

    splits = {job.path: formats.parse_name(job.path).split for job in scans}
    for wanted in ("ValidationSet", "TestSet"):
        kept = [job for job in scans if splits[job.path] == wanted]
        if kept:
            return kept
    console.warn("no scan is in a folder ValidationSet or TestSet, so this is only a rehearsal")
    return scans


def _accompanies(path: Path) -> bool:
    """Return whether images are a truth or an uncertainty instead of a result."""
    from cmrrecon.evaluation.references import TRUTH

    return path.stem.endswith((TRUTH, UNCERTAINTY))


def _check_method(
    images: list[Job], method: str | None, checkpoint: Path | None, results: Path | None
) -> None:
    """Refuse options of the reconstruction if the inputs are images."""
    if images and not (method is None and checkpoint is None and results is None):
        raise UsageError(
            "options-conflict",
            "--method, --checkpoint or --results was given, but there are images among the inputs",
            "Images are packed as they are",
            "Leave these options out, or give only k-space",
        )


def _refuse_existing(output: Path, overwrite: bool) -> None:
    """Refuse a zip file that exists."""
    from cmrrecon.formats.submission import is_zip

    if is_zip(output) and output.exists() and not overwrite:
        raise OutputError(
            "output-exists",
            f"{output} exists",
            "Outputs are replaced only on request",
            "Add --overwrite, or choose another output",
        )
