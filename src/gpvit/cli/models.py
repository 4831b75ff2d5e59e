"""The verb `gpvit models`."""

import json as json_format
from typing import Any

from rich.console import Console
from rich.table import Table

from gpvit.models.catalog import MODELS, CatalogEntry

# Parameters, and multiply-accumulates of a 224x224 image, as `gpvit profile` counts them: to count takes seconds.
_COSTS = {
    "gpvit_nano": (1_232_584, 860_414_016),
    "gpvit_tiny": (4_427_992, 2_853_886_080),
    "gpvit_l1": (9_589_848, 6_095_803_584),
    "gpvit_l2": (24_162_680, 15_650_141_664),
    "gpvit_l3": (36_654_056, 23_437_165_440),
    "gpvit_l4": (75_484_456, 48_149_471_616),
}


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
        raise ValueError(f"no model matches {' '.join(filters)!r}; there are {', '.join(MODELS)}")
    rows = [_facts(name, entry) for name, entry in wanted.items()]
    if json:
        print(json_format.dumps(rows, indent=1))
    else:
        Console().print(_table(rows))


def _facts(name: str, entry: CatalogEntry) -> dict[str, Any]:
    parameters, macs = _COSTS[name]
    return {
        "name": name,
        "task": entry.task,
        "origin": entry.origin,
        "parameters": parameters,
        "macs_at_224": macs,
        "weights": {tag: weights.metrics for tag, weights in entry.weights.items()},
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("model", title="Models (MACs of a 224x224 image, attention included; published top-1 in percent)")
    for header in ("parameters", "GMACs", "top-1"):
        table.add_column(header, justify="right")
    table.add_column("weights")
    table.add_column("origin")
    for row in rows:
        scores = [str(metrics["top1"]) for metrics in row["weights"].values() if "top1" in metrics]
        table.add_row(
            row["name"],
            f"{row['parameters']:,}",
            f"{row['macs_at_224'] / 1e9:.2f}",
            ", ".join(scores),
            ", ".join(row["weights"]),
            row["origin"],
        )
    return table
