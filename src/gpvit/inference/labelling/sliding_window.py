"""Overlapping windows, for pictures too large for memory.

Shape letters: K classes, h w grid of low-resolution logits over the whole picture, n m grid of one window.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from gpvit.data.transforms.classification import Transform
from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.errors import UserError
from gpvit.inference.forward import ask
from gpvit.inference.labelling.label_maps import empty_label_map, fill_from_top
from gpvit.models.backbone import MIN_SIDE
from gpvit.models.segmenter import Segmenter

_WINDOWS_AT_ONCE = 4


@dataclass(frozen=True)
class SlidingWindow:
    """Labels a picture at its own size, window by window, blending the logits where windows overlap.

    Beside the picture and its labels only low-resolution logits are held, as many as a row of windows has.

    Args:
        size: Side of a window, in pixels; a multiple of the model's stride. A smaller picture is one window.
        overlap: Least part of a window's side that its neighbour sees as well, in [0, 1).
        flip: Whether each window is also seen in the mirror; the logits are averaged.

    Raises:
        ValueError: If a setting is out of range or, when called, ``size`` is no multiple of the stride.

    Example:
        >>> SlidingWindow(size=512)(model, picture, preprocessing).shape == picture.size[::-1]
        True
    """

    size: int = 512
    overlap: float = 1 / 3
    flip: bool = False

    def __post_init__(self) -> None:
        if self.size < MIN_SIDE:
            raise UserError(f"window of {self.size} pixels: give {MIN_SIDE} or more, as 512")
        if not 0 <= self.overlap < 1:
            raise UserError(f"overlap {self.overlap}: give the part of a window's side, from 0 to below 1, as 0.33")

    @torch.inference_mode()
    def __call__(self, model: Segmenter, picture: Image.Image, preprocessing: SegmentationPreprocessing) -> np.ndarray:
        """Label a picture.

        Args:
            model: In evaluation mode.
            picture: Of mode RGB.
            preprocessing: The model's; the picture is neither fitted nor stretched.

        Returns:
            ``(height, width)`` labels, uint8, or int32 for more than 255 classes.
        """
        if self.size % model.stride:
            fitting = -(-self.size // model.stride) * model.stride
            raise UserError(
                f"window of {self.size} pixels: give a multiple of the model's stride {model.stride}, as {fitting}"
            )
        unit = math.lcm(model.stride, preprocessing.size_divisor)
        down, across = (_Axis.over(side, self, model.stride, unit) for side in (picture.height, picture.width))
        read = replace(preprocessing, max_size=None, size_divisor=1).transform()
        labels = empty_label_map(model.num_classes, (picture.height, picture.width))
        fill_from_top(labels, self._logits(model, picture, read, down, across), down.cells, model.stride)
        return labels

    def _logits(
        self, model: Segmenter, picture: Image.Image, read: Transform, down: "_Axis", across: "_Axis"
    ) -> Iterator[torch.Tensor]:
        """Yield the blended logits ``(K, h, w)`` from top to bottom, as soon as no further window adds to them."""
        weight = next(model.parameters())
        blended = torch.zeros(model.num_classes, 0, across.cells, device=weight.device)
        for row, top in enumerate(down.starts):
            missing = down.window - blended.shape[1]  # the upper part comes from the row of windows before
            blended = torch.cat([blended, blended.new_zeros(model.num_classes, missing, across.cells)], 1)
            ys = down.weights[row].to(weight.device)[:, None]
            for column, logits in enumerate(self._window_row(model, picture, read, top, down, across)):
                left, xs = across.starts[column], across.weights[column].to(weight.device)
                blended[..., left : left + across.window] += logits * (ys * xs)
            finished = [*down.starts, down.cells][row + 1] - top
            yield blended[:, :finished]
            blended = blended[:, finished:]

    def _window_row(
        self, model: Segmenter, picture: Image.Image, read: Transform, top: int, down: "_Axis", across: "_Axis"
    ) -> Iterator[torch.Tensor]:
        """Yield the logits ``(K, n, m)`` of the windows of a row, from left to right."""
        size = (down.window * model.stride, across.window * model.stride)
        for first in range(0, len(across.starts), _WINDOWS_AT_ONCE):
            corners = [(top * model.stride, left * model.stride) for left in across.starts[first:][:_WINDOWS_AT_ONCE]]
            windows = torch.stack([read(_cut(picture, corner, size)) for corner in corners])
            logits = ask(model, windows, model.forward_low)
            if self.flip:
                logits = (logits + ask(model, windows.flip(-1), model.forward_low).flip(-1)) / 2
            yield from logits


@dataclass(frozen=True, eq=False)
class _Axis:
    """The windows along one side of a picture, in cells of the low-resolution grid.

    Args:
        cells: Cells of the whole side, the last perhaps partly outside of the picture.
        window: Cells of a window.
        starts: First cell of each window.
        weights: ``(windows, window)``: how much a window counts in each of its cells, above 0. Over all windows they
            sum to 1 in every cell.
    """

    cells: int
    window: int
    starts: list[int]
    weights: torch.Tensor

    @classmethod
    def over(cls, side: int, method: SlidingWindow, stride: int, unit: int) -> "_Axis":
        """Spread windows evenly over a side.

        Args:
            side: Of the picture, in pixels.
            method: Says how large windows are and how far they overlap.
            stride: Pixels per cell.
            unit: Pixels that the side of a picture smaller than a window is filled up to multiples of.
        """
        smallest = -(-max(side, MIN_SIDE) // unit) * unit
        window = min(method.size, smallest) // stride
        cells = max(-(-side // stride), window)
        step = max(1, math.floor(window * (1 - method.overlap)))
        steps = -(-(cells - window) // step)
        starts = [round(index * (cells - window) / max(steps, 1)) for index in range(steps + 1)]
        hann = torch.sin(torch.pi * (torch.arange(window) + 0.5) / window) ** 2
        total = torch.zeros(cells)
        for start in starts:
            total[start : start + window] += hann
        return cls(cells, window, starts, torch.stack([hann / total[start : start + window] for start in starts]))


def _cut(picture: Image.Image, corner: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    """Cut a window out of a picture; where it reaches beyond, at the right or the bottom, the border's pixels go on."""
    (top, left), (height, width) = corner, size
    bottom, right = min(top + height, picture.height), min(left + width, picture.width)
    window = picture.crop((left, top, right, bottom))
    return F.pad(window, [0, 0, left + width - right, top + height - bottom], padding_mode="edge")
