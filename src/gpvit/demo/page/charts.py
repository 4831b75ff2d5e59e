"""Charts in one style, drawn by Matplotlib, coloured by the page: they follow its light and dark mode."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gpvit.inference.figures import new_figure

# Matplotlib draws with these; the page's style sheet says what they look like.
INK, SOFT, LINE, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line", FIRST: "--first", SECOND: "--second"}
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10.5,
    "text.color": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
}


def draw(name: str, alternative: str, width: float, height: float, paint: Callable[[Axes], None]) -> Markup:
    """Draw a chart.

    Args:
        name: Unique on the page.
        alternative: What it shows, for those who cannot see it.
        width: In inches, at 96 pixels each; a narrow screen shrinks it.
        height: In inches.
        paint: Draws into the axes, with the colours of this module.

    Returns:
        An SVG element whose colours are variables of the page.
    """
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = new_figure(width, height)
        paint(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _for_page(file.getvalue(), name, alternative, round(width * 96))


@dataclass(frozen=True)
class Line:
    """A series over epochs.

    Args:
        label: Its name.
        values: By epoch, counted from 1.
        colour: One of this module.
    """

    label: str
    values: Mapping[int, float]
    colour: str


def paint_lines(axes: Axes, title: str, lines: Sequence[Line], percent: bool = False) -> None:
    """Draw series over epochs.

    Args:
        axes: Where.
        title: Heading.
        lines: The series.
        percent: Whether the values are shares.
    """
    for line in lines:
        axes.plot(list(line.values), list(line.values.values()), "o-", color=line.colour, label=line.label)
    axes.set(title=title, xlabel="epoch", ylim=(0, 1.03) if percent else (0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y")
    axes.tick_params(length=0)
    if len(lines) > 1:
        axes.legend()


@dataclass(frozen=True)
class Bars:
    """Horizontal bars of one colour each.

    Args:
        labels: Names of the bars, the topmost first.
        values: Their lengths.
        colours: Of this module.
        texts: What stands at their ends.
    """

    labels: Sequence[str]
    values: Sequence[float]
    colours: Sequence[str]
    texts: Sequence[str]


def paint_bars(axes: Axes, title: str, bars: Bars, longest: float | None = None) -> None:
    """Draw horizontal bars.

    Args:
        axes: Where.
        title: Heading.
        bars: The first on top.
        longest: Length of a bar as wide as the chart; the longest of these by default.
    """
    positions = range(len(bars.labels))
    drawn = axes.barh(positions, bars.values, color=bars.colours, height=0.72)
    axes.bar_label(drawn, bars.texts, padding=4, color=SOFT, fontsize=9)
    axes.set(title=title, yticks=positions, yticklabels=bars.labels, xticks=[])
    axes.set_xlim(0, 1.2 * (longest or max(bars.values)))
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def paint_confusion(axes: Axes, counts: Any, names: Sequence[str]) -> None:
    """Draw a confusion matrix, the right answers in the first colour, the wrong ones in the second.

    Args:
        axes: Where.
        counts: `(classes, classes)`, rows the truth, columns the answer.
        names: Of the classes.
    """
    for truth, row in enumerate(counts):
        for answer, count in enumerate(row):
            right = truth == answer
            # Few mistakes shall be seen: they start dark, right answers fade in with their number.
            alpha = 0.5 * count / max(row.sum(), 1) if right else min(0.35 + 0.1 * count, 0.75) * (count > 0)
            cell = Rectangle(
                (answer - 0.5, truth - 0.5), 1, 1, facecolor=FIRST if right else SECOND, alpha=alpha, edgecolor="none"
            )
            axes.add_patch(cell)
            if count:
                axes.text(answer, truth, str(count), ha="center", va="center", fontsize=9.5)
    ticks = range(len(names))
    edges = (-0.5, len(names) - 0.5)
    axes.set(xticks=ticks, yticks=ticks, xticklabels=names, yticklabels=names, xlim=edges, ylim=edges[::-1])
    axes.set(xlabel="read as", ylabel="is", aspect="equal")
    for position in range(len(names) + 1):
        axes.axhline(position - 0.5, color=LINE, linewidth=0.6)
        axes.axvline(position - 0.5, color=LINE, linewidth=0.6)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _for_page(svg: str, name: str, alternative: str, width: int) -> Markup:
    """Make of an SVG file an element of a page, with names that no other chart has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'\b(id="|href="#)', rf"\g<1>{name}-", svg).replace("url(#", f"url(#{name}-")
    svg = re.sub(r"(?<=font-family: )[^;\"]+|(?<=px )'DejaVu Sans'[^;\"]*", "inherit", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    view = re.search(r'viewBox="[^"]+"', svg)
    assert view is not None
    label = Markup.escape(alternative)
    head = f'<svg role="img" aria-label="{label}" {view[0]} style="width: {width}px" xmlns="http://www.w3.org/2000/svg"'
    return Markup(re.sub(r"<svg[^>]*", head, svg, count=1))
