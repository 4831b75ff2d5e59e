"""What an exported model says about one image, as arrays and plain data."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of one image: a probability for each, ``(num_classes,)``, and their names in the same order."""

    probabilities: np.ndarray
    class_names: tuple[str, ...]

    def top(self, k: int = 5) -> list[dict[str, Any]]:
        """Return ``class_name``, ``class_index`` and ``probability`` of the most probable classes, the first first."""
        order = np.argsort(-self.probabilities, kind="stable")[:k].tolist()
        return [
            {"class_name": self.class_names[i], "class_index": i, "probability": float(self.probabilities[i])}
            for i in order
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the five most probable classes."""
        return {"top": self.top()}


class ClassArea(NamedTuple):
    """One class and how much of the image it covers."""

    class_name: str
    class_index: int
    pixels: int
    share: float


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The class of each pixel of one image: ``(height, width)`` indices, and the names of the classes."""

    labels: np.ndarray
    class_names: tuple[str, ...]

    def areas(self) -> list[ClassArea]:
        """Return the classes in the image, the largest first.

        Example:
            >>> result.areas()[0]
            ClassArea(class_name='sky', class_index=2, pixels=81920, share=0.4)
        """
        counts = enumerate(np.bincount(self.labels.ravel()).tolist())
        areas = [ClassArea(self.class_names[i], i, pixels, pixels / self.labels.size) for i, pixels in counts if pixels]
        return sorted(areas, key=lambda area: -area.pixels)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the image's size, and the classes in it, the largest first."""
        height, width = self.labels.shape
        return {"width": width, "height": height, "areas": [area._asdict() for area in self.areas()]}


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects in one image, best first.

    Args:
        boxes: ``(N, 4)``, left, top, right and bottom in pixels, float32.
        labels: ``(N,)``, from 1.
        scores: ``(N,)``, in [0, 1].
        class_names: Names of the classes, of which the first has the label 1.
        size: Height and width of the image.
        mask_probabilities: ``(N, S, S)`` of each box's cells to belong to the object; None without masks.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    class_names: tuple[str, ...]
    size: tuple[int, int]
    mask_probabilities: np.ndarray | None = None

    @property
    def masks(self) -> np.ndarray | None:
        """Bool ``(N, height, width)`` of the image, made anew each time; None from a detector without masks."""
        if self.mask_probabilities is None:
            return None
        masks = np.zeros((len(self.boxes), *self.size), bool)
        for mask, cells, box in zip(masks, self.mask_probabilities, self.boxes, strict=True):
            _paste(mask, cells, box)
        return masks

    def filtered(self, score: float) -> "Objects":
        """Keep the objects from a minimum score up."""
        kept = self.scores >= score
        masks = None if self.mask_probabilities is None else self.mask_probabilities[kept]
        return replace(
            self, boxes=self.boxes[kept], labels=self.labels[kept], scores=self.scores[kept], mask_probabilities=masks
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the image's size, and the objects."""
        columns = (self.labels.tolist(), self.scores.tolist(), self.boxes.tolist())
        objects = [
            {"class_name": self.class_names[label - 1], "label": label, "score": score, "box": box}
            for label, score, box in zip(*columns, strict=True)
        ]
        return {"width": self.size[1], "height": self.size[0], "objects": objects}


def _paste(mask: np.ndarray, cells: np.ndarray, box: np.ndarray) -> None:
    """Fill a mask where probabilities ``(S, S)`` within a box, taken bilinearly at the pixels' centres, reach 0.5."""
    (left, top), (right, bottom) = np.floor(box[:2]).astype(int) - 1, np.ceil(box[2:]).astype(int) + 1
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, mask.shape[1]), min(bottom, mask.shape[0])
    if left < right and top < bottom:
        rows = _shares(np.arange(top, bottom), box[1], box[3], len(cells))
        columns = _shares(np.arange(left, right), box[0], box[2], len(cells))
        mask[top:bottom, left:right] = rows @ cells @ columns.T >= 0.5


def _shares(pixels: np.ndarray, low: np.float32, high: np.float32, count: int) -> np.ndarray:
    """Return how much each of so many cells between two edges weighs at each pixel's centre; beyond them is nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        places = (pixels + 0.5 - low) / (high - low) * count - 0.5
    distance = np.abs(np.nan_to_num(places, nan=-count)[:, None] - np.arange(count))
    return np.maximum(1 - distance, 0).astype(np.float32)
