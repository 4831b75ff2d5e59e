"""Where GPViT stands: the paper's Figure 2 and tables beside what came since, against parameters and MACs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from studies.published import load_published
from studies.report import COLOURS, Column, ResultTable
from studies.tables import build_table, other_rows


@dataclass(frozen=True)
class Task:
    """What networks are scored in: a column of a table, in the rows of one head if it has several."""

    number: str
    score: str
    head: str = ""


TASKS = {
    "ImageNet-1k, top-1": Task("2", "top1"),
    "Mask R-CNN 1x, box AP": Task("3", "box_1x"),
    "UPerNet, mIoU": Task("5", "miou", "UPerNet"),
    "Mask R-CNN 3x, box AP": Task("3", "box_3x"),
    "RetinaNet 1x, box AP": Task("4", "box_1x"),
    "RetinaNet 3x, box AP": Task("4", "box_3x"),
    "SegFormer, mIoU": Task("5", "miou", "SegFormer"),
}
"""By what they are called; the first three are drawn."""

ONE_RESOLUTION = ("GPViT", "DeiT", "DeiT III", "PlainMamba", "ViT-5", "ViT-Adapter", "VRWKV")
"""Networks whose tokens keep one resolution from the first block to the last."""

COSTS = {"params_m": "parameters in millions (log)", "gmacs": "GMACs of an image (log)"}

_NAMED = {
    "Swin",
    "ConvNeXt",
    "CSWin",
}  # of those before GPViT that have several resolutions; the chart has no room for all


def stands_table(quick: bool = False) -> ResultTable:
    """Set published scores side by side, task by task, from the lowest to the highest.

    Args:
        quick: Take a few rows of the smallest models, for a first look.

    Returns:
        A row for each task and network with a score: its size, counted where this package or timm has the network and
        else published, and which GPViTs score no higher though they have no less of it.
    """
    found = {number: list(build_table(number, quick).rows) for number in "2345"}
    found["2"] += other_rows("peers", (224, 224), quick)
    for number in found:
        head = {"head": "UPerNet"} if number == "5" else {}
        found[number] += [head | row for row in other_rows(f"since{number}", (224, 224), quick)]
    rows: list[dict[str, Any]] = []
    for title, task in TASKS.items():
        scored = [
            _row(title, row, row[task.score])
            for row in found[task.number]
            if row.get(task.score) is not None and (row.get("head") or "").startswith(task.head)
        ]
        own = [row for row in scored if family(row["model"]) == "GPViT"]
        rows += [
            row | {f"matches_{cost}": ", ".join(_matched(row, own, cost)) for cost in COSTS}
            for row in sorted(scored, key=lambda row: row["score"])
        ]
    columns = [
        *(Column("task", "task"), Column("model", "network"), Column("form", "resolutions")),
        *(Column("params_m", "M params", 1), Column("gmacs", "GMACs", 1), Column("score", "score (%)", 1)),
        *(Column("matches_params_m", "matches, with no more parameters"), Column("matches_gmacs", "with no more MACs")),
        Column("remark", "source; remark"),
    ]
    notes = [
        "Scores are published ones: nothing was trained or scored here. All networks saw the labels of ImageNet-1k"
        " alone before they were fine-tuned. Box AP: after 12 epochs (1x), or 36 of several scales (3x); mIoU: of"
        " one scale.",
        "M params, millions of parameters, and GMACs, billions of multiply-accumulates of an image (224x224; of"
        " detectors 800x1280, of UPerNet 512x2048, of SegFormer 512x512), are counted where this package or timm has"
        " the network, and else published. Of empty cells no copy was found; they are not drawn. Resolutions: one,"
        " where tokens keep it from the first block to the last, as GPViT's do at a stride of 8 and others' at 16,"
        " or several.",
        "Matches: the GPViTs that score no higher, though they have at least as many parameters, or MACs.",
        load_published().legend(row["remark"] for row in rows),
    ]
    return ResultTable("stands", "Where GPViT stands", columns, rows, notes)


def family(model: str) -> str:
    """Return a network's name without its size."""
    return model.rpartition("-")[0] or model


def _row(task: str, row: Mapping[str, Any], score: float) -> dict[str, Any]:
    own = "gpvit" in row["model"]
    name, remark = (f"GPViT-L{row['model'][-1]}", "readme") if own else (row["model"], row["remark"])
    sizes = {cost: row.get(cost, row.get(f"published_{cost}")) for cost in COSTS}
    form = "one" if family(name) in ONE_RESOLUTION else "several"
    return {"task": task, "model": name, "form": form, **sizes, "score": score, "remark": remark}


def _matched(row: Mapping[str, Any], own: Sequence[Mapping[str, Any]], cost: str) -> list[str]:
    """Name the GPViTs that score no higher though they cost no less."""
    if row in own or row[cost] is None:
        return []
    return [each["model"][-2:] for each in own if each["score"] <= row["score"] and each[cost] >= row[cost]]


def draw_stands(figure: Figure, table: ResultTable) -> None:
    """Draw the first three tasks, a column each, against parameters above and multiply-accumulates below."""
    figure.set_size_inches(14, 10)
    tasks = list(TASKS)[:3]
    panels = figure.subplots(2, len(tasks), sharey="col", width_ratios=(1.5, 1, 1))
    for line, cost in zip(panels, COSTS, strict=True):
        for axis, task in zip(line, tasks, strict=True):
            _draw_panel(axis, [row for row in table.rows if row["task"] == task and row[cost]], cost)
            axis.set(xlabel=COSTS[cost], ylabel=f"{task} (%)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    kinds = dict(sorted(zip(labels, handles, strict=True), key=lambda kind: kind[0]))
    figure.legend(kinds.values(), kinds, loc="outside lower center", ncols=len(kinds))


def _draw_panel(axis: Axes, rows: Sequence[Mapping[str, Any]], cost: str) -> None:
    later = {family(label) for number in "2345" for label in load_published().rows(f"since{number}")}
    labels = []
    for name in dict.fromkeys(family(row["model"]) for row in rows):
        members = [row for row in rows if family(row["model"]) == name]
        x, y = zip(*sorted((row[cost], row["score"]) for row in members), strict=True)
        own, one, since = name == "GPViT", members[0]["form"] == "one", name in later
        kind = "GPViT" if own else f"{members[0]['form']} resolution{'s' * (not one)}, {'since' if since else 'before'}"
        colour = COLOURS[0] if own else COLOURS[4] if not since else COLOURS[1] if one else COLOURS[2]
        style: dict[str, Any] = {
            "color": colour,
            "marker": "*" if own else "o" if one else "s",
            "zorder": 4 if own else 2,
        }
        style |= {"markersize": 11 if own else 5, "markerfacecolor": colour if one else "white"}
        axis.plot(x, y, label=kind, linewidth=2 if own else 0.8, **style)
        if own:
            for row in members:
                _write(axis, row["model"][-2:], (row[cost], row["score"]), (6, -9), color=colour, fontsize=11, zorder=5)
        elif one or since or name in _NAMED:
            labels.append((y[-1], x[-1], name, colour))
    axis.set_xscale("log")
    axis.margins(x=0.2, y=0.06)
    _write_labels(axis, sorted(labels))
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 2, 3, 5, 7)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.xaxis.set_minor_locator(NullLocator())


def _write_labels(axis: Axes, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names right of their points, lowest first, moved apart where they would cover each other."""
    bottom, top = axis.get_ylim()
    gap, heights = 0.034 * (top - bottom), [y for y, *_ in labels]
    pairs = [(i, j) for i, j in combinations(range(len(labels)), 2) if abs(math.log(labels[i][1] / labels[j][1])) < 0.7]
    for _ in range(200):
        for i, j in pairs:
            push = max(0.0, gap - heights[j] + heights[i]) / 2
            heights[i], heights[j] = heights[i] - push, heights[j] + push
    for height, (_, x, name, colour) in zip(heights, labels, strict=True):
        _write(axis, name, (x, height), (6, 0), color=colour, fontsize=8, zorder=3)
    axis.set_ylim(bottom, top)


def _write(axis: Axes, text: str, point: tuple[float, float], offset: tuple[float, float], **style: Any) -> None:
    halo = [withStroke(linewidth=1.5, foreground="white", alpha=0.8)]
    axis.annotate(text, point, offset, textcoords="offset points", va="center", path_effects=halo, **style)
