"""Make the reading page and the key of a reader study for `cmrrecon readers make`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import typer

from cmrrecon.cli import inputs
from cmrrecon.cli.console import Console
from cmrrecon.cli.running import convert_errors, failure_record
from cmrrecon.tools.errors import CmrreconError, InputError, OutputError, UsageError

if TYPE_CHECKING:
    from cmrrecon.evaluation.reader_files import Study
    from cmrrecon.evaluation.reader_images import GreyScan
    from cmrrecon.evaluation.reader_scans import ImageFile

DEFAULT_CRITERION = "Image quality"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the study is to be.

    Attributes
    ----------
    criteria : tuple of str
        What readers judge.
    pairs : bool
        Whether pairs of methods are compared instead of rating single images.
    readers : int
        Number of readers.
    repeats : int or None
        Number of scans shown twice; None for a fifth.
    slice_ : int or None
        Slice to show; None for the middle one.
    seed : int
        Seed of order and sides.
    page, key : Path
        The files to write.
    """

    criteria: tuple[str, ...]
    pairs: bool
    readers: int
    repeats: int | None
    slice_: int | None
    seed: int
    page: Path
    key: Path

    @classmethod
    def of(
        cls, *, criteria: Sequence[str] | None, page: Path, key: Path | None, **others: Any
    ) -> Self:
        """Check the options and return the plan.

        Raises
        ------
        UsageError
            If a criterion is repeated (`name-repeated`) or empty (`option-value`), the suffix of
            the page is not `.html` (`output-format`), or page and key are the same file
            (`output-shared`).
        """
        names = [name.strip() for text in criteria or () for name in text.split(",")]
        names = names or [DEFAULT_CRITERION]
        key = key or page.with_name(f"{page.stem}_key.json")

        if not all(names):
            raise UsageError(
                "option-value",
                "--criteria contains an empty name",
                "Each criterion needs a name",
                "For example, write --criteria Sharpness,Artefacts",
            )
        if len(set(names)) < len(names):
            raise UsageError(
                "name-repeated",
                f"The criterion {Counter(names).most_common(1)[0][0]!r} was given twice",
                "Each criterion needs its own name",
                "Leave one of them out",
            )
        if page.suffix.lower() != ".html":
            raise UsageError(
                "output-format",
                f"The reading page cannot be written as {page.name}",
                "It is an HTML file",
                "Use a name that ends in .html",
            )
        if key == page:
            raise UsageError(
                "output-shared",
                "Page and key would be the same file",
                "The key must be kept from the readers",
                "Choose another file with --key",
            )
        return cls(criteria=tuple(names), page=page, key=key, **others)


def make_study(
    folders: Sequence[str], plan: Plan, console: Console, *, overwrite: bool, dry_run: bool
) -> None:
    """Make page and key from folders of reconstructions.

    Scans that cannot be used are reported and left out; the exit code is then 1.
    """
    from cmrrecon.evaluation.reader_scans import matched

    failures: list[CmrreconError] = []
    files = _files(folders, failures, console)
    methods = list(dict.fromkeys(file.method for file in files))
    if len(methods) < 2 and not failures:
        raise UsageError(
            "methods-few",
            f"The images are by {len(methods)} method",
            "A reader study compares at least two methods",
            "Give the folders of several methods, as NAME=FOLDER",
        )

    scans, problems = matched(files, methods) if len(methods) > 1 else ([], [])
    for problem in problems:
        _report(problem, failures, console)
    if dry_run:
        _say_plan(methods, len(scans), plan, console)
    else:
        read = _read(scans, plan, failures, console)
        if not read:
            raise typer.Exit(failures[0].exit_code if len(failures) == 1 else 1)
        _write(methods, read, plan, console, overwrite=overwrite)

    if failures:
        found = "1 problem" if len(failures) == 1 else f"{len(failures)} problems"
        console.warn(f"{found}; the study contains the other scans")
        raise typer.Exit(1)


def _files(
    folders: Sequence[str], failures: list[CmrreconError], console: Console
) -> "list[ImageFile]":
    """Find the image files of all methods."""
    from cmrrecon import formats
    from cmrrecon.evaluation.reader_scans import method_names, open_file, without_path

    entries: list[tuple[str | None, inputs.Job, dict[str, Any] | None, str]] = []
    for text in folders:
        name, folder = _named(text)
        jobs = inputs.find_jobs([folder], formats.is_images)
        for number, job in enumerate(jobs, 1):
            label = f"file {number} of {name}" if name else f"file {number}"
            try:
                stamp = formats.read_provenance(job.path)
            except InputError as error:
                _report(without_path(error, job.path, label), failures, console)
            else:
                entries += [(name, job, stamp, label)] if "quantity" not in (stamp or {}) else []

    known = method_names([stamp for _, _, stamp, _ in entries])
    named = [
        (name or method, job, label)
        for (name, job, _, label), method in zip(entries, known, strict=True)
    ]
    unnamed = [label for method, _, label in named if method is None]
    if unnamed:
        problem = InputError(
            "method-unnamed",
            f"{len(unnamed)} files do not state by which method they were made, first {unnamed[0]}",
            "Only files written by cmrrecon reconstruct name their method",
            "Keep the files of each method in a folder, and give NAME=FOLDER",
        )
        _report(problem, failures, console)
    return [
        open_file(job.path, job.folder, method, label)
        for method, job, label in named
        if method is not None
    ]


def _named(text: str) -> tuple[str | None, str]:
    """Split NAME=FOLDER; a path that exists is a folder without a name."""
    name, equals, folder = text.partition("=")
    if not equals or Path(text).exists():
        return None, text
    if not (name.strip() and folder):
        raise UsageError(
            "option-value",
            f"A folder was given as {text!r}",
            "It needs a name and a folder, as NAME=FOLDER",
            "For example, write sense=rec/sense",
        )
    return name.strip(), folder


def _read(
    scans: "Sequence[dict[str, ImageFile]]",
    plan: Plan,
    failures: list[CmrreconError],
    console: Console,
) -> "list[tuple[dict[str, ImageFile], GreyScan]]":
    """Read the images of all scans; those that cannot be used are reported and left out."""
    from cmrrecon.evaluation.reader_images import grey_scan

    read = []
    with console.progress(plan.page.name, len(scans), "scan") as bar:
        for scan in scans:
            try:
                with convert_errors(console):
                    read.append((scan, grey_scan(scan, plan.slice_)))
            except CmrreconError as error:
                _report(error, failures, console)
            bar.advance()
    return read


def _write(
    methods: Sequence[str],
    read: "Sequence[tuple[dict[str, ImageFile], GreyScan]]",
    plan: Plan,
    console: Console,
    *,
    overwrite: bool,
) -> None:
    """Draw the design and write page and key."""
    from cmrrecon.cli.outputs import refuse_inputs
    from cmrrecon.evaluation.reader_design import default_repeats, design
    from cmrrecon.evaluation.reader_files import Study, seed_text
    from cmrrecon.evaluation.reader_scans import official_facts
    from cmrrecon.pages.reading import page_data, reading_page
    from cmrrecon.tools import provenance
    from cmrrecon.tools.atomic import atomic

    refuse_inputs([plan.page, plan.key], [file.path for scan, _ in read for file in scan.values()])
    digests = [
        {method: provenance.file_digest(file.path) for method, file in scan.items()}
        for scan, _ in read
    ]
    repeats = default_repeats(len(read)) if plan.repeats is None else plan.repeats
    if repeats > len(read):
        console.warn(f"all {len(read)} scans are shown twice, fewer than --repeats {repeats}")
        repeats = len(read)

    drawn = design(
        len(read),
        len(methods),
        pairs=plan.pairs,
        repeats=repeats,
        readers=plan.readers,
        seed=seed_text(plan.seed, digests),
    )
    data = page_data(drawn, [grey for _, grey in read], plan.criteria, pairs=plan.pairs)
    scans = [
        {"number": number, **official_facts(next(iter(scan.values())).facts)}
        | {"slice": grey.slice_, "files": digest}
        for number, ((scan, grey), digest) in enumerate(zip(read, digests, strict=True), 1)
    ]
    config = {"seed": plan.seed, "repeats": repeats, "readers": plan.readers}
    # Words of the command line are left out: names of folders may be names of patients.
    stamp = provenance.make(["cmrrecon", "readers", "make"], config=config, inputs=[])
    study = Study(
        data["study"], plan.pairs, tuple(methods), plan.criteria, tuple(scans), drawn, stamp
    )

    record = _record(study, plan, repeats)
    if _is_finished(study.identifier, plan, overwrite=overwrite):
        console.say(f"{plan.page} is already finished and was skipped; --overwrite replaces it")
        console.result({**record, "status": "skipped"}, str(plan.page))
        return
    with atomic(plan.key) as temporary:
        temporary.write_text(study.to_json(), encoding="ascii")
    with atomic(plan.page) as temporary:
        temporary.write_text(reading_page(data), encoding="utf-8")

    size = plan.page.stat().st_size / 1e6
    console.say(
        f"study {study.identifier}: {len(read)} scans, {len(methods)} methods, "
        f"{len(drawn.orders[0])} presentations for each reader (readers: {plan.readers}) "
        f"(scans shown twice: {repeats}), {size:.1f} MB"
    )
    console.say(f"keep {plan.key} from the readers: it names the methods")
    console.result({**record, "status": "done"}, str(plan.page))


def _record(study: "Study", plan: Plan, repeats: int) -> dict[str, Any]:
    """Return the JSON line of the study."""
    return {
        "output": str(plan.page),
        "key": str(plan.key),
        "study": study.identifier,
        "methods": list(study.methods),
        "criteria": list(study.criteria),
        "pairs": study.pairs,
        "scans": len(study.scans),
        "repeats": repeats,
        "readers": plan.readers,
        "presentations": len(study.design.orders[0]),
    }


def _is_finished(identifier: str, plan: Plan, *, overwrite: bool) -> bool:
    """Return whether the same study exists already; another one is not replaced unasked."""
    from cmrrecon.evaluation.reader_files import read_key

    existing = [path for path in (plan.page, plan.key) if path.exists()]
    if overwrite or not existing:
        return False
    try:
        same = plan.key in existing and read_key(plan.key).identifier == identifier
    except InputError:
        same = False
    if not same:
        raise OutputError(
            "output-exists",
            f"{existing[0]} exists and belongs to another study",
            "Answers can only be analysed with the key of their own study",
            "Choose another output, or add --overwrite",
        )
    # A run that ended after the key, for example on a full disk, left no page.
    return plan.page in existing


def _say_plan(methods: Sequence[str], scans: int, plan: Plan, console: Console) -> None:
    """Report what would be made."""
    console.say(f"{scans} scans by {len(methods)} methods ({', '.join(methods)})")
    record = {"status": "planned", "output": str(plan.page), "key": str(plan.key)}
    console.result({**record, "methods": list(methods), "scans": scans}, str(plan.page))


def _report(error: CmrreconError, failures: list[CmrreconError], console: Console) -> None:
    failures.append(error)
    console.error(error)
    console.result(failure_record("", error), None)
