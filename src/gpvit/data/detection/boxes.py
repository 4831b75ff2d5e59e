"""What a box may be, and what boxes in another convention look like."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np

from gpvit.data.detection.annotations import ImageEntry
from gpvit.data.detection.fields import Notes
from gpvit.errors import UserError

_TINY = 4  # pixels, side of an image whose boxes may be smaller than a pixel

Corners = tuple[float, float, float, float]

READINGS: Mapping[str, Callable[..., tuple[Any, ...]]] = {
    "x, y, width, height": lambda a, b, c, d: (a, b, a + c, b + d),
    "left, top, right, bottom": lambda a, b, c, d: (a, b, c, d),
    "y, x, height, width": lambda a, b, c, d: (b, a, b + d, a + c),
    "top, left, bottom, right": lambda a, b, c, d: (b, a, d, c),
    "centre, width and height": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
}
"""The corners of boxes by what their four numbers are: COCO's are the first, Pascal VOC's the second."""


def checked_box(box: Sequence[float], image: ImageEntry, form: str = "x, y, width, height") -> Corners:
    """Give the corners of a box that has an area, some of it within its image."""
    left, top, right, bottom = READINGS[form](*box)
    given, size = f"bbox {list(box)} ({form})", f"{image.width}x{image.height}"
    if right <= left or bottom <= top:
        raise UserError(f"{given} has no area")
    if min(box) >= 0 and max(box) <= 1 and min(image.width, image.height) > _TINY:
        raise UserError(f"bbox {list(box)} looks like parts of its image of {size}; it takes pixels")
    if min(right, image.width) <= max(left, 0) or min(bottom, image.height) <= max(top, 0):
        raise UserError(f"{given} lies outside its image of {size}")
    return left, top, right, bottom


def cut_box(corners: Sequence[float], image: ImageEntry, notes: Notes) -> Corners:
    """Put the corners of a box in order, and cut it off at the border of its image."""
    xs, ys = sorted(corners[::2]), sorted(corners[1::2])
    ordered = xs[0], ys[0], xs[1], ys[1]
    if ordered != tuple(corners):
        notes.add("corners of boxes, put in order", shortened(list(corners)))
    left, top, right, bottom = checked_box(ordered, image, "left, top, right, bottom")
    cut = max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height)
    if max(abs(a - b) for a, b in zip(cut, ordered, strict=True)) > 1:  # else it is rounded
        notes.add("boxes that reach over the border of their image, cut off there", shortened(list(ordered)))
    return cut


def compare(given: Sequence[float], box: Sequence[float], extent: Sequence[float], notes: Notes) -> None:
    """Refuse a box of COCO that fits its segmentation in another reading alone; note one that does not meet it."""

    def misfit(corners: Sequence[float]) -> float:
        return max(abs(a - b) for a, b in zip(corners, extent, strict=True))

    if misfit(box) > 3:
        for name, reading in READINGS.items():
            if misfit(reading(*given)) <= 1:
                raise UserError(f"bbox {given} fits its segmentation as {name}; it takes x, y, width, height")
    if min(box[2], extent[2]) <= max(box[0], extent[0]) or min(box[3], extent[3]) <= max(box[1], extent[1]):
        notes.add("segmentations outside their bbox, both kept", f"bbox {shortened(given)}")


def fitting(boxes: np.ndarray) -> list[str]:
    """List the readings in which all of `boxes (N, 6)`, with height and width of their images, lie within these."""
    sizes, names = boxes[:, :3:-1], []
    for name, reading in READINGS.items():
        corners = np.stack(reading(*boxes[:, :4].T), 1)
        first, last = corners[:, :2], corners[:, 2:]
        if (first >= -1).all() and (last <= sizes + 1).all() and (last > first).all():
            names.append(name)
    return names


def require_order(source: Path, boxes: np.ndarray, form: str = "x, y, width, height") -> None:
    """Refuse boxes `(N, 6)`, with height and width of their images, many of which fit in another reading alone."""
    corners = np.stack(READINGS[form](*boxes[:, :4].T), 1)
    first, last = corners[:, :2], corners[:, 2:]
    misfits = ((last > 1.02 * boxes[:, :3:-1] + 1) | (last < first)).any(1).sum()
    if misfits >= max(2, len(boxes) / 4) and (names := fitting(boxes)):
        raise UserError(
            f"{source}: {misfits} of {len(boxes)} boxes do not fit their images, and all do as {names[0]}; a bbox is "
            f"{form} in pixels"
        )
