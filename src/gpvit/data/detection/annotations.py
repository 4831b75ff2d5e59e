"""Annotations in COCO's JSON format, checked and kept in little memory."""

import json
import math
import pickle
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpvit.data.detection.categories import Categories
from gpvit.data.detection.masks import segmentation_problem
from gpvit.errors import UserError

_SHOWN = 10  # of the problems that a message lists


class ImageEntry(NamedTuple):
    """An image of an annotation file: its id, its file under the image folder, and its size in pixels."""

    id: int
    file_name: str
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Objects:
    """The N objects of one image.

    Attributes:
        boxes: `(N, 4)`, float32: left, top, right and bottom in pixels, as annotated.
        labels: `(N,)`, int64, from 1.
        areas: `(N,)`, float32, of the masks where the file says so; NaN where it does not.
        crowds: `(N,)`, bool: a region with many objects of the class, which are not told apart.
        segmentations: Of each object, polygons or run lengths, as the file gives them.
    """

    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    crowds: np.ndarray
    segmentations: list[Any]


class Annotations(Sequence[Objects]):
    """The objects of every image of a data set.

    Loader processes share what arrays and bytes hold; from lists of COCO's size, each would make a copy of gigabytes by
    merely counting references. So segmentations are packed, and unpacked for one image at a time.

    Args:
        categories: What the labels mean.
        images: The images.
        objects: Per image.
        dropped: Descriptions of annotations that were left out.
    """

    def __init__(
        self,
        categories: Categories,
        images: Sequence[ImageEntry],
        objects: Sequence[Objects],
        dropped: Sequence[str] = (),
    ) -> None:
        self.categories = categories
        self.images = tuple(images)
        self.dropped = tuple(dropped)
        self.boxes = _joined([each.boxes for each in objects], np.zeros((0, 4), np.float32))
        self.labels = _joined([each.labels for each in objects], np.zeros(0, np.int64))
        self.areas = _joined([each.areas for each in objects], np.zeros(0, np.float32))
        self.crowds = _joined([each.crowds for each in objects], np.zeros(0, bool))
        self.image_indices = np.repeat(np.arange(len(objects)), [len(each.labels) for each in objects])
        """`(M,)`, int64: which image each of all M objects is in."""
        self._starts = np.cumsum([0] + [len(each.labels) for each in objects])
        packed = [pickle.dumps(each.segmentations) for each in objects]
        self._packed = b"".join(packed)
        self._packed_starts = np.cumsum([0] + [len(each) for each in packed])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Objects:  # type: ignore[override]  # one image at a time, no slices
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        rows = slice(self._starts[index], self._starts[index + 1])
        segmentations = pickle.loads(self._packed[self._packed_starts[index] : self._packed_starts[index + 1]])
        return Objects(self.boxes[rows], self.labels[rows], self.areas[rows], self.crowds[rows], segmentations)

    @property
    def sizes(self) -> np.ndarray:
        """Heights and widths of the images, `(N, 2)`."""
        return np.array([(image.height, image.width) for image in self.images], dtype=np.int64).reshape(-1, 2)

    def without_empty(self) -> "Annotations":
        """Leave out the images without an object; crowds do not count as one."""
        return self.only(np.unique(self.image_indices[~self.crowds]).tolist())

    def only(self, indices: Sequence[int]) -> "Annotations":
        """Keep the images at some places."""
        images = [self.images[index] for index in indices]
        return Annotations(self.categories, images, [self[index] for index in indices], self.dropped)


def read_annotations(path: str | Path, masks: bool = True, drop_invalid: bool = False) -> Annotations:
    """Read a file in COCO's format: `images`, `categories` and `annotations`.

    An image without annotations is legal, and so are boxes that reach over the border.

    Args:
        path: The JSON file.
        masks: Every object needs a segmentation: polygons, or run lengths, compressed or not. Without masks,
            segmentations are not looked at.
        drop_invalid: Leave out the annotations that cannot be used, and list them in `dropped`, rather than refuse the
            file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no COCO JSON, an annotation is of an unknown image or category, or one has no usable
            box or mask; the message lists the first of them.
    """
    path = Path(path).expanduser()
    document = _load(path)
    try:
        categories = Categories.from_coco(document["categories"])
        images = [_image(entry) for entry in document["images"]]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path}: every category needs 'id' and 'name', every image 'id', 'file_name', 'height' and 'width' "
            f"({type(error).__name__}: {error})"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    places = {image.id: place for place, image in enumerate(images)}
    if len(places) < len(images):
        repeated = [key for key, count in Counter(image.id for image in images).items() if count > 1]
        raise UserError(f"{path}: image ids {repeated[:_SHOWN]} are given more than once")

    found, strangers, invalid = _sorted_out(document["annotations"], images, places, categories, masks)
    if strangers:
        raise UserError(_listed(path, strangers, "Add these entries, or remove the annotations"))
    if invalid and not drop_invalid:
        raise UserError(_listed(path, invalid, "Correct them, or leave them out with drop_invalid=True"))
    if invalid:
        warnings.warn(_listed(path, invalid, "They are left out"), stacklevel=2)
    return Annotations(categories, images, [_objects(entries, categories, masks) for entries in found], invalid)


def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file; check the path (relative to {Path.cwd()})")
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON, or is cut short: {error}") from error
    missing = [
        key for key in ("images", "categories", "annotations") if not isinstance(document, dict) or key not in document
    ]
    if missing:
        raise UserError(
            f"{path} lacks {missing}; a COCO file is an object with 'images', 'categories' and 'annotations'"
        )
    return document


def _image(entry: Mapping[str, Any]) -> ImageEntry:
    image = ImageEntry(entry["id"], str(entry["file_name"]), int(entry["height"]), int(entry["width"]))
    if not isinstance(image.id, int) or min(image.height, image.width) < 1:
        raise UserError(f"image {entry}: the id must be a whole number, height and width 1 or more")
    return image


def _sorted_out(
    entries: Sequence[Mapping[str, Any]],
    images: Sequence[ImageEntry],
    places: Mapping[int, int],
    categories: Categories,
    masks: bool,
) -> tuple[list[list[Mapping[str, Any]]], list[str], list[str]]:
    """Give the usable annotations of each image; describe those of no image or category, and those of no use."""
    found: list[list[Mapping[str, Any]]] = [[] for _ in images]
    strangers, invalid = [], []
    known = set(categories.ids)
    for number, entry in enumerate(entries):
        name = f"annotation {entry.get('id', f'at place {number}')}"
        if (place := places.get(entry.get("image_id", ""))) is None:
            strangers.append(f"{name} is of image id {entry.get('image_id')!r}, which 'images' lacks")
        elif entry.get("category_id") not in known:
            strangers.append(f"{name} is of category id {entry.get('category_id')!r}, which 'categories' lacks")
        elif problem := _problem(entry, images[place], masks):
            invalid.append(f"{name} of {images[place].file_name} {problem}")
        else:
            found[place].append(entry)
    return found, strangers, invalid


def _problem(entry: Mapping[str, Any], image: ImageEntry, masks: bool) -> str | None:
    """Say what is wrong with an annotation, if anything is."""
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(value) for value in box):
        return f"has the box {box}, where x, y, width and height belong, four finite numbers"
    left, top, width, height = box
    if width <= 0 or height <= 0:
        return f"has the box {box} (x, y, width, height) without an area"
    if min(left + width, image.width) <= max(left, 0) or min(top + height, image.height) <= max(top, 0):
        return f"has the box {box} (x, y, width, height) outside its image of {image.width}x{image.height}"
    return segmentation_problem(entry.get("segmentation"), image.height, image.width) if masks else None


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _listed(path: Path, problems: Sequence[str], remedy: str) -> str:
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    lines = "\n  ".join([*problems[:_SHOWN], *more])
    return f"{path}: {len(problems)} annotations cannot be used:\n  {lines}\n{remedy}"


def _objects(entries: Sequence[Mapping[str, Any]], categories: Categories, masks: bool) -> Objects:
    corners = np.array([entry["bbox"] for entry in entries], dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return Objects(
        boxes=corners.astype(np.float32),
        labels=np.array([categories.label(entry["category_id"]) for entry in entries], dtype=np.int64),
        areas=np.array([entry.get("area", math.nan) for entry in entries], dtype=np.float32),
        crowds=np.array([entry.get("iscrowd", 0) for entry in entries], dtype=bool),
        segmentations=[entry["segmentation"] for entry in entries] if masks else [],
    )


def _joined(arrays: Sequence[np.ndarray], empty: np.ndarray) -> np.ndarray:
    return np.concatenate([empty, *arrays])
