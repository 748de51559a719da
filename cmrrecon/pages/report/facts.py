"""Tables of how each image was made: decisions, residuals, warnings and provenance."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cmrrecon.pages.page import Html, element, joined
from cmrrecon.pages.report.names import Names
from cmrrecon.pages.report.scans import Case, Made, Problem, grouped, places
from cmrrecon.pages.report.tables import html_table

SHORT = 12  # Digits of an abbreviated digest.


def problems(found: Sequence[Problem]) -> Html:
    """Return the list of what is missing, with the codes of the errors."""
    items = [
        element("li", element("code", alike[0].error.code), f" {places(alike)}: {alike[0].error}")
        for alike in grouped(found)
    ]
    return element("ul", *items, class_="problems")


def decisions(cases: Sequence[Case], names: Names) -> Html:
    """Return a table with the choice, the residuals and the warnings of each reconstruction."""
    rows = []
    for case in cases:
        for method, made in case.members.items():
            stamp = made.stamp or {}
            rows.append(
                [
                    case.number,
                    method,
                    _choice(stamp.get("choice")),
                    _residuals(stamp.get("data_residual")),
                    _warnings(warnings_of(made, names)),
                ]
            )

    columns = ["scan", "method", "decision", "data residual by slice", "warnings"]
    caption = (
        "The decision is made on hold-out lines of the middle slice; its error is relative. A data "
        "residual of about 1 means that only noise is left."
    )
    return html_table(caption, columns, rows, names=len(columns))


def provenance(cases: Sequence[Case], names: Names) -> Html:
    """Return a table of how and when each image was made, without names of files."""
    rows = []
    for case in cases:
        for method, made in case.members.items():
            stamp = made.stamp or {}
            rows.append([case.number, method, *_made(stamp, names)])
    columns = ["scan", "method", "cmrrecon", "created", "device", "settings", "weights", "inputs"]
    caption = "Times are UTC. Digests are the first digits of SHA-256."
    return html_table(caption, columns, rows, names=len(columns))


def warnings_of(made: Made, names: Names) -> list[str] | None:
    """Return the stored warnings without names of the user; None if none were stored."""
    stored = (made.stamp or {}).get("warnings")
    if not isinstance(stored, list):
        return None
    return [names.clean(str(text)) or "a warning that names a file" for text in stored]


def choice_of(made: Made) -> dict[str, Any] | None:
    """Return what was decided for a reconstruction; None if nothing was decided."""
    choice = (made.stamp or {}).get("choice")
    if not isinstance(choice, dict):
        return None
    return {key: choice.get(key) for key in ("method", "weight", "iterations", "error", "slice")}


def _choice(choice: object) -> Html | str:
    """Describe a decision; its trials are folded away."""
    if not isinstance(choice, Mapping):
        return "none" if choice is None else "unreadable"
    words = _setting(choice)
    trials = choice.get("trials")
    if not isinstance(trials, list) or len(trials) < 2:
        return words

    tried = [element("li", _setting(trial)) for trial in trials if isinstance(trial, Mapping)]
    summary = element("summary", f"{len(tried)} trials")
    return joined([words, element("details", summary, element("ul", *tried))])


def _setting(choice: Mapping[str, Any]) -> str:
    """Describe the method and settings of a decision or a trial."""
    method = choice.get("method")
    known = [str(method)] if isinstance(method, str) else []
    for key in ("weight", "iterations", "error"):
        value = choice.get(key)
        if isinstance(value, int | float):
            known.append(f"{key} {value:.4g}")
    return ", ".join(known)


def _residuals(stored: object) -> str:
    values = stored if isinstance(stored, list) else []
    known = [f"{value:.2f}" if isinstance(value, int | float) else "–" for value in values]
    return ", ".join(known) or "not measured"


def _warnings(texts: list[str] | None) -> Html | str:
    if texts is None:
        return "not stored"
    if not texts:
        return "none"
    return joined([element("div", text, class_="warning") for text in texts])


def _made(stamp: Mapping[str, Any], names: Names) -> list[str]:
    """Return the cells about the origin of a reconstruction."""
    if not stamp:
        return ["no provenance", "", "", "", "", ""]
    config = stamp.get("config", {})
    options = config.get("options")
    entries = stamp.get("inputs")
    digests = [
        str(entry.get("sha256"))[:SHORT]
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, Mapping)
    ]

    settings = options if isinstance(options, dict) else {}
    text = ", ".join(f"{key} {json.dumps(value)}" for key, value in sorted(settings.items()))
    return [
        str(stamp.get("cmrrecon") or "unknown"),
        str(stamp.get("created") or "unknown")[:16].replace("T", " "),
        str(stamp.get("device") or "unknown"),
        names.clean(text.replace('"', "")),
        str(config.get("weights") or "none")[:SHORT],
        ", ".join(digests),
    ]
