"""How results look: one table (terminal, Markdown, CSV) and one style of chart (PNG, SVG)."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from rich.console import Group
from rich.table import Table

from gpvit.io import replacing, write_text

OUT_OF_MEMORY = "out of memory"
"""What stands in the place of a figure that a machine was too small for."""

COLOURS = ("#1f5fa8", "#d9662b", "#3a8f5c", "#8a4fa3", "#7a7a7a", "#b8860b", "#c2407a", "#2b9aa8")
"""Of series, told apart also in print and by most of those who see few colours."""

MARKERS = "osD^vPX*"

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gpvit",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.color": "#dddddd",
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Column:
    """A column: its key in the rows and in CSV, its heading with the unit, and the decimals of its numbers."""

    key: str
    header: str
    digits: int | None = None

    def text(self, value: Any) -> str:
        """Write a cell; None is an empty one, and a text, as of a lack of memory, stays as it is."""
        if value is None:
            return ""
        if isinstance(value, str) or self.digits is None:
            return str(value)
        return f"{value:,.{self.digits}f}"


@dataclass(frozen=True)
class ResultTable:
    """A table with everything that a reader needs to judge it.

    Args:
        name: Of its files, as ``table_1``.
        title: What it shows.
        columns: From left to right.
        rows: One mapping a row, from the columns' keys; what is missing is an empty cell.
        notes: Sentences below: sources, conventions, machine, rounds.
        command: What makes it again.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    command: str = ""

    def markdown(self) -> str:
        """Return title, table, notes and command as Markdown."""
        lines = [f"## {self.title}", "", _line([column.header for column in self.columns])]
        lines += [_line(["---", *["---:"] * (len(self.columns) - 1)]), *map(_line, self._cells())]
        lines += [text for note in self.notes for text in ("", note)]
        if self.command:
            lines += ["", f"Made by `{self.command}`."]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Return the rows as CSV, with all digits."""
        text = io.StringIO()
        keys = [column.key for column in self.columns]
        writer = csv.DictWriter(text, keys, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def write(self, folder: str | Path) -> list[Path]:
        """Write ``NAME.md`` and ``NAME.csv``, replacing earlier ones, and return their paths."""
        texts = {f"{self.name}.md": self.markdown(), f"{self.name}.csv": self.csv()}
        for name, text in texts.items():
            write_text(Path(folder) / name, text)
        return [Path(folder) / name for name in texts]

    def __rich__(self) -> Group:
        """Return what `rich` prints."""
        table = Table(title=self.title, title_justify="left")
        for i, column in enumerate(self.columns):
            table.add_column(column.header, justify="right" if i else "left")
        for cells in self._cells():
            table.add_row(*cells)
        return Group(table, *self.notes)

    def _cells(self) -> list[list[str]]:
        return [[column.text(row.get(column.key)) for column in self.columns] for row in self.rows]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


@contextmanager
def chart(width: float, height: float, dpi: float = 150) -> Iterator[Figure]:
    """Give an empty figure of a size in inches, in the style of the docs; draw and save it inside of the context."""
    with matplotlib.rc_context(_STYLE):
        yield Figure((width, height), dpi=dpi, layout="constrained")


def save_chart(figure: Figure, folder: str | Path, name: str, endings: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write ``NAME.png`` and ``NAME.svg`` into a folder, replacing earlier ones, and return their paths."""
    paths = [Path(folder) / f"{name}.{ending}" for ending in endings]
    for path in paths:
        with replacing(path) as temporary:
            figure.savefig(temporary)
    return paths


def pixel_axis(axes: Axes, sides: Sequence[int], label: str = "side of the image (px)") -> None:
    """Make the horizontal axis logarithmic, with ticks at sides of images."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(sides)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(label)
