"""Reads boxes in Pascal VOC's format: one XML file an image."""

import math
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from gpvit.data.detection.annotations import Annotations, ImageEntry, gather
from gpvit.data.detection.boxes import cut_box, require_order
from gpvit.data.detection.fields import VOC, Notes, read_entry
from gpvit.data.detection.layouts import Part
from gpvit.data.files import image_files
from gpvit.errors import UserError, nearest
from gpvit.runtime.images import open_image


def read_voc(part: Part, names: Sequence[str], masks: bool = False, drop_invalid: bool = False) -> Annotations:
    """Read the boxes of images, in files of their names.

    `xmin`, `ymin`, `xmax` and `ymax` are taken as the edges of a box in pixels from the image's upper left corner, as
    most tools write them, also where they count from 1. A box that is `difficult` is neither learned nor scored, like a
    crowd of COCO's; a `truncated` one is a box like any other. A size that a file lacks is read from its image.

    Args:
        part: Where images and files lie.
        names: The classes in the order of their labels.
        masks: Must be false: there are none.
        drop_invalid: Leave out what cannot be used, with a warning, rather than refuse it.

    Raises:
        FileNotFoundError: A folder or the list of images is missing.
        UserError: A file cannot be read, or holds what cannot be used; the message names files and values.
    """
    if masks:
        raise UserError(
            f"{part.annotations}: Pascal VOC's files hold boxes, no masks; set masks: false (--data.masks false) and "
            "take a RetinaNet, as recipes/folder/boxes.yaml does"
        )
    notes, images, found = Notes(), list[ImageEntry](), list[list[tuple[str, Any]]]()
    labels = {name: label for label, name in enumerate(names, start=1)}
    for place, (image, text) in enumerate(part.files(drop_invalid, notes)):
        root = ElementTree.Element("annotation") if text is None else parse(text)
        size = {name: value for name, value in _texts(root.find("size"), "size").items() if value not in ("0", "")}
        try:
            sides = read_entry("size", size, Notes())
        except UserError as error:
            raise UserError(f"{text}: {error}") from None
        if text is not None and None in sides.values():
            notes.add("files without the size of their image, which is read from it", text.name)
        width, height = sides.values() if None not in sides.values() else open_image(image).size
        images.append(ImageEntry(place, image.relative_to(part.images).as_posix(), height, width))
        found.append([(f"{text}: object {i}", each) for i, each in enumerate(root.findall("object"), start=1)])

    def read(element: ElementTree.Element, image: ImageEntry, notes: Notes) -> tuple[Any, ...]:
        values = read_entry("object", _texts(element, "object"), Notes())  # all is text in XML, and nothing to note
        box = read_entry("bndbox", _texts(element.find("bndbox"), "bndbox"), Notes())
        if values["name"] not in labels:
            raise UserError(f"name is {values['name']!r}, which is no class; {nearest(values['name'], labels)}")
        boxes.append((*box.values(), image.height, image.width))
        for flag, said in (("difficult", "neither learned nor scored"), ("truncated", "kept like any other")):
            if values[flag]:
                notes.add(f"{flag} objects, {said}", image.file_name)
        corners = cut_box([*box.values()], image, notes)
        return corners, labels[values["name"]], math.nan, values["difficult"], None

    def check() -> None:
        require_order(part.annotations, np.array(boxes, float).reshape(-1, 6), "left, top, right, bottom")

    boxes: list[tuple[float, ...]] = []
    return gather(part.annotations, names, images, found, read, notes, drop_invalid, check)


def parse(path: Path) -> ElementTree.Element:
    """Read an XML file in any encoding that it declares; one that declares entities is refused, whatever they are."""
    try:
        root = ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_Plain()))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        empty = "" if path.stat().st_size else "; it is empty"
        raise UserError(f"{path} is no XML, or is cut short{empty}: {error}") from None
    if root.tag != "annotation":
        raise UserError(f"{path}: its element is {root.tag!r}; a file of Pascal VOC's holds one 'annotation'")
    return root


def class_names(folders: Iterable[Path]) -> list[str]:
    """List the classes that the files of folders name, in alphabetical order.

    Classes in several spellings, such as `Tree` and `tree`, are warned of; `read_voc` tells of files that are none.
    """
    names, spellings = Counter[str](), defaultdict[str, list[str]](list)
    for path in chain.from_iterable(image_files(folder, (".xml",)) for folder in folders):
        with suppress(UserError):
            names.update(_texts(element, "object")["name"] for element in parse(path).findall("object"))
    del names[""]
    for name in sorted(names):
        spellings[re.sub(r"[\W_]+", "", name.casefold()) or name].append(f"{name!r} ({names[name]})")
    for alike in spellings.values():
        if len(alike) > 1:
            warnings.warn(f"classes in several spellings are classes of their own: {', '.join(alike)}", stacklevel=2)
    return sorted(names)


class _Plain(ElementTree.TreeBuilder):
    def doctype(self, *_: Any) -> None:
        raise UserError("has a DOCTYPE, which may declare entities; remove it")


def _texts(element: ElementTree.Element | None, kind: str) -> dict[str, str]:
    """Give the texts of the fields of an element; of one that is not there, none."""
    return {name: (element.findtext(name) or "").strip() for name in VOC[kind]} if element is not None else {}
