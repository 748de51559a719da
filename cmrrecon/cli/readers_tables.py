"""Print the tables of a reader study on standard error."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from cmrrecon.cli.console import Console
from cmrrecon.cli.text_table import text_table

NOTHING = "–"


def print_tables(found: Mapping[str, Any], console: Console) -> None:
    """Print the results of `reader_analysis.analysis`, each table with its protocol."""
    protocol = found["protocol"]
    if found["pairs"]:
        _table(
            f"Preferences: {protocol}",
            ("criterion", "first", "second", "scans", "wins", "share (%)", "p", "p (Holm)"),
            [_preference(row) for row in found["preferences"]],
            console,
            names=3,
        )
    else:
        _table(
            f"Ratings from 1 to 5: {protocol}",
            ("criterion", "method", "ratings", "median", "quartiles"),
            [_summary(row) for row in found["summaries"]],
            console,
            names=2,
        )
        _table(
            f"Tests: {protocol}",
            ("criterion", "test", "methods", "scans", "statistic", "p", "p (Holm)"),
            [_test(row) for row in found["tests"]],
            console,
            names=3,
        )

    _table(
        f"Agreement: {protocol}",
        ("criterion", "readers", "answers", "kappa"),
        [_agreement(row) for row in found["agreement"]],
        console,
        names=2,
    )


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console, names: int
) -> None:
    if not rows:
        return
    width = shutil.get_terminal_size().columns
    console.say(f"{text_table(title, columns, rows, width, names=names)}\n")


def _summary(row: Mapping[str, Any]) -> tuple[str, ...]:
    known = row["n"] > 0
    median = f"{row['median']:g}" if known else NOTHING
    quartiles = f"{row['q1']:g} to {row['q3']:g}" if known else NOTHING
    return row["criterion"], row["method"], str(row["n"]), median, quartiles


def _test(row: Mapping[str, Any]) -> tuple[str, ...]:
    methods = "all" if row["test"] == "friedman" else " – ".join(row["methods"])
    start = (row["criterion"], row["test"], methods, str(row["n"]))
    return (*start, _number(row["statistic"], ".1f"), *_p_values(row))


def _preference(row: Mapping[str, Any]) -> tuple[str, ...]:
    counts = f"{row['first']} : {row['second']} (ties {row['ties']})"
    share = _interval(row, "share", 100, ".0f")
    return (row["criterion"], *row["methods"], str(row["n"]), counts, share, *_p_values(row))


def _agreement(row: Mapping[str, Any]) -> tuple[str, ...]:
    from cmrrecon.evaluation.reader_figures import agreement_label

    return (
        row["criterion"],
        agreement_label(row),
        str(row["n"]),
        _interval(row, "kappa", 1, ".2f"),
    )


def _p_values(row: Mapping[str, Any]) -> tuple[str, str]:
    return _number(row["p"], ".2g"), _number(row["p_holm"], ".2g")


def _interval(row: Mapping[str, Any], name: str, scale: float, digits: str) -> str:
    """Format a value with its interval in brackets."""
    if row[name] is None:
        return NOTHING
    if row["low"] is None:
        return _number(row[name], digits, scale)
    ends = [_number(row[end], digits, scale) for end in ("low", "high")]
    return f"{_number(row[name], digits, scale)} [{', '.join(ends)}]"


def _number(value: float | None, digits: str, scale: float = 1) -> str:
    return NOTHING if value is None else f"{scale * value:{digits}}"
