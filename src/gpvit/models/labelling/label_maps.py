"""Label maps: the most probable class of each pixel, made of logits of a lower resolution by bands of rows.

The logits of all pixels are never held together; for 150 classes that would be 10 GB for 4096 x 4096 pixels.

Shape letters: K classes, h w grid of the low-resolution logits, H W picture size.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from PIL import Image

from gpvit.data.segmentation.preprocessing import SegmentationPreprocessing
from gpvit.models.segmenter import Segmenter
from gpvit.ops.resizing import resize_rows, source_rows

LabellingMethod = Callable[[Segmenter, Image.Image, SegmentationPreprocessing], np.ndarray]
"""Labels a picture at its own size: ``method(model, picture, preprocessing)``, the model in evaluation mode."""

_BAND_VALUES = 2**22  # logits of a band, 16 MB


def empty_label_map(num_classes: int, size: tuple[int, int]) -> np.ndarray:
    """Allocate ``(H, W)`` labels: uint8 for at most 255 classes, as 255 says that there is none, else int32."""
    return np.empty(size, np.uint8 if num_classes <= 255 else np.int32)


def most_probable(scores: torch.Tensor) -> np.ndarray:
    """Return the class of the highest score, the first of several, ``(H, W)`` of ``(K, H, W)``."""
    return scores.max(0).indices.cpu().numpy()  # on a CPU, argmax takes twice as long


def bands(num_classes: int, width: int, rows: range) -> Iterator[range]:
    """Cut rows of a picture into bands whose logits take little memory, at least a row each."""
    step = max(1, _BAND_VALUES // (num_classes * width))
    for top in range(rows.start, rows.stop, step):
        yield range(top, min(top + step, rows.stop))


def fill_from_top(labels: np.ndarray, logits: Iterable[torch.Tensor], height: int, stride: int) -> None:
    """Fill a label map with the classes of low-resolution logits that come in from top to bottom.

    A cell of the logits is ``stride`` pixels high and wide, the first one in the picture's corner.

    Args:
        labels: ``(H, W)``, to be filled.
        logits: Pieces ``(K, rows, w)`` of ``(K, h, w)``; the grid covers the picture, and may reach beyond it.
        height: Rows of the whole grid, ``h``.
        stride: Pixels per cell.
    """
    picture_height, width = labels.shape
    held, first, done = None, 0, 0  # logits still needed, the row of the grid they begin with, finished pixel rows
    for piece in logits:
        held = piece if held is None else torch.cat([held, piece], 1)
        known = first + held.shape[1]
        # the lower half of the last known cell is mixed with the next one, unless there is none
        stop = min(picture_height, known * stride - (0 if known == height else (stride + 1) // 2))
        size = (height * stride, held.shape[2] * stride)
        for band in bands(len(held), size[1], range(done, stop)):
            scores = resize_rows(held, size, band, height, first)
            labels[band.start : band.stop] = most_probable(scores[..., :width])
        done = stop
        if done < picture_height:
            needed = source_rows(height, size[0], range(done, done + 1)).start
            held, first = held[:, needed - first :], needed
