"""Figures as files: never half written, never over another picture's."""

from collections import Counter
from collections.abc import Sequence
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


def picture_names(sources: Sequence[Path], suffix: str) -> list[str]:
    """Name a PNG for each image file: its name with a suffix, and a number where several files share one.

    Args:
        sources: Image files.
        suffix: What tells the picture from the image, as ``"_groups"``.

    Example:
        >>> picture_names([Path("a/cat.jpg"), Path("b/cat.png"), Path("dog.jpg")], "_groups")
        ['cat_groups.png', 'cat_groups-2.png', 'dog_groups.png']
    """
    seen: Counter[str] = Counter()
    names = []
    for source in sources:
        stem = source.stem.lower()  # some file systems take Cat and cat for one
        seen[stem] += 1
        number = f"-{seen[stem]}" if seen[stem] > 1 else ""
        names.append(f"{source.stem}{suffix}{number}.png")
    return names
