"""Draws what the groups of a GPViT attend to (paper Figure 6), in a classifier or inside another model.

A group gathers image tokens with an attention that sums to one over the image: ``p(token | group)``. All groups
counting alike, the group to which a token belongs is the one with the largest ``p(group | token)``, by Bayes' rule
the one that gives the token the largest share of itself. No group can win everywhere that way, for what it spends
in one place it lacks in another. The ungrouping attention, a softmax over the groups at each token, has no such
balance: one group often dominates every token, and the drawing has one colour.

Shape letters: M groups, H W token grid.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import nn
from torchvision.transforms import InterpolationMode, v2

from gpvit.data.colors import distinct_colours
from gpvit.errors import UserError
from gpvit.inference.metadata import preprocessing_of
from gpvit.io import replacing
from gpvit.layers.group_propagation import GroupMaps
from gpvit.models.adapter import ViTAdapter
from gpvit.models.backbone import MIN_SIDE, STRIDE, backbone_of
from gpvit.models.group_maps import group_blocks, keeping_group_maps
from gpvit.runtime.images import ImageError, ImageSource, read_image
from gpvit.zoo.exported import ExportedModel

_ALPHA = 0.6  # of a token's colour; the rest shows the image
_MAX_ASPECT = 20  # of sides; the shorter one sets the scale, so a strip would become a huge drawing
_SHOWN_SIDE = 224  # shorter side, in pixels, that small images are enlarged to
_CELL_IN = 1.7  # height of an image in the figure, in inches
_LARGEST_DEFAULT = 512  # pixels of the shorter side; detectors are trained on more than a figure shows


@dataclass(frozen=True, eq=False)
class BlockGroups:
    """What the groups of one group propagation block gather from one image.

    Args:
        block: Index of the block in the model.
        strength: ``(M, H, W)``, the share that a group gives to a token, averaged over the heads, over the share
            of a token if all had the same; above 1 where the group looks.
        answers: ``(M, H, W)``, the share of a group in what a token is answered when groups are given back, averaged
            over the heads; sums to one over the groups.
    """

    block: int
    strength: np.ndarray
    answers: np.ndarray

    @cached_property
    def assignment(self) -> np.ndarray:
        """``(H, W)``: the group that each token belongs to."""
        return cast(np.ndarray, self.strength.argmax(axis=0))

    @cached_property
    def answering(self) -> np.ndarray:
        """``(H, W)``: the group that has the largest share in the answer to each token."""
        return cast(np.ndarray, self.answers.argmax(axis=0))

    def range_of(self, group: int) -> tuple[float, float]:
        """Return a group's weakest and strongest tokens, apart from the last percent, often tokens at the border."""
        low, high = np.quantile(self.strength[group], (0.01, 0.99))
        return float(low), float(high)

    def most_distinct(self, count: int) -> list[int]:
        """Choose groups whose maps differ: first the one that looks most narrowly, then always the farthest."""
        maps = self.strength.reshape(len(self.strength), -1)
        chosen = [int(np.abs(maps - 1).mean(axis=1).argmax())]
        distance = np.full(len(maps), np.inf)
        while len(chosen) < min(count, len(maps)):
            distance = np.minimum(distance, np.abs(maps - maps[chosen[-1]]).mean(axis=1))  # twice the total variation
            distance[chosen] = -1
            chosen.append(int(distance.argmax()))
        return chosen


@dataclass(frozen=True, eq=False)
class GroupImage:
    """The groups of every block over one image as the model saw it, to be shown or saved."""

    image: Image.Image
    blocks: tuple[BlockGroups, ...]
    title: str = ""
    stride: int = STRIDE

    def hard(self, block: BlockGroups, assignment: np.ndarray | None = None) -> Image.Image:
        """Paint every token in the colour of the group that it belongs to, or of that in an assignment ``(H, W)``."""
        colours = np.array(distinct_colours(len(block.strength)))
        return self._blended(self._spread(colours[block.assignment if assignment is None else assignment], "nearest"))

    def soft(self, block: BlockGroups, group: int) -> Image.Image:
        """Lay a heat map of where a group attends over the image: dark where least, bright where most."""
        heat = self._spread(block.strength[group, ..., None], "bilinear")[..., 0]
        low, high = block.range_of(group)
        return self._blended(matplotlib.colormaps["inferno"]((heat - low) / max(high - low, 1e-9))[..., :3])

    def figure(self, num_soft: int = 5) -> Figure:
        """Draw a row for each block: what belongs where, then the `num_soft` most distinct groups as heat maps."""
        columns, rows = num_soft + 1, len(self.blocks)
        aspect = min(max(self.image.width / self.image.height, 0.6), 2.5)
        figure = Figure((columns * _CELL_IN * aspect, (rows + 1) * (_CELL_IN + 0.3)), dpi=150, layout="constrained")
        grid = figure.add_gridspec(rows + 1, columns)
        image, note = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1:])
        image.imshow(self.image.convert("RGB"))
        note.text(0, 0.9, self.title, fontsize=13, weight="bold", va="top", parse_math=False)
        tokens = "{1} x {0} tokens".format(*self.blocks[0].assignment.shape)
        sizes = f"{self.image.width} x {self.image.height} pixels, {tokens}"
        note.text(0, 0.68, f"{sizes}\n{_LEGEND}", fontsize=9, va="top", linespacing=1.5)
        for axes in (image, note):
            axes.spines[:].set_visible(False)
        for row, block in enumerate(self.blocks, start=1):
            self._draw_row([figure.add_subplot(grid[row, column]) for column in range(columns)], block)
        for axes in figure.axes:
            axes.set(xticks=[], yticks=[])
        return figure

    def save(self, path: str | Path, num_soft: int = 5) -> None:
        """Write the figure, whole or not at all; the ending of the name chooses the format."""
        with replacing(path) as temporary:
            self.figure(num_soft).savefig(temporary)

    def _draw_row(self, row: list[Axes], block: BlockGroups) -> None:
        hard, *softs = row
        hard.imshow(self.hard(block))
        hard.set_title(f"Block {block.block}, {len(block.strength)} groups", fontsize=9, weight="bold")
        colours = distinct_colours(len(block.strength))
        for soft, group in zip(softs, block.most_distinct(len(softs)), strict=False):  # a block may have fewer groups
            low, high = block.range_of(group)
            soft.imshow(self.soft(block, group))
            soft.set_title(f"group {group}: {low:.2g} to {high:.2g}", fontsize=8)
            soft.spines[:].set(color=colours[group], linewidth=3)
        for unused in softs[len(block.strength) :]:
            unused.set_visible(False)

    @cached_property
    def _scale(self) -> int:
        """How many pixels are shown for a pixel that the model saw."""
        return math.ceil(_SHOWN_SIDE / min(self.image.size))

    def _spread(self, tokens: np.ndarray, mode: str) -> np.ndarray:
        """Enlarge values of tokens ``(H, W, K)`` to the image as shown, ``(height, width, K)``."""
        values = torch.from_numpy(tokens).permute(2, 0, 1)[None].float()
        enlarged = F.interpolate(values, scale_factor=self.stride * self._scale, mode=mode)[0].permute(1, 2, 0)
        height, width = (side * self._scale for side in self.image.size[::-1])
        return enlarged[:height, :width].numpy()  # the last tokens may reach over the image's border

    def _blended(self, colours: np.ndarray) -> Image.Image:
        """Lay colours, in [0, 1], over the image in gray."""
        gray = ImageOps.scale(self.image.convert("L"), self._scale, Image.Resampling.BICUBIC)
        blended = (1 - _ALPHA) * (np.asarray(gray, np.float32)[..., None] / 255) + _ALPHA * colours
        return Image.fromarray(np.rint(blended * 255).astype(np.uint8))


_LEGEND = """\
Left: each token in the colour of the group that attends to it most.
Right: the groups that differ most, framed in their colours; dark where a group attends least, bright where most.
Numbers: multiples of a uniform share; a group that attends to all tokens alike has 1 everywhere.
Groups that look alike, and noise on the left, are signs of a model that is little trained."""


@torch.inference_mode()
def draw_groups(model: nn.Module, source: ImageSource, size: int | None = None, title: str = "") -> GroupImage:
    """Find what the groups of a model attend to in an image.

    Args:
        model: A GPViT, or a segmenter or detector on one, in evaluation mode. The maps are those within the whole
            model: a detector's adapter changes the tokens between blocks.
        source: A path, PIL image, array or tensor, as :func:`gpvit.data.read_image` takes it.
        size: Shorter side, in pixels, that the image is resized to, keeping its shape; by default that of the images
            the model was trained on, at most 512. More pixels give finer maps.
        title: Heading of the figure.

    Raises:
        ValueError: If the model has no group propagation blocks or is in training mode, or the size is too small.
        ImageError: If the image is none, or a strip too long to be drawn.

    Example:
        >>> draw_groups(model, "cat.jpg").save("cat_groups.png")
    """
    preprocessing = preprocessing_of(model)
    size = min(*preprocessing.input_size[1:], _LARGEST_DEFAULT) if size is None else size
    if size < MIN_SIDE:
        raise UserError(f"size is {size}; the shorter side needs at least {MIN_SIDE} pixels")
    image = read_image(source)
    if max(image.size) > _MAX_ASPECT * min(image.size):
        raise ImageError(f"{title or 'image'}: {image.width} x {image.height} pixels are too long to be drawn; crop it")
    seen = v2.functional.resize(image, [size], InterpolationMode(preprocessing.interpolation))
    channels = preprocessing.input_size[0]
    seen = seen.convert("L") if channels == 1 else seen
    whole = replace(preprocessing, input_size=(channels, seen.height, seen.width), crop_pct=1.0)
    weight = next(model.parameters())
    images = whole.transform()(seen)[None].to(weight.device, weight.dtype)
    maps, stride = _group_maps(model, images)
    rows, columns = (math.ceil(side / stride) for side in (seen.height, seen.width))
    blocks = []
    for index, of_block in maps.items():
        inside = (each[0, ..., :rows, :columns] for each in (of_block.grouping, of_block.ungrouping))  # without padding
        shares, answers = (each.float().mean(dim=0).cpu() for each in inside)  # (M, H, W)
        blocks.append(BlockGroups(index, (shares * shares[0].numel()).numpy(), answers.numpy()))
    return GroupImage(seen, tuple(blocks), title, stride)


def _group_maps(model: nn.Module, images: torch.Tensor) -> tuple[dict[int, GroupMaps], int]:
    """Compute the attention maps of the group propagation blocks within the whole model, by index, and their stride."""
    if isinstance(model, ExportedModel):
        maps = model.group_maps(images)
        cells = next(iter(maps.values())).grouping.shape[-2:]  # rounded up, of a stride that is a power of 2
        return maps, 2 ** round(math.log2(max(images.shape[2:]) / max(cells)))
    backbone = backbone_of(model)
    if backbone is None or not group_blocks(backbone):
        name = type(model).__name__
        raise UserError(f"{name} has no group propagation blocks; give a GPViT, or a segmenter or detector on one")
    with keeping_group_maps(backbone) as maps:
        # A detector would resize the images once more; its adapter takes them as they are.
        next((module for module in model.modules() if isinstance(module, ViTAdapter)), model)(images)
    return maps, backbone.stride
