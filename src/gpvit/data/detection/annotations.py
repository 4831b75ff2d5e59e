"""The images of a dataset with their objects, kept in little memory, whatever format they were annotated in."""

import pickle
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpvit.data.detection.categories import Categories
from gpvit.data.detection.fields import Notes
from gpvit.errors import UserError

_SHOWN = 10  # of the problems that a message lists


class ImageEntry(NamedTuple):
    """An image of an annotation file: its number, its file under the image folder, and its size in pixels."""

    id: int
    file_name: str
    height: int
    width: int


class Objects(NamedTuple):
    """The N objects of one image.

    Attributes:
        boxes: `(N, 4)`, float32: left, top, right and bottom in pixels, as annotated.
        labels: `(N,)`, int64, from 1.
        areas: `(N,)`, float32, of the masks where the file says so; NaN where it does not.
        crowds: `(N,)`, bool: a region with many objects of the class, which are not told apart.
        segmentations: Of each object, polygons or run lengths, as the file gives them; empty without masks.
    """

    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    crowds: np.ndarray
    segmentations: Sequence[Any] = ()


class Annotations(Sequence[Objects]):
    """The objects of every image of a dataset.

    Loader processes share what arrays and bytes hold; from lists of COCO's size, each would make a copy of gigabytes by
    merely counting references. So segmentations are packed, and unpacked for one image at a time.

    Attributes:
        boxes: `(M, 4)`, of all M objects; `labels`, `areas` and `crowds`, `(M,)`, likewise.
        image_indices: `(M,)`, int64: which image each object is in.
    """

    def __init__(self, categories: Categories, images: Sequence[ImageEntry], objects: Sequence[Objects]) -> None:
        self.categories = categories
        self.images = tuple(images)
        columns = list(zip(objects_of([]), *objects, strict=True))  # no objects first: there may be no image
        self.boxes, self.labels, self.areas, self.crowds = (np.concatenate(column) for column in columns[:4])
        counts = [len(each.labels) for each in objects]
        self.image_indices = np.repeat(np.arange(len(objects)), counts)
        self._starts = np.cumsum([0, *counts])
        packed = [pickle.dumps(segmentations) for segmentations in columns[4][1:]]
        self._packed = b"".join(packed)
        self._packed_starts = np.cumsum([0, *map(len, packed)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Objects:  # type: ignore[override]  # one image at a time, no slices
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        rows = slice(self._starts[index], self._starts[index + 1])
        segmentations = pickle.loads(self._packed[self._packed_starts[index] : self._packed_starts[index + 1]])
        return Objects(self.boxes[rows], self.labels[rows], self.areas[rows], self.crowds[rows], segmentations)

    def without_empty(self) -> "Annotations":
        """Leave out the images without an object; crowds do not count as one."""
        return self.only(np.unique(self.image_indices[~self.crowds]).tolist())

    def only(self, indices: Sequence[int]) -> "Annotations":
        """Keep the images at some places."""
        return Annotations(self.categories, [self.images[i] for i in indices], [self[i] for i in indices])


def gather(
    source: Path,
    names: Sequence[str],
    images: Sequence[ImageEntry],
    found: Sequence[Sequence[tuple[str, Any]]],
    read: Callable[[Any, ImageEntry, Notes], tuple[Any, ...]],
    notes: Notes,
    drop_invalid: bool,
    check: Callable[[], None] = lambda: None,
) -> Annotations:
    """Read what was found of each image: pairs of where it stands and what `read` makes a row of `objects_of` of.

    `check` may refuse all that was read, before what cannot be used is told.
    """
    rows: list[list[tuple[Any, ...]]] = [[] for _ in images]
    problems = []
    for entry, listed, kept in zip(images, found, rows, strict=True):
        for where, value in listed:
            try:
                kept.append(read(value, entry, notes))
            except UserError as error:
                problems.append(f"{where}: {error}")
    check()
    if problems:
        report(source, problems, drop_invalid and any(rows))
    notes.warn(source, stacklevel=3)
    return Annotations(Categories.from_names(names), images, [objects_of(each) for each in rows])


def objects_of(rows: Sequence[tuple[Any, ...]]) -> Objects:
    """Make columns of rows of corners, label, area, crowd and segmentation."""
    boxes, labels, areas, crowds, segmentations = zip(*rows, strict=True) if rows else ((),) * 5
    corners, area = np.array(boxes, np.float32).reshape(-1, 4), np.array(areas, np.float32)
    return Objects(corners, np.array(labels, np.int64), area, np.array(crowds, bool), segmentations)


def report(path: Path, problems: Sequence[str], leave_out: bool) -> None:
    """Refuse annotations that cannot be used, or warn that they are left out."""
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    listed = "\n  ".join([f"{len(problems)} annotations cannot be used:", *problems[:_SHOWN], *more])
    if leave_out:
        warnings.warn(f"{path}: {listed}\nThey are left out", stacklevel=4)
        return
    remedy = "Correct them; where others are left, drop_invalid: true (--data.drop_invalid true) leaves them out"
    if "segmentation" in listed:
        remedy += ". To train on boxes alone, set masks: false (--data.masks false) and take a RetinaNet"
    raise UserError(f"{path}: {listed}\n{remedy}")
