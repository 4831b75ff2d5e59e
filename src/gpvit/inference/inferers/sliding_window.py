"""Overlapping windows, for images too large to pass through the network at once.

Shape letters: K classes, h w grid of low-resolution logits over the whole image, n m grid of one window.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from gpvit.data.transforms.classification import Transform
from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.errors import UserError
from gpvit.inference.forward import forward_logits
from gpvit.inference.inferers.base import Inferer
from gpvit.inference.inferers.label_maps import empty_label_map, fill_from_top
from gpvit.models.backbone import MIN_SIDE
from gpvit.models.segmenter import Segmenter

_WINDOWS_AT_ONCE = 4


@dataclass(frozen=True)
class SlidingWindow(Inferer):
    """Labels an image at its own size, window by window, blending the logits where windows overlap.

    Beside the image's bytes and its labels only low-resolution logits are held, as many as a row of windows has.

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

    def label(
        self, model: Segmenter, prepared: Sequence[torch.Tensor], preprocessing: SegmentationPreprocessing
    ) -> list[np.ndarray]:
        """Label images, one after the other, neither resized nor fitted (see `Inferer.label`)."""
        return [self._label(model, pixels.numpy(), preprocessing) for pixels in prepared]

    def _label(self, model: Segmenter, pixels: np.ndarray, preprocessing: SegmentationPreprocessing) -> np.ndarray:
        if self.size % model.stride:
            fitting = -(-self.size // model.stride) * model.stride
            raise UserError(
                f"window of {self.size} pixels: give a multiple of the model's stride {model.stride}, such as {fitting}"
            )
        unit = math.lcm(model.stride, preprocessing.size_divisor)
        height, width = pixels.shape[:2]
        down, across = (_Axis.over(side, self, model.stride, unit) for side in (height, width))
        normalise = replace(preprocessing, max_size=None, size_divisor=1).transform()
        labels = empty_label_map(model.num_classes, (height, width))
        fill_from_top(labels, self._logits(model, pixels, normalise, down, across), down.cells, model.stride)
        return labels

    def _logits(
        self, model: Segmenter, pixels: np.ndarray, normalise: Transform, down: "_Axis", across: "_Axis"
    ) -> Iterator[torch.Tensor]:
        """Yield the blended logits ``(K, h, w)`` from top to bottom, as soon as no further window adds to them."""
        weight = next(model.parameters())
        blended = torch.zeros(model.num_classes, 0, across.cells, device=weight.device)
        for row, top in enumerate(down.starts):
            missing = down.window - blended.shape[1]  # the upper part comes from the row of windows before
            blended = torch.cat([blended, blended.new_zeros(model.num_classes, missing, across.cells)], 1)
            ys = down.weights[row].to(weight.device)[:, None]
            for column, logits in enumerate(self._window_row(model, pixels, normalise, top, down, across)):
                left, xs = across.starts[column], across.weights[column].to(weight.device)
                blended[..., left : left + across.window] += logits * (ys * xs)
            finished = [*down.starts, down.cells][row + 1] - top
            yield blended[:, :finished]
            blended = blended[:, finished:]

    def _window_row(
        self, model: Segmenter, pixels: np.ndarray, normalise: Transform, top: int, down: "_Axis", across: "_Axis"
    ) -> Iterator[torch.Tensor]:
        """Yield the logits ``(K, n, m)`` of the windows of a row, from left to right."""
        size = (down.window * model.stride, across.window * model.stride)
        for first in range(0, len(across.starts), _WINDOWS_AT_ONCE):
            corners = [(top * model.stride, left * model.stride) for left in across.starts[first:][:_WINDOWS_AT_ONCE]]
            windows = torch.stack([normalise(_cut(pixels, corner, size)) for corner in corners])
            logits = forward_logits(model, windows, model.forward_low)
            if self.flip:
                logits = (logits + forward_logits(model, windows.flip(-1), model.forward_low).flip(-1)) / 2
            yield from logits


@dataclass(frozen=True, eq=False)
class _Axis:
    """The windows along one side of an image, in cells of the low-resolution grid.

    Args:
        cells: Cells of the whole side, the last perhaps partly outside of the image.
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
    def over(cls, side: int, inferer: SlidingWindow, stride: int, unit: int) -> "_Axis":
        """Spread windows evenly over a side.

        Args:
            side: Of the image, in pixels.
            inferer: Says how large windows are and how far they overlap.
            stride: Pixels per cell.
            unit: Pixels that the side of an image smaller than a window is filled up to multiples of.
        """
        smallest = -(-max(side, MIN_SIDE) // unit) * unit
        window = min(inferer.size, smallest) // stride
        cells = max(-(-side // stride), window)
        step = max(1, math.floor(window * (1 - inferer.overlap)))
        steps = -(-(cells - window) // step)
        starts = [round(index * (cells - window) / max(steps, 1)) for index in range(steps + 1)]
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
