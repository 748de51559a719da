"""Analyse the exported answers of readers for `cmrrecon readers analyse`."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cmrrecon.cli import inputs
from cmrrecon.cli.console import Console
from cmrrecon.cli.readers_tables import print_tables
from cmrrecon.cli.running import convert_errors, failure_record
from cmrrecon.tools.errors import CmrreconError, InputError, OutputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cmrrecon.evaluation.reader_files import Export, Study

RESULT = "analysis.json"
FIGURES = (".png", ".svg")
DPI = 200


def analyse_study(
    exports: Sequence[str], key: Path, out_dir: Path, console: Console, *, overwrite: bool
) -> None:
    """Read the exports, analyse them, and write tables and figures.

    Exports that cannot be used are reported and left out; the exit code is then 1.
    """
    from cmrrecon.evaluation.reader_analysis import analysis
    from cmrrecon.evaluation.reader_files import read_key

    study = read_key(key)
    jobs = inputs.find_jobs(exports, lambda path: path.suffix.lower() == ".json" and path != key)
    failures: list[CmrreconError] = []
    read = _read(jobs, study, failures, console)
    if not read:
        raise typer.Exit(failures[0].exit_code if len(failures) == 1 else 1)

    for path, export in read.items():
        if export.missing:
            console.warn(f"{path.name}: {export.missing} questions have no answer")
    found = analysis(study, list(read.values()))
    stamp = _stamp(study, list(read))
    record = {"output": str(out_dir / RESULT), "study": study.identifier}
    record |= {"readers": found["readers"], "protocol": found["protocol"]}

    if _is_finished(out_dir / RESULT, stamp, overwrite=overwrite):
        console.say(f"{out_dir / RESULT} is already finished and was skipped")
        console.result({**record, "status": "skipped"}, str(out_dir / RESULT))
    else:
        _write(found, read, stamp, out_dir)
        print_tables(found, console)
        console.result({**record, "status": "done"}, str(out_dir / RESULT))

    if failures:
        console.warn(f"{len(failures)} of {len(jobs)} exports were left out")
        raise typer.Exit(1)


def _read(
    jobs: Sequence[inputs.Job], study: "Study", failures: list[CmrreconError], console: Console
) -> "dict[Path, Export]":
    """Read the exports; those that cannot be used are reported and left out."""
    from cmrrecon.evaluation.reader_files import read_export

    read: dict[Path, Export] = {}
    for job in jobs:
        try:
            with convert_errors(console):
                export = read_export(job.path, study)
                _refuse_second(export, job.path, read)
        except CmrreconError as error:
            failures.append(error)
            console.error(error, job.name)
            console.result(failure_record(job.name, error), None)
        else:
            read[job.path] = export
    return read


def _refuse_second(export: "Export", path: Path, read: "Mapping[Path, Export]") -> None:
    """Refuse a second export of the same reader."""
    for other, known in read.items():
        if known.reader == export.reader:
            raise InputError(
                "reader-repeated",
                f"{path} and {other} are both exports of reader {export.reader}",
                "Each reader counts once, with the last export",
                "Leave the earlier export out",
            )


def _stamp(study: "Study", paths: Sequence[Path]) -> dict[str, Any]:
    """Return the provenance of the analysis, without names of files."""
    from cmrrecon.tools import provenance

    digests = sorted(provenance.file_digest(path) for path in paths)
    config = {"study": study.identifier, "exports": digests}
    return provenance.make(["cmrrecon", "readers", "analyse"], config=config, inputs=[])


def _is_finished(result: Path, stamp: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Return whether the same analysis exists already; another one is not replaced unasked."""
    from cmrrecon.tools.provenance import recipe_hash

    if overwrite or not result.exists():
        return False
    try:
        stored = json.loads(result.read_text(encoding="ascii"))["provenance"]
        same = recipe_hash(stored) == recipe_hash(stamp)
    except (ValueError, KeyError, TypeError, AttributeError):
        same = False
    if not same:
        raise OutputError(
            "output-exists",
            f"{result} exists and was made from other exports",
            "Outputs are replaced only on request",
            "Add --overwrite, or choose another --out-dir",
        )
    return True


def _write(
    found: Mapping[str, Any], read: "Mapping[Path, Export]", stamp: Mapping[str, Any], folder: Path
) -> None:
    """Write tables and figures, and the whole analysis as JSON at the end."""
    from cmrrecon.evaluation.reader_analysis import answer_rows
    from cmrrecon.evaluation.reader_figures import (
        agreement_figure,
        preference_figure,
        rating_figure,
    )
    from cmrrecon.tools.atomic import atomic

    answers = [answer for export in read.values() for answer in export.answers]
    tables = {"answers": answer_rows(answers), "agreement": found["agreement"]}
    figures: dict[str, Callable[[Mapping[str, Any]], Figure]] = {"agreement": agreement_figure}
    if found["pairs"]:
        tables["preferences"] = found["preferences"]
        figures["preferences"] = preference_figure
    else:
        tables |= {"ratings": found["summaries"], "tests": found["tests"]}
        figures["ratings"] = rating_figure

    for name, rows in tables.items():
        with atomic(folder / f"{name}.csv") as temporary:
            temporary.write_text(_csv(rows, found["protocol"]), encoding="utf-8")
    for name, draw in figures.items():
        _save(draw(found), folder, name)
    with atomic(folder / RESULT) as temporary:
        text = json.dumps({**found, "provenance": stamp}, indent=1, allow_nan=False)
        temporary.write_text(f"{text}\n", encoding="ascii")


def _csv(rows: Sequence[Mapping[str, Any]], protocol: str) -> str:
    """Return rows as CSV. The last column names the protocol; lists are joined by semicolons."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, [*columns, "protocol"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        plain = {
            name: ";".join(map(str, value)) if isinstance(value, list) else value
            for name, value in row.items()
        }
        writer.writerow({**plain, "protocol": protocol})
    return text.getvalue()


def _save(figure: "Figure", folder: Path, name: str) -> None:
    """Write a figure as PNG and SVG, with text that stays editable."""
    import matplotlib

    from cmrrecon.tools.atomic import atomic

    for suffix in FIGURES:
        # Without a date the same answers give the same file.
        metadata = {"Date": None} if suffix == ".svg" else {}
        settings = matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name})
        with atomic(folder / f"{name}{suffix}") as temporary, settings:
            figure.savefig(temporary, format=suffix[1:], dpi=DPI, metadata=metadata)
