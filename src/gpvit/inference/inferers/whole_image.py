"""The whole image at once, as the paper tests (Sec. 4.3; code: mmseg's whole mode).

Shape letters: K classes, h w network input, H W image size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.errors import UserError
from gpvit.inference.forward import forward_logits
from gpvit.inference.inferers.base import Inferer
from gpvit.inference.inferers.label_maps import bands, empty_label_map, fill_from_top, most_probable
from gpvit.models.segmenter import Segmenter
from gpvit.ops.resizing import resize_rows, source_rows


class Views(NamedTuple):
    """An image as the network sees it.

    Args:
        size: Height and width of the image.
        views: ``(C, h, w)`` at each scale.
    """

    size: tuple[int, int]
    views: list[torch.Tensor]

    @property
    def shapes(self) -> list[torch.Size]:
        """The shape of each view."""
        return [view.shape for view in self.views]


@dataclass(frozen=True)
class WholeImage(Inferer):
    """Labels an image that is resized to the network's input; the probabilities of several views are averaged.

    The logits are resized twice, to the network's input and from there to the image (code: as the authors' test).

    Args:
        scales: Factors of the input size, one view each.
        flip: Whether each view is also seen in the mirror.

    Raises:
        ValueError: If there is no scale, or one is not above 0.

    Example:
        >>> WholeImage(scales=(0.75, 1.0, 1.25), flip=True)(model, image, preprocessing).shape == image.size[::-1]
        True
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise UserError(f"scales {list(self.scales)}: give at least one factor, each above 0, such as 0.5, 1.0")

    def prepare(self, image: Image.Image, preprocessing: SegmentationPreprocessing) -> Views:
        """Resize and normalise an RGB image at each scale."""
        return Views((image.height, image.width), [preprocessing.transform(scale)(image) for scale in self.scales])

    def label(
        self, model: Segmenter, prepared: Sequence[Views], preprocessing: SegmentationPreprocessing
    ) -> list[np.ndarray]:
        """Label images; neighbours whose views have equal shapes are one batch (see `Inferer.label`)."""
        return [
            labels
            for _, batch in groupby(prepared, lambda image: image.shapes)
            for labels in self._label_batch(model, list(batch))
        ]

    def _label_batch(self, model: Segmenter, batch: list[Views]) -> list[np.ndarray]:
        middles = [(view.shape[1], view.shape[2]) for view in batch[0].views for _ in range(1 + self.flip)]
        logits = []  # (B, K, h, w) of each view, at the decoder's resolution and turned back
        for views in zip(*(image.views for image in batch), strict=True):
            images = torch.stack(views)
            logits.append(forward_logits(model, images, model.forward_low))
            if self.flip:
                logits.append(forward_logits(model, images.flip(-1), model.forward_low).flip(-1))
        return [
            _labels(model, [view[index] for view in logits], middles, image.size) for index, image in enumerate(batch)
        ]


def _labels(
    model: Segmenter, logits: list[torch.Tensor], middles: list[tuple[int, int]], size: tuple[int, int]
) -> np.ndarray:
    """Turn the logits ``(K, h, w)`` of each view of an image into its labels ``(H, W)``."""
    labels = empty_label_map(model.num_classes, size)
    if len(logits) == 1 and middles[0] == size == tuple(side * model.stride for side in logits[0].shape[1:]):
        fill_from_top(labels, logits, logits[0].shape[1], model.stride)
        return labels
    for rows in bands(model.num_classes, size[1], range(size[0])):
        scores = [_resize_twice(view, middle, size, rows) for view, middle in zip(logits, middles, strict=True)]
        total = scores[0] if len(scores) == 1 else torch.stack([score.softmax(0) for score in scores]).sum(0)
        labels[rows.start : rows.stop] = most_probable(total)
    return labels


def _resize_twice(logits: torch.Tensor, middle: tuple[int, int], size: tuple[int, int], rows: range) -> torch.Tensor:
    """Resize logits to ``middle`` and then to ``size``, but only what the given rows of the latter need."""
    needed = source_rows(middle[0], size[0], rows)
    return resize_rows(resize_rows(logits, middle, needed), size, rows, middle[0], needed.start)
