"""Reads boxes and polygons in YOLO's format: one text file an image, one line an object."""

import math
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np

from gpvit.data.detection.annotations import Annotations, ImageEntry, gather
from gpvit.data.detection.boxes import READINGS, cut_box, fitting
from gpvit.data.detection.fields import Notes, number
from gpvit.data.detection.layouts import Part
from gpvit.data.detection.segmentations import read_segmentation
from gpvit.data.files import read_lines
from gpvit.data.workers import usable_cores
from gpvit.errors import UserError
from gpvit.runtime.images import open_image

_CENTRE = "centre, width and height"
_PART = 1.1  # largest coordinate of a line in parts of the image: a box may reach over the border a little
_LINE = "a line is 'class x y width height', or 'class x y x y x y ...', in parts of the image from 0 to 1"

Line = tuple[int, list[float]]
"""The class, from 0, and the coordinates."""


def read_yolo(part: Part, names: Sequence[str], masks: bool = True, drop_invalid: bool = False) -> Annotations:
    """Read the objects of images, in texts of their names: boxes, or polygons, which are masks.

    Coordinates are parts of the upright image, from 0 to 1. Pixels are read as well, and noted, where all boxes fit
    their images as centre, width and height, and in no other way.

    Args:
        part: Where images and texts lie.
        names: The classes in the order of their numbers.
        masks: Every object needs a polygon. Without, a polygon stands for the box around it.
        drop_invalid: Leave out what cannot be used, with a warning, rather than refuse it.

    Raises:
        FileNotFoundError: A folder is missing.
        UserError: A file cannot be read, or holds what cannot be used; the message names files and lines.
    """
    notes = Notes()
    files = part.files(drop_invalid, notes)
    with ThreadPool(usable_cores()) as pool:
        sizes = pool.map(lambda pair: open_image(pair[0]).size, files)
    images = [
        ImageEntry(place, image.relative_to(part.images).as_posix(), height, width)
        for place, ((image, _), (width, height)) in enumerate(zip(files, sizes, strict=True))
    ]
    found = [[] if text is None else _lines(text) for _, text in files]
    in_pixels = _are_pixels(part, images, found, notes)

    def read(line: str, image: ImageEntry, notes: Notes) -> tuple[Any, ...]:
        label, values = _line(line, names)
        if not in_pixels and _beyond(values):
            raise UserError(f"{shortened(line)} is no part of the image, as other lines are; {_LINE}")
        scale = (1, 1) if in_pixels else (image.width, image.height)
        values = [value * scale[place % 2] for place, value in enumerate(values)]
        segmentation = None
        if len(values) == 4:
            corners = READINGS[_CENTRE](*values)
            if masks:
                raise UserError("is a box alone, without the polygon of its segmentation")
        else:
            segmentation, corners = read_segmentation([values], image[2:], notes)
        return cut_box(corners, image, notes), label, math.nan, False, segmentation if masks else None

    return gather(part.annotations, names, images, found, read, notes, drop_invalid)


def _lines(path: Path) -> list[tuple[str, str]]:
    return [(f"{path}, line {place}", line) for place, line in enumerate(read_lines(path), start=1) if line]


def _line(line: str, names: Sequence[str] | None = None) -> Line:
    """Read a line, its class by its label, from 1; without names, any class."""
    columns = line.split()
    if len(columns) != 5 and (len(columns) < 7 or len(columns) % 2 == 0):
        hint = "; it looks like a prediction with its score" if len(columns) == 6 else ""
        raise UserError(f"{shortened(line)} has {len(columns)} columns{hint}; {_LINE}")
    try:
        label, *values = map(number, columns)
    except ValueError:
        raise UserError(f"{shortened(line)} holds what is no finite number; {_LINE}") from None
    if names is not None and label not in range(len(names)):
        raise UserError(f"class {columns[0]} is not in the list of {len(names)} classes, 0 to {len(names) - 1}")
    return int(label) + 1, values


def _beyond(values: Sequence[float]) -> bool:
    return max(values) > _PART or min(values) < 1 - _PART


def _are_pixels(
    part: Part, images: Sequence[ImageEntry], found: Sequence[Sequence[tuple[str, str]]], notes: Notes
) -> bool:
    """Say whether all coordinates are pixels; refuse those that may be pixels or something else."""
    boxes, first = [], ""
    for image, lines in zip(images, found, strict=True):
        for where, line in lines:
            try:
                _, values = _line(line)
            except UserError:  # told when it is read
                continue
            if not _beyond(values):
                return False
            first = first or where
            if len(values) > 4:
                left, top, right, bottom = (f(values[axis::2]) for f in (min, max) for axis in (0, 1))
                values = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
            boxes.append((*values, image.height, image.width))
    if not boxes:
        return False
    if (readings := fitting(np.array(boxes, float))) != [_CENTRE]:
        fit = f"may be pixels: {' or '.join(readings)}" if readings else "are no pixels of their images either"
        raise UserError(f"{part.annotations}: coordinates reach beyond 1, first in {first}, and {fit}; {_LINE}")
    notes.add("coordinates in pixels, as centre, width and height", first)
    return True
