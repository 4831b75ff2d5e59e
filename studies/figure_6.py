"""Figure 6: what the groups of a classifier, a detector and a segmenter look at in the same images, side by side.

paper: shows maps of single groups, and says neither of which block nor of which head. Here they are of the last group
propagation block unless another is asked for, and averaged over the heads.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from gpvit.data.colors import distinct_colours
from gpvit.data.synthetic.photographs import load_photograph
from gpvit.errors import UserError
from gpvit.inference.groups import BlockGroups, GroupImage, draw_groups
from gpvit.runtime.images import ImageError, read_image
from gpvit.zoo.factory import is_untrained, open_model

FIGURE_6_MODELS = ("gpvit_l1.in1k", "mask_rcnn_gpvit_l1.coco_1x", "upernet_gpvit_l1.ade20k")
"""One of each kind, with published weights."""

FIGURE_6_PHOTOGRAPHS = ("cat", "china", "coffee")
"""Of `gpvit.data.synthetic.photographs`, drawn where no images are given."""

_CELL_IN = 1.6  # width of an image, in inches
_HEADINGS_IN = 0.75  # height of the legend and of what stands above the columns
_TITLE_IN = 0.22  # height of a title and the gap beneath
_SHOWN_SIDE = 144  # pixels of an image's longer side; more would not be seen
_SHOWN_COLOURS = 144  # of an image: as PNG and within SVG, it takes half the bytes
_ASPECT = (0.6, 2.5)  # narrower and wider images are drawn smaller

_LEGEND = """\
Above, every token in the colour of a group; grouping: of the one that gives it the largest share of itself,
ungrouping: of the one that has the largest share in its answer. Below, where the two groups look that differ most,
framed in their colours: dark where least, bright where most."""


def draw_figure_6(
    models: Sequence[str | Path] = FIGURE_6_MODELS,
    images: Sequence[str | Path] = (),
    size: int | None = None,
    block: int | None = None,
) -> Figure:
    """Draw the groups of several models over the same images: a column for each model, a row for each image.

    Args:
        models: Classifiers, segmenters or detectors on a GPViT: names, with a tag for published weights, or files.
        images: Image files; three photographs that come with scikit-learn and scikit-image if none are given.
        size: Shorter side, in pixels, that images are resized to; by default, for each model, that of the images it
            was trained on, at most 512.
        block: Index of the group propagation block, the models' last one by default.

    Raises:
        FileNotFoundError: If there is no such image or checkpoint.
        ConnectionError: If published weights could not be fetched.
        ImageError: If an image is none.
        ValueError: If there is no model, or one is unknown or has no such block; it is named.

    Example:
        >>> draw_figure_6(["demo/run/last.safetensors"], ["scene.png"]).savefig("figure_6.png")
    """
    if not models:
        raise UserError("no model was given; name at least one, as gpvit_l1.in1k, or a file of weights")
    photographs = {name: load_photograph(name) for name in FIGURE_6_PHOTOGRAPHS} if not images else {}
    shown = list(photographs.items()) or [(Path(path).name, read_image(path)) for path in images]
    aspects = [min(max(image.width / image.height, _ASPECT[0]), _ASPECT[1]) for _, image in shown]
    heights = [1 / aspect for aspect in aspects for _ in range(2)]
    columns = 1 + 2 * len(models)
    height = _CELL_IN * sum(heights) + _TITLE_IN * len(heights) + _HEADINGS_IN
    figure = Figure((_CELL_IN * columns, height), dpi=90, layout="constrained")
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for row, (name, image) in enumerate(shown):
        axes = figure.add_subplot(grid[2 * row : 2 * row + 2, 0])
        _show(axes, image)
        axes.set_title(name, fontsize=9, parse_math=False)
    for column, model in enumerate(models):
        network: Any = open_model(model)  # one model at a time is in memory
        task = getattr(network, "task", "classification")
        for row, (name, image) in enumerate(shown):
            groups, chosen = _groups(model, network, name, image, size, block)
            weights = ", random weights" if is_untrained(model) else ""
            heading = f"{task.capitalize()}\n{network.gpvit_config['name']}, block {chosen.block}{weights}"
            cells = [figure.add_subplot(grid[2 * row + i, 1 + 2 * column + j]) for i in (0, 1) for j in (0, 1)]
            _draw_cell(cells, groups, chosen, heading if row == 0 else "")
    for axes in figure.axes:
        axes.set(xticks=[], yticks=[])
    figure.suptitle(_LEGEND, x=0.01, ha="left", fontsize=9, linespacing=1.4)
    return figure


def _groups(
    model: str | Path, network: Any, name: str, image: Image.Image, size: int | None, index: int | None
) -> tuple[GroupImage, BlockGroups]:
    """Return a model's groups over an image, and those of the chosen block."""
    try:
        groups = draw_groups(network, image, size, title=name)
    except ImageError:
        raise
    except ValueError as error:
        raise UserError(f"{model}: {error}") from error
    blocks = {block.block: block for block in groups.blocks}
    if index is not None and index not in blocks:
        there_are = ", ".join(map(str, blocks))
        raise UserError(f"{model}: block {index} is no group propagation block; choose one of {there_are}")
    return groups, groups.blocks[-1] if index is None else blocks[index]


def _draw_cell(cells: Sequence[Axes], drawn: GroupImage, block: BlockGroups, heading: str) -> None:
    """Draw one model's view of one image: both assignments above, two groups' heat maps below."""
    colours = distinct_colours(len(block.strength))
    _show(cells[0], drawn.hard(block))
    _show(cells[1], drawn.hard(block, block.answering))
    for axes, title in zip(cells[:2], ("grouping", "ungrouping"), strict=True):
        axes.set_title(title, fontsize=8)
    if heading:  # it reaches over the image on the right
        cells[0].set_title(f"{heading}\n", fontsize=9, loc="left", weight="bold", linespacing=1.3, parse_math=False)
    groups = block.most_distinct(2)
    for axes, group in zip(cells[2:], groups, strict=False):
        _show(axes, drawn.soft(block, group))
        axes.set_title(f"group {group}", fontsize=8)
        axes.spines[:].set(color=colours[group], linewidth=2.5)
    for unused in cells[2 + len(groups) :]:  # of a block with a single group
        unused.set_visible(False)


def _show(axes: Axes, image: Image.Image) -> None:
    """Show an image scaled down and in few colours, so that the figure is a small file."""
    shown = image.copy()
    shown.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.BOX)
    few = shown.quantize(_SHOWN_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    axes.imshow(few.convert("RGB"), interpolation="none")  # or SVG would hold it enlarged
