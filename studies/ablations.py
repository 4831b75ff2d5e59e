"""The rows of the paper's ablations as arguments of a backbone (Sec. 4.4, Tables 6 to 9): data, no code of their own.

Where the paper's cells are known only from its text, they stand in the published figures, not here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpvit.models.variants import VARIANTS, layout

Block = Mapping[str, Any]

PAPER_GROUPS = (64, 32, 32, 16)
GROUPS = (PAPER_GROUPS, (16, 16, 16, 16), (32, 32, 32, 32), (64, 64, 64, 64), (16, 32, 32, 64))
"""Group tokens of the four blocks, for a network whose own are the paper's."""


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
        table: 6 (resolution and kind of block), 7 (exchange in the places of group propagation), 8 (number of group
            tokens), 9 (propagation between groups), "design" (what else the released code chose), or what our own
            experiments compare: "exchange" (7 and 9 in one) and "keys" (every exchange beside blocks without
            attention, and two beside local attention).
        backbone: Name of the model that all rows vary.

    Raises:
        ValueError: If there is no such table or model.
    """
    if table not in _TABLES:
        raise ValueError(f"no ablation {table!r}; choose one of {', '.join(map(str, _TABLES))}")
    if backbone not in VARIANTS:
        raise ValueError(f"no GPViT {backbone!r}; choose one of {', '.join(VARIANTS)}")
    return tuple(Ablation(label, backbone, arguments) for label, arguments in _TABLES[table](backbone).items())


def _own_blocks(backbone: str) -> Sequence[Block]:
    blocks: Sequence[Block] = VARIANTS[backbone].get("blocks", layout())
    return blocks


def _replaced(backbone: str, local: Block | None = None, group: Block | None = None) -> dict[str, Any]:
    """Put other blocks into the places of the local and of the group propagation blocks; heads stay as many."""
    blocks = []
    for block in _own_blocks(backbone):
        other = local if block["kind"] == "local" else group
        heads = {} if other is None or other["kind"] in ("conv", "isolated") else {"num_heads": _heads(backbone, other)}
        blocks.append(dict(block) if other is None else {**heads, **other})
    return {"blocks": tuple(blocks)}


def _heads(backbone: str, block: Block) -> int:
    alike = "group" if block["kind"] == "group" else "local"
    return next(int(own["num_heads"]) for own in _own_blocks(backbone) if own["kind"] == alike)


def _varied(backbone: str, kind: str, **options: Any) -> dict[str, Any]:
    """Give all blocks of a kind more options."""
    return {"blocks": tuple({**b, **options} if b["kind"] == kind else dict(b) for b in _own_blocks(backbone))}


WINDOW, GLOBAL, STRIPES = {"kind": "window"}, {"kind": "global"}, {"kind": "local"}
SHIFTED = {"kind": "window", "shift": 3}
PLAIN = {"kind": "global", "dwconv": False}
CONV, ISOLATED = {"kind": "conv"}, {"kind": "isolated"}


def _resolution(backbone: str) -> dict[str, dict[str, Any]]:
    return {
        "global attention, stride 16": {**_replaced(backbone, PLAIN, PLAIN), "stride": 16},
        "global attention, stride 8": _replaced(backbone, PLAIN, PLAIN),
        "windows": _replaced(backbone, WINDOW, WINDOW),
        "windows + GP": _replaced(backbone, WINDOW),
        "LePE stripes": _replaced(backbone, None, STRIPES),
        "LePE stripes + GP": {},
        "LePE stripes + GP, stride 16": {"stride": 16},
    }


def _exchange(backbone: str) -> dict[str, dict[str, Any]]:
    rows = _local_and_exchange(backbone)
    not_in_paper = [label for label in rows if "no local" in label or label == "LePE stripes, shifted windows"]
    return {label: arguments for label, arguments in rows.items() if label not in not_in_paper}


def _local_and_exchange(backbone: str) -> dict[str, dict[str, Any]]:
    kinds = {"none": None, "convolutions": CONV, "global attention": GLOBAL, "shifted windows": SHIFTED}
    rows = {}
    for name, local in (("windows", WINDOW), ("LePE stripes", STRIPES), ("no local attention", ISOLATED)):
        for kind, exchange in kinds.items():
            rows[f"{name}, {kind}"] = _replaced(backbone, local, exchange or local)
        rows[f"{name}, group propagation"] = _replaced(backbone, local)
    return rows


def _exchange_and_propagation(backbone: str) -> dict[str, dict[str, Any]]:
    stripes = {label: arguments for label, arguments in _local_and_exchange(backbone).items() if "stripes" in label}
    rows = {label.removeprefix("LePE stripes, "): stripes[label] for label in stripes if "group" not in label}
    return {**rows, **{f"GP, {label}": arguments for label, arguments in _propagation(backbone).items()}}


def _keys(backbone: str) -> dict[str, dict[str, Any]]:
    rows = _local_and_exchange(backbone)
    labels = [label for label in rows if "no local" in label]
    labels += ["LePE stripes, none", "LePE stripes, group propagation", "windows, none"]
    return {label: rows[label] for label in labels}


def _group_tokens(backbone: str) -> dict[str, dict[str, Any]]:
    largest = max(block.get("num_groups", 0) for block in _own_blocks(backbone))
    rows = {}
    for groups in GROUPS:
        counts = [count * largest // max(PAPER_GROUPS) for count in groups]
        left = iter(counts)
        blocks = ({**b, "num_groups": next(left)} if b["kind"] == "group" else dict(b) for b in _own_blocks(backbone))
        rows["-".join(map(str, counts))] = {"blocks": tuple(blocks)}
    return rows


def _propagation(backbone: str) -> dict[str, dict[str, Any]]:
    labels = {"none": "none", "attention": "self-attention", "mixer": "MLP-Mixer"}
    return {label: _varied(backbone, "group", propagation=kind) for kind, label in labels.items()}


def _design(backbone: str) -> dict[str, dict[str, Any]]:
    return {
        "as published": {},
        "answer added, not fused": _varied(backbone, "group", fusion="residual"),
        "GP without norm and ReLU": _varied(backbone, "group", conv_norm=False),
        "GP without convolution": _varied(backbone, "group", dwconv=False),
        "local blocks without convolution": _varied(backbone, "local", dwconv=False),
        "local blocks without attention": _replaced(backbone, ISOLATED),
    }


_TABLES = {
    6: _resolution,
    7: _exchange,
    8: _group_tokens,
    9: _propagation,
    "design": _design,
    "exchange": _exchange_and_propagation,
    "keys": _keys,
}
