"""Masks of single objects, in the forms in which COCO's files give them: checked, and drawn."""

from collections.abc import Sequence
from reprlib import repr as shortened
from typing import Any

import numpy as np
from faster_coco_eval import mask as codec

from gpvit.errors import UserError

_LARGEST = 4 * 2**30  # bytes
_FORMS = "a list of polygons [x, y, x, y, x, y, ...], or run lengths with 'size' and 'counts'"


def rasterise(segmentations: Sequence[Any], height: int, width: int) -> np.ndarray:
    """Draw the masks of one image `(N, H, W)`, uint8, 1 on the object, of segmentations as files give them."""
    if (size := len(segmentations) * height * width) > _LARGEST:
        raise UserError(
            f"{len(segmentations)} masks of {width}x{height} pixels would take {size / 2**30:.0f} GB of memory; cut "
            "the image into parts, or use boxes alone with masks: false"
        )
    masks = np.empty((len(segmentations), height, width), dtype=np.uint8)
    for number, segmentation in enumerate(segmentations):
        try:
            masks[number] = codec.decode(codec.segmToRle(segmentation, width, height))
        except (ValueError, RuntimeError) as error:  # the codec raises either
            raise UserError(f"object {number}: segmentation {shortened(segmentation)}: {error}") from error
    return masks


def is_number(value: Any) -> bool:
    """Tell whether a value of a JSON file is a number, neither infinite nor NaN, that arrays can hold exactly."""
    return type(value) in (int, float) and abs(value) < 2**53


def checked_segmentation(segmentation: Any, height: int, width: int) -> Any:
    """Check, without drawing it, that a segmentation of a file can be drawn on an image, and give it back."""
    if isinstance(segmentation, list) and segmentation:
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                raise UserError(f"segmentation has the polygon {shortened(polygon)}; it takes {_FORMS}")
            if not all(map(is_number, polygon)):
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
