"""The paper's tables 1 to 9, counted again: our figures beside the published ones. What they show is in tables.yaml."""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import timm
import torch
import yaml
from torch import nn

import gpvit
from gpvit.errors import UserError
from gpvit.models.backbone import GPViT
from gpvit.models.variants import VARIANTS
from gpvit.profile.cost import Cost, profile_model
from gpvit.profile.workload import create_for_size
from gpvit.zoo.catalog import MODELS, split_system
from studies.ablations import Ablation, ablations
from studies.published import load_published
from studies.report import Column, ResultTable

COUNTED = (
    Column("params_m", "M params", 2),
    Column("gmacs", "GMACs", 2),
    Column("gmacs_without_attention", "without attention", 2),
)
COSTS = (
    COUNTED[0],
    Column("published_params_m", "published"),
    *COUNTED[1:],
    Column("published_gmacs", "published"),
)
_CONVENTION = (
    "Counted here: M params, millions of parameters; GMACs, billions of multiply-accumulates of one image in"
    " convolutions, linear layers and attention's products (query with key, weights with values); without attention,"
    " the same without those products."
)
_NOTES = (
    f"{_CONVENTION} A `published` column holds the published figure for what stands left of it (the paper calls a"
    " multiply-accumulate a FLOP), and all scores are published ones: nothing was trained or scored here. An empty"
    " cell is a figure that was not found, or a model that neither this package nor timm has.",
    "Remarks on GPViT say which of our counts a published figure is, and whether it was cut off in place of rounded;"
    " the reasons stand in docs/paper-vs-code.md. Of GPViT's published MACs, those of L1 and L2 alone were found.",
)
_SYSTEMS, _ABLATIONS = ("2", "3", "4", "5"), ("6", "7", "8", "9", "design")
COUNTED_TABLES = ("1", *_SYSTEMS, *_ABLATIONS)
"""The tables whose figures are the same on every machine."""


def build_table(number: int | str, quick: bool = False) -> ResultTable:
    """Build one of the paper's tables 1 to 9, or ``"design"``: what else the released code chose.

    Args:
        number: Of the table.
        quick: Build a few rows of the smallest models, for a first look.

    Raises:
        ValueError: If there is no such table.
    """
    name = str(number)
    if name not in COUNTED_TABLES:
        raise UserError(f"no table {name!r}; choose 1 to 10, or design")
    build = _variants_table if name == "1" else _system_table if name in _SYSTEMS else _ablation_table
    columns, rows, notes = build(name, quick)
    title = "Table 1: the sizes of GPViT" if name == "1" else _specs()[name]["title"]
    command = f"python -m studies table {name}{' --quick' if quick else ''}"
    return ResultTable(f"table_{name}", title, columns, rows, notes, command)


@cache
def _specs() -> dict[str, Any]:
    return yaml.safe_load(Path(__file__).with_name("tables.yaml").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


_Parts = tuple[list[Column], list[dict[str, Any]], list[str]]


def count(build: Callable[[], nn.Module], size: tuple[int, int]) -> Cost:
    """Count a model for images of a height and width, without giving it memory."""
    with torch.device("meta"):
        model = build()
    return profile_model(model, size)


def count_by_name(name: str, size: tuple[int, int]) -> Cost:
    """Count a model of this package or of timm for images of a height and width."""
    return count(partial(create_for_size, name, size), size)


def counted_cells(cost: Cost) -> dict[str, Any]:
    """Return the cells of the columns ``COUNTED``."""
    macs = {"gmacs": cost.macs / 1e9, "gmacs_without_attention": cost.macs_without_attention / 1e9}
    return {"params_m": cost.parameters / 1e6, **macs}


def _system_table(number: str, quick: bool) -> _Parts:
    """Count the paper's models, and others where timm has them, beside what is published of them."""
    spec, published = _specs()[number], load_published()
    rows: list[dict[str, Any]] = []
    for part in spec["parts"]:
        size = tuple(part["size"])
        found = [own_row(name, size) for name in paper_models(part["system"], quick)]
        for row in found:
            weights = MODELS[row["model"]].weights
            row |= {key: weights[tag].metrics[metric] for key, (tag, metric, _) in spec["scores"].items()}
        rows += [{"head": part.get("head"), **row} for row in (*found, *other_rows(part["others"], size, quick))]
    columns = [Column("model", "model"), Column("head", "head, image"), *COSTS]
    columns = [column for column in columns if any(row.get(column.key) is not None for row in rows)]
    columns += [Column(key, header) for key, (*_, header) in spec["scores"].items()]
    again = {name: row for name, row in published.rows("remeasured").items() if "top1" in row.figures}
    texts = {"remeasured": ", ".join(f"{name} {row.figures['top1']:.2f}" for name, row in again.items())}
    remarks = [row["remark"] for row in rows] + [row.source for row in again.values() if number == "2"]
    notes = [*_NOTES, *(note.format(**texts) for note in spec["notes"]), published.legend(remarks)]
    return [*columns, Column("remark", "source; remark")], rows, notes


def paper_models(system: str = "", quick: bool = False) -> list[str]:
    """Name the paper's models of a system, as ``"mask_rcnn"``, empty for classifiers; `quick` the smallest alone."""
    names = [name for name, entry in MODELS.items() if entry.origin == "paper" and split_system(name)[0] == system]
    return names[:1] if quick else names


def own_row(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Count a model of the catalog for an image size, and say how the published figures relate to that."""
    entry, cost = MODELS[name], count_by_name(name, size)
    cells, whole = counted_cells(cost), cost.parameters / 1e6
    parts, counts = {row.part: row.parameters / 1e6 for row in cost.rows}, {"whole": whole}
    if "stem" in parts:  # a backbone alone
        pooled = whole - parts["head"]
        counts = {"backbone": pooled - parts.get("pool", 0), "backbone and pool": pooled, **counts}
    remarks = ["readme", f"params: {explain(entry.published_params_m, counts)}"]
    if entry.published_gmacs is not None:
        macs = {"without attention": cells["gmacs_without_attention"], "with attention": cells["gmacs"]}
        remarks += ["paper", f"GMACs: {explain(entry.published_gmacs, macs)}"]
    published = {"published_params_m": entry.published_params_m, "published_gmacs": entry.published_gmacs}
    return {"model": name, **cells, **published, "remark": "; ".join(remarks)}


def other_rows(section: str, size: tuple[int, int], quick: bool = False) -> list[dict[str, Any]]:
    """Make the rows of other authors' models, counted where this package or timm has them."""
    names = {"params": "published_params_m", "gmacs": "published_gmacs"}
    rows = []
    for label, row in list(load_published().rows(section).items())[: 1 if quick else None]:
        counted = counted_cells(count_by_name(row.model, size)) if row.model else {}
        cells = {names.get(key, key): figure for key, figure in row.figures.items()}
        rows.append({"model": label, **counted, **cells, "remark": row.remark})
    return rows


def explain(published: float | None, counts: Mapping[str, float]) -> str:
    """Say which of our counts a published figure is, and whether its digits were cut off.

    Args:
        published: The figure, with the decimals that were printed; None gives no words.
        counts: Our counts in the same unit, by what they are called.

    Example:
        >>> explain(9.3, {"whole": 9.59, "backbone": 9.39})
        'backbone, truncated'
    """
    if published is None:
        return ""
    scale: int = 10 ** len(str(published).partition(".")[2])
    target = round(published * scale)
    for name, value in counts.items():
        cut, rounded = math.floor(value * scale) == target, round(value * scale) == target
        if cut or rounded:
            return name if cut and rounded else f"{name}, {'truncated' if cut else 'rounded up'}"
    return "no count of ours"


def _ablation_table(number: str, quick: bool) -> _Parts:
    """Count the networks of an ablation as classifiers and, those of Tables 6 and 7, as SegFormers too."""
    spec, published = _specs()[number], load_published()
    backbone, segformer = "gpvit_nano" if quick else "gpvit_l1", spec.get("segformer", False)
    scores = {"gmacs": "published", "gmacs_ade20k": "published", "top1": "top-1 (%)", "miou": "mIoU (%)"}
    shown = {key: Column(f"published_{key}", scores[key]) for key in spec["published"]}
    columns = [Column("network", f"{backbone} with"), *COUNTED, *filter(None, [shown.pop("gmacs", None)])]
    if segformer:
        columns += [Column(f"{column.key}_ade20k", f"SegFormer's {column.header}", 2) for column in COUNTED[1:]]
    columns += shown.values()
    rows = []
    for row in ablations(number, backbone)[: 2 if quick else None]:
        cells = {"network": row.label, **_counted_ablation(row, segformer)}
        figures: Mapping[str, float | None] = {}
        if row.label == spec["own"] and not quick:
            cells["network"] += f" = {backbone}"
            own, dense = MODELS[backbone], MODELS[f"segformer_{backbone}"]
            figures = {"gmacs": own.published_gmacs, "gmacs_ade20k": dense.published_gmacs}
            figures |= own.weights["in1k"].metrics | dense.weights["ade20k"].metrics
        elif not quick and row.label in published.rows(f"table{number}"):
            figures = published.rows(f"table{number}")[row.label].figures
        rows.append(cells | {f"published_{key}": figure for key, figure in figures.items()})
    dense_note = " SegFormer's: of the same backbone with that head, one image of 512x512, 150 classes."
    notes = [
        f"{_CONVENTION} One image of 224x224, 1000 classes.{dense_note if segformer else ''} The rows are"
        " the arguments of `studies.ablations`."
    ]
    if number != "design":
        notes.append(
            "MACs headed `published` and all scores are the paper's and the README's (top-1 on ImageNet-1k, mIoU on"
            " ADE20K with SegFormer): nothing was trained or scored here. Of empty cells no copy could be found."
        )
    if finding := published.findings.get(f"table{number}"):
        notes.append(f"The paper's text says: {finding}")
    return columns, rows, notes


def _counted_ablation(row: Ablation, segformer: bool) -> dict[str, Any]:
    cells = counted_cells(count(partial(timm.create_model, row.backbone, **row.arguments), (224, 224)))
    if segformer:
        build = partial(gpvit.create_model, f"segformer_{row.backbone}", backbone_kwargs=row.arguments)
        cells |= {f"{key}_ade20k": value for key, value in counted_cells(count(build, (512, 512))).items()}
    return cells


def _variants_table(_: str, quick: bool) -> _Parts:
    """Describe every size of GPViT, from its arguments and from the model that they make."""
    headers = {
        "model": "model",
        "origin": "from",
        "channels": "channels",
        "blocks": "blocks",
        "group_tokens": "group tokens",
        "heads": "heads, local / group",
        "stem_convs": "stem's 3x3",
        "pooling": "pooling",
        "backbone_m": "M params, backbone",
        "pooled_m": "with pool",
        "params_m": "with classifier",
        "published_params_m": "published",
        "remark": "published is",
    }
    columns = [
        Column(key, header, 3 if key in ("backbone_m", "pooled_m", "params_m") else None)
        for key, header in headers.items()
    ]
    notes = [
        "All blocks work on tokens of 8x8 pixels; a group propagation block stands in the middle of each three."
        " Heads: of a local block, both stripe directions together, and of a group propagation block."
        " Stem's 3x3: convolutions beside the first and the last. M params: millions of parameters, for 1000"
        " classes.",
        "Sizes from `ours` are this package's, made for CPUs. The published parameters are the README's: cut off"
        " after one decimal, and of different parts of the models, as the last column says.",
    ]
    return columns, [_variant_row(name) for name in (["gpvit_l1"] if quick else VARIANTS)], notes


def _variant_row(name: str) -> dict[str, Any]:
    arguments = {p.name: p.default for p in inspect.signature(GPViT).parameters.values()} | VARIANTS[name]
    blocks = {kind: [b for b in arguments["blocks"] if b["kind"] == kind] for kind in ("local", "group")}
    with torch.device("meta"):
        model: Any = timm.create_model(name)
    whole, head, pool = (sum(p.numel() for p in part.parameters()) for part in (model, model.head, model.pool))
    counts = {"backbone": (whole - head - pool) / 1e6, "with pool": (whole - head) / 1e6, "whole": whole / 1e6}
    heads = (", ".join(str(n) for n in dict.fromkeys(b["num_heads"] for b in blocks[k])) for k in ("local", "group"))
    published = MODELS[name].published_params_m
    return {
        "model": name,
        "origin": MODELS[name].origin,
        "channels": arguments["embed_dim"],
        "blocks": f"{len(blocks['local'])} local, {len(blocks['group'])} group",
        "group_tokens": "-".join(str(block["num_groups"]) for block in blocks["group"]),
        "heads": " / ".join(heads),
        "stem_convs": arguments["stem_convs"],
        "pooling": f"attention, {model.pool_heads} heads" if model.global_pool == "attn" else "average",
        **dict(zip(("backbone_m", "pooled_m", "params_m"), counts.values(), strict=True)),
        "published_params_m": published,
        "remark": explain(published, counts),
    }
