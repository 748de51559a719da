"""Print the tables of regional scores for `cmrrecon evaluate --roi`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from cmrrecon.cli.evaluate_output import Output
from cmrrecon.cli.evaluate_texts import number_text

# A record, the name of one of its regions, and the scores of that region.
Entry = tuple[Mapping[str, Any], str, Mapping[str, Any]]
MAP_COLUMNS = {
    "mean": "mean ms",
    "reference_mean": "reference ms",
    "rmse": "RMSE ms",
    "pixels": "pixels",
    "failed": "not fitted",
    "reference_failed": "left out",
}


def region_tables(records: Sequence[Mapping[str, Any]], output: Output) -> dict[str, Any]:
    """Print the tables, and return the mean over files for each method for the summary."""
    from cmrrecon.evaluation import mapping, regions

    scored = [(record, record["roi"]) for record in records if record["roi"] is not None]
    for record, roi in scored:
        if any(scores.get("snr", 0) is None for scores in roi["regions"].values()):
            output.console.warn(
                f"{record['input']}: the background region {roi['background']} is constant, so "
                "its noise cannot be measured"
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
        "signal": (noise_rule, noisy, {"snr": "SNR", "reference_snr": "reference"}),
        "contrasts": (noise_rule, contrasts, {"cnr": "CNR", "reference_cnr": "reference"}),
        "maps": (mapping.RULE, maps, MAP_COLUMNS),
    }
    return {name: _table(*contents, output) for name, contents in tables.items()}


def _table(
    title: str, entries: Sequence[Entry], columns: Mapping[str, str], output: Output
) -> list[dict[str, Any]]:
    """Print regional scores by file and by method, and return the scores by method."""
    if not entries:
        return []
    lines = [
        [record["input"], str(record["method"]), name, *(number_text(s[key]) for key in columns)]
        for record, name, s in entries
    ]
    output.table(title, ["file", "method", "region", *columns.values()], lines, names=3)

    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for record, name, scores in entries:
        groups[str(record["method"]), name].append(scores)
    means = [
        {"method": method, "region": name, "n": len(members), **_means(members, columns)}
        for (method, name), members in groups.items()
    ]

    if len(means) < len(entries):
        headers = ["method", "region", "files", *columns.values()]
        keys = ("n", *columns)
        rows = [
            [str(row["method"]), str(row["region"]), *(number_text(row[key]) for key in keys)]
            for row in means
        ]
        output.table(f"means over files; {title}", headers, rows, names=2)
    return means


def _means(
    members: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> dict[str, float | None]:
    """Return the mean of each column over the files that have a value."""
    means: dict[str, float | None] = {}
    for key in columns:
        values = [scores[key] for scores in members if scores[key] is not None]
        means[key] = sum(values) / len(values) if values else None
    return means
