"""Print the tables of cardiac function for `cmrrecon evaluate`, and write its figure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cmrrecon.cli.evaluate_function_plan import FunctionPlan
from cmrrecon.cli.evaluate_output import Output
from cmrrecon.cli.evaluate_texts import number_text

DPI = 200
# Columns of the table of files.
ERRORS = ("lv_edv_ml", "lv_esv_ml", "lv_ef_percent", "lv_mass_g", "rv_ef_percent")
NAMES = {"lv": "LV", "myocardium": "myo", "rv": "RV"}
SCORES = {"dice": "Dice", "hausdorff_mm": "Hausdorff mm"}

Record = Mapping[str, Any]


def function_tables(
    records: Sequence[Record], plan: FunctionPlan | None, output: Output
) -> dict[str, list[dict[str, Any]]]:
    """Print the tables, write the figure, and return the agreement for the summary, if any."""
    from cmrrecon.evaluation.function import QUANTITIES, RULE

    if plan is None:
        return {}
    lines = [
        [
            record["input"],
            str(record["method"]),
            *(number_text(record["function"]["error"][key]) for key in ERRORS),
            *(number_text(record["function"]["dice"][name]) for name in NAMES),
        ]
        for record in records
    ]
    columns = [*(QUANTITIES[key] for key in ERRORS), *(f"Dice {name}" for name in NAMES.values())]
    output.table(
        f"cardiac function, reconstruction - reference; {RULE}",
        ["file", "method", *columns],
        lines,
        names=2,
    )

    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[str(record["method"])].append(record)
    rows = [row for method, members in groups.items() for row in _rows(method, members)]
    _agreement_table(rows, output)

    if plan.figure is not None:
        _write_figure(plan.figure, groups)
        output.console.say(f"the Bland-Altman figure is in {plan.figure}")
    return {"function": rows}


def _rows(method: str, members: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the agreement of one method with the reference for each quantity."""
    from cmrrecon.evaluation.bland_altman import limits_of_agreement, pairs_of
    from cmrrecon.evaluation.function import QUANTITIES

    rows: list[dict[str, Any]] = []
    for key in QUANTITIES:
        pairs = pairs_of(members, key)
        if pairs:
            rows.append({"method": method, "quantity": key, **limits_of_agreement(pairs)})

    for score in SCORES:
        for name in NAMES:
            values = [record["function"][score][name] for record in members]
            known = [value for value in values if value is not None]
            if known:
                mean = sum(known) / len(known)
                key = f"{score}_{name}"
                rows.append({"method": method, "quantity": key, "n": len(known), "mean": mean})
    return rows


def _agreement_table(rows: Sequence[Mapping[str, Any]], output: Output) -> None:
    """Print bias and limits of agreement, then the mean scores of the label maps."""
    from cmrrecon.evaluation.function import QUANTITIES

    keys = ("n", "bias", "low", "high", "mae")
    lines = [
        [row["method"], QUANTITIES[row["quantity"]], *(number_text(row[key]) for key in keys)]
        for row in rows
        if "bias" in row
    ]
    headers = ["method", "quantity", "files", "bias", "low", "high", "mean |error|"]
    if any(row["n"] > 1 for row in rows):
        output.table("Bland-Altman: bias and limits of agreement", headers, lines, names=2)

    titles = {f"{s}_{n}": f"{SCORES[s]} {NAMES[n]}" for s in SCORES for n in NAMES}
    lines = [
        [row["method"], titles[row["quantity"]], str(row["n"]), number_text(row["mean"])]
        for row in rows
        if "mean" in row
    ]
    output.table(
        "label maps, mean over files", ["method", "score", "files", "mean"], lines, names=2
    )


def _write_figure(path: Path, groups: Mapping[str, Sequence[Record]]) -> None:
    """Write the figure; the same scores give the same file."""
    import matplotlib

    from cmrrecon.evaluation.bland_altman import bland_altman_figure
    from cmrrecon.tools.atomic import atomic

    kind = path.suffix.lower()[1:]
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    settings: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "cmrrecon"}
    with atomic(path) as temporary, matplotlib.rc_context(settings):
        bland_altman_figure(groups).savefig(temporary, format=kind, dpi=DPI, metadata=undated)
