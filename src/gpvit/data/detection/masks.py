"""Masks of single objects: from the forms in which annotation files give them to pixels, and back."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import mask as codec

from gpvit.errors import UserError

RunLengths = dict[str, Any]
"""Run lengths as COCO compresses them: `size` (height, width) and `counts`, bytes."""

_LARGEST = 4 * 2**30  # bytes


def rasterise(segmentations: Sequence[Any], height: int, width: int) -> np.ndarray:
    """Draw the masks of one image.

    Args:
        segmentations: Of each object, a list of polygons, or run lengths, compressed or not.
        height: Of the image.
        width: Of the image.

    Returns:
        `(N, H, W)`, uint8, 1 on the object.

    Raises:
        ValueError: Run lengths are damaged, or the masks would not fit into memory.
    """
    if (size := len(segmentations) * height * width) > _LARGEST:
        raise UserError(
            f"{len(segmentations)} masks of {width}x{height} pixels would take {size / 2**30:.0f} GB of memory; cut "
            "the picture into parts, or use boxes alone with masks=False"
        )
    masks = np.empty((len(segmentations), height, width), dtype=np.uint8)
    for mask, segmentation in zip(masks, segmentations, strict=True):
        mask[:] = codec.decode(codec.segmToRle(segmentation, width, height))
    return masks


def compress(mask: np.ndarray) -> RunLengths:
    """Compress a mask `(H, W)`, bool or uint8 of 0 and 1, to run lengths."""
    # Twice as fast as the codec's own search for runs, in column order, through memory in row order.
    column_order = mask.T.ravel()
    changes = np.flatnonzero(column_order[1:] != column_order[:-1]) + 1
    counts = np.diff(changes, prepend=0, append=mask.size).tolist()
    if mask.size and column_order[0]:
        counts.insert(0, 0)  # of the background, which always comes first
    compressed: RunLengths = codec.frPyObjects({"size": list(mask.shape), "counts": counts}, *mask.shape)
    return compressed


def segmentation_problem(segmentation: Any, height: int, width: int) -> str | None:
    """Say what keeps a segmentation of an annotation file from being drawn, without drawing it.

    Args:
        segmentation: As the file gives it.
        height: Of its image.
        width: Of its image.
    """
    if not segmentation:
        return "has no segmentation"
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                return "has a polygon that is not x, y of three or more points in turn"
            if not all(isinstance(value, int | float) and math.isfinite(value) for value in polygon):
                return "has a polygon with a coordinate that is no number"
        return None
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= set(segmentation):
        return "has a segmentation that is neither a list of polygons nor run lengths with 'size' and 'counts'"
    if list(segmentation["size"]) != [height, width]:
        return f"has a mask of size {list(segmentation['size'])} (height, width) on an image of {[height, width]}"
    counts = segmentation["counts"]
    if isinstance(counts, list) and sum(counts) != height * width:
        return f"has run lengths for {sum(counts)} pixels on an image of {height * width}"
    return None
