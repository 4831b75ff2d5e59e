"""Reads segmentations, polygons and run lengths in the forms that tools write, and draws them as masks."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import mul
from reprlib import repr as shortened
from typing import Any

import numpy as np
from faster_coco_eval import mask as codec

from gpvit.data.detection.fields import Notes, number
from gpvit.errors import UserError

_LARGEST = 4 * 2**30  # bytes, of the masks of an image
_HUGE = 2**53
_TINY = 4  # pixels, side of an image that smaller ones than a pixel may be in
_FARTHEST = 4  # sides of an image that a polygon reaches beyond it; drawing one takes memory by its length
_FORMS = "a list of polygons [x, y, x, y, x, y, ...], or run lengths with 'size' and 'counts'"

Corners = tuple[float, float, float, float]


def read_segmentation(given: Any, size: tuple[int, int], notes: Notes) -> tuple[Any, Corners]:
    """Read a segmentation that shows some pixel of an image of a size (height, width).

    Points `[x, y]` or `{"x": x, "y": y}`, one polygon without the list around it, and run lengths as text of bytes or
    of JSON are read as they are meant, and parts of a polygon without an area are left out; `notes` learns of it.

    Returns:
        The segmentation as the codec takes it, and its left, top, right and bottom.
    """
    try:
        value: Any = json.loads(given) if isinstance(given, str) else given
        segmentation: Any
        value = value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) else value
        if isinstance(value, dict) and {"size", "counts"} <= set(value):
            segmentation, corners = _run_lengths(value, size, notes)
        else:
            polygons = _polygons(value)
            if polygons != value:
                notes.add("segmentation in another form of polygons", shortened(given))
            segmentation, corners = _with_area(polygons, notes)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"segmentation is {shortened(given)}; it takes {_FORMS}") from None
    height, width = size
    left, top, right, bottom = corners
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise UserError(f"segmentation {shortened(given)} lies outside its image of {width}x{height}")
    if right <= 1 and bottom <= 1 and min(size) > _TINY and isinstance(segmentation, list):
        raise UserError(
            f"segmentation {shortened(given)} looks like parts of its image of {width}x{height}, not pixels"
        )
    if max(-left, -top, right, bottom) > (_FARTHEST + 1) * max(size):
        raise UserError(f"segmentation {shortened(given)} reaches far beyond its image of {width}x{height}")
    if right - left < 2 or bottom - top < 2:
        _require_pixels(segmentation, size)
    return segmentation, corners


def rasterise(segmentations: Sequence[Any], height: int, width: int) -> np.ndarray:
    """Draw the masks of one image `(N, H, W)`, uint8, 1 on the object, of segmentations as `read_segmentation` does."""
    if (size := len(segmentations) * height * width) > _LARGEST:
        raise UserError(
            f"{len(segmentations)} masks of {width}x{height} pixels would take {size / 2**30:.0f} GB of memory; cut "
            "the image into parts, or use boxes alone with masks: false"
        )
    masks = np.empty((len(segmentations), height, width), dtype=np.uint8)
    for place, segmentation in enumerate(segmentations):
        try:
            masks[place] = codec.decode(codec.segmToRle(segmentation, width, height))
        except (ValueError, RuntimeError) as error:  # the codec raises either
            raise UserError(f"object {place}: segmentation {shortened(segmentation)}: {error}") from error
    return masks


def _polygons(value: Any) -> list[list[float]]:
    """Bring polygons in any form into lists `[x, y, x, y, ...]`."""
    if isinstance(value, dict):  # of VIA
        value = [list(chain(*zip(value["all_points_x"], value["all_points_y"], strict=True)))]
    if not isinstance(value, list) or not value:
        raise ValueError
    if not isinstance(value[0], list) or all(len(point) == 2 and not isinstance(point[0], list) for point in value):
        value = [value]
    return [_polygon(each) for each in value]


def _polygon(points: Any) -> list[float]:
    if points and isinstance(points[0], dict):
        points = [(point["x"], point["y"]) for point in points]
    if points and isinstance(points[0], list | tuple):
        points = [coordinate for x, y in points for coordinate in (x, y)]
    if len(points) % 2:
        raise UserError(f"segmentation has the polygon {shortened(points)}; it takes {_FORMS}")
    if set(map(type, points)) <= {int, float} and -_HUGE < sum(map(abs, points)) < _HUGE:  # false for NaN, too
        return list(points)
    try:
        return [number(each) for each in points]
    except ValueError:
        raise UserError(f"segmentation has a coordinate that is no finite number: {shortened(points)}") from None


def _with_area(polygons: list[list[float]], notes: Notes) -> tuple[list[list[float]], Corners]:
    """Leave out the parts without an area, and say where the others are."""
    kept = [each for each in polygons if _has_area(each)]
    if not kept:
        raise UserError(f"segmentation has the polygon {shortened(polygons[0])}; it takes {_FORMS}, with an area")
    for flat in (each for each in polygons if each not in kept):
        notes.add("parts of a segmentation without an area, left out", shortened(flat))
    x, y = ([value for each in kept for value in each[axis::2]] for axis in (0, 1))
    return kept, (min(x), min(y), max(x), max(y))


def _has_area(polygon: list[float]) -> bool:
    x, y = polygon[::2], polygon[1::2]
    if abs(sum(map(mul, x, y[1:] + y[:1])) - sum(map(mul, y, x[1:] + x[:1]))) > 1e-6:
        return True
    return bool(np.linalg.matrix_rank(np.array([x, y]) - np.array([[x[0]], [y[0]]])) > 1) if len(x) > 2 else False


def _run_lengths(given: Mapping[str, Any], size: tuple[int, int], notes: Notes) -> tuple[dict[str, Any], Corners]:
    counts, sides = given["counts"], given["size"]
    sides = list(map(number, sides)) if isinstance(sides, list) else sides
    if sides != [*size]:
        swapped = ", the other way round" if sides == [*size[::-1]] else ""
        raise UserError(f"segmentation has the size {sides} (height, width) on an image of {[*size]}{swapped}")
    if isinstance(counts, str) and counts.startswith(("b'", 'b"')) and counts.isascii():
        counts = counts[2:-1].replace("\\\\", "\\")
        notes.add("counts of a segmentation as a text of bytes", shortened(given["counts"]))
    checked: dict[str, Any] = {"size": [*size], "counts": counts}  # the codec takes no sides such as 48.0
    if isinstance(counts, list):
        try:
            runs = list(map(number, counts))
        except ValueError:
            runs = []
        if sum(runs) != size[0] * size[1] or any(run < 0 or run != int(run) for run in runs):
            total = size[0] * size[1]
            raise UserError(f"segmentation has counts {shortened(counts)}; their sum must be {total} pixels")
        checked = codec.frPyObjects({**checked, "counts": list(map(int, runs))}, *size)
    try:
        left, top, width, height = codec.toBbox([checked])[0].tolist()  # reads a text of run lengths to its end
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"segmentation has counts {shortened(counts)}, no compressed run lengths: {error}") from error
    _require_pixels(checked, size)
    return checked, (left, top, left + width, top + height)


def _require_pixels(segmentation: Any, size: tuple[int, int]) -> None:
    if not codec.area(codec.segmToRle(segmentation, size[1], size[0])):
        raise UserError(f"segmentation {shortened(segmentation)} shows no pixel")
