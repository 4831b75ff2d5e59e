"""Reads annotations in COCO's JSON format: checked field by field, kept in little memory."""

import json
import math
import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval import mask as codec

from gpvit.data.detection.categories import Categories
from gpvit.errors import UserError
from gpvit.io import expand

_SHOWN = 10  # of the problems that a message lists
_FORMS = "a list of polygons [x, y, x, y, x, y, ...], or run lengths with 'size' and 'counts'"


class Field(NamedTuple):
    """What a field of a COCO file accepts, in words and as a test; with a default, it may be missing or null."""

    accepted: str
    accepts: Callable[[Any], bool]
    default: Any = ...


def _is_whole(value: Any) -> bool:
    return type(value) is int or (isinstance(value, float) and value.is_integer())


def _is_number(value: Any) -> bool:
    """Tell whether a value of a JSON file is a number, neither infinite nor NaN, that arrays can hold exactly."""
    return type(value) in (int, float) and abs(value) < 2**53


_ID = Field("a whole number", _is_whole)
_TEXT = Field("a text", lambda value: isinstance(value, str) and value != "")
_NAME = Field("a text or a whole number", lambda value: _TEXT.accepts(value) or _is_whole(value))
_SIDE = Field("a whole number of pixels from 1", lambda value: _is_whole(value) and 1 <= value < 2**31)

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "images": {"id": _NAME, "file_name": _TEXT, "height": _SIDE, "width": _SIDE},
    "categories": {"id": _ID, "name": _NAME},
    "annotations": {
        "image_id": _NAME,
        "category_id": _ID,
        "bbox": Field(
            "x, y, width and height, four finite numbers",
            lambda value: isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)),
        ),
        "area": Field("a finite number", _is_number, math.nan),
        "iscrowd": Field("0 or 1", lambda value: isinstance(value, int | float) and value in (0, 1), 0),
    },
}
"""The fields that are read of each entry; `segmentation`, where masks are wanted, is checked by its forms."""


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
    path = expand(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file; check the path (relative to {Path.cwd()})")
    try:
        return _read(path, masks, drop_invalid)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON, or is cut short: {error}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _read(path: Path, masks: bool, drop_invalid: bool) -> Annotations:
    document = json.loads(path.read_bytes())
    if not isinstance(document, dict) or not all(isinstance(document.get(kind), list) for kind in FIELDS):
        found = {key: type(value).__name__ for key, value in document.items()} if isinstance(document, dict) else "none"
        raise UserError(f"a COCO file is an object with the lists {', '.join(FIELDS)}; found {found}")
    images, listed = (
        [_fields(kind, entry, f"{_named(kind, place, entry)}: ") for place, entry in enumerate(document[kind])]
        for kind in ("images", "categories")
    )
    categories = _categories(path, listed, document["annotations"])
    labels = {category: label for label, category in enumerate(categories.ids, start=1)}
    places = {image["id"]: place for place, image in enumerate(images)}
    if repeated := [key for key, count in Counter(image["id"] for image in images).items() if count > 1]:
        raise UserError(f"image ids {repeated[:_SHOWN]} are given more than once; give each image its own")
    if any(isinstance(key, str) for key in places):
        warnings.warn(f"{path}: image ids are texts; results number the images by their places, from 0", stacklevel=3)
        images = [{**image, "id": place} for place, image in enumerate(images)]
    entries = [ImageEntry(int(i["id"]), i["file_name"], int(i["height"]), int(i["width"])) for i in images]

    rows: list[list[tuple[Any, ...]]] = [[] for _ in entries]
    problems = []
    for number, annotation in enumerate(document["annotations"]):
        try:
            values = _fields("annotations", annotation)
            for field, known in (("image_id", places), ("category_id", labels)):
                if values[field] not in known:
                    raise UserError(f"{field} {values[field]!r} is the id of none in the file")
            place, label = places[values["image_id"]], labels[values["category_id"]]
            box, size = _checked_box(values["bbox"], entries[place]), entries[place][2:]
            segmentation = _checked_segmentation(annotation.get("segmentation"), *size) if masks else None
            rows[place].append((box, label, values["area"], values["iscrowd"], segmentation))
        except UserError as error:
            problems.append(f"{_named('annotations', number, annotation)}: {error}")
    if problems:
        _report(path, problems, drop_invalid and any(rows))
    return Annotations(categories, entries, [_objects(each) for each in rows])


def _named(kind: str, place: int, entry: Any) -> str:
    identity = f" (id {shortened(entry['id'])})" if isinstance(entry, dict) and "id" in entry else ""
    return f"{kind}[{place}]{identity}"


def _fields(kind: str, entry: Any, prefix: str = "") -> dict[str, Any]:
    """Take the fields that are read out of an entry, checked."""
    if not isinstance(entry, dict):
        raise UserError(f"{prefix}{shortened(entry)} stands for an object with {', '.join(FIELDS[kind])}")
    values = {}
    for name, field in FIELDS[kind].items():
        value = entry.get(name)
        if value is None and field.default is not ...:
            value = field.default
        elif not field.accepts(value):
            raise UserError(f"{prefix}{name} is {shortened(value)}; it takes {field.accepted}")
        values[name] = value
    return values


def _categories(path: Path, listed: Sequence[Mapping[str, Any]], annotations: Sequence[Any]) -> Categories:
    """Take the categories in the order of their ids, but an unused one of the name of a used one."""
    ids = [entry.get("category_id") for entry in annotations if isinstance(entry, dict)]
    used = {category for category in ids if _is_whole(category)}
    names = {entry["name"] for entry in listed if entry["id"] in used}
    if spare := [entry for entry in listed if entry["id"] not in used and entry["name"] in names]:
        said = "have no annotation, and the name of another; they are left out"
        warnings.warn(f"{path}: categories {spare} {said}", stacklevel=4)
    kept = sorted((entry for entry in listed if entry not in spare), key=lambda entry: entry["id"])
    return Categories(tuple(str(entry["name"]) for entry in kept), tuple(int(entry["id"]) for entry in kept))


def _checked_box(box: Sequence[float], image: ImageEntry) -> tuple[float, float, float, float]:
    """Give the corners of a box that has an area, some of it within its image."""
    left, top, width, height = box
    if width <= 0 or height <= 0:
        raise UserError(f"bbox {box} (x, y, width, height) has no area")
    if min(left + width, image.width) <= max(left, 0) or min(top + height, image.height) <= max(top, 0):
        raise UserError(f"bbox {box} (x, y, width, height) lies outside its image of {image.width}x{image.height}")
    return left, top, left + width, top + height


def _checked_segmentation(segmentation: Any, height: int, width: int) -> Any:
    """Check, without drawing it, that a segmentation of a file can be drawn on an image, and give it back."""
    if isinstance(segmentation, list) and segmentation:
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                raise UserError(f"segmentation has the polygon {shortened(polygon)}; it takes {_FORMS}")
            if not all(map(_is_number, polygon)):
                raise UserError(f"segmentation has a coordinate that is no finite number: {shortened(polygon)}")
        return segmentation
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= set(segmentation):
        raise UserError(f"segmentation is {shortened(segmentation)}; it takes {_FORMS}")
    size, counts = segmentation["size"], segmentation["counts"]
    if size != [height, width]:
        raise UserError(f"segmentation has the size {size} (height, width) on an image of {[height, width]}")
    checked = {"size": [height, width], "counts": counts}  # the codec takes no sides such as 48.0
    if isinstance(counts, list):
        if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != height * width:
            raise UserError(f"segmentation has counts {shortened(counts)}; their sum must be {height * width} pixels")
        return checked
    try:
        codec.area(checked)  # reads a text of run lengths to its end, in microseconds
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"segmentation has counts {shortened(counts)}, no compressed run lengths: {error}") from error
    return checked


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
    remedy = "Correct them; where others are left, drop_invalid: true leaves them out"
    if "segmentation" in listed:
        remedy += ". To train on boxes alone, set masks: false and take a model without masks, such as a RetinaNet"
    raise UserError(f"{listed}\n{remedy}")
