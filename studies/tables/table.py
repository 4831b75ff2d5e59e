"""A table of results: printed, as Markdown for the docs, and as CSV for whoever computes on."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from gpvit.io import replacing

OUT_OF_MEMORY = "out of memory"
"""What stands in the place of a figure that a machine was too small for."""


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        key: Its name in the rows and in CSV.
        header: Its heading, with the unit.
        digits: Decimals of its numbers; None leaves them as they are.
    """

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
    notes: Sequence[str] = field(default=())
    command: str = ""

    def markdown(self) -> str:
        """Return title, table, notes and command as Markdown."""
        lines = [f"## {self.title}", "", _line(column.header for column in self.columns)]
        lines.append(_line(["---", *["---:"] * (len(self.columns) - 1)]))
        lines += [_line(cells) for cells in self._cells()]
        lines += [text for note in self.notes for text in ("", note)]
        if self.command:
            lines += ["", f"Made by `{self.command}`."]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Return the rows as CSV, with all digits."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [column.key for column in self.columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def write(self, directory: str | Path) -> list[Path]:
        """Write ``NAME.md`` and ``NAME.csv``, replacing earlier ones, and return their paths.

        Args:
            directory: Folder to write into; made if absent.
        """
        paths = []
        for ending, text in (("md", self.markdown()), ("csv", self.csv())):
            path = Path(directory) / f"{self.name}.{ending}"
            with replacing(path) as unfinished:
                unfinished.write_text(text, encoding="utf-8")
            paths.append(path)
        return paths

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


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
