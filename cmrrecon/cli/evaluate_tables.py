"""Print the final report of `cmrrecon evaluate`: tables of all scores, and the JSON summary."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cmrrecon.cli.evaluate_function_tables import function_tables
from cmrrecon.cli.evaluate_output import Output
from cmrrecon.cli.evaluate_region_tables import region_tables
from cmrrecon.cli.evaluate_texts import INTERVAL, difference_text, number_text
from cmrrecon.tools.errors import UsageError, suggestion

if TYPE_CHECKING:
    from cmrrecon.cli.evaluate_job import Plan

METRICS = {"psnr": "PSNR dB", "ssim": "SSIM", "nmse": "NMSE"}
# Additional scores of each protocol.
MORE = {
    "fullfov": {"heart_psnr": "heart dB", "hfen": "HFEN"},
    "body": {"body_fraction": "in mask"},
}
GROUPS = ("method", "modality", "pattern", "acceleration", "centre", "vendor")
# Labels of the table rows with the ends of the interval.
ENDS = {"low": "95 % from", "high": "95 % to"}

Record = dict[str, Any]


def summary(records: list[Record], plan: "Plan", output: Output, *, whole: bool) -> None:
    """Report all scores, and the final values of a challenge if its rules are met.

    Parameters
    ----------
    records : list of dict
        Records of the scored files; at least one.
    plan : Plan
        Options of the command.
    output : Output
        Where to print the scores.
    whole : bool
        Whether all files were scored and this run is not a shard.
    """
    from cmrrecon.evaluation.generalisation import table
    from cmrrecon.evaluation.runs import distinguish_runs

    records = distinguish_runs(records)
    means = table(records, [])
    _files_table(records, means, plan, output)
    output.rows(records)

    parts = {
        "mean": means,
        "groups": _groups(records, plan, output),
        **_generalisation(records, plan, output),
        **({} if plan.regions is None else region_tables(records, output)),
        **function_tables(records, plan.function, output),
        "final": _final(records, plan, output, whole=whole),
    }
    known = {
        "protocol": plan.protocol,
        "order": records[0]["order"],
        "cropped": records[0]["cropped"],
        "files": len(records),
    }
    output.console.result({"status": "summary", **known, **parts}, None)


def _files_table(records: list[Record], means: list[Record], plan: "Plan", output: Output) -> None:
    """Print the table of all files, with the mean of each method that has several files."""
    columns = METRICS | MORE.get(plan.protocol, {})
    methods = {record["method"] or "-" for record in records}
    references = ", ".join(sorted({record["reference_is"] for record in records}))
    title = f"protocol {plan.rule()}; reference: {references}"
    one = len(methods) == 1
    if one:
        title += f"; method: {methods.pop()}"

    rows = [
        [record["input"], record["method"] or "-", *(number_text(record[key]) for key in columns)]
        for record in records
    ]
    for mean in means:
        if mean["n"] > 1:
            members = [record for record in records if record["method"] == mean["method"]]
            rows += [[""] * len(rows[0]), *_mean_rows(members, mean, columns)]
    if one:
        rows = [[row[0], *row[2:]] for row in rows]
    headers = ["file", *([] if one else ["method"]), *columns.values()]
    output.table(title, headers, rows, names=1 if one else 2)


def _mean_rows(members: list[Record], mean: Record, columns: Mapping[str, str]) -> list[list[str]]:
    """Return the rows with the mean of a method and the ends of its bootstrap interval.

    `mean` has the intervals of `METRICS`; those of the other columns are computed here.
    """
    from cmrrecon.evaluation.generalisation import interval

    found = [
        mean[key] if key in mean else interval([float(record[key]) for record in members])
        for key in columns
    ]
    method = mean["method"] or "-"
    labels = {"mean": f"mean of {len(members)}", **ENDS}
    return [
        [label, method, *(number_text(column[part]) for column in found)]
        for part, label in labels.items()
    ]


def _groups(records: list[Record], plan: "Plan", output: Output) -> dict[str, Any]:
    """Return mean scores by the usual axes, and print a table for each axis with several values."""
    from cmrrecon.evaluation.tables import grouped, scored_alike

    scored = scored_alike(records)
    groups = {axis: grouped(records, axis) for axis in GROUPS}
    for axis, found in groups.items():
        # The table of files has the means of the methods, and with one known value for the axis
        # a table would only repeat them.
        values = {record[axis] for record in scored} - {None}
        if axis == "method" or len(values) < 2:
            continue
        lines = [
            [label, str(mean["n"]), *(number_text(mean[key]) for key in METRICS)]
            for label, mean in found.items()
        ]
        output.table(
            f"by {axis}; protocol {plan.rule()}", [axis, "files", *METRICS.values()], lines
        )
    return groups


def _generalisation(records: list[Record], plan: "Plan", output: Output) -> dict[str, Any]:
    """Print the table of --by and the paired differences of --against if requested."""
    from cmrrecon.evaluation.generalisation import placed

    _warn_about_unseen(records, plan, output)
    found: dict[str, Any] = {}
    if plan.by:
        found["by"] = _by_axes(placed(records, plan.unseen), plan, output)
    if plan.against is not None:
        found["against"] = _against(placed(records, plan.unseen), plan, plan.against, output)
    return found


def _warn_about_unseen(records: list[Record], plan: "Plan", output: Output) -> None:
    """Warn if --unseen, or its absence, leaves all files marked as seen."""
    from cmrrecon.evaluation.generalisation import domain, is_part
    from cmrrecon.formats.names import values_of

    domains = sorted({domain(record) for record in records})
    for name in plan.unseen:
        known = (
            values_of(records, [name]) if "=" in name else f"the domains are {', '.join(domains)}"
        )
        if not any(is_part(record, name) for record in records):
            output.console.warn(
                f"--unseen {name} matches no scored file, so it marks none as unseen; {known}"
            )
    if "seen" in plan.by and not plan.unseen:
        output.console.warn("--by seen was used without --unseen, so all domains count as seen")


def _by_axes(records: list[Record], plan: "Plan", output: Output) -> list[Record]:
    """Print the table of --by and return its rows."""
    from cmrrecon.evaluation.generalisation import cells, table, with_method

    rows = table(records, plan.by)
    axes = with_method(plan.by)
    output.table(
        f"by {', '.join(plan.by)}; protocol {plan.rule()}; {INTERVAL}",
        [*axes, "files", *METRICS.values()],
        [cells(row, plan.by) for row in rows],
        names=len(axes),
    )
    return rows


def _against(records: list[Record], plan: "Plan", one: str, output: Output) -> list[Record]:
    """Print the paired differences between the other methods and one, and return the rows."""
    from cmrrecon.evaluation.generalisation import differences

    methods = {str(record["method"]) for record in records}
    if one not in methods:
        raise UsageError(
            "unknown-method",
            f"No scored file was made with the method {one!r}",
            f"The scored methods are {', '.join(sorted(methods))}",
            suggestion(one, methods, "Choose one of them with --against"),
        )

    rows = differences(records, plan.by, one, sorted(methods - {one}))
    axes = [axis for axis in plan.by if axis != "method"]
    lines = [
        [
            *("unknown" if row[axis] is None else str(row[axis]) for axis in axes),
            row["method"],
            str(row["n"]),
            *(difference_text(row[key]) for key in METRICS),
        ]
        for row in rows
    ]
    output.table(
        f"differences to {one}; protocol {plan.rule()}; {INTERVAL}",
        [*axes, "method", "files", *METRICS.values()],
        lines,
        names=len(axes) + 1,
    )
    return rows


def _final(
    records: Sequence[Record], plan: "Plan", output: Output, *, whole: bool
) -> dict[str, dict[str, float]]:
    """Print and return the final values of the challenge for each method.

    These belong to the validation phase, so they need the official order and the ranking crop.
    """
    from cmrrecon.evaluation.tables import final_aggregate

    if plan.year is None:
        return {}
    if not whole or plan.order != "official" or not plan.crop:
        output.console.say(
            f"no final values: {plan.protocol} computes them from all files, in official order and "
            "with the ranking crop"
        )
        return {}

    by_method: dict[str, list[Record]] = {}
    for record in records:
        by_method.setdefault(record["method"] or "unknown method", []).append(record)
    finals = {method: final_aggregate(members, plan.year) for method, members in by_method.items()}
    for method, final in finals.items():
        if final:
            output.table(
                f"final values of {method}, computed from these files as in {plan.protocol}",
                ["score", "value"],
                [[name, number_text(value)] for name, value in final.items()],
            )
    return finals
