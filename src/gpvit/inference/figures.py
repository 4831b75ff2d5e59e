"""Matplotlib figures without pyplot's global state, written whole or not at all."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gpvit.io import replacing


def new_figure(width: float, height: float, dpi: float = 150) -> Figure:
    """Create an empty figure, apart from pyplot and its global state.

    Args:
        width: In inches.
        height: In inches.
        dpi: Pixels per inch.
    """
    figure = Figure((width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure, whole or not at all; the ending of the name chooses the format.

    Raises:
        ValueError: If the ending is no format that matplotlib writes; it lists those.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary)
