"""The rows of the paper's ablations (Sec. 4.4, Tables 6 to 9) as arguments of a backbone, read from ablations.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gpvit.errors import UserError
from gpvit.models.variants import VARIANTS, layout


@dataclass(frozen=True)
class Ablation:
    """A row of a table: a backbone that differs from another by its arguments alone.

    Args:
        label: What the row is called.
        backbone: Name of the model that it varies.
        arguments: What it is created with beside that.
    """

    label: str
    backbone: str
    arguments: dict[str, Any]


def ablations(table: int | str, backbone: str = "gpvit_l1") -> tuple[Ablation, ...]:
    """List the rows of a table.

    Args:
        table: 6 (resolution and kind of block), 7 (token mixing in the places of group propagation), 8 (number of group
            tokens), 9 (propagation between groups), "design" (what else the released code chose), or what our own
            experiments compare: "exchange" (7 and 9 in one) and "keys".
        backbone: Name of the model that all rows vary.

    Raises:
        ValueError: If there is no such table or model.
    """
    tables = _tables()
    if str(table) not in tables:
        raise UserError(f"no ablation {table!r}; choose one of {', '.join(tables)}")
    if backbone not in VARIANTS:
        raise UserError(f"no GPViT {backbone!r}; choose one of {', '.join(VARIANTS)}")
    rows = []
    for label, changes in tables[str(table)].items():
        arguments = _arguments(backbone, changes)
        if "groups" in changes:  # another backbone has fewer
            label = "-".join(str(b["num_groups"]) for b in arguments["blocks"] if b["kind"] == "group")
        rows.append(Ablation(label, backbone, arguments))
    return tuple(rows)


@cache
def _tables() -> dict[str, dict[str, dict[str, Any]]]:
    tables = yaml.safe_load(Path(__file__).with_name("ablations.yaml").read_text(encoding="utf-8"))
    named = tables.pop("blocks")
    for rows in tables.values():
        for label, row in rows.items():
            rows[label] = row | {kind: named[row[kind]] for kind in ("local", "group") if kind in row}
    return tables  # type: ignore[no-any-return]


def _arguments(backbone: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    own = VARIANTS[backbone].get("blocks", layout())
    heads = next(int(block["num_heads"]) for block in own if block["kind"] == "local")
    largest = max(block.get("num_groups", 0) for block in own)
    counts = iter(changes.get("groups", ()))
    blocks = []
    for block in own:
        kind = block["kind"]
        new = {**block, **changes.get("options", {}).get(kind, {})}
        if other := changes.get(kind):
            new = other if other["kind"] in ("conv", "isolated") else {"num_heads": heads, **other}
        if kind == "group" and "groups" in changes:
            new["num_groups"] = next(counts) * largest // 64
        blocks.append(dict(new))
    arguments = {"stride": changes["stride"]} if "stride" in changes else {}
    return arguments if not changes.keys() - {"stride"} else {**arguments, "blocks": tuple(blocks)}
