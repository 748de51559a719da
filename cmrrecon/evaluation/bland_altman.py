"""Bland-Altman analysis: bias and limits of agreement, and a figure of both."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cmrrecon.evaluation.function import QUANTITIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIMIT = 1.96  # standard deviations
# Panels of the figure; the last place of the 2 x 4 panels has the legend.
PANELS = (
    "lv_edv_ml",
    "lv_esv_ml",
    "lv_ef_percent",
    "lv_mass_g",
    "rv_edv_ml",
    "rv_esv_ml",
    "rv_ef_percent",
)
ROWS, COLUMNS = 2, 4
SIZE = (10.0, 5.2)  # inches
TYPE = 7.0  # points
SPARE = 0.6  # of the range of the values, above and below them
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "osD^vP*"

Pairs = Sequence[tuple[float, float]]


def limits_of_agreement(pairs: Pairs) -> dict[str, float | None]:
    """Compute the mean difference and the limits of agreement.

    Parameters
    ----------
    pairs : sequence of (float, float)
        Values of reference and reconstruction; at least one pair.

    Returns
    -------
    dict
        `n`; `bias`, the mean of reconstruction - reference; `sd`, the standard deviation of the
        differences (n - 1); `low` and `high`, bias -/+ 1.96 sd; `mae`, the mean absolute
        difference. `sd`, `low` and `high` are None for one pair.

    References
    ----------
    Bland and Altman, Lancet 1986; 327:307-310.
    """
    differences = [made - reference for reference, made in pairs]
    bias = statistics.fmean(differences)
    deviation = statistics.stdev(differences) if len(pairs) > 1 else None
    return {
        "n": len(pairs),
        "bias": bias,
        "sd": deviation,
        "low": None if deviation is None else bias - LIMIT * deviation,
        "high": None if deviation is None else bias + LIMIT * deviation,
        "mae": statistics.fmean(map(abs, differences)),
    }


def pairs_of(records: Sequence[Mapping[str, Any]], quantity: str) -> Pairs:
    """Return the values of reference and reconstruction in records that have both."""
    found = [
        (record["function"]["reference"][quantity], record["function"]["reconstruction"][quantity])
        for record in records
    ]
    return [pair for pair in found if None not in pair]


def bland_altman_figure(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> "Figure":
    """Draw the difference over the mean of both values, with bias and limits of each method.

    Parameters
    ----------
    groups : mapping of str to sequence of records
        Records of scored files by method.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; save it with `savefig`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    panels = figure.subplots(ROWS, COLUMNS).flatten()
    for axes, quantity in zip(panels, PANELS, strict=False):
        _draw(axes, quantity, groups)

    last = panels[len(PANELS)]
    last.axis("off")
    handles, labels = panels[0].get_legend_handles_labels()
    last.legend(
        handles,
        labels,
        loc="center",
        fontsize=TYPE + 1,
        frameon=False,
        title="line: bias; dashed: ±1.96 SD",
        title_fontsize=TYPE,
    )
    figure.supxlabel("mean of reference and reconstruction", fontsize=TYPE + 1)
    figure.supylabel("reconstruction - reference", fontsize=TYPE + 1)
    return figure


def _draw(axes: "Axes", quantity: str, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw one panel."""
    axes.set_title(QUANTITIES[quantity], fontsize=TYPE + 1)
    axes.tick_params(labelsize=TYPE)
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    heights = [0.0]

    for n, (method, records) in enumerate(groups.items()):
        colour, marker = COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)]
        pairs = pairs_of(records, quantity)
        axes.scatter(
            [(one + other) / 2 for one, other in pairs],
            [other - one for one, other in pairs],
            s=14,
            color=colour,
            marker=marker,
            alpha=0.8,
            label=method,
        )
        if not pairs:
            continue

        found = limits_of_agreement(pairs)
        heights += [other - one for one, other in pairs]
        for name, style in (("bias", "-"), ("low", "--"), ("high", "--")):
            height = found[name]
            if height is not None:
                heights.append(height)
                axes.axhline(height, color=colour, linestyle=style, linewidth=0.9)

    spare = SPARE * (max(heights) - min(heights)) or 1.0
    axes.set_ylim(min(heights) - spare / 2, max(heights) + spare / 2)
