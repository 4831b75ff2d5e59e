"""Objects for the eye: their boxes, masks and labels on their picture."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Spot = tuple[int, int, int, int]
"""Left, top, right and bottom."""

_OPACITY = 0.45  # of masks
_LEAST_FONT_SIZE = 13  # pixels; larger pictures have larger labels and lines
_FONT_SHARE, _LINE_SHARE = 1 / 50, 1 / 350  # of the side of a square as large as the picture
_LEAST_LINE = 2  # pixels
_PADDING = 2  # pixels around a label's text
# DejaVu, which comes with matplotlib, has far more scripts than Pillow's own font
_FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf")


def draw_boxes(
    picture: Image.Image,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[str],
    colors: Sequence[Color],
    masks: Iterable[np.ndarray] = (),
) -> Image.Image:
    """Draw objects on a copy of a picture, the first ones on top.

    A label stands above its box, or in or below it where the picture ends or another label is.

    Args:
        picture: PIL image of mode RGB.
        boxes: Left, top, right and bottom of each object, in pixels.
        labels: What is written at each box.
        colors: RGB, 0 to 255, of each object.
        masks: If any, bool `(H, W)` of the picture's size for each object; an iterator needs memory for one at a time.
    """
    drawn = picture.copy()
    for mask, color in zip(masks, colors, strict=False):
        drawn.paste(color, mask=Image.fromarray(mask.astype(np.uint8) * round(255 * _OPACITY)))
    side = math.sqrt(picture.width * picture.height)
    line = max(round(side * _LINE_SHARE), _LEAST_LINE)
    font = ImageFont.truetype(_FONT, max(round(side * _FONT_SHARE), _LEAST_FONT_SIZE))
    canvas = ImageDraw.Draw(drawn)
    spots = _spots(boxes, [math.ceil(font.getlength(label)) + 2 * _PADDING for label in labels], font, drawn.size)
    objects = list(zip(boxes, labels, colors, spots, strict=True))[::-1]
    for (left, top, right, bottom), _, color, _ in objects:
        left, top = round(left), round(top)
        corners = (left, top, max(round(right) - 1, left), max(round(bottom) - 1, top))
        canvas.rectangle(corners, outline=color, width=line)
    for _, label, color, (left, top, right, bottom) in objects:  # after all boxes, whose lines would cross them
        canvas.rectangle((left, top, right - 1, bottom - 1), fill=color)
        ink = "black" if sum(color) > 3 * 127 else "white"
        canvas.text((left + _PADDING, top), label, fill=ink, font=font)
    return drawn


def _spots(
    boxes: Sequence[Sequence[float]], widths: Sequence[int], font: ImageFont.FreeTypeFont, size: tuple[int, int]
) -> list[Spot]:
    """Find a place for each label, where possible on none of those before: above the box, in it, or below."""
    height = sum(font.getmetrics())
    taken = np.empty((len(boxes), 4), int)
    for place, ((box_left, box_top, _, box_bottom), width) in enumerate(zip(boxes, widths, strict=True)):
        left = max(min(round(box_left), size[0] - width), 0)
        tops = (round(box_top) - height, round(box_top), round(box_bottom) - height, round(box_bottom))
        spots = [(left, top, left + width, top + height) for top in tops if 0 <= top <= size[1] - height]
        spots.append((left, 0, left + width, height))  # a picture may be lower than a label
        taken[place] = next((spot for spot in spots[:-1] if not _overlap(spot, taken[:place])), spots[0])
    return [(left, top, right, bottom) for left, top, right, bottom in taken.tolist()]


def _overlap(spot: Spot, others: np.ndarray) -> bool:
    left, top, right, bottom = others.T
    return bool(((spot[0] < right) & (left < spot[2]) & (spot[1] < bottom) & (top < spot[3])).any())
