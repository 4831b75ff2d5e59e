"""Published accuracy against measured time: the picture of `studies.peers`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from studies.charts import COLOURS, chart, save_chart
from studies.tables.table import ResultTable

_MARKERS = "osD^vPX*"


def draw_peers(table: ResultTable, directory: str | Path) -> list[Path]:
    """Draw accuracy against time per image, one panel a size, and write it as ``peers.png`` and ``peers.svg``.

    Models without a published accuracy, or that were not timed, are left out.

    Args:
        table: As `measure_peers` makes it.
        directory: Folder to write into; made if absent.
    """
    sizes = list(dict.fromkeys(row["size"] for row in table.rows))
    kernels = list(dict.fromkeys(row["kernels"] for row in table.rows))
    with chart(1 + 3.6 * len(sizes), 0.6 + 3.4 * len(kernels)) as figure:
        axes = figure.subplots(len(kernels), len(sizes), sharey=True, squeeze=False)
        for line, kind in zip(axes, kernels, strict=True):
            for axis, size in zip(line, sizes, strict=True):
                rows = [row for row in table.rows if (row["size"], row["kernels"]) == (size, kind)]
                _draw_panel(axis, rows)
                axis.set_title(size if len(kernels) == 1 else f"{size}, {kind}")
            line[0].set_ylabel("published ImageNet top-1 at 224x224 (%)")
        for axis in axes[-1]:
            axis.set_xlabel("ms per image (log)")
        return save_chart(figure, directory, table.name)


def _draw_panel(axis: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    families: dict[str, list[tuple[float, float, str]]] = {}
    for row in rows:
        if row["top1"] is not None and row.get("images_per_second") is not None:
            point = (1e3 / row["images_per_second"], row["top1"], row["model"])
            families.setdefault(row["model"].partition("-")[0], []).append(point)
    for i, points in enumerate(families.values()):
        milliseconds, accuracies, _ = zip(*points, strict=True)
        colour, marker = COLOURS[i % len(COLOURS)], _MARKERS[i % len(_MARKERS)]
        axis.plot(milliseconds, accuracies, color=colour, marker=marker, markersize=5, linewidth=1.2)
        for x, y, label in points:
            # GPViT's labels stand right of its points and all others left of theirs: Swin-B and L2 are neighbours.
            offset, side = ((5, -9), "left") if label.startswith("GPViT") else ((-5, 3), "right")
            axis.annotate(label, (x, y), offset, textcoords="offset points", ha=side, color=colour, fontsize=7.5)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.margins(x=0.36, y=0.08)
