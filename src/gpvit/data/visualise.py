"""Draws label maps and boxes on images, legends, and preview sheets of what training sees."""

import math
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.v2 import functional as F
from torchvision.utils import make_grid

from gpvit.data.colors import Color, class_colors

IGNORED_COLOR = (64, 64, 64)
"""What a legend shows for pixels without a class, which an overlay darkens."""

_DARKENING = 0.7  # of pixels without a class
_MASK_ALPHA = 0.45
_SMALLEST_FONT, _THINNEST_LINE = 13, 2  # pixels; larger images get larger text and lines
_FONT_SHARE, _LINE_SHARE = 1 / 50, 1 / 350  # of the side of a square as large as the image
_NARROWEST_LEGEND = 320  # pixels
_WIDEST_COLUMN = 20  # of a legend, in font sizes
_CELL = 320  # longer side of an image on a sheet, in pixels
_COLUMNS = 4
_GAP = 8


def overlay_labels(image: Image.Image, labels: np.ndarray, colors: Sequence[Color], alpha: float = 0.55) -> Image.Image:
    """Colour an RGB image by its labels `(H, W)`; those without a colour, such as 255 for ignored pixels, turn dark."""
    known = labels < len(colors)
    painted = np.array([*colors, (0, 0, 0)], np.uint8)[np.where(known, labels, len(colors))]
    opacity = np.where(known, round(255 * alpha), round(255 * _DARKENING)).astype(np.uint8)
    return Image.composite(Image.fromarray(painted), image, Image.fromarray(opacity))


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[str],
    scores: Sequence[float] | None = None,
    masks: Iterable[np.ndarray] = (),
    colors: Sequence[Color] | None = None,
) -> Image.Image:
    """Draw objects on a copy of an image, the first ones on top.

    A label, its score behind it, stands above its box, or in or below it where the image ends or another label is;
    torchvision's `draw_bounding_boxes` writes it into the box, where it hides small objects and other labels.

    Args:
        image: PIL image of mode RGB.
        boxes: Left, top, right and bottom of each object, in pixels.
        labels: Name of each object's class.
        scores: One per object, if there are any.
        masks: If any, bool `(H, W)` of the image's size for each object; an iterator needs memory for one at a time.
        colors: One RGB colour, 0 to 255, per object; None gives each class its own.
    """
    if colors is None:
        by_name = dict(zip(names := dict.fromkeys(labels), class_colors(len(names)), strict=True))
        colors = [by_name[label] for label in labels]
    texts = labels if scores is None else [f"{label} {score:.2f}" for label, score in zip(labels, scores, strict=True)]
    drawn = image.copy()
    for mask, color in zip(masks, colors, strict=False):
        drawn.paste(color, mask=Image.fromarray(mask.astype(np.uint8) * round(255 * _MASK_ALPHA)))
    line = max(round(math.sqrt(image.width * image.height) * _LINE_SHARE), _THINNEST_LINE)
    font = _font(_font_size(image), bold=True)
    canvas = ImageDraw.Draw(drawn)
    widths = [math.ceil(font.getlength(text)) + 4 for text in texts]
    objects = list(zip(boxes, texts, colors, _spots(boxes, widths, font, drawn.size), strict=True))[::-1]
    for (left, top, right, bottom), _, color, _ in objects:
        left, top = round(left), round(top)
        canvas.rectangle((left, top, max(round(right) - 1, left), max(round(bottom) - 1, top)), None, color, line)
    for _, text, color, (left, top, right, bottom) in objects:  # after all boxes, whose lines would cross them
        canvas.rectangle((left, top, right - 1, bottom - 1), fill=color)
        canvas.text((left + 2, top), text, fill="black" if sum(color) > 3 * 127 else "white", font=font)
    return drawn


def legend(entries: Sequence[tuple[str, Color]], width: int, font_size: int = 15) -> Image.Image:
    """Draw names beside their colours, on white, in as many columns as fit; long names are shortened."""
    font, line, gap = _font(font_size), round(1.6 * font_size), round(0.5 * font_size)
    longest = max((font.getlength(name) for name, _ in entries), default=0)
    column_width = min(line + math.ceil(longest) + 3 * gap, _WIDEST_COLUMN * font_size, width - gap)
    columns = max(1, (width - gap) // max(column_width, 1))
    rows = -(-len(entries) // columns)
    drawn = Image.new("RGB", (width, rows * line + 2 * gap), "white")
    canvas = ImageDraw.Draw(drawn)
    for number, (name, color) in enumerate(entries):
        column, row = divmod(number, rows)
        left, top = gap + column * column_width, gap + row * line
        canvas.rectangle((left, top + 3, left + font_size, top + line - 4), fill=color, outline="black")
        text = _shortened(name, font, column_width - line - gap)
        canvas.text((left + line, top + line // 2), text, fill="black", font=font, anchor="lm")
    return drawn


def with_legend(image: Image.Image, entries: Sequence[tuple[str, Color]]) -> Image.Image:
    """Put an image above a legend as wide as it, with text that suits its size."""
    below = legend(entries, max(image.width, _NARROWEST_LEGEND), max(_font_size(image), 15))
    whole = Image.new("RGB", (below.width, image.height + below.height), "white")
    whole.paste(image, (0, 0))
    whole.paste(below, (0, image.height))
    return whole


def preview_classification(
    samples: Sequence[Any], class_names: Sequence[str], mean: Sequence[float], std: Sequence[float], count: int = 12
) -> Image.Image:
    """Draw at most `count` samples, normalised images `(C, H, W)` with labels, the name of its class below each."""
    font, cells = _font(14), []
    for image, label in _chosen(samples, count):
        cell = Image.new("RGB", (_CELL, _CELL + 20), "white")
        cell.paste(_enlarged(_to_image(image, mean, std)), (0, 0))
        name = _shortened(class_names[int(label)], font, _CELL)
        ImageDraw.Draw(cell).text((0, _CELL + 10), name, fill="black", font=font, anchor="lm")
        cells.append(cell)
    return _sheet(cells)


def preview_segmentation(
    samples: Sequence[Any],
    class_names: Sequence[str],
    colors: Sequence[Color],
    mean: Sequence[float],
    std: Sequence[float],
    count: int = 8,
) -> Image.Image:
    """Draw normalised images `(C, H, W)`, each beside its mask laid over it, above a legend of their classes."""
    cells, seen = [], set()
    for tensor, mask in _chosen(samples, count):
        image, labels = _to_image(tensor, mean, std), mask.numpy()
        seen.update(np.unique(labels).tolist())
        cells += [_enlarged(image), _enlarged(overlay_labels(image, labels, colors))]
    entries = [(class_names[label], colors[label]) for label in sorted(seen) if label < len(colors)]
    if len(entries) < len(seen):
        entries.append(("(ignored: darkened)", IGNORED_COLOR))
    return with_legend(_sheet(cells), entries)


def preview_detection(
    samples: Sequence[Any], class_names: Sequence[str], colors: Sequence[Color], count: int = 12
) -> Image.Image:
    """Draw images `(3, H, W)` in [0, 1] with the boxes, names and masks of torchvision's targets, labels from 1."""
    cells = []
    for tensor, target in _chosen(samples, count):
        image = _enlarged(_to_image(tensor))
        boxes = target["boxes"] * max(image.size) / max(tensor.shape[1:])
        masks = (np.asarray(Image.fromarray(mask).resize(image.size, 0)) for mask in target.get("masks", boxes).numpy())
        labels = [label - 1 for label in target["labels"].tolist()]
        names, chosen = ([values[label] for label in labels] for values in (class_names, colors))
        cells.append(draw_boxes(image, boxes.tolist(), names, None, masks if "masks" in target else (), chosen))
    return _sheet(cells)


def _chosen(samples: Sequence[Any], count: int) -> list[Any]:
    """Load samples at even distances, under a seed of their own: the caller's random numbers stay as they are."""
    indices = np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int).tolist()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [samples[index] for index in indices]


def _to_image(tensor: torch.Tensor, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)) -> Image.Image:
    """Undo the normalisation of `(C, H, W)`; of more channels than three, the first three are shown."""
    shift, scale = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
    visible = (tensor * scale + shift).clamp(0, 1)
    return F.to_pil_image(visible[:3] if len(visible) >= 3 else visible[:1]).convert("RGB")


def _enlarged(image: Image.Image) -> Image.Image:
    """Resize an image to the longer side of a cell."""
    scale = _CELL / max(image.size)
    return image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)))


def _sheet(cells: Sequence[Image.Image]) -> Image.Image:
    """Put images into a grid of equal cells, on white."""
    width, height = max(cell.width for cell in cells), max(cell.height for cell in cells)
    padded = [F.pad(F.pil_to_tensor(c), [0, 0, width - c.width, height - c.height], fill=255) for c in cells]
    return F.to_pil_image(make_grid(torch.stack(padded), min(_COLUMNS, len(cells)), _GAP, pad_value=255))


def _font_size(image: Image.Image) -> int:
    return max(round(math.sqrt(image.width * image.height) * _FONT_SHARE), _SMALLEST_FONT)


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load DejaVu, which comes with matplotlib and has far more scripts than Pillow's own font."""
    (folder,) = find_spec("matplotlib").submodule_search_locations  # type: ignore[union-attr, misc]  # not imported
    return ImageFont.truetype(Path(folder, f"mpl-data/fonts/ttf/DejaVuSans{'-Bold' * bold}.ttf"), size)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _spots(
    boxes: Sequence[Sequence[float]], widths: Sequence[int], font: ImageFont.FreeTypeFont, size: tuple[int, int]
) -> list[list[int]]:
    """Find a place (left, top, right, bottom) for each label, where possible on none of those before."""
    height = sum(font.getmetrics())
    taken: list[list[int]] = []
    for (box_left, box_top, _, box_bottom), width in zip(boxes, widths, strict=True):
        left = max(min(round(box_left), size[0] - width), 0)
        tops = (round(box_top) - height, round(box_top), round(box_bottom) - height, round(box_bottom))
        spots = [[left, top, left + width, top + height] for top in tops if 0 <= top <= size[1] - height]
        spots = spots or [[left, 0, left + width, height]]  # an image may be lower than a label
        taken.append(next((spot for spot in spots if not _overlaps(spot, taken)), spots[0]))
    return taken


def _overlaps(spot: list[int], others: list[list[int]]) -> bool:
    return any(spot[0] < o[2] and o[0] < spot[2] and spot[1] < o[3] and o[1] < spot[3] for o in others)
