"""How a segmenter labels an image of any size: the whole image at once, or window by window.

Shape letters: K classes, h w grid of low-resolution logits over the whole image, n m grid of one window.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpvit.data.transforms.classification import Transform
from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.data.windows import window_starts
from gpvit.errors import UserError
from gpvit.inference.forward import forward_logits
from gpvit.inference.label_maps import empty_label_map, fill_from_top, labels_of_views
from gpvit.models.backbone import MIN_SIDE
from gpvit.models.segmenter import Segmenter

LabelMaps = list[np.ndarray]
_WINDOWS_AT_ONCE = 4


class Inferer:
    """Labels images with a segmenter, each at its own size, in two steps."""

    def prepare(self, image: Image.Image, preprocessing: SegmentationPreprocessing) -> Any:
        """Compute what :meth:`label` needs of an RGB image: tensors, which a worker process can hand over."""
        raise NotImplementedError

    def label(self, model: Segmenter, prepared: Sequence[Any], preprocessing: SegmentationPreprocessing) -> LabelMaps:
        """Label prepared images: ``(height, width)`` each, uint8, or int32 for more than 255 classes."""
        raise NotImplementedError

    @torch.inference_mode()
    def __call__(self, model: Segmenter, image: Image.Image, preprocessing: SegmentationPreprocessing) -> np.ndarray:
        """Label one RGB image with a model in evaluation mode, as :meth:`label` does."""
        return self.label(model, [self.prepare(image, preprocessing)], preprocessing)[0]

    def _logits(self, model: Segmenter, images: torch.Tensor, flip: bool) -> list[torch.Tensor]:
        """Compute low-resolution logits ``(B, K, n, m)`` of images and, with `flip`, of their mirror images."""
        views = [images, images.flip(-1)] if flip else [images]
        logits = [forward_logits(model, view, model.forward_low) for view in views]
        return [logits[0], *(mirrored.flip(-1) for mirrored in logits[1:])]


@dataclass(frozen=True)
class WholeImage(Inferer):
    """Labels an image that is resized to the network's input; the probabilities of several views are averaged.

    So the paper tests (Sec. 4.3; code: mmseg's whole mode). The logits are resized twice, to the network's input and
    from there to the image (code: as the authors' test).

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

    def prepare(self, image: Image.Image, preprocessing: SegmentationPreprocessing) -> Any:
        """Return the size of an image, and for each scale its view ``(C, H, W)``, resized and normalised."""
        return (image.height, image.width), [preprocessing.transform(scale)(image) for scale in self.scales]

    def label(self, model: Segmenter, prepared: Sequence[Any], preprocessing: SegmentationPreprocessing) -> LabelMaps:
        """Label images; neighbours whose views have equal shapes are one batch (see `Inferer.label`)."""
        labels = []
        for shapes, batch in groupby(prepared, lambda image: [view.shape[1:] for view in image[1]]):
            sizes, views = zip(*batch, strict=True)
            logits = [
                each
                for same_scale in zip(*views, strict=True)
                for each in self._logits(model, torch.stack(same_scale), self.flip)
            ]
            inputs = [shape for shape in shapes for _ in range(1 + self.flip)]
            for size, *own in zip(sizes, *logits, strict=True):
                labels.append(labels_of_views(own, inputs, size, model.stride))
        return labels


@dataclass(frozen=True)
class SlidingWindow(Inferer):
    """Labels an image at its own size, window by window, blending the logits where windows overlap.

    A detector finds objects in such windows as well (:func:`gpvit.inference.windows.find_in_windows`). Beside the
    image's bytes and its labels only low-resolution logits are held, as many as a row of windows has.

    Args:
        size: Side of a window, in pixels; a multiple of the model's stride. A smaller image is one window.
        overlap: Smallest part of a window's side that its neighbour sees as well, in [0, 1).
        flip: Whether each window is also seen in the mirror; the logits are averaged.

    Raises:
        ValueError: If a setting is out of range or, when called, ``size`` is no multiple of the stride.

    Example:
        >>> SlidingWindow(size=512)(model, image, preprocessing).shape == image.size[::-1]
        True
    """

    size: int = 512
    overlap: float = 1 / 3
    flip: bool = False

    def __post_init__(self) -> None:
        if self.size < MIN_SIDE:
            raise UserError(f"window of {self.size} pixels: give {MIN_SIDE} or more, such as 512")
        if not 0 <= self.overlap < 1:
            raise UserError(f"overlap {self.overlap}: give the part of a window's side, from 0 to below 1")

    def prepare(self, image: Image.Image, preprocessing: SegmentationPreprocessing) -> torch.Tensor:
        """Return the bytes of an RGB image, ``(height, width, 3)``: windows are cut and normalised one by one."""
        return torch.from_numpy(np.array(image))

    def label(self, model: Segmenter, prepared: Sequence[Any], preprocessing: SegmentationPreprocessing) -> LabelMaps:
        """Label images, one after the other, neither resized nor fitted (see `Inferer.label`)."""
        if self.size % model.stride:
            fitting = -(-self.size // model.stride) * model.stride
            raise UserError(
                f"window of {self.size} pixels: give a multiple of the model's stride {model.stride}, such as {fitting}"
            )
        unit = math.lcm(model.stride, preprocessing.size_divisor)
        normalise = replace(preprocessing, max_size=None, size_divisor=1).transform()
        result = []
        for pixels in prepared:
            height, width = pixels.shape[:2]
            down, across = (_Axis.over(side, self, model.stride, unit) for side in (height, width))
            labels = empty_label_map(model.num_classes, (height, width))
            rows = self._rows(model, pixels.numpy(), normalise, down, across)
            fill_from_top(labels, rows, down.cells, model.stride)
            result.append(labels)
        return result

    def _rows(
        self, model: Segmenter, pixels: np.ndarray, normalise: Transform, down: "_Axis", across: "_Axis"
    ) -> Iterator[torch.Tensor]:
        """Yield the blended logits ``(K, h, w)`` from top to bottom, as soon as no further window adds to them."""
        size, weight = (down.window * model.stride, across.window * model.stride), next(model.parameters())
        blended = torch.zeros(model.num_classes, 0, across.cells, device=weight.device)
        for row, top in enumerate(down.starts):
            missing = down.window - blended.shape[1]  # the upper part comes from the row of windows before
            blended = torch.cat([blended, blended.new_zeros(model.num_classes, missing, across.cells)], 1)
            ys = down.weights[row].to(weight.device)[:, None]
            for first in range(0, len(across.starts), _WINDOWS_AT_ONCE):
                lefts = across.starts[first : first + _WINDOWS_AT_ONCE]
                corners = [(top * model.stride, left * model.stride) for left in lefts]
                windows = torch.stack([normalise(_cut(pixels, corner, size)) for corner in corners])
                averaged = torch.stack(self._logits(model, windows, self.flip)).mean(0)
                for column, (left, logits) in enumerate(zip(lefts, averaged, strict=True), first):
                    xs = across.weights[column].to(weight.device)
                    blended[..., left : left + across.window] += logits * (ys * xs)
            finished = [*down.starts, down.cells][row + 1] - top
            yield blended[:, :finished]
            blended = blended[:, finished:]


@dataclass(frozen=True, eq=False)
class _Axis:
    """The windows along one side of an image, in cells of the low-resolution grid, the last perhaps partly outside.

    The weights, ``(windows, window)``, say how much a window counts in each of its cells, above 0; in every cell of the
    side they sum to 1.
    """

    cells: int
    window: int
    starts: list[int]
    weights: torch.Tensor

    @classmethod
    def over(cls, side: int, inferer: SlidingWindow, stride: int, unit: int) -> "_Axis":
        """Spread windows evenly over a side of so many pixels, filled up to multiples of `unit` if it is smaller."""
        smallest = -(-max(side, MIN_SIDE) // unit) * unit
        window = min(inferer.size, smallest) // stride
        cells = max(-(-side // stride), window)
        starts = window_starts(cells, window, inferer.overlap)
        hann = torch.sin(torch.pi * (torch.arange(window) + 0.5) / window) ** 2
        total = torch.zeros(cells)
        for start in starts:
            total[start : start + window] += hann
        return cls(cells, window, starts, torch.stack([hann / total[start : start + window] for start in starts]))


def _cut(pixels: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    """Cut a window out of an image; where it reaches beyond, at the right or the bottom, the border's pixels go on."""
    (top, left), (height, width) = corner, size
    window = pixels[top : top + height, left : left + width]
    beyond = ((0, height - window.shape[0]), (0, width - window.shape[1]), (0, 0))
    return Image.fromarray(np.pad(window, beyond, mode="edge"))


def choose_inferer(
    task: str,
    window: int | None = None,
    overlap: float | None = None,
    flip: bool = False,
    scales: str | None = None,
) -> Inferer | None:
    """Choose by the command line's options: a `SlidingWindow` if a window is given, else a segmenter's `WholeImage`.

    `scales` holds numbers separated by commas. Options that exclude each other or are out of range are refused.
    """
    if task == "detection" and (flip or scales is not None):
        raise UserError("leave out --flip and --scales: they are for segmenters, and this is a detector")
    if task == "classification" or (task == "detection" and window is overlap is None):
        return None
    if window is None:
        if overlap is not None:
            raise UserError(f"--overlap {overlap} needs windows; add --window 512, or leave it out")
        try:
            return WholeImage(tuple(map(float, ("1.0" if scales is None else scales).split(","))), flip)
        except ValueError:
            raise UserError(f"scales {scales!r}: give factors above 0, such as 0.5,1.0,1.5") from None
    if scales is not None:
        raise UserError(f"--window {window} keeps the image's own size and --scales {scales} changes it; choose one")
    return SlidingWindow(window, SlidingWindow.overlap if overlap is None else overlap, flip)
