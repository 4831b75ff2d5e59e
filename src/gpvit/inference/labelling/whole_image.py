"""The whole picture at once, as the paper tests (Sec. 4.3; code: mmseg's whole mode).

Shape letters: K classes, h w network input, H W picture size.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.errors import UserError
from gpvit.inference.forward import ask
from gpvit.inference.labelling.label_maps import bands, empty_label_map, fill_from_top, most_probable
from gpvit.models.segmenter import Segmenter
from gpvit.ops.resizing import resize_rows, source_rows


@dataclass(frozen=True)
class WholeImage:
    """Labels a picture that is fitted to the network's size; several views of it have their probabilities averaged.

    The logits are resized twice, to the network's input and from there to the picture (code: as the authors' test).

    Args:
        scales: Factors of the fitted size, one view each.
        flip: Whether each view is also seen in the mirror.

    Raises:
        ValueError: If there is no scale, or one is not above 0.

    Example:
        >>> WholeImage(scales=(0.75, 1.0, 1.25), flip=True)(model, picture, preprocessing).shape == picture.size[::-1]
        True
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise UserError(f"scales {list(self.scales)}: give at least one factor, each above 0, as 0.5, 1.0, 1.5")

    @torch.inference_mode()
    def __call__(self, model: Segmenter, picture: Image.Image, preprocessing: SegmentationPreprocessing) -> np.ndarray:
        """Label a picture.

        Args:
            model: In evaluation mode.
            picture: Of mode RGB.
            preprocessing: The model's.

        Returns:
            ``(H, W)`` labels, uint8, or int32 for more than 255 classes.
        """
        size = (picture.height, picture.width)
        views = list(self._views(model, picture, preprocessing))
        labels = empty_label_map(model.num_classes, size)
        if len(views) == 1 and _is_enlarged(*views[0], size, model.stride):
            fill_from_top(labels, [views[0][0]], views[0][0].shape[1], model.stride)
            return labels
        for rows in bands(model.num_classes, picture.width, range(picture.height)):
            scores = [_resize_twice(logits, middle, size, rows) for logits, middle in views]
            total = scores[0] if len(scores) == 1 else torch.stack([score.softmax(0) for score in scores]).sum(0)
            labels[rows.start : rows.stop] = most_probable(total)
        return labels

    def _views(
        self, model: Segmenter, picture: Image.Image, preprocessing: SegmentationPreprocessing
    ) -> Iterator[tuple[torch.Tensor, tuple[int, int]]]:
        """Yield each view's logits, at the decoder's resolution and turned back, with the network's input size."""
        for scale in self.scales:
            image = preprocessing.transform(scale)(picture)[None]
            middle = (image.shape[2], image.shape[3])
            yield ask(model, image, model.forward_low)[0], middle
            if self.flip:
                yield ask(model, image.flip(-1), model.forward_low)[0].flip(-1), middle


def _resize_twice(logits: torch.Tensor, middle: tuple[int, int], size: tuple[int, int], rows: range) -> torch.Tensor:
    """Resize logits to ``middle`` and then to ``size``, but only what the given rows of the latter need."""
    needed = source_rows(middle[0], size[0], rows)
    return resize_rows(resize_rows(logits, middle, needed), size, rows, middle[0], needed.start)


def _is_enlarged(logits: torch.Tensor, middle: tuple[int, int], size: tuple[int, int], stride: int) -> bool:
    """Tell whether logits ``(K, h, w)`` need but to be enlarged by the stride to be those of the picture."""
    return middle == size == (logits.shape[1] * stride, logits.shape[2] * stride)
