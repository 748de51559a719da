"""`cmrrecon report`: one HTML page about a folder of reconstructions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import inputs, options, outputs, running
from cmrrecon.cli.choices import complete_protocols
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.tools.errors import InputError, UsageError

if TYPE_CHECKING:
    from cmrrecon.pages.report.make import Report
    from cmrrecon.pages.report.scoring import Rule

EXAMPLE = examples(
    "cmrrecon report rec/ --truth data/",
    "cmrrecon report rec/ --truth data/ --protocol body -o body.html",
    "cmrrecon report rec/ --show P003 --show 17  # without scores",
)


def report(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder of reconstructions by one or several methods."),
    ],
    truth: Annotated[
        Path | None,
        options.option(
            "--truth",
            help="Reference: truth images or fully sampled k-space; a file or a folder to search.",
            show_default="no scores",
        ),
    ] = None,
    protocol: Annotated[
        str,
        options.option(
            "--protocol",
            help="Scoring rule: fullfov, body, cmrxrecon2023, cmrxrecon2024 or cmrxrecon2025.",
            autocompletion=complete_protocols,
        ),
    ] = "fullfov",
    order: Annotated[
        str,
        options.option(
            "--order",
            help="For challenge protocols: official (as in the challenge code) or textbook "
            "(reference first).",
        ),
    ] = "official",
    crop: Annotated[
        bool,
        options.option(
            "--crop/--no-crop",
            help="For challenge protocols: score the crop of the validation phase, or whole images "
            "as in the test phase.",
        ),
    ] = True,
    show: Annotated[
        list[str] | None,
        options.option(
            "--show",
            help="Scan to show with movies, besides the ten worst: its number or a part of its "
            "path. May be repeated.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        options.option(
            "--output",
            "-o",
            help="Page to write: .html. A .csv, a .json and a _key.csv are written beside it.",
            show_default="report.html in DIR",
        ),
    ] = None,
    allow_partial: options.AllowPartial = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Write an HTML page about a folder of reconstructions.

    The page needs no other file and no network. It has the mean scores of each method by modality,
    pattern and R, the distributions of the scores, and all scans with thumbnails, the worst first.
    The ten worst scans and those of --show have movies, error maps and y-t profiles. Without
    --truth there are no scores, but images, residuals and warnings.

    Scans are numbered. Page, CSV and JSON show only official names, such as P003, because other
    names may be those of patients. The file _key.csv has the paths: keep it to yourself.

    Files that cannot be used are listed on the page, and the exit code is then 1.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        target = output or folder / "report.html"
        _check_target(target)
        rule = _rule(truth, protocol, order, crop=crop, allow_partial=allow_partial)
        paths = _image_files(folder)
        failed = _deliver(
            folder, paths, rule, show or (), target, console, overwrite=overwrite, dry_run=dry_run
        )
    if failed:
        raise typer.Exit(1)


def _check_target(target: Path) -> None:
    """Refuse a page with another suffix."""
    if target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            "output-format",
            f"The page {target} has the suffix {target.suffix or 'none'}",
            "A report is an HTML page",
            "Name a file that ends in .html with -o",
        )


def _rule(
    truth: Path | None, protocol: str, order: str, *, crop: bool, allow_partial: bool
) -> "Rule":
    """Return the scoring rule after checking it."""
    from cmrrecon.evaluation.protocols import ORDERS, canonical_protocol
    from cmrrecon.pages.report.scoring import Rule

    if truth is not None and not truth.exists():
        raise InputError(
            "file-missing",
            f"The reference {truth} does not exist",
            "--truth needs an existing file or folder",
            "Check the path",
        )
    if order not in ORDERS:
        raise UsageError(
            "option-value",
            f"There is no order {order!r}",
            f"The orders are {' and '.join(ORDERS)}",
            "Use one of them",
        )
    return Rule(
        truth=truth,
        protocol=canonical_protocol(protocol),
        order=order,
        crop=crop,
        allow_partial=allow_partial,
    )


def _image_files(folder: Path) -> list[Path]:
    """Return the reconstructions in the folder, without uncertainties and truths."""
    from cmrrecon import formats
    from cmrrecon.evaluation.reconstructions import is_uncertainty
    from cmrrecon.evaluation.references import TRUTH

    if not folder.is_dir():
        raise InputError(
            "file-missing",
            f"{folder} is not a folder",
            "A report needs a folder of reconstructions",
            "Check the path",
        )

    def wanted(path: Path) -> bool:
        return TRUTH not in path.stem and formats.is_images(path)

    jobs = inputs.find_jobs([str(folder)], wanted, accompanies=is_uncertainty)
    return [job.path for job in jobs]


def _deliver(
    folder: Path,
    paths: Sequence[Path],
    rule: "Rule",
    show: Sequence[str],
    target: Path,
    console: Console,
    *,
    overwrite: bool,
    dry_run: bool,
) -> bool:
    """Make and write the report; return whether some inputs failed."""
    made: list[Report] = []
    beside = {
        "csv": target.with_suffix(".csv"),
        "json": target.with_suffix(".json"),
        "key": target.with_name(f"{target.stem}_key.csv"),
    }

    def make(file: Path, stamp: dict[str, Any]) -> dict[str, Any]:
        from cmrrecon.pages.report.make import make_report

        with console.progress("reading", len(paths), "scan") as bar:

            def reached(done: int, total: int) -> None:
                if done == 1:
                    bar.expect(total, 0)
                bar.advance()

            one = make_report(folder, paths, rule, show=show, progress=reached)
        made.append(one)
        _report_problems(one, console)
        _write(file, one.page)
        return {
            "scans": one.scans,
            "reconstructions": one.reconstructions,
            "protocol": one.json["protocol"],
            "detailed": one.detailed,
            "problems": len(one.problems),
        }

    def finish(stamp: dict[str, Any]) -> None:
        from cmrrecon.pages.report.beside import json_text

        texts = {"csv": made[0].csv, "json": json_text(made[0].json), "key": made[0].key}
        for name, path in beside.items():
            _write(path, texts[name])

    product = outputs.Product(
        target, paths, dict, make, beside=list(beside.values()), finish=finish, summary=_summary
    )
    record = {"input": str(folder)}
    outputs.deliver(product, record, console, overwrite=overwrite, dry_run=dry_run)
    return any(problem.failed for one in made for problem in one.problems)


def _report_problems(report: "Report", console: Console) -> None:
    """Print what is missing; files are named only in the key."""
    from cmrrecon.pages.report.scans import grouped, places

    for problem in report.problems:
        if problem.failed:
            running.report_failure(console, problem.where, problem.error)
    for alike in grouped([problem for problem in report.problems if not problem.failed]):
        console.warn(f"{places(alike)}: {alike[0].error}")


def _write(path: Path, text: str) -> None:
    """Write a text completely or not at all."""
    from cmrrecon.tools.atomic import atomic

    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _summary(record: Any) -> str:
    """Describe the finished report."""
    rule = record["protocol"]
    scores = "without scores" if rule is None else f"protocol {rule}"
    return (
        f"report on {record['scans']} scans, {record['reconstructions']} reconstructions, "
        f"{scores}; the files of each scan are listed in the _key.csv beside it, which may name "
        "patients"
    )
