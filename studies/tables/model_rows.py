"""The paper's models and others' beside what is published of them: columns, rows and how the figures relate."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from gpvit.profile.cost import Cost
from gpvit.zoo.catalog import MODELS, split_system
from studies.tables.counting import CONVENTION, COUNTED, count_by_name, counted_cells
from studies.tables.published import load_published
from studies.tables.table import Column

MODEL = Column("model", "model")
_PARAMS, *_GMACS = COUNTED
COSTS = (_PARAMS, Column("published_params_m", "published"), *_GMACS, Column("published_gmacs", "published"))
REMARK = Column("remark", "source; remark")

NOTES = (
    f"{CONVENTION} A `published` column holds the published figure for what stands left of it (the paper calls a"
    " multiply-accumulate a FLOP), and all scores are published ones: nothing was trained or scored here. An empty"
    " cell is a figure that was not found, or a model that neither this package nor timm has.",
    "Remarks on GPViT say which of our counts a published figure is, and whether it was cut off in place of rounded;"
    " the reasons stand in docs/paper-vs-code.md. Of GPViT's published MACs, those of L1 and L2 alone were found.",
)


def paper_models(system: str = "", quick: bool = False) -> list[str]:
    """Name the paper's models.

    Args:
        system: ``"mask_rcnn"`` and the like; empty for the classifiers.
        quick: Name the smallest alone.
    """
    names = [name for name, entry in MODELS.items() if entry.origin == "paper" and split_system(name)[0] == system]
    return names[:1] if quick else names


def own_row(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Count a model of the catalog and say how the published figures relate to that; scores are the caller's to add.

    Args:
        name: Of the catalog.
        size: Image height and width in pixels.
    """
    entry = MODELS[name]
    cost = count_by_name(name, size)
    cells: dict[str, Any] = {"model": name, **counted_cells(cost)}
    remarks = ["readme", f"params: {explain(entry.published_params_m, _parts(cost))}"]
    if entry.published_gmacs is not None:
        macs = {"without attention": cells["gmacs_without_attention"], "with attention": cells["gmacs"]}
        remarks += ["paper", f"GMACs: {explain(entry.published_gmacs, macs)}"]
    published = {"published_params_m": entry.published_params_m, "published_gmacs": entry.published_gmacs}
    return {**cells, **published, "remark": "; ".join(remarks)}


def other_rows(section: str, size: tuple[int, int], quick: bool = False) -> list[dict[str, Any]]:
    """Make the rows of other authors' models, counted where this package or timm has them.

    Args:
        section: Of the published figures.
        size: Image height and width in pixels.
        quick: Make the first row alone.
    """
    names = {"params": "published_params_m", "gmacs": "published_gmacs"}
    rows = []
    for label, row in list(load_published().rows(section).items())[: 1 if quick else None]:
        cells = {names.get(key, key): figure for key, figure in row.figures.items()}
        counted = counted_cells(count_by_name(row.model, size)) if row.model else {}
        rows.append({"model": label, **counted, **cells, "remark": "; ".join(filter(None, [row.source, row.note]))})
    return rows


def legend(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write a sentence that says what the sources are that the rows' remarks name."""
    named = {word for row in rows for word in row["remark"].split("; ")}
    sources = load_published().sources
    return "Sources: " + "; ".join(f"`{name}`, {text}" for name, text in sources.items() if name in named) + "."


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


def _parts(cost: Cost) -> dict[str, float]:
    """Return the parameters, in millions, that a published figure may count."""
    whole = cost.parameters / 1e6
    parts = {row.part: row.parameters / 1e6 for row in cost.rows}
    if "stem" not in parts:  # a system on a backbone
        return {"whole": whole}
    pooled = whole - parts["head"]
    return {"backbone": pooled - parts.get("pool", 0), "backbone and pool": pooled, "whole": whole}
