"""Measurements as a table in the terminal and as files, with the machine that they were made on."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from gpvit.devices import Machine, describe_machine
from gpvit.io import write_text


@dataclass(frozen=True)
class Report:
    """What was measured.

    Args:
        rows: One flat record for each case or stage; None stands for no value. What is not flat goes into JSON alone.
        columns: Heading and format of the numbers that are printed, by their key in the rows.
        settings: What all rows have in common.
        notes: Sentences below the tables.
        title: Makes the title of the table that a row belongs to.
        machine: Where it was measured.
    """

    rows: Sequence[Mapping[str, Any]]
    columns: Mapping[str, tuple[str, str]]
    settings: Mapping[str, Any]
    notes: Sequence[str]
    title: str
    machine: Machine = field(default_factory=describe_machine)

    def __rich__(self) -> Group:
        """Return what `rich` prints: a table for each title, the machine above and the notes below."""
        tables: dict[str, Table] = {}
        name, *numbers = self.columns
        for row in self.rows:
            title = self.title.format(**row, **self.settings)
            if title not in tables:
                tables[title] = Table(self.columns[name][0], title=title, title_justify="left")
                for key in numbers:
                    tables[title].add_column(self.columns[key][0], justify="right")
            cells = ["" if row[key] is None else format(row[key], self.columns[key][1]) for key in numbers]
            if row.get("out_of_memory"):
                cells[0] = "out of memory"
            tables[title].add_row(row[name], *cells)
        return Group(str(self.machine), *tables.values(), *filter(None, self.notes))

    def write(self, directory: str | Path, name: str) -> list[Path]:
        """Write `NAME.csv`, and `NAME.json` with what is not flat, replacing earlier files; return their paths."""
        common = {**self.settings, **asdict(self.machine)}
        flat = [{k: v for k, v in row.items() if not isinstance(v, dict | list)} | common for row in self.rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, flat[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
        document = {"machine": asdict(self.machine), **self.settings, "rows": [dict(row) for row in self.rows]}
        paths = [Path(directory) / f"{name}.{ending}" for ending in ("csv", "json")]
        for path, content in zip(paths, (text.getvalue(), json.dumps(document, indent=1) + "\n"), strict=True):
            write_text(path, content)
        return paths
