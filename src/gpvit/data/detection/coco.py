"""Reads annotations in COCO's JSON format, checked field by field."""

import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np

from gpvit.data.detection.annotations import Annotations, ImageEntry, objects_of, report
from gpvit.data.detection.boxes import checked_box, compare, require_order
from gpvit.data.detection.categories import Categories
from gpvit.data.detection.document import read_document
from gpvit.data.detection.fields import Notes, entry_name, read_entry, read_field
from gpvit.data.detection.segmentations import read_segmentation
from gpvit.errors import UserError
from gpvit.io import located

_SHOWN = 10  # ids in a message


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
            box, segmentation = checked_box(values["bbox"], entries[place]), None
            if masks:
                segmentation, extent = read_segmentation(values["segmentation"], entries[place][2:], notes)
                if isinstance(segmentation, list):
                    compare(values["bbox"], box, extent, notes)
            if values["ignore"] and not values["iscrowd"]:
                notes.add("ignore of annotations, neither learned nor scored, as crowds", shortened(values["id"]))
            rows[place].append((box, label, values["area"], values["iscrowd"] or values["ignore"], segmentation))
            ids[values["id"]] += values["id"] is not None
        except UserError as error:
            problems.append(f"{entry_name('annotations', number, annotation)}: {error}")
    require_order(path, np.array(boxes, float).reshape(-1, 6))
    if problems:
        report(path, problems, drop_invalid and any(rows))
    for key, count in ids.most_common(1):
        if count > 1:
            notes.add("annotations under one id, all kept", shortened(key))
    notes.warn(path, stacklevel=3)
    return Annotations(categories, entries, [objects_of(each) for each in rows])


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
