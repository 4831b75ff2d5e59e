"""What a segmenter says about one image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gpvit.data.visualise import overlay_labels, with_legend
from gpvit.errors import UserError
from gpvit.inference.results.base import Result, save_image
from gpvit.runtime.results import LabelMap

_ALPHA = 0.55  # of the colours over the image
_LONGEST_LEGEND = 24  # entries
_LONGEST_SIDE = 1536  # pixels of the image as drawn
_PALETTE_SIZE = 256


@dataclass(frozen=True, eq=False, repr=False)
class SegmentationResult(LabelMap, Result):
    """The class of each pixel of one image.

    Args:
        labels: ``(height, width)`` of the image, class indices; uint8, or int32 for more than 255 classes.
        class_names: Names of the classes, in the order of their indices.
        colors: One RGB colour, 0 to 255, per class.
        source: The image as it was given: a path, PIL image, array or tensor.
        pixels: The decoded image, ``(height, width, 3)``, uint8, if it was kept.
    """

    colors: tuple[tuple[int, int, int], ...]
    source: Any
    pixels: np.ndarray | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the path, if the source is one, the image's size, and the classes in it."""
        return {"source": self.path, **super().to_dict()}

    def overlay(self, alpha: float = _ALPHA) -> Image.Image:
        """Lay the classes' colours over the image in gray, at its own size; all colour then tells a class.

        Args:
            alpha: Opacity of the colours, from 0, the gray image alone, to 1, the colours alone.

        Raises:
            ValueError: If ``alpha`` is out of range.
        """
        return self._overlay(alpha, self.image, self.labels)

    def draw(self, alpha: float = _ALPHA) -> Image.Image:
        """Draw the overlay, at most 1536 pixels long, and below it the classes with their colours and shares.

        Args:
            alpha: Opacity of the colours, in [0, 1].
        """
        image, labels = self.image, self.labels
        if max(image.size) > _LONGEST_SIDE:  # shrunk first: the overlay of a huge image would take much memory
            image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
            labels = np.asarray(Image.fromarray(labels).resize(image.size, Image.Resampling.NEAREST))
        areas = self.areas()
        shown = len(areas) if len(areas) <= _LONGEST_LEGEND else _LONGEST_LEGEND - 1
        entries = [(f"{_percent(share)} {name}", self.colors[index]) for name, index, _, share in areas[:shown]]
        if rest := areas[shown:]:
            entries.append((f"{_percent(sum(area.share for area in rest))} {len(rest)} more classes", (255, 255, 255)))
        return with_legend(self._overlay(alpha, image, labels), entries)

    def label_image(self) -> Image.Image:
        """Return an image whose pixel values are the class indices.

        Up to 256 classes it has the classes' colours as its palette; above that, it is gray of 16 bits.
        """
        if len(self.class_names) > _PALETTE_SIZE:
            return Image.fromarray(self.labels.astype(np.uint16))
        image = Image.fromarray(self.labels.astype(np.uint8))
        image.putpalette([value for color in self.colors for value in color])
        return image

    def save_labels(self, path: str | Path) -> None:
        """Write `label_image` as a PNG, whole or not at all.

        Raises:
            ValueError: If the name does not end in ``.png``; other formats may change the labels.
        """
        if Path(path).suffix.lower() != ".png":
            raise UserError(f"{path}: labels are written as PNG, which keeps them exactly; end the name in .png")
        save_image(self.label_image(), path)

    def _overlay(self, alpha: float, image: Image.Image, labels: np.ndarray) -> Image.Image:
        if not 0 <= alpha <= 1:
            raise UserError(f"alpha {alpha}: give an opacity from 0, the gray image alone, to 1, the colours alone")
        return overlay_labels(image.convert("L").convert("RGB"), labels, self.colors, alpha)

    def __repr__(self) -> str:
        height, width = self.labels.shape
        largest = ", ".join(f"{name} {_percent(share)}" for name, _, _, share in self.areas()[:3])
        return f"SegmentationResult({self.source_name}, {width} x {height}: {largest})"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"
