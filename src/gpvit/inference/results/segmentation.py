"""What a segmenter says about one image."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from gpvit.data.images import ImageSource
from gpvit.errors import UserError
from gpvit.inference.figures import new_figure, save_figure
from gpvit.inference.results.base import Sourced
from gpvit.io import replacing

_ALPHA = 0.55  # of the colours over the picture
_HEIGHT_IN = 3.4  # of the figure, unless the legend needs more
_LEGEND_IN = 3.1  # width of the legend, in inches
_ROW_IN = 0.23  # height of a row of the legend
_LONGEST_LEGEND = 24  # rows
_LONGEST_NAME = 24  # letters
_LONGEST_SIDE = 1536  # pixels of the picture as shown
_PALETTE_SIZE = 256


class ClassArea(NamedTuple):
    """One class and how much of the image it covers."""

    class_name: str
    class_index: int
    pixels: int
    share: float


@dataclass(frozen=True, eq=False, repr=False)
class SegmentationResult(Sourced):
    """The class of each pixel of one image.

    Args:
        labels: ``(height, width)`` of the image, class indices; uint8, or int32 for more than 255 classes.
        class_names: Names of the classes, in the order of their indices.
        colors: One RGB colour, 0 to 255, per class.
        source: The image as it was given: a path, PIL image, array or tensor.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    source: ImageSource

    def areas(self) -> list[ClassArea]:
        """Return the classes in the image, the largest first.

        Example:
            >>> result.areas()[0]
            ClassArea(class_name='sky', class_index=2, pixels=81920, share=0.4)
        """
        present = np.flatnonzero(self._pixels)
        largest_first = present[np.argsort(-self._pixels[present], kind="stable")]
        return [
            ClassArea(self.class_names[index], index, pixels, pixels / self.labels.size)
            for index, pixels in zip(largest_first.tolist(), self._pixels[largest_first].tolist(), strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the path, if the source is one, the image's size, and the classes in it."""
        height, width = self.labels.shape
        areas = [area._asdict() for area in self.areas()]
        return {"source": self.path, "width": width, "height": height, "areas": areas}

    def overlay(self, alpha: float = _ALPHA) -> Image.Image:
        """Lay the classes' colours over the image in gray, at its own size; all colour then tells a class.

        Args:
            alpha: Share of the colours, in [0, 1]; the rest shows the image.

        Raises:
            ValueError: If ``alpha`` is out of range, or the source is no longer the image that was labelled.
        """
        if not 0 <= alpha <= 1:
            raise UserError(f"alpha {alpha}: give a share from 0, the gray image alone, to 1, the colours alone")
        image = self.image_of_size(*self.labels.shape)
        colors = Image.fromarray(np.array(self.colors, np.uint8)[self.labels])
        return Image.blend(image.convert("L").convert("RGB"), colors, alpha)

    def figure(self, alpha: float = _ALPHA) -> Figure:
        """Show the overlay and, beside it, the classes in the image with their colours and shares.

        Args:
            alpha: Share of the colours, in [0, 1].
        """
        overlay = self.overlay(alpha)
        overlay.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        rows = _legend_rows(self.areas())
        height = max(_HEIGHT_IN, (len(rows) + 1) * _ROW_IN)
        width = height * min(max(overlay.width / overlay.height, 0.5), 2.5)
        figure = new_figure(width + _LEGEND_IN, height)
        picture, legend = figure.subplots(1, 2, width_ratios=[width, _LEGEND_IN])
        picture.imshow(overlay)
        picture.axis("off")
        self._draw_legend(legend, rows, height)
        return figure

    def save(self, path: str | Path, alpha: float = _ALPHA) -> None:
        """Write the figure, whole or not at all; the ending of the name chooses the format.

        Args:
            path: Where to write, as ``street_predicted.png``.
            alpha: Share of the colours, in [0, 1].
        """
        save_figure(self.figure(alpha), path)

    def save_labels(self, path: str | Path) -> None:
        """Write the labels as a PNG whose pixel values are the class indices, whole or not at all.

        Up to 256 classes, the file has the classes' colours as its palette; above that, it is gray of 16 bits.

        Args:
            path: Where to write, as ``street_labels.png``.

        Raises:
            ValueError: If the name does not end in ``.png``; other formats may change the labels.
        """
        if Path(path).suffix.lower() != ".png":
            raise UserError(f"{path}: labels are written as PNG, which keeps them exactly; end the name in .png")
        if len(self.class_names) <= _PALETTE_SIZE:
            image = Image.fromarray(self.labels.astype(np.uint8))
            image.putpalette([value for color in self.colors for value in color])
        else:
            image = Image.fromarray(self.labels.astype(np.uint16))
        with replacing(path) as temporary:
            image.save(temporary)

    @cached_property
    def _pixels(self) -> np.ndarray:
        """How many pixels each class has, ``(num_classes,)``."""
        return np.bincount(self.labels.ravel(), minlength=len(self.class_names))

    def _draw_legend(self, axes: Axes, rows: list[ClassArea], height: float) -> None:
        for row, (name, index, _, share) in enumerate(rows):
            color = "white" if index < 0 else tuple(value / 255 for value in self.colors[index])
            axes.add_patch(
                Rectangle((0, row + 0.14), 0.22, 0.72, facecolor=color, edgecolor="#00000030", linewidth=0.5)
            )
            axes.text(0.32, row + 0.5, _shortened(name), va="center", fontsize=9, parse_math=False)
            axes.text(_LEGEND_IN, row + 0.5, _percent(share), va="center", ha="right", fontsize=9, weight="bold")
        axes.set(xlim=(0, _LEGEND_IN), ylim=(height / _ROW_IN, 0))
        axes.axis("off")

    def __repr__(self) -> str:
        height, width = self.labels.shape
        largest = ", ".join(f"{name} {_percent(share)}" for name, _, _, share in self.areas()[:3])
        return f"SegmentationResult({self.source_name}, {width} x {height}: {largest})"


def _legend_rows(areas: list[ClassArea]) -> list[ClassArea]:
    """Take the smallest classes together, without an index of their own, where there are too many for a legend."""
    if len(areas) <= _LONGEST_LEGEND:
        return areas
    shown, rest = areas[: _LONGEST_LEGEND - 1], areas[_LONGEST_LEGEND - 1 :]
    pixels, share = sum(area.pixels for area in rest), sum(area.share for area in rest)
    return [*shown, ClassArea(f"{len(rest)} more classes", -1, pixels, share)]


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
