"""Figures as files: never half written, never over another picture's."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


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


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path, of the same name, to write to; what was written there then takes the path's place.

    Args:
        path: The file to write; its folder is made where it is missing, and an error leaves the old file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        temporary = Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


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
