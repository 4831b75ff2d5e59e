"""The verb `gpvit models`."""

import json as json_format
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from gpvit.errors import UserError
from gpvit.zoo.catalog import MODELS


def models(filters: list[str], json: bool = False) -> None:
    """List the models, their size and their published scores.

    Args:
        filters: Parts of names, tasks or origins (paper, ours); models that match all of them are listed.
        json: Print JSON in place of a table.
    """
    wanted = {
        name: entry
        for name, entry in MODELS.items()
        if all(any(part.lower() in fact for fact in (name, entry.task, entry.origin)) for part in filters)
    }
    if not wanted:
        raise UserError(f"no model matches {' '.join(filters)!r}; there are {', '.join(MODELS)}")
    rows = [row_of(name) for name in wanted]
    if json:
        print(json_format.dumps(rows, indent=1))
    else:
        Console().print(_table(rows))


def row_of(name: str) -> dict[str, Any]:
    """Return what is listed of a model, as plain data."""
    entry = MODELS[name]
    return {
        "name": name,
        "task": entry.task,
        "origin": entry.origin,
        "parameters": entry.parameters,
        "macs": entry.macs,
        "macs_size": entry.macs_size,
        "weights": {tag: weights.metrics for tag, weights in entry.weights.items()},
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    sizes = {entry.system: entry.macs_size for entry in MODELS.values()}
    words = ", ".join(f"{system} {size}".strip() for system, size in sizes.items())
    title = f"Models\nGMACs at {words}, with attention's products; scores in percent, on the data that a tag names"
    table = Table(Column("model", no_wrap=True), title=title)
    table.add_column("parameters", justify="right", min_width=len("109,585,720"))
    table.add_column("GMACs", justify="right", min_width=len("1534.31"))
    table.add_column("weights", no_wrap=True)
    for row in rows:
        weights = [
            f"{tag}: {next(iter(scores.values()))} {next(iter(scores))}" for tag, scores in row["weights"].items()
        ]
        macs = f"{row['macs'] / 1e9:.2f}"
        table.add_row(row["name"], f"{row['parameters']:,}", macs, "\n".join(weights))
    return table
