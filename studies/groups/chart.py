"""The chart of how well groups agree with objects: a column for each model, a row for each measure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from studies.charts import COLOURS, chart, save_chart
from studies.tables.table import ResultTable

Row = Mapping[str, Any]
"""A row of the table that `studies.groups.agreement.judge` makes."""

MEASURES = {"best_iou": "best IoU", "ari": "ARI", "foreground_ari": "foreground ARI", "recall": "foreground recall"}
"""Fields of `studies.groups.metrics.Agreement` and what readers call them."""

ATTENTIONS = {"grouping": "assignment", "ungrouping": "answering"}
"""What assigns tokens to groups, and the attribute of `gpvit.inference.groups.BlockGroups` that does it."""

WITHOUT_NETWORK = ("squares", "colours")

_COLOUR = dict(zip((*ATTENTIONS, *WITHOUT_NETWORK), (COLOURS[0], COLOURS[1], COLOURS[4], COLOURS[2]), strict=True))


def draw_agreement(table: ResultTable, directory: str | Path) -> list[Path]:
    """Draw the table and write the chart as PNG and SVG, under the table's name.

    Args:
        table: What `studies.groups.agreement.judge` returns.
        directory: Folder to write into; made if absent.

    Returns:
        The files' paths.
    """
    models = list(dict.fromkeys(row["model"] for row in table.rows))
    with chart(1.6 + 2.9 * len(models), 9) as figure:
        panels = figure.subplots(len(MEASURES), len(models), sharex="col", sharey="row", squeeze=False)
        for column, model in enumerate(models):
            rows = [row for row in table.rows if row["model"] == model]
            for line, (key, name) in enumerate(MEASURES.items()):
                _draw_measure(panels[line, column], rows, key)
                panels[line, 0].set_ylabel(f"{name} (%)")
            panels[0, column].set_title(model.replace(" (", "\n("), fontsize=10)
            panels[-1, column].set_xlabel("GP block")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(2 * len(models), 4), fontsize=9)
        return save_chart(figure, directory, table.name)


def _draw_measure(axes: Axes, rows: list[Row], key: str) -> None:
    groups = {row["block"]: row["groups"] for row in rows if row.get("block") is not None}
    places = range(len(groups))
    for attention in ATTENTIONS:
        for weights, face in (("trained", _COLOUR[attention]), ("untrained", "white")):
            chosen = [row for row in rows if (row["assigned"], row.get("weights")) == (attention, weights)]
            axes.errorbar(
                places,
                _values(chosen, key),
                _values(chosen, f"{key}_error"),
                label=f"{attention}, {weights}",
                color=_COLOUR[attention],
                linestyle="-" if weights == "trained" else "--",
                marker="o",
                markerfacecolor=face,
                markersize=5,
                linewidth=1.3,
                capsize=2,
            )
            if f"{key}_chance" in chosen[0] and weights == "trained":
                axes.plot(places, _values(chosen, f"{key}_chance"), ":", color=_COLOUR[attention], linewidth=1.3)
    for name in WITHOUT_NETWORK:
        level = {row["groups"]: row for row in rows if row["assigned"] == name}
        values = _values([level[count] for count in groups.values()], key)
        axes.plot(places, values, "-.", color=_COLOUR[name], linewidth=1.3, label=name)
    if f"{key}_chance" in rows[0]:
        axes.plot([], [], ":", color="black", label="trained, shuffled")
    axes.set_xticks(places, [str(block) for block in groups])


def _values(rows: list[Row], key: str) -> list[float]:
    return [np.nan if row[key] is None else row[key] for row in rows]
