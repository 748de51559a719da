"""Makes a report: reads every scan, shows the worst and the named ones in detail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cmrrecon.evaluation.references import candidates_in
from cmrrecon.pages.page import document, element
from cmrrecon.pages.report import beside, facts
from cmrrecon.pages.report.details import Detail, detail
from cmrrecon.pages.report.gallery import gallery, orders
from cmrrecon.pages.report.names import Names
from cmrrecon.pages.report.pictures import colour_table
from cmrrecon.pages.report.plots import distributions
from cmrrecon.pages.report.scans import Case, Found, Problem, find_cases, missing_methods
from cmrrecon.pages.report.scoring import Rule, open_case
from cmrrecon.pages.report.summary import WORST, Order, Read, scored, worst_first
from cmrrecon.pages.report.tables import overview, rows_of
from cmrrecon.tools import provenance
from cmrrecon.tools.errors import InputError, UsageError

TITLE = "Report on reconstructions"
SCHEMA = 1
# Details stop before the page grows beyond this number of characters.
LARGEST_PAGE = 48_000_000
Progress = Callable[[int, int], None]


@dataclass
class Report:
    """A report in memory.

    Attributes
    ----------
    page : str
        The HTML.
    csv : str
        One row for each reconstruction.
    json : dict
        Everything except the pictures, as JSON values.
    key : str
        CSV of the files behind scans and methods, with paths relative to the folder.
    problems : list of Problem
        What is missing.
    scans, reconstructions : int
        How many there are.
    detailed : list of str
        Numbers of the scans in detail.
    """

    page: str
    csv: str
    json: dict[str, Any]
    key: str
    scans: int
    reconstructions: int
    detailed: list[str]
    problems: list[Problem] = field(default_factory=list)


def make_report(
    folder: Path,
    paths: Sequence[Path],
    rule: Rule,
    *,
    show: Sequence[str] = (),
    progress: Progress = lambda done, total: None,
) -> Report:
    """Make the report on reconstructions.

    Parameters
    ----------
    folder : Path
        The folder; the paths in the key are relative to it.
    paths : sequence of Path
        The image files in it, in natural order.
    rule : Rule
        How they are scored; without `candidates`, which are searched here.
    show : sequence of str
        Scans to show in detail besides the worst: numbers, or parts of paths.
    progress : callable
        Receives the number of scans that have been read, and of all scans.

    Returns
    -------
    Report
        The report. Files that failed are listed in `problems`, with their codes.

    Raises
    ------
    InputError
        If no file can be read as images (the error of the first file).
    UsageError
        If `show` names no scan (`scan-unknown`).
    """
    if rule.truth is not None:
        rule = replace(rule, candidates=candidates_in(rule.truth))
    found = find_cases(paths)
    if not found.cases:
        raise found.failures[0][1] if found.failures else _nothing(folder)
    named = named_cases(found.cases, show, folder)
    names = _names(folder, paths, rule, found)

    problems = [
        Problem(f"file {number}", names.cleaned(error))
        for number, (_, error) in enumerate(found.failures, 1)
    ]
    scans = []
    for index, case in enumerate(found.cases):
        opened = open_case(case, rule)
        for method, error in opened.failures:
            where = f"scan {case.number}" + (f", {method}" if method else "")
            problems.append(Problem(where, names.cleaned(error)))
        opened.remarks = [text for text in map(names.clean, opened.remarks) if text]
        scans.append(Read.of(case, opened))
        progress(index + 1, len(found.cases))
    problems += missing_methods(found)

    order = worst_first(scans)
    details, left_out = _details(order, named, rule)
    problems += left_out
    return _written(folder, found, order, details, problems, rule, names)


def named_cases(cases: Sequence[Case], show: Sequence[str], folder: Path) -> list[str]:
    """Return the numbers of the scans that the user named, by number or by part of a path.

    Raises
    ------
    UsageError
        If a name fits no scan (`scan-unknown`).
    """
    numbers: list[str] = []
    for name in show:
        number = int(name) if name.isdecimal() else None
        fitting = [case.number for case in cases if int(case.number) == number]
        fitting = fitting or [case.number for case in cases if _is_below(case, name, folder)]
        if not fitting:
            raise UsageError(
                "scan-unknown",
                f"--show {name} names no scan",
                f"There are {len(cases)} scans, numbered from 1; a name is part of a path",
                "Check the numbers in the key file of an earlier report",
            )
        numbers += fitting
    return list(dict.fromkeys(numbers))


def _is_below(case: Case, name: str, folder: Path) -> bool:
    """Return whether a name is part of the path of one of the files of a scan."""
    paths = (str(beside.relative(one.path, folder)) for one in case.members.values())
    return any(name.lower() in path.lower() for path in paths)


def _details(order: Order, named: Sequence[str], rule: Rule) -> tuple[list[Detail], list[Problem]]:
    """Return the named scans and the worst in detail, as far as they fit on the page."""
    text = None if rule.truth is None else rule.text()
    with_images = [read for read in order.scans if read.thumbnails]
    chosen = [read for read in order.scans if read.case.number in named]
    chosen += [read for read in with_images[:WORST] if read not in chosen]
    pictures = sum(len(uri) for read in order.scans for uri in read.thumbnails.values())

    details: list[Detail] = []
    left_out = []
    for read in chosen:
        made = detail(read, open_case(read.case, rule), text)
        if made is None:
            continue
        if pictures + made.size > LARGEST_PAGE:
            left_out.append(read.case.number)
            continue
        pictures += made.size
        details.append(made)

    if not left_out:
        return details, []
    error = UsageError(
        "report-full",
        "The movies of the scan are left out",
        f"A page has at most {LARGEST_PAGE / 1e6:g} MB",
        "Make a report on fewer scans or methods",
    )
    return details, [Problem(f"scan {number}", error, failed=False) for number in left_out]


def _written(
    folder: Path,
    found: Found,
    order: Order,
    details: Sequence[Detail],
    problems: Sequence[Problem],
    rule: Rule,
    names: Names,
) -> Report:
    """Write page, CSV, JSON and key."""
    records = [record for read in order.scans for record in read.records.values()]
    detailed = [one.movies["scan"] for one in details]
    # The draws of the bootstrap depend on the order: that of `evaluate` gives the same intervals.
    by_number = sorted(order.scans, key=lambda read: read.case.number)
    rows = rows_of(by_number, found.methods) if scored(by_number) else None
    # Without paths and command line, which may name a patient.
    stamp = provenance.make(
        ["cmrrecon", "report"],
        config={
            "protocol": rule.text() if rule.truth is not None else None,
            "worst": WORST,
            "details": detailed,
        },
        inputs=[],
    )

    content = {
        "schema": SCHEMA,
        "provenance": stamp,
        "protocol": rule.text() if rule.truth is not None else None,
        "order": order.text,
        "methods": found.methods,
        "overview": rows,
        "scans": [beside.scan_record(read, names) for read in order.scans],
        "problems": [
            {"code": one.error.code, "where": one.where, "text": str(one.error)} for one in problems
        ],
    }

    return Report(
        page=_page(found, order, rows, details, problems, rule, names, stamp),
        csv=beside.scores(records),
        json=provenance.plain(content),
        key=beside.key(folder, found),
        scans=len(found.cases),
        reconstructions=len(records),
        detailed=detailed,
        problems=list(problems),
    )


def _page(
    found: Found,
    order: Order,
    rows: dict[str, list[dict[str, Any]]] | None,
    details: Sequence[Detail],
    problems: Sequence[Problem],
    rule: Rule,
    names: Names,
    stamp: dict[str, Any],
) -> str:
    """Return the HTML."""
    records = scored(order.scans)
    text = rule.text() if rule.truth is not None else None
    remarks = sorted({remark for read in order.scans for remark in read.remarks})
    total = sum(len(case.members) for case in found.cases)

    lead = (
        f"Scans: {len(found.cases)}. Reconstructions: {total}. "
        f"Methods: {', '.join(found.methods)}. Made by cmrrecon "
        f"{stamp['cmrrecon']} on {stamp['created'][:10]}."
    )
    scores = [element("p", "No references were given, so there are no scores.")]
    if text is not None:
        scores = [element("p", f"No scan could be scored by protocol {text}.")]
    if rows is not None and text is not None:
        plots = element("div", distributions(records, text), class_="plots")
        scores = [overview(rows, text), plots]

    sections = {
        "Problems": [facts.problems(problems)] if problems else [],
        "Scores": [*scores, *(element("p", remark, class_="warning") for remark in remarks)],
        "All scans": [gallery(order, [one.movies["scan"] for one in details], text)],
        "Scans in detail": [one.html for one in details],
        "Decisions, residuals and warnings": [facts.decisions(found.cases, names)],
        "Provenance": [facts.provenance(found.cases, names)],
    }
    filled = {title: body for title, body in sections.items() if body}
    links = [
        element("li", element("a", title, href=f"#part-{i}")) for i, title in enumerate(filled)
    ]
    body = [element("p", lead), element("nav", element("ul", *links), class_="screen")]
    for i, (title, parts) in enumerate(filled.items()):
        body.append(element("section", element("h2", title), *parts, id=f"part-{i}"))

    movies = {"scans": [one.movies for one in details], "colours": colour_table()}
    data = {"movies": movies, "orders": {"values": orders(order.scans)["values"]}}
    return document(TITLE, body, styles=["report.css"], scripts=["report.js"], data=data)


def _names(folder: Path, paths: Sequence[Path], rule: Rule, found: Found) -> Names:
    """Return the names that must not appear: those of all folders and files of the user."""
    truth = [] if rule.truth is None else [rule.truth.absolute(), *rule.candidates]
    shown = [str(value) for case in found.cases for value in case.facts.values() if value]
    return Names([folder.absolute(), *paths, *truth], [*found.methods, *shown])


def _nothing(folder: Path) -> InputError:
    return InputError(
        "file-missing",
        f"{folder} contains no reconstruction",
        "Image files were expected",
        "Check the path",
    )
