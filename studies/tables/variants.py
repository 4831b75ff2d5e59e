"""Table 1: the sizes of GPViT."""

import inspect
from collections.abc import Iterable
from typing import Any

import timm
import torch
from torch import nn

from gpvit.models.backbone import GPViT
from gpvit.models.variants import VARIANTS
from gpvit.zoo.catalog import MODELS
from studies.tables.model_rows import explain
from studies.tables.table import Column, ResultTable

_COLUMNS = (
    Column("model", "model"),
    Column("origin", "from"),
    Column("channels", "channels"),
    Column("blocks", "blocks"),
    Column("group_tokens", "group tokens"),
    Column("heads", "heads, local / group"),
    Column("stem_convs", "stem's 3x3"),
    Column("pooling", "pooling"),
    Column("backbone_m", "M params, backbone", 3),
    Column("pooled_m", "with pool", 3),
    Column("params_m", "with classifier", 3),
    Column("published_params_m", "published"),
    Column("remark", "published is"),
)


def variants_table(quick: bool = False) -> ResultTable:
    """Describe every size, from its arguments and from the model that they make.

    Args:
        quick: Describe the smallest of the paper's alone.
    """
    return ResultTable(
        "table_1",
        "Table 1: the sizes of GPViT",
        _COLUMNS,
        [_row(name) for name in (["gpvit_l1"] if quick else VARIANTS)],
        [
            "All blocks work on tokens of 8x8 pixels; a group propagation block stands in the middle of each three."
            " Heads: of a local block, both stripe directions together, and of a group propagation block."
            " Stem's 3x3: convolutions beside the first and the last. M params: millions of parameters, for 1000"
            " classes.",
            "Sizes from `ours` are this package's, made for CPUs. The published parameters are the README's: cut off"
            " after one decimal, and of different parts of the models, as the last column says.",
        ],
    )


def _row(name: str) -> dict[str, Any]:
    defaults = {p.name: p.default for p in inspect.signature(GPViT).parameters.values()}
    arguments = {**defaults, **VARIANTS[name]}
    blocks = {kind: [b for b in arguments["blocks"] if b["kind"] == kind] for kind in ("local", "group")}
    with torch.device("meta"):
        model: Any = timm.create_model(name)
    pool, head = _parameters(model.pool), _parameters(model.head)
    whole = _parameters(model)
    counts = {"backbone": (whole - head - pool) / 1e6, "with pool": (whole - head) / 1e6, "whole": whole / 1e6}
    published = MODELS[name].published_params_m
    return {
        "model": name,
        "origin": MODELS[name].origin,
        "channels": arguments["embed_dim"],
        "blocks": f"{len(blocks['local'])} local, {len(blocks['group'])} group",
        "group_tokens": "-".join(str(block["num_groups"]) for block in blocks["group"]),
        "heads": " / ".join(_once(block["num_heads"] for block in blocks[kind]) for kind in ("local", "group")),
        "stem_convs": arguments["stem_convs"],
        "pooling": f"attention, {model.pool_heads} heads" if model.global_pool == "attn" else "average",
        "backbone_m": counts["backbone"],
        "pooled_m": counts["with pool"],
        "params_m": counts["whole"],
        "published_params_m": published,
        "remark": explain(published, counts),
    }


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _once(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in dict.fromkeys(values))
