"""Charts of the report as SVG images that are readable on light and dark pages."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

BLUE, ORANGE, GRAY = "#3f7fd8", "#d9682a", "#868e99"
_STYLE: Any = {
    **dict.fromkeys(
        ["text.color", "axes.edgecolor", "axes.labelcolor", "grid.color", "xtick.color", "ytick.color"], GRAY
    ),
    **dict.fromkeys(["axes.facecolor", "figure.facecolor", "savefig.facecolor"], "none"),
    **dict.fromkeys(["axes.spines.top", "axes.spines.right", "legend.frameon"], False),
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.alpha": 0.3,
    "svg.hashsalt": "gpvit",
}


@matplotlib.rc_context(_STYLE)
def lines(title: str, curves: Mapping[str, Sequence[tuple[float, float]]], xlabel: str) -> bytes:
    """Draw curves of points `(x, share)` by their labels."""
    figure = Figure((4.3, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for (label, points), colour in zip(curves.items(), (BLUE, ORANGE, GRAY), strict=False):
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=label, linewidth=2, markersize=4)
    axes.set(title=title, xlabel=xlabel, ylim=(0, 1.03))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y")
    axes.legend()
    return _svg(figure)


@matplotlib.rc_context(_STYLE)
def bars(title: str, values: Mapping[str, float], colours: Sequence[str]) -> bytes:
    """Draw horizontal bars, the first on top, each with its share of their sum."""
    whole = sum(values.values())
    figure = Figure((4.3, 1 + 0.3 * len(values)), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.barh(list(values), list(values.values()), color=colours, height=0.72)
    axes.bar_label(drawn, [f"{value / whole:.1%}" for value in values.values()], padding=4, color=GRAY, fontsize=9)
    axes.set(title=title, xticks=[], xlim=(0, 1.2 * max(values.values())))
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return _svg(figure)


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
