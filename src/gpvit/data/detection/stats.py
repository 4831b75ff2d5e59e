"""What there is to know of a data set's boxes before a model is trained on them."""

import csv
import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from rich.table import Table

from gpvit.data.detection.categories import Categories
from gpvit.data.detection.dataset import Pictures
from gpvit.data.transforms.detection import DetectionAugmentation

STRIDES = (4, 8, 16, 32)
"""Pixels of a side of a cell, of the feature maps that detectors look at."""

_FEWEST_CELLS = 2  # that the shorter side of a box should span to be told from its neighbours
_WORTHWHILE = 0.05  # of the boxes, that a finer map should add
_SHOWN = 5  # names in a message


@dataclass(frozen=True, eq=False)
class BoxReport:
    """The M boxes of some pictures, and what they amount to.

    Attributes:
        categories: The classes.
        total: How many pictures there are.
        examined: How many of them were looked at.
        images: `(M,)`: which picture each box is in.
        labels: `(M,)`: label of each, from 1.
        crowds: `(M,)`: whether each stands for a crowd.
        sides: `(M,)`: shorter side in pixels of the picture as training sees it.
        outside: `(M,)`: whether a box reaches over the border by more than a pixel; training cuts it off there.
    """

    categories: Categories
    total: int
    examined: int
    images: np.ndarray
    labels: np.ndarray
    crowds: np.ndarray
    sides: np.ndarray
    outside: np.ndarray

    @cached_property
    def class_counts(self) -> dict[str, int]:
        """How many objects each class has, without crowds."""
        counts = np.bincount(self.labels[~self.crowds], minlength=len(self.categories) + 1)[1:]
        return dict(zip(self.categories.names, counts.tolist(), strict=True))

    @property
    def num_empty(self) -> int:
        """How many of the pictures have no object."""
        return self.examined - len(np.unique(self.images[~self.crowds]))

    @property
    def small_shares(self) -> dict[int, float]:
        """Part of the objects whose shorter side spans fewer than 2 cells, by stride."""
        return _small_shares(self.sides[~self.crowds])

    def advice(self) -> str:
        """Say which stride the boxes ask for: the coarsest that no finer one improves on by much."""
        shares = self.small_shares
        for fine, coarse in ((4, 8), (8, 16)):
            if (gain := shares[coarse] - shares[fine]) >= _WORTHWHILE:
                return (
                    f"features of stride {fine} pay: stride {coarse} would leave {gain:.0%} more of the boxes too small"
                )
        return "features of stride 16 resolve these boxes; finer ones would mostly cost time"

    def warnings(self) -> list[str]:
        """Say what deserves a look: classes that never occur, boxes over the border."""
        said = []
        if absent := [name for name, count in self.class_counts.items() if not count]:
            more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
            seen = f"{self.examined} of {self.total} pictures"
            said.append(f"in {seen}, these classes never occur: {', '.join(absent[:_SHOWN])}{more}")
        if count := int(self.outside.sum()):
            said.append(
                f"{count} of {len(self.outside)} boxes reach over the border of their picture; they are cut off there"
            )
        return said

    def table(self) -> Table:
        """Lay the boxes out for a terminal, the most frequent class first, with the advice below."""
        title = (
            f"{self.examined} of {self.total} pictures, {self.num_empty} without objects\n"
            "side: median in training, of the shorter sides; /S: boxes with fewer than 2 cells of S pixels across"
        )
        table = Table("label", "id", "class", title=title, caption=self.advice())
        for heading in ("objects", "pictures", "side", *(f"/{stride}" for stride in STRIDES)):
            table.add_column(heading, justify="right")
        for row in sorted(self._rows(), key=lambda row: -row[3]):
            shares = (f"{share:.0%}" for share in row[7:])
            table.add_row(*map(str, row[:3]), f"{row[3]:,}", f"{row[4]:,}", f"{row[6]:.0f}", *shares)
        return table

    def to_csv(self) -> str:
        """Write the same as lines of CSV, in the order of the labels; the last line is of all classes together."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        shares = [f"under_2_cells_of_{stride}" for stride in STRIDES]
        writer.writerow(["label", "id", "class", "objects", "pictures", "crowds", "median_side", *shares])
        for row in [*self._rows(), ("", "", "(all)", *self._figures(np.ones(len(self.labels), dtype=bool)))]:
            writer.writerow([f"{value:.4g}" if isinstance(value, float) else value for value in row])
        return text.getvalue()

    def _rows(self) -> list[tuple[Any, ...]]:
        names = zip(self.categories.ids, self.categories.names, strict=True)
        return [(label, *name, *self._figures(self.labels == label)) for label, name in enumerate(names, start=1)]

    def _figures(self, chosen: np.ndarray) -> tuple[Any, ...]:
        objects = chosen & ~self.crowds
        sides = self.sides[objects]
        median = float(np.median(sides)) if len(sides) else 0.0
        counts = (len(sides), len(np.unique(self.images[objects])), int((chosen & self.crowds).sum()))
        return (*counts, median, *_small_shares(sides).values())


def box_report(
    pictures: Pictures, categories: Categories, augmentation: DetectionAugmentation, limit: int | None = None
) -> BoxReport:
    """Gather the boxes of pictures.

    Args:
        pictures: Whose boxes; files are not opened.
        categories: Their classes.
        augmentation: Tells the size that training sees pictures in: the middle one of its sizes.
        limit: How many pictures to look at, at even distances; None for all.
    """
    count = len(pictures) if limit is None else min(limit, len(pictures))
    indices = np.linspace(0, len(pictures) - 1, count).astype(int)
    objects = [pictures.objects(int(index)) for index in indices]
    images = np.repeat(indices, [len(each.labels) for each in objects])
    boxes = np.concatenate([np.zeros((0, 4)), *(each.boxes for each in objects)])
    sizes = pictures.sizes[images]
    border = np.concatenate([np.zeros_like(sizes), sizes[:, ::-1]], axis=1)
    return BoxReport(
        categories=categories,
        total=len(pictures),
        examined=count,
        images=images,
        labels=np.concatenate([np.zeros(0, np.int64), *(each.labels for each in objects)]),
        crowds=np.concatenate([np.zeros(0, bool), *(each.crowds for each in objects)]),
        sides=(boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) * _scale(sizes, augmentation),
        outside=((boxes - border) * (-1, -1, 1, 1) > 1).any(axis=1),
    )


def _small_shares(sides: np.ndarray) -> dict[int, float]:
    return {stride: float((sides < _FEWEST_CELLS * stride).mean()) if len(sides) else 0.0 for stride in STRIDES}


def _scale(sizes: np.ndarray, augmentation: DetectionAugmentation) -> np.ndarray:
    if not augmentation.short_sides:
        return np.ones(len(sizes))
    short_side = sorted(augmentation.short_sides)[len(augmentation.short_sides) // 2]
    shorter, longer = np.sort(sizes, axis=1).T
    return np.minimum(short_side / shorter, augmentation.long_side / longer)
