"""Distributions of scores as inline SVG: one dot for each scan, one row for each method."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cmrrecon.pages.page import Html, element, joined

METRICS = {"psnr": "PSNR dB", "ssim": "SSIM", "nmse": "NMSE"}
WIDTH, ROW, LEFT, RIGHT, TOP, BELOW = 640, 34, 170, 20, 8, 40
DOT = "#0550ae"
BOX = "#1b1f24"
TICKS = 5
# Vertical positions of the dots of a row repeat after this many scans.
PLACES = 9
LONGEST_NAME = 24


def distributions(records: Sequence[Mapping[str, Any]], rule: str) -> Html:
    """Return one plot for each metric.

    Parameters
    ----------
    records : sequence of mapping
        The records with scores.
    rule : str
        The scoring rule, for the titles.
    """
    return joined([_plot(records, metric, title, rule) for metric, title in METRICS.items()])


def _plot(records: Sequence[Mapping[str, Any]], metric: str, title: str, rule: str) -> Html:
    """Return a plot of one metric."""
    finite = [record for record in records if math.isfinite(float(record[metric]))]
    left_out = len(records) - len(finite)
    if not finite:
        return Html("")

    methods = sorted({record["method"] for record in finite})
    values = [float(record[metric]) for record in finite]
    low, high = _range(values)
    height = TOP + ROW * len(methods) + BELOW

    def place(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low), 1)

    parts = [_axis(low, high, place, height, title)]
    for index, method in enumerate(methods):
        mine = [record for record in finite if record["method"] == method]
        parts.append(_row(mine, metric, method, TOP + ROW * (index + 0.5), place))

    heading = f"{title} by method; protocol {rule}; dots: scans, box: quartiles and median"
    heading += f"; {left_out} infinite values are not shown" if left_out else ""
    picture = element(
        "svg",
        element("title", heading),
        *parts,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        class_="plot",
    )
    return element("figure", element("figcaption", heading), picture)


def _row(
    records: Sequence[Mapping[str, Any]], metric: str, method: str, middle: float, place: Any
) -> Html:
    """Return the dots, the box and the name of one method."""
    name = method if len(method) <= LONGEST_NAME else f"{method[: LONGEST_NAME - 1]}…"
    text = element("text", name, x=LEFT - 10, y=middle + 5, text_anchor="end")
    dots = [
        element(
            "circle",
            element("title", f"scan {record['scan']}: {float(record[metric]):.4g}"),
            cx=place(float(record[metric])),
            cy=round(middle + (index % PLACES - PLACES // 2) * 2.2, 1),
            r=3,
            fill=DOT,
            fill_opacity=0.45,
        )
        for index, record in enumerate(records)
    ]

    low, median, high = np.percentile([float(record[metric]) for record in records], [25, 50, 75])
    box = element(
        "rect",
        x=place(low),
        y=middle - 12,
        width=round(max(1.0, place(high) - place(low)), 1),
        height=24,
        fill="none",
        stroke=BOX,
    )
    x = place(median)
    line = element("line", x1=x, x2=x, y1=middle - 12, y2=middle + 12, stroke=BOX, stroke_width=2.5)
    return joined([text, *dots, box, line])


def _axis(low: float, high: float, place: Any, height: int, title: str) -> Html:
    """Return the axis with ticks."""
    base = height - BELOW + 4
    step = _step((high - low) / TICKS)
    ticks = np.arange(math.ceil(low / step) * step, high + step * 1e-6, step)

    parts = [element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base, stroke=BOX)]
    for tick in ticks:
        x = place(float(tick))
        parts.append(element("line", x1=x, x2=x, y1=TOP, y2=base, stroke="#d0d7de"))
        parts.append(element("text", f"{tick:.6g}", x=x, y=base + 15, text_anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(element("text", title, x=middle, y=base + 32, text_anchor="middle"))
    return joined(parts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the axis."""
    low, high = min(values), max(values)
    margin = 0.04 * (high - low) or 0.01 * abs(high) or 1.0
    return low - margin, high + margin


def _step(least: float) -> float:
    """Return the round number that is nearest above a distance of ticks."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
