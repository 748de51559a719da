"""Match results to cases for `cmrrecon submit`, and write zip file and manifest."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cmrrecon.cli import running
from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import Job
from cmrrecon.tools.errors import CmrreconError, InputError

if TYPE_CHECKING:
    from cmrrecon.evaluation.submission import Case, Source
    from cmrrecon.formats.submission import Package

Entry = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The options of the command.

    Attributes
    ----------
    year : int
        2023, 2024 or 2025.
    task : str or None
        Task for all cases; None if the paths name it.
    crop : bool
        Whether to crop, as in the validation phase.
    allow_missing : bool
        Whether to write a zip file that lacks files.
    output : Path
        The zip file or folder.
    manifest : Path or None
        File for the manifest; None for the default.
    limit : float or None
        Seconds that the challenge allows for a case.
    """

    year: int
    task: str | None
    crop: bool
    allow_missing: bool
    output: Path
    manifest: Path | None
    limit: float | None

    @property
    def manifest_path(self) -> Path | None:
        """The file for the manifest; a folder has none by default, to contain no other files."""
        from cmrrecon.formats.submission import is_zip

        if self.manifest is not None or not is_zip(self.output):
            return self.manifest
        return self.output.with_suffix(".manifest.json")


def find_cases(
    scans: Sequence[Job], plan: Plan, console: Console
) -> tuple[dict[str, "Case"], list[str]]:
    """Return the cases of a validation set by member, and the scans without a place."""
    from cmrrecon.evaluation.submission import open_case

    cases: dict[str, Case] = {}
    failed = []
    for job in scans:
        try:
            with running.convert_errors(console):
                case = open_case(job.path, plan.year, plan.task)
                _refuse_twin(case, cases)
            cases[case.member] = case
        except CmrreconError as error:
            running.report_failure(console, job.name, error)
            failed.append(job.name)
    return cases, failed


def _refuse_twin(case: "Case", cases: Mapping[str, "Case"]) -> None:
    """Refuse two scans with the same place in the package, such as subjects of the same name."""
    twin = cases.get(case.member)
    if twin is not None:
        raise InputError(
            "submission-repeated",
            f"{twin.path} and {case.path} have the same place in the package, {case.member}",
            "Every file of the validation set must have a place of its own",
            "Give one validation set, or name the task with --task",
        )


def write_package(
    images: Sequence[Job],
    cases: Mapping[str, "Case"],
    plan: Plan,
    seconds: Mapping[str, float],
    failed: Sequence[str],
    console: Console,
) -> None:
    """Write the package, and report what is missing.

    Parameters
    ----------
    images : sequence of Job
        The results.
    cases : mapping of str to Case
        What the challenge expects, by member.
    plan : Plan
        The options of the command.
    seconds : mapping of str to float
        Seconds of results that were made now, by path.
    failed : sequence of str
        Scans of the validation set that could not be used.
    console : Console
        Where to report.

    Raises
    ------
    InputError
        If files are missing or faulty and the output is a zip file without --allow-missing
        (`submission-incomplete`), or if no file is right.
    typer.Exit
        With code 1 if some are missing or faulty otherwise.
    """
    from cmrrecon.formats.submission import Package

    sources, faulty = _sources(images, cases, plan, console)
    entries: list[Entry] = []
    with Package(plan.output) as package:
        for member in sorted(sources):
            source, case = sources[member]
            entry = _packed(source, case, plan, package, console)
            if entry is None:
                faulty += 1
            else:
                entries.append({**entry, "seconds": seconds.get(str(source.path))})

        missing = sorted(set(cases) - {entry["member"] for entry in entries})
        for member in missing:
            console.warn(f"missing: {member}")
        _refuse_incomplete(entries, missing, failed, plan)

    _report(entries, missing, plan, console)
    if missing or faulty or failed:
        raise typer.Exit(1)


def _sources(
    images: Sequence[Job], cases: Mapping[str, "Case"], plan: Plan, console: Console
) -> tuple[dict[str, tuple["Source", "Case"]], int]:
    """Return the single result of each case, and the number of files that could not be used."""
    from cmrrecon.evaluation.submission import case_for, open_source, repeated

    pairs, faulty = [], 0
    for job in images:
        try:
            with running.convert_errors(console):
                source = open_source(job.path, plan.year)
                case = case_for(source, cases.values())
        except CmrreconError as error:
            running.report_failure(console, job.name, error)
            faulty += 1
            continue
        if case is None:
            console.warn(f"{job.name} was left out, because the validation set has no such scan")
        else:
            pairs.append((source, case))

    twins = repeated(pairs)
    for member, paths in twins.items():
        clash = InputError(
            "submission-repeated",
            f"{', '.join(map(str, paths))} are results of the same scan, {member}",
            "Every scan must have one result",
            "Give the results of one method",
        )
        running.report_failure(console, str(paths[0]), clash)
        faulty += len(paths)
    return {case.member: (s, case) for s, case in pairs if case.member not in twins}, faulty


def _packed(
    source: "Source", case: "Case", plan: Plan, package: "Package", console: Console
) -> Entry | None:
    """Put one result into the package and return its entry; None if it failed a check."""
    from cmrrecon.evaluation.submission import packed

    try:
        with running.convert_errors(console):
            content, entry = packed(source, case, year=plan.year, crop=plan.crop)
    except CmrreconError as error:
        running.report_failure(console, str(source.path), error)
        return None
    package.put(case.member, content)
    return entry


def _refuse_incomplete(
    entries: Sequence[Entry], missing: Sequence[str], failed: Sequence[str], plan: Plan
) -> None:
    """Refuse a zip file that lacks files, and any package without files."""
    from cmrrecon.formats.submission import is_zip

    lacking = len(missing) + len(failed)
    expected = len(entries) + lacking
    if entries and (not lacking or plan.allow_missing or not is_zip(plan.output)):
        return
    raise InputError(
        "submission-incomplete",
        f"{lacking} of {expected} expected files are missing or faulty",
        "The challenge gives a missing file the worst score",
        "Reconstruct the files listed above"
        + (", or add --allow-missing to pack the others" if entries else ""),
    )


def _report(entries: list[Entry], missing: Sequence[str], plan: Plan, console: Console) -> None:
    """Write the manifest, warn about the rules of the challenge, and print the result."""
    from cmrrecon import __version__
    from cmrrecon.evaluation.submission import mixed_models
    from cmrrecon.formats.submission import is_zip
    from cmrrecon.tools.atomic import atomic
    from cmrrecon.tools.provenance import NOTICE, file_digest

    known = [entry["seconds"] for entry in entries if entry["seconds"] is not None]
    slow = [] if plan.limit is None else [e for e in entries if (e["seconds"] or 0) > plan.limit]
    for entry in slow:
        console.warn(
            f"{entry['member']} needed {entry['seconds']:g} s, the limit is {plan.limit:g}"
        )
    for task in mixed_models(entries, plan.year):
        console.warn(f"{task} allows one model, but its results were made with several")

    record = {
        "cmrrecon": __version__,
        "year": plan.year,
        "crop": "ranking crop of the validation phase" if plan.crop else "whole images",
        "package": plan.output.name,
        "sha256": file_digest(plan.output) if is_zip(plan.output) else None,
        "seconds_limit": plan.limit,
        "seconds_longest": max(known, default=None),
        "seconds_mean": round(sum(known) / len(known), 2) if known else None,
        "over_limit": [entry["member"] for entry in slow],
        "missing": list(missing),
        "files": entries,
        "notice": NOTICE,
    }
    if plan.manifest_path is not None:
        with atomic(plan.manifest_path) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", "utf-8")

    time_text = "" if not known else f", longest case {max(known):g} s"
    console.say(f"{plan.output}: {len(entries)} files, {len(missing)} missing{time_text}")
    manifest = None if plan.manifest_path is None else str(plan.manifest_path)
    status = {"status": "done", "output": str(plan.output), "manifest": manifest}
    console.result({**record, **status}, str(plan.output))
