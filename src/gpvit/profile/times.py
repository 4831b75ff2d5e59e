"""Where the milliseconds of a model go: each part's time in forward passes, by hooks around its modules."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch import nn
from torch.utils.benchmark import timer

from gpvit.errors import UserError
from gpvit.io import replacing
from gpvit.profile.cost import parts_of

_MOST_BARS = 40


@dataclass(frozen=True)
class TimeRow:
    """The time of one part; `(own)` is what a module does outside its listed parts."""

    part: str
    milliseconds: float
    share: float  # of the whole


@dataclass(frozen=True)
class Times:
    """Medians of several forward passes: a row for each part, and the whole."""

    rows: tuple[TimeRow, ...]
    milliseconds: float
    rounds: int

    def table(self, title: str) -> Table:
        """Return the rows and the whole as a table to print."""
        table = Table("part", title=title, show_footer=True)
        table.columns[0].footer = "whole"
        table.add_column("ms", f"{self.milliseconds:.2f}", justify="right")
        table.add_column("share", "100.0 %", justify="right")
        for row in self.rows:
            table.add_row(row.part, f"{row.milliseconds:.2f}", f"{row.share:.1%}".replace("%", " %"))
        return table

    def save(self, path: str | Path, title: str) -> None:
        """Draw the rows as bars, in the order of the network, as .png, .svg or .pdf."""
        if Path(path).suffix not in (".png", ".svg", ".pdf"):
            raise UserError(f"{path}: pictures are written as .png, .svg or .pdf")
        rows = self.rows[:_MOST_BARS]
        figure = Figure((7, 1 + 0.27 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        bars = axes.barh([row.part for row in rows], [row.milliseconds for row in rows], color="#3f7fd8")
        axes.bar_label(bars, [f"{row.share:.1%}" for row in rows], padding=3, fontsize=8)
        axes.set(title=title, xlabel="ms")
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=150)


def time_parts(
    model: nn.Module, images: torch.Tensor, depth: int = 1, rounds: int = 5, run: Callable[[Any], object] | None = None
) -> Times:
    """Time the parts of a model in evaluation mode.

    On a GPU the clock waits for every part, so that the whole takes longer than without. A part that is not entered by
    its call counts as its parent's own.

    Args:
        model: Any module.
        images: Its input, ``(B, C, H, W)``, on its device.
        depth: Levels of submodules that are listed; a list or sequence of modules is no level of its own.
        rounds: Timed passes, after one that is not.
        run: What to call with the images, if it is not the model.
    """
    if depth < 1 or rounds < 1:
        raise UserError(f"depth {depth} and rounds {rounds}: give 1 or more of each")
    parts = [(name, module) for name, module in parts_of(model, depth) if name]
    passes: list[dict[str, float]] = []
    with ExitStack() as hooks, torch.inference_mode():
        spent: dict[str, float] = defaultdict(float)
        starts: dict[str, list[float]] = defaultdict(list)
        for name, module in parts:

            def before(*_: Any, name: str = name) -> None:
                starts[name].append(timer())

            def after(*_: Any, name: str = name) -> None:
                spent[name] += timer() - starts[name].pop()

            hooks.callback(module.register_forward_pre_hook(before).remove)
            hooks.callback(module.register_forward_hook(after, always_call=True).remove)
        for _ in range(rounds + 1):
            spent.clear()
            start = timer()
            (run or model.eval())(images)
            passes.append({**spent, "": timer() - start})
    whole = median(each[""] for each in passes[1:])
    called = [name for name, _ in parts if name in passes[-1]]  # lists are not
    rows = []
    for name in [*called, ""]:
        inside = [other for other in called if other.startswith(name and f"{name}.") and other != name]
        top = [other for other in inside if not any(other.startswith(f"{outer}.") for outer in inside)]
        own = median(each.get(name, 0.0) - sum(each.get(other, 0.0) for other in top) for each in passes[1:])
        label = ".".join(filter(None, [name, "(own)"])) if top or not name else name
        if own >= 5e-6:
            rows.append(TimeRow(label, round(1e3 * own, 3), round(own / whole, 4)))
    return Times(tuple(rows), round(1e3 * whole, 3), rounds)
