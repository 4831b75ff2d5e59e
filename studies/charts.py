"""Charts of results in one plain style, as PNG to look at and as SVG to print."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure

from gpvit.inference.figures import new_figure, save_figure

COLOURS = ("#1f5fa8", "#d9662b", "#3a8f5c", "#8a4fa3", "#7a7a7a", "#b8860b", "#c2407a", "#2b9aa8")
"""Of series, told apart also in print and by most of those who see few colours."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gpvit",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.color": "#dddddd",
    "legend.frameon": False,
}


@contextmanager
def chart(width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure in the style of the docs; draw and save it inside of the context.

    Args:
        width: In inches.
        height: In inches.
    """
    with matplotlib.rc_context(_STYLE):
        yield new_figure(width, height)


def save_chart(figure: Figure, directory: str | Path, name: str) -> list[Path]:
    """Write ``NAME.png`` and ``NAME.svg``, replacing earlier ones, and return their paths.

    Args:
        figure: What to write.
        directory: Folder to write into; made if absent.
        name: Of the files, without ending.
    """
    paths = [Path(directory) / f"{name}.{ending}" for ending in ("png", "svg")]
    for path in paths:
        save_figure(figure, path)
    return paths
