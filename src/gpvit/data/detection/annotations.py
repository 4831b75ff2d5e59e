"""Reads annotations in COCO's JSON format: checked field by field, kept in little memory."""

import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, NamedTuple

import numpy as np

from gpvit.data.detection.categories import Categories
from gpvit.data.detection.document import read_document
from gpvit.data.detection.fields import Notes, entry_name, read_entry, read_field
from gpvit.data.detection.segmentations import read_segmentation
from gpvit.errors import UserError
from gpvit.io import located

_SHOWN = 10  # of the problems that a message lists
_TINY = 4  # pixels, side of an image whose boxes may be smaller than a pixel

READINGS: Mapping[str, Callable[..., tuple[Any, ...]]] = {
    "left, top, right, bottom": lambda a, b, c, d: (a, b, c, d),
    "y, x, height, width": lambda a, b, c, d: (b, a, b + d, a + c),
    "top, left, bottom, right": lambda a, b, c, d: (b, a, d, c),
    "centre, width and height": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
}
"""The corners of boxes that are not written as COCO has it, x, y, width, height."""


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
        columns = list(zip(_objects([]), *objects, strict=True))  # no objects first: there may be no image
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


def read_annotations(path: str | Path, masks: bool = True, drop_invalid: bool = False) -> Annotations:
    """Read a file in COCO's format: `images`, `categories` and `annotations`.

    An image without annotations is legal, and so are boxes that reach over the border. Image ids that are texts are
    replaced by the images' places, from 0; a category without annotations that has the name of another is left out, as
    Roboflow's root category. Warnings say so.

    Args:
        path: The JSON file.
        masks: Every object needs a segmentation: polygons, or run lengths, compressed or not. Without masks,
            segmentations are not looked at.
        drop_invalid: Leave out the annotations that cannot be used, with a warning, rather than refuse the file.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is no COCO JSON, or an entry cannot be used; the message lists the first of them by file,
            entry and field.
    """
    path = located(path)
    if not path.is_file():
        what = "is a folder, not an annotation file; give a file in it" if path.is_dir() else "no such annotation file"
        raise FileNotFoundError(f"{path}: {what}; check the path (relative to {Path.cwd()})")
    try:
        return _read(path, masks, drop_invalid)
    except UserError as error:
        raise UserError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error


def _read(path: Path, masks: bool, drop_invalid: bool) -> Annotations:
    document, notes = read_document(path), Notes()
    images, listed = (_listed(kind, document[kind], notes) for kind in ("images", "categories"))
    categories, labels = _categories(listed, document["annotations"], notes)
    places = {image["id"]: place for place, image in enumerate(images)}
    if repeated := [key for key, count in Counter(image["id"] for image in images).items() if count > 1]:
        raise UserError(f"image ids {repeated[:_SHOWN]} are given more than once; give each image its own")
    for name, count in Counter(image["file_name"] for image in images).items():
        if count > 1:
            notes.add("images listed under several ids, each with the objects of its own id", shortened(name))
    if any(isinstance(key, str) for key in places):
        warnings.warn(f"{path}: image ids are texts; results number the images by their places, from 0", stacklevel=3)
        images = [{**image, "id": place} for place, image in enumerate(images)]
    entries = [ImageEntry(*(image[field] for field in ImageEntry._fields)) for image in images]

    rows: list[list[tuple[Any, ...]]] = [[] for _ in entries]
    boxes, problems, ids = [], [], Counter[Any]()
    for number, annotation in enumerate(document["annotations"]):
        try:
            values = read_entry("annotations", annotation, notes)
            for field, known in (("image_id", places), ("category_id", labels)):
                if values[field] not in known:
                    raise UserError(f"{field} {values[field]!r} is the id of none in the file")
            place, label = places[values["image_id"]], labels[values["category_id"]]
            boxes.append((*values["bbox"], *entries[place][2:]))
            box, segmentation = _checked_box(values["bbox"], entries[place]), None
            if masks:
                segmentation, extent = read_segmentation(values["segmentation"], entries[place][2:], notes)
                if isinstance(segmentation, list):
                    _compare(values["bbox"], box, extent, notes)
            if values["ignore"] and not values["iscrowd"]:
                notes.add("ignore of annotations, neither learned nor scored, as crowds", shortened(values["id"]))
            rows[place].append((box, label, values["area"], values["iscrowd"] or values["ignore"], segmentation))
            ids[values["id"]] += values["id"] is not None
        except UserError as error:
            problems.append(f"{entry_name('annotations', number, annotation)}: {error}")
    _require_order(np.array(boxes, float).reshape(-1, 6))
    if problems:
        _report(path, problems, drop_invalid and any(rows))
    for key, count in ids.most_common(1):
        if count > 1:
            notes.add("annotations under one id, all kept", shortened(key))
    notes.warn(path, stacklevel=3)
    return Annotations(categories, entries, [_objects(each) for each in rows])


def _listed(kind: str, entries: Sequence[Any], notes: Notes) -> list[dict[str, Any]]:
    """Read the images or the categories; what is listed again in the same words counts once."""
    listed: list[dict[str, Any]] = []
    known: dict[Any, dict[str, Any]] = {}
    for place, entry in enumerate(entries):
        try:
            values = read_entry(kind, entry, notes)
        except UserError as error:
            raise UserError(f"{entry_name(kind, place, entry)}: {error}") from None
        if known.setdefault(values["id"], values) == values and known[values["id"]] is not values:
            notes.add(f"{kind} listed twice, taken once", shortened(values["id"]))
        else:
            listed.append(values)
    return listed


def _categories(
    listed: list[dict[str, Any]], annotations: Sequence[Any], notes: Notes
) -> tuple[Categories, dict[Any, int]]:
    """Take the categories in the order of their ids, and the label of each id.

    What no annotation has is left out if it has the name of a used one, or is the root that Roboflow writes.
    """
    given = (entry.get("category_id") for entry in annotations if isinstance(entry, dict))
    used = set()
    for _, value in {(type(value), value) for value in given if isinstance(value, str | int | float)}:
        with suppress(UserError):  # which is told of the annotation
            used.add(read_field("annotations", "category_id", value, Notes()))
    names = {entry["name"] for entry in listed if entry["id"] in used}
    parents = {entry["supercategory"] for entry in listed if isinstance(entry["supercategory"], str)}

    def is_spare(entry: dict[str, Any]) -> bool:
        is_root = entry["id"] == 0 and entry["supercategory"] == "none" and entry["name"] in parents
        return entry["id"] not in used and (entry["name"] in names or is_root)

    for entry in filter(is_spare, listed):
        notes.add(
            "categories that have no annotation, and are a root or have the name of another, left out",
            shortened(entry["name"]),
        )
    kept = [entry for entry in listed if not is_spare(entry)]
    if any(isinstance(entry["id"], str) for entry in kept):
        notes.add("ids of categories that are texts, numbered from 1 in results", shortened(kept[0]["id"]))
        ids = tuple(range(1, len(kept) + 1))
    else:
        kept.sort(key=lambda entry: entry["id"])
        ids = tuple(entry["id"] for entry in kept)
    categories = Categories(tuple(entry["name"] for entry in kept), ids)
    return categories, {entry["id"]: label for label, entry in enumerate(kept, start=1)}


def _checked_box(box: Sequence[float], image: ImageEntry) -> tuple[float, float, float, float]:
    """Give the corners of a box that has an area, some of it within its image."""
    left, top, width, height = box
    if width <= 0 or height <= 0:
        raise UserError(f"bbox {box} (x, y, width, height) has no area")
    if min(box) >= 0 and max(box) <= 1 and min(image.width, image.height) > _TINY:
        raise UserError(f"bbox {box} looks like parts of its image of {image.width}x{image.height}; it takes pixels")
    if min(left + width, image.width) <= max(left, 0) or min(top + height, image.height) <= max(top, 0):
        raise UserError(f"bbox {box} (x, y, width, height) lies outside its image of {image.width}x{image.height}")
    return left, top, left + width, top + height


def _compare(given: Sequence[float], box: Sequence[float], extent: Sequence[float], notes: Notes) -> None:
    """Refuse a box that fits its segmentation in another reading alone; note one that does not meet it."""

    def misfit(corners: Sequence[float]) -> float:
        return max(abs(a - b) for a, b in zip(corners, extent, strict=True))

    if misfit(box) > 3:
        for name, reading in READINGS.items():
            if misfit(reading(*given)) <= 1:
                raise UserError(f"bbox {given} fits its segmentation as {name}; it takes x, y, width, height")
    if min(box[2], extent[2]) <= max(box[0], extent[0]) or min(box[3], extent[3]) <= max(box[1], extent[1]):
        notes.add("segmentations outside their bbox, both kept", f"bbox {shortened(given)}")


def _require_order(boxes: np.ndarray) -> None:
    """Refuse boxes `(N, 6)`, with height and width of their images, many of which fit in another reading alone."""
    given, sizes = boxes[:, :4].T, boxes[:, :3:-1]
    left, top, width, height = given
    over = ((np.stack([left + width, top + height], 1) > 1.02 * sizes + 1).any(1)).sum()
    if over < max(2, len(boxes) / 4):
        return
    for name, reading in READINGS.items():
        corners = np.stack(reading(*given), 1)
        first, last = corners[:, :2], corners[:, 2:]
        if (first >= -1).all() and (last <= sizes + 1).all() and (last > first).all():
            raise UserError(
                f"{over} of {len(boxes)} boxes reach over the border of their images, and all fit as {name}; a bbox is "
                "x, y, width, height in pixels"
            )


def _objects(rows: Sequence[tuple[Any, ...]]) -> Objects:
    boxes, labels, areas, crowds, segmentations = zip(*rows, strict=True) if rows else ((),) * 5
    corners, area = np.array(boxes, np.float32).reshape(-1, 4), np.array(areas, np.float32)
    return Objects(corners, np.array(labels, np.int64), area, np.array(crowds, bool), segmentations)


def _report(path: Path, problems: Sequence[str], leave_out: bool) -> None:
    """Refuse annotations that cannot be used, or warn that they are left out."""
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    listed = "\n  ".join([f"{len(problems)} annotations cannot be used:", *problems[:_SHOWN], *more])
    if leave_out:
        warnings.warn(f"{path}: {listed}\nThey are left out", stacklevel=4)
        return
    remedy = "Correct them; where others are left, drop_invalid: true (--data.drop_invalid true) leaves them out"
    if "segmentation" in listed:
        remedy += ". To train on boxes alone, set masks: false (--data.masks false) and take a RetinaNet"
    raise UserError(f"{listed}\n{remedy}")
