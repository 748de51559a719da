"""What `cmrrecon evaluate` tells at its end: tables of all that was scored, and the summary for --json."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cmrrecon.cli.console import Console
from cmrrecon.tools.errors import UsageError, suggestion

if TYPE_CHECKING:
    from cmrrecon.cli.evaluate import Plan

# A record, the name of one of its regions, and the scores there.
Entry = tuple[Mapping[str, Any], str, Mapping[str, Any]]
INTERVAL = "mean [95 % bootstrap interval over files]"
MAP_COLUMNS = {
    "mean": "mean ms",
    "reference_mean": "of reference ms",
    "rmse": "RMSE ms",
    "pixels": "pixels",
    "failed": "not fitted",
    "reference_failed": "left out",
}


def summary(records: list[dict[str, Any]], plan: "Plan", console: Console, *, whole: bool) -> None:
    """Tables of all that was scored, and the challenge's final values if the run is what the challenge would score."""
    from cmrrecon.evaluation.runs import distinguish_runs
    from cmrrecon.evaluation.tables import grouped

    records = distinguish_runs(records)
    keys = ["psnr", "ssim", "nmse"] + (["heart_psnr", "hfen"] if plan.year is None else [])
    columns = ["PSNR dB", "SSIM", "NMSE", "heart PSNR dB", "HFEN"][: len(keys)]
    references = ", ".join(sorted({r["reference_is"] for r in records}))
    rows = ([r["input"], r["method"] or "-", *(_figure(r[k]) for k in keys)] for r in records)
    console.table(
        f"protocol {plan.rule()}; reference: {references}", ["file", "method", *columns], rows
    )
    groups: dict[str, Any] = {}
    for axis in ("method", "modality", "pattern", "acceleration", "centre", "vendor"):
        groups[axis] = grouped(records, axis)
        if len(groups[axis]) > 1:
            lines = (
                [label, str(mean["n"]), *(_figure(mean[k]) for k in keys[:3])]
                for label, mean in groups[axis].items()
            )
            console.table(
                f"by {axis}; protocol {plan.rule()}", [axis, "files", *columns[:3]], lines
            )
    more = {
        **_generalisation(records, plan, console),
        **({} if plan.regions is None else _regional(records, console)),
    }
    final = _final(records, plan, console, whole=whole)
    summary = {
        "protocol": plan.protocol,
        "order": records[0]["order"],
        "cropped": records[0]["cropped"],
        "files": len(records),
    }
    console.result({"status": "summary", **summary, "groups": groups, **more, "final": final}, None)


def _generalisation(
    records: list[dict[str, Any]], plan: "Plan", console: Console
) -> dict[str, Any]:
    """The table by domains or other axes with its uncertainty, and paired differences, if they were asked for."""
    from cmrrecon.evaluation.generalisation import placed

    _warn_of_unseen(records, plan, console)
    found: dict[str, Any] = {}
    if plan.by:
        found["by"] = _by_axes(placed(records, plan.unseen), plan, console)
    if plan.against is not None:
        found["against"] = _against(placed(records, plan.unseen), plan, plan.against, console)
    return found


def _warn_of_unseen(records: list[dict[str, Any]], plan: "Plan", console: Console) -> None:
    """Warn where --unseen, or its absence, leaves all files seen."""
    from cmrrecon.evaluation.generalisation import domain, is_part
    from cmrrecon.formats.names import values_of

    domains = sorted({domain(record) for record in records})
    for name in plan.unseen:
        known = (
            values_of(records, [name]) if "=" in name else f"the domains are {', '.join(domains)}"
        )
        if not any(is_part(record, name) for record in records):
            console.warn(f"--unseen {name} fits no scored file, so all count as seen; {known}")
    if "seen" in plan.by and not plan.unseen:
        console.warn("--by seen without --unseen: all domains count as seen")


def _by_axes(records: list[dict[str, Any]], plan: "Plan", console: Console) -> list[dict[str, Any]]:
    """The table of --by; returns its rows."""
    from cmrrecon.evaluation.generalisation import cells, table

    rows = table(records, plan.by)
    axes = [*plan.by, *(["method"] if "method" not in plan.by else [])]
    console.table(
        f"by {', '.join(plan.by)}; protocol {plan.rule()}; {INTERVAL}",
        [*axes, "files", "PSNR dB", "SSIM", "NMSE"],
        [cells(row, plan.by) for row in rows],
    )
    return rows


def _against(
    records: list[dict[str, Any]], plan: "Plan", one: str, console: Console
) -> list[dict[str, Any]]:
    """The table of paired differences of the other methods to one; returns its rows."""
    from cmrrecon.evaluation.generalisation import differences

    methods = {str(record["method"]) for record in records}
    if one not in methods:
        raise UsageError(
            "unknown-method",
            f"No scored file is of the method {one!r}",
            f"The methods are {', '.join(sorted(methods))}",
            suggestion(one, methods, "Name one of them with --against"),
        )
    rows = differences(records, plan.by, one, sorted(methods - {one}))
    axes = [axis for axis in plan.by if axis != "method"]
    console.table(
        f"differences to {one}; protocol {plan.rule()}; {INTERVAL}",
        [*axes, "method", "files", "PSNR dB", "SSIM", "NMSE"],
        [
            [
                *(str(row[axis]) for axis in axes),
                row["method"],
                str(row["n"]),
                *(_difference(row[key]) for key in ("psnr", "ssim", "nmse")),
            ]
            for row in rows
        ],
    )
    return rows


def _difference(found: Mapping[str, float]) -> str:
    """A mean difference with its interval."""
    return f"{found['mean']:+.4g} [{found['low']:+.4g}, {found['high']:+.4g}]"


def _final(
    records: list[dict[str, Any]], plan: "Plan", console: Console, *, whole: bool
) -> dict[str, dict[str, float]]:
    """Method -> the challenge's final values. They are those of the validation phase, so only of official order and crop."""
    from cmrrecon.evaluation.tables import final_aggregate

    if plan.year is None:
        return {}
    if not whole or plan.order != "official" or not plan.crop:
        console.say(
            f"no final aggregate: {plan.protocol} forms it from all files, in official order, with the ranking crop"
        )
        return {}
    by_method: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_method.setdefault(record["method"] or "unknown method", []).append(record)
    finals = {method: final_aggregate(members, plan.year) for method, members in by_method.items()}
    for method, final in finals.items():
        if final:
            lines = ([name, _figure(value)] for name, value in final.items())
            console.table(
                f"final aggregate of {method}, as {plan.protocol} forms it from these files",
                ["score", "value"],
                lines,
            )
    return finals


def _regional(records: Sequence[Mapping[str, Any]], console: Console) -> dict[str, Any]:
    """Tables of the scores over regions, and their means over the files of each method for the summary."""
    from cmrrecon.evaluation import mapping, regions

    scored = [(record, record["roi"]) for record in records if record["roi"] is not None]
    for record, roi in scored:
        if any(scores.get("snr", 0) is None for scores in roi["regions"].values()):
            console.warn(
                f"{record['input']}: the background, region {roi['background']}, is constant: there is no noise to compare with"
            )
    focused: list[Entry] = []
    for record, roi in scored:
        focused += [(record, name, scores) for name, scores in roi["regions"].items()]
        if "lesions" in roi:
            focused.append((record, "all boxes", roi["lesions"]))
    noisy = [entry for entry in focused if "snr" in entry[2]]
    contrasts = [
        (record, pair, scores)
        for record, roi in scored
        for pair, scores in roi.get("contrasts", {}).items()
    ]
    maps = [(record, roi["map"]["parameter"], roi["map"]) for record, roi in scored if "map" in roi]
    noise_rule = f"whole images, {regions.NOISE_RULE}"
    tables = {
        "regions": (
            f"protocol fullfov; {regions.RULE}",
            focused,
            {"lf_psnr": "LF-PSNR dB", "lf_ssim": "LF-SSIM"},
        ),
        "signal": (noise_rule, noisy, {"snr": "SNR", "reference_snr": "of reference"}),
        "contrasts": (noise_rule, contrasts, {"cnr": "CNR", "reference_cnr": "of reference"}),
        "maps": (mapping.RULE, maps, MAP_COLUMNS),
    }
    return {name: _regional_table(*contents, console) for name, contents in tables.items()}


def _regional_table(
    title: str, entries: Sequence[Entry], columns: Mapping[str, str], console: Console
) -> list[dict[str, Any]]:
    """Tables of scores over regions, by file and by method; returns the latter."""
    if not entries:
        return []
    lines = (
        [record["input"], str(record["method"]), name, *(_figure(scores[key]) for key in columns)]
        for record, name, scores in entries
    )
    console.table(title, ["file", "method", "region", *columns.values()], lines)
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for record, name, scores in entries:
        groups[str(record["method"]), name].append(scores)
    means: list[dict[str, Any]] = []
    for (method, name), members in groups.items():
        known = {
            key: [scores[key] for scores in members if scores[key] is not None] for key in columns
        }
        mean = {key: sum(values) / len(values) if values else None for key, values in known.items()}
        means.append({"method": method, "region": name, "n": len(members), **mean})
    if len(means) < len(entries):
        rows = (
            [row["method"], row["region"], str(row["n"]), *(_figure(row[key]) for key in columns)]
            for row in means
        )
        console.table(
            f"means over files; {title}", ["method", "region", "files", *columns.values()], rows
        )
    return means


def _figure(value: float | str | None) -> str:
    """Four decimals below two, two above, as such scores are usually given; whole numbers as they are."""
    if value is None or isinstance(value, str):
        return value or "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.4f}"
