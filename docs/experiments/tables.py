"""The tables of `trial.py`.

They show which runs are done, means over seeds after different numbers of windows, differences with
their uncertainty, weights of the losses over time, and cost.
"""

import json
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cmrrecon.evaluation.generalisation import domain

INPUT, FIRST = "zero-filled", "genre-cmr, tuned"
METRICS = {"psnr": ("PSNR dB", 2), "ssim": ("SSIM", 4)}
SEEN, SCANNER, CONTRAST = "seen", "unseen scanner", "unseen contrast"
PLACES = (SEEN, SCANNER, CONTRAST)
DRAWS, LEVEL = 2000, 0.95
Record = dict[str, Any]


def tables(scores: Path, unseen: str, runs: int, points: Sequence[int]) -> str:
    """Return all tables, from `scores/RUN-SEED-WINDOWS.jsonl` and the logs beside them.

    Parameters
    ----------
    scores : Path
        The folder of the scores.
    unseen : str
        Centre and vendor of the unseen scanner.
    runs : int
        The number of runs of the whole trial.
    points : sequence of int
        The numbers of windows after which a run is scored.
    """
    records = [
        {**record, "place": place_of(record, unseen)}
        for path in sorted(scores.glob("*.jsonl"))
        for record in map(json.loads, path.read_text().splitlines())
        if record["status"] == "done"
    ]
    logs = {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(scores.glob("*.log"))
    }
    parts = [_done(records, runs, points), _means(records)]
    parts += [
        _differences([r for r in records if r["windows"] in (0, windows)], windows)
        for windows in points
    ]
    last = max((r["windows"] for r in records), default=0)
    parts += [_cells([r for r in records if r["windows"] in (0, last)], last)]
    return "\n".join([*parts, _weights(logs), _cost(logs)])


def place_of(record: Record, unseen: str) -> str:
    """Return which kind of test a scan belongs to."""
    if record["modality"] == "Mapping":
        return CONTRAST
    return SCANNER if domain(record) == unseen else SEEN


def _done(records: Sequence[Record], runs: int, points: Sequence[int]) -> str:
    """Return how many runs have reached each point of the learning curve."""
    reached = {(r["run"], r["seed"], r["windows"]) for r in records if r["windows"]}
    each = [
        f"{sum(windows == point for *_, windows in reached)} of {runs} runs have learnt from "
        f"{point:,} windows"
        for point in points
    ]
    return f"{', '.join(each)}.\n"


def _runs(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[record["run"]].append(record)
    return found


def _means(records: Sequence[Record]) -> str:
    """Return a row for each run and number of windows: means over files, and spread over seeds."""
    rows = []
    for (windows, run), members in sorted(_by_point(records).items()):
        seeds = sorted({record["seed"] for record in members})
        row = [run, str(windows) if windows else "-", str(len(seeds))]
        for place in PLACES:
            for metric, (_, digits) in METRICS.items():
                each = [
                    statistics.mean(
                        r[metric] for r in members if r["seed"] == s and r["place"] == place
                    )
                    for s in seeds
                ]
                spread = f" ± {statistics.stdev(each):.{digits}f}" if len(each) > 1 else ""
                row.append(f"{statistics.mean(each):.{digits}f}{spread}")
        rows.append((windows, -statistics.mean(r["psnr"] for r in members), row))
    names = [name for name, _ in METRICS.values()]
    columns = ["run", "windows", "seeds", *(f"{p} {name}" for p in PLACES for name in names)]
    text = (
        "\n### Learning curves\n\nMeans over files. Where there are several seeds: mean and "
        "standard deviation of the seeds' means.\n"
    )
    return text + _table(columns, [row for *_, row in sorted(rows)])


def _by_point(records: Iterable[Record]) -> dict[tuple[int, str], list[Record]]:
    found: dict[tuple[int, str], list[Record]] = defaultdict(list)
    for record in records:
        found[record["windows"], record["run"]].append(record)
    return found


NOTE = (
    "Mean of paired differences [95 % bootstrap interval] over seeds and subjects. The unseen "
    "scanner has one subject, so its interval is over seeds and masks and says nothing about other "
    "subjects. Where an interval contains zero, no difference was found. With a single seed, "
    "intervals do not cover the difference between seeds.\n"
)


def _differences(records: Sequence[Record], windows: int) -> str:
    """Return paired differences of the first run from all others at a number of windows."""
    by_run = _runs(records)
    if FIRST not in by_run or len(by_run) < 2:
        return ""
    rows = [
        [run, *_intervals(by_run[FIRST], members)]
        for run, members in by_run.items()
        if run != FIRST
    ]
    columns = ["run", *(f"{p} {name}" for p in PLACES for name, _ in METRICS.values())]
    title = f"\n### {FIRST}, minus another run, after {windows:,} windows\n\n"
    return title + NOTE + _table(columns, rows)


def _intervals(one: Sequence[Record], other: Sequence[Record]) -> list[str]:
    """Return the cells of one row of differences."""
    cells = []
    for place in PLACES:
        for metric, (_, digits) in METRICS.items():
            here = [[r for r in records if r["place"] == place] for records in (one, other)]
            mean, low, high = _bootstrap(_paired(here[0], here[1], metric, place))
            cells.append(f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]")
    return cells


def _paired(
    one: Sequence[Record], other: Sequence[Record], metric: str, place: str
) -> dict[Any, dict[Any, list[float]]]:
    """Return differences by seed and unit: subjects where there are several, else masks.

    Classical methods, which have one seed, are paired with every seed of the other.
    """

    def key(record: Record) -> tuple[Any, ...]:
        return (record["reference"], record["pattern"], record["acceleration"])

    values: dict[Any, dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    others = {(record["seed"], key(record)): record for record in other}
    alike = not other[0]["windows"]
    for record in one:
        partner = others.get((0 if alike else record["seed"], key(record)))
        if partner is not None:
            unit = key(record) if place == SCANNER else (domain(record), record["subject"])
            values[record["seed"]][unit].append(record[metric] - partner[metric])
    return values


def _bootstrap(values: dict[Any, dict[Any, list[float]]]) -> tuple[float, float, float]:
    """Return the mean and its interval from resampling seeds and units."""
    seeds, units = sorted(values), sorted({unit for of_seed in values.values() for unit in of_seed})
    means = {(seed, unit): statistics.mean(values[seed][unit]) for seed in seeds for unit in units}
    draw = random.Random(0)
    drawn = []
    for _ in range(DRAWS):
        chosen = draw.choices(units, k=len(units))
        drawn.append(
            statistics.mean(
                means[seed, unit] for seed in draw.choices(seeds, k=len(seeds)) for unit in chosen
            )
        )
    drawn.sort()
    ends = [drawn[round(share * (DRAWS - 1))] for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    return statistics.mean(means.values()), ends[0], ends[1]


def _cells(records: Sequence[Record], windows: int) -> str:
    """Return PSNR by pattern, R and place."""
    kinds = sorted({(r["place"], r["pattern"], r["acceleration"]) for r in records})
    rows = []
    for run, members in _runs(records).items():
        means = [
            [r["psnr"] for r in members if (r["place"], r["pattern"], r["acceleration"]) == kind]
            for kind in kinds
        ]
        rows.append([run, *(f"{statistics.mean(values):.2f}" for values in means)])
    columns = [
        "run",
        *(f"{place} {pattern} R {acceleration:g}" for place, pattern, acceleration in kinds),
    ]
    title = f"\n### PSNR in dB by pattern and acceleration, after {windows:,} windows\n"
    return title + _table(columns, rows)


def _weights(logs: dict[str, list[Record]]) -> str:
    """Return the weights of the groups of losses by epoch, as in the paper's Fig. 3."""
    groups, terms = ("fidelity", "ear", "sda"), ("ssim", "ear", "sda", "adversarial")
    rows = []
    lines = logs.get(f"{FIRST.replace(', ', '-')}-0", [])
    for epoch in sorted({line["epoch"] for line in lines if "weight_fidelity" in line}):
        mine = [line for line in lines if line["epoch"] == epoch and "weight_fidelity" in line]
        keys = [*(f"weight_{group}" for group in groups), *terms, "discriminator"]
        rows.append([str(epoch + 1), *(_mean_of(mine, key) for key in keys)])
    if not rows:
        return ""
    columns = ["epoch", "weight fidelity", "weight EAR", "weight SDA", "1 - SSIM"]
    columns += ["EAR", "SDA", "adversarial", "discriminator"]
    title = (
        f"\n### Weights of the losses over time ({FIRST}, seed 0)\n\n"
        "Means over the windows of an epoch; losses unweighted.\n"
    )
    return title + _table(columns, rows)


def _mean_of(lines: Sequence[Record], key: str) -> str:
    values = [line[key] for line in lines if key in line]
    return f"{statistics.mean(values):.3f}" if values else "-"


def _cost(logs: dict[str, list[Record]]) -> str:
    """Return the cost of a window as medians; machines are shared, so this is no benchmark."""
    rows = []
    for name, lines in logs.items():
        steps = [line for line in lines if "seconds" in line]
        cost = statistics.median(line["seconds"] for line in steps)
        waiting = statistics.median(line["waiting"] for line in steps)
        peak = max(line["memory_mb"] for line in steps)
        rows.append([name, str(len(steps)), f"{cost:.2f}", f"{100 * waiting:.0f} %", str(peak)])
    columns = ["run and seed", "windows", "median s per window", "waiting", "peak memory MB"]
    return "\n### Cost\n\nOn one thread of a shared machine.\n" + _table(columns, rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)
