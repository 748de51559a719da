"""The tables of `compare.py`.

They show means over seeds, differences with their uncertainty, weights of the losses over time, and
cost.
"""

import json
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cmrrecon.evaluation.generalisation import placed

INPUT, FIRST = "zero-filled (the input)", "genre-cmr"
METRICS = {"psnr": ("PSNR dB", 2), "ssim": ("SSIM", 4), "nmse": ("NMSE", 4)}
PLACES = ("seen", "unseen")
DRAWS, LEVEL = 2000, 0.95
Record = dict[str, Any]

HEAD = """# Recipes compared on semi-real cine

Made by `python docs/experiments/compare.py make_semireal.py --data DATA --work WORK`, which also
defines sizes, budgets and seeds; they were fixed before the first run. All scores follow protocol
`fullfov` against the noise-free truth: whole images, {frames} frames per scan.

**Semi-real** means that magnitudes are real pictures (CMRxRecon2025, matrix halved), while
k-space, coil maps, phase and noise are modelled; only the unseen domain has measured coil maps
and phase. *Seen*: {seen} test scans of {subjects} held-out subjects, one from each of the five
training domains (scanners). *Unseen*: {slices} slices of a single subject from a sixth scanner.
Every scan is undersampled with three patterns at R = 8 and 16.

**Budget**: 240 windows of five frames for every run (one frame for single-frame networks), drawn
in turn from the domains, on one thread of a CPU, a few minutes per run; learning rate 1e-3, divided
by ten for the last 40. The prompt networks have four cascades of 8 features (about 0.5 million
parameters). That is far from convergence and from the papers' sizes. The tables show whether
everything trains, and how recipes compare *at this budget*, but no more. They neither confirm nor
refute the published differences (0.4 to 0.7 dB after 20 epochs of 108 million parameters).
"""


def write_tables(scores: Path, page: Path, unseen: str) -> None:
    """Write all tables, from `scores/RUN-SEED.jsonl` and the logs beside them."""
    records = [
        record
        for path in sorted(scores.glob("*.jsonl"))
        for record in map(json.loads, path.read_text().splitlines())
    ]
    records = placed([record for record in records if record["status"] == "done"], [unseen])
    logs = {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(scores.glob("*.log"))
    }
    parts = [
        _head(records),
        _means(records),
        _differences(records),
        _cells(records),
        _weights(logs),
        _cost(logs),
    ]
    page.write_text("\n".join(parts))


def _head(records: Sequence[Record]) -> str:
    seen, unseen = (
        {record["reference"] for record in records if record["seen"] == place} for place in PLACES
    )
    subjects = {
        (record["domain"], record["subject"]) for record in records if record["seen"] == "seen"
    }
    slices = {record["slices"] for record in records if record["seen"] == "unseen"}
    assert len(unseen) == 1
    return HEAD.format(frames=4, seen=len(seen), subjects=len(subjects), slices=max(slices))


def _runs(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[record["run"]].append(record)
    return found


def _means(records: Sequence[Record]) -> str:
    """Return a row a run: means over all files and seeds, and the standard deviation over seeds."""
    rows = []
    for run, members in _runs(records).items():
        seeds = {record["seed"] for record in members}
        row = [run, str(len(seeds))]
        for place in PLACES:
            for metric, (_, digits) in METRICS.items():
                each = [
                    statistics.mean(
                        r[metric] for r in members if r["seed"] == s and r["seen"] == place
                    )
                    for s in sorted(seeds)
                ]
                spread = f" ± {statistics.stdev(each):.{digits}f}" if len(each) > 1 else ""
                row.append(f"{statistics.mean(each):.{digits}f}{spread}")
        rows.append((statistics.mean(r["psnr"] for r in members), row))
    columns = [
        "run",
        "seeds",
        *(f"{place} {name}" for place in PLACES for name, _ in METRICS.values()),
    ]
    text = (
        "\n## Seen and unseen domains\n\nMeans over files. Where there are several seeds: mean and "
        "standard deviation of the seeds' means.\n"
    )
    return text + _table(columns, [row for _, row in sorted(rows, reverse=True)])


def _differences(records: Sequence[Record]) -> str:
    """Return paired differences.

    They are those of the first run to the others with several seeds, and of every run to its input.
    """
    by_run, text = _runs(records), ""
    against = [
        run
        for run, members in by_run.items()
        if run != FIRST and len({record["seed"] for record in members}) > 1
    ]
    for title, pairs in (
        (f"{FIRST} minus another run", [(FIRST, run) for run in against if FIRST in by_run]),
        (
            "Every run minus its input image",
            [(run, INPUT) for run in by_run if run != INPUT and INPUT in by_run],
        ),
    ):
        rows = [
            [one if other == INPUT else other, *_intervals(by_run[one], by_run[other])]
            for one, other in pairs
        ]
        columns = ["run", *(f"{place} {name}" for place in PLACES for name in ("PSNR dB", "SSIM"))]
        text += f"\n## {title}\n\n" + NOTE + _table(columns, rows)
    return text


NOTE = (
    "Mean of paired differences [95 % bootstrap interval]. For seen domains the interval is over "
    "seeds and subjects. The unseen domain has one subject, so its interval is over seeds and "
    "masks and says nothing about other subjects. Where an interval contains zero, no difference "
    "was found.\n"
)


def _intervals(one: Sequence[Record], other: Sequence[Record]) -> list[str]:
    """Return the cells of one row of differences."""
    cells = []
    for place in PLACES:
        for metric in ("psnr", "ssim"):
            values = _paired(
                [r for r in one if r["seen"] == place],
                [r for r in other if r["seen"] == place],
                metric,
                place,
            )
            mean, low, high = _bootstrap(values)
            digits = METRICS[metric][1]
            cells.append(f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]")
    return cells


def _paired(
    one: Sequence[Record], other: Sequence[Record], metric: str, place: str
) -> dict[Any, dict[Any, list[float]]]:
    """Return differences by seed and unit: subjects where there are several, else masks.

    A run with one seed is paired with every seed of the other.
    """

    def key(record: Record) -> tuple[Any, ...]:
        return (record["reference"], record["pattern"], record["acceleration"])

    values: dict[Any, dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    others = {(record["seed"], key(record)): record for record in other}
    single = len({record["seed"] for record in other}) == 1
    for record in one:
        partner = others.get((next(iter(others))[0] if single else record["seed"], key(record)))
        if partner is not None:
            unit = (record["domain"], record["subject"]) if place == "seen" else key(record)
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


def _cells(records: Sequence[Record]) -> str:
    """Return PSNR by pattern, R and place for classical methods and runs with several seeds."""
    several = {
        run
        for run, members in _runs(records).items()
        if len({record["seed"] for record in members}) > 1
    }
    classical = {
        record["run"] for record in records if "weights" not in record or record["weights"] is None
    }
    kinds = sorted({(r["seen"], r["pattern"], r["acceleration"]) for r in records})
    rows = []
    for run, members in _runs(records).items():
        if run in several | classical:
            means = [
                [r["psnr"] for r in members if (r["seen"], r["pattern"], r["acceleration"]) == kind]
                for kind in kinds
            ]
            rows.append([run, *(f"{statistics.mean(values):.2f}" for values in means)])
    columns = [
        "run",
        *(f"{place} {pattern} R {acceleration:g}" for place, pattern, acceleration in kinds),
    ]
    return "\n## PSNR in dB by pattern and acceleration\n\n" + _table(columns, rows)


def _weights(logs: dict[str, list[Record]]) -> str:
    """Return the weights of the groups of losses by epoch, as in the paper's Fig. 3."""
    rows = []
    for name, lines in logs.items():
        for epoch in (
            sorted({line["epoch"] for line in lines if "weight_fidelity" in line})
            if name == f"{FIRST}-0"
            else ()
        ):
            mine = [line for line in lines if line["epoch"] == epoch and "weight_fidelity" in line]
            cells = [_mean_of(mine, f"weight_{group}") for group in ("fidelity", "ear", "sda")]
            rows.append(
                [
                    str(epoch + 1),
                    *cells,
                    *(
                        _mean_of(mine, term)
                        for term in ("ssim", "ear", "sda", "adversarial", "discriminator")
                    ),
                ]
            )
    columns = [
        "epoch",
        "weight fidelity",
        "weight EAR",
        "weight SDA",
        "1 - SSIM",
        "EAR",
        "SDA",
        "adversarial",
        "discriminator",
    ]
    text = (
        f"\n## Weights of the losses over time ({FIRST}, seed 0)\n\n"
        "Means over the 40 windows of an epoch; losses unweighted.\n"
    )
    return text + _table(columns, rows)


def _mean_of(lines: Sequence[Record], key: str) -> str:
    values = [line[key] for line in lines if key in line]
    return f"{statistics.mean(values):.3f}" if values else "-"


def _cost(logs: dict[str, list[Record]]) -> str:
    """Return the cost of a window as medians; machines are shared, so this is no benchmark."""
    rows = []
    for name, lines in logs.items():
        steps = [line for line in lines if "seconds" in line]

        def median(key: str, steps: list[Record] = steps) -> float:
            return statistics.median(line[key] for line in steps)

        peak = max(line["memory_mb"] for line in steps)
        rows.append(
            [
                name,
                str(len(steps)),
                f"{median('seconds'):.2f}",
                f"{100 * median('waiting'):.0f} %",
                str(peak),
            ]
        )
    columns = [
        "run and seed",
        "windows",
        "median s per window",
        "fraction waiting for data",
        "peak memory MB",
    ]
    return "\n## Cost\n\nOn one thread of a shared machine.\n" + _table(columns, rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)
