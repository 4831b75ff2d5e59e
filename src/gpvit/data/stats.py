"""Counts what the classes of a dataset occur in, and says what deserves a look before training."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gpvit.errors import UserError
from gpvit.runtime.images import ImageError

_SHOWN = 5  # classes or faults in a message


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """How often each class occurs in the images examined, in `unit`s, and in how many of them; `columns` add more."""

    unit: Literal["images", "pixels", "objects"]
    class_names: Sequence[str]
    counts: np.ndarray
    images: np.ndarray
    examined: int
    total: int
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def warnings(self) -> list[str]:
        """Say what deserves a look: classes that never occur, and the notes."""
        absent = [name for name, count in zip(self.class_names, self.counts, strict=True) if not count]
        if not absent:
            return list(self.notes)
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        seen = f"{self.examined} of {self.total} images"
        return [*self.notes, f"in {seen}, these classes never occur: {', '.join(absent[:_SHOWN])}{more}"]

    def to_csv(self) -> str:
        """Write the counts as lines of CSV, in the order of the labels."""
        share = np.round(self.counts / max(self.counts.sum(), 1), 6)
        columns = {self.unit: self.counts, "share": share, "images": self.images, **self.columns}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["class", *columns])
        writer.writerows(zip(self.class_names, *columns.values(), strict=True))
        return text.getvalue()


def count_labels(labels: Sequence[int], class_names: Sequence[str]) -> ClassCounts:
    """Count the images of each class, from the label of each image."""
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(class_names))
    return ClassCounts("images", class_names, counts, counts, len(labels), len(labels))


def count_pixels(samples: Sequence[Any], class_names: Sequence[str], limit: int = 100) -> ClassCounts:
    """Read `limit` samples of `SegmentationData` at even distances, and count the pixels of each class.

    Damaged files are notes; the first masks that hold a label of no class, or differ from their image in size, are
    named by a UserError.
    """
    chosen = _evenly(len(samples), limit)
    counts, images = np.zeros((2, 256), np.int64)
    faults, notes = [], []
    for index in chosen:
        try:
            found = np.bincount(samples[index].mask.ravel(), minlength=256)
        except (ImageError, OSError) as error:
            notes.append(f"damaged: {error}")
        except UserError as error:
            faults.append(str(error))
        else:
            counts += found
            images += found > 0
    if faults:
        listed = "\n".join(faults[:_SHOWN])
        raise UserError(f"{len(faults)} of {len(chosen)} masks examined do not fit the classes or images:\n{listed}")
    known = len(class_names)
    if (share := counts[known:].sum() / max(counts.sum(), 1)) > 0.5:
        notes.append(f"{share:.0%} of the pixels are ignored; nothing is learned from them")
    return ClassCounts("pixels", class_names, counts[:known], images[:known], len(chosen), len(samples), {}, notes)


def count_objects(samples: Any, categories: Any, limit: int | None = None) -> ClassCounts:
    """Count the objects of each class, without crowds, in at most `limit` images at even distances; none is opened.

    Further columns are the classes' ids, how many regions are crowds, and the median of the objects' shorter sides.
    """
    chosen = _evenly(len(samples), limit)
    objects = [samples.objects(index) for index in chosen]
    images = np.repeat(chosen, [len(each.labels) for each in objects])
    boxes, labels, _, crowds = (np.concatenate(column) for column in list(zip(*objects, strict=True))[:4])
    border = samples.sizes[images][:, ::-1]
    notes = []
    if count := int(((boxes[:, :2] < -1) | (boxes[:, 2:] > border + 1)).any(axis=1).sum()):
        notes.append(f"{count} of {len(boxes)} boxes reach over the border of their image; they are cut off there")
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
    single = [~crowds & (labels == label) for label in range(1, len(categories.names) + 1)]
    columns = {
        "id": categories.ids,
        "crowds": np.bincount(labels[crowds], minlength=len(single) + 1)[1:],
        "median_side": [round(float(np.median(sides[one])), 1) if one.any() else "" for one in single],
    }
    counts, occurrences = ([f(one) for one in single] for f in (np.sum, lambda one: len(np.unique(images[one]))))
    return ClassCounts(
        "objects", categories.names, np.array(counts), np.array(occurrences), len(chosen), len(samples), columns, notes
    )


def _evenly(count: int, limit: int | None) -> list[int]:
    """Choose places at even distances, the first and the last among them."""
    return np.linspace(0, count - 1, count if limit is None else min(limit, count)).astype(int).tolist()
