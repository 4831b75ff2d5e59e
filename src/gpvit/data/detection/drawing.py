"""Objects for the eye: their boxes, masks and labels on their picture."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]

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

    A label stands above its box, or wherever the picture has room for it.

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
    objects = list(zip(boxes, labels, colors, strict=True))[::-1]
    for (left, top, right, bottom), _, color in objects:
        left, top = round(left), round(top)
        canvas.rectangle(
            (left, top, max(round(right) - 1, left), max(round(bottom) - 1, top)), outline=color, width=line
        )
    for box, label, color in objects:  # after all boxes, whose lines would cross them
        _draw_label(canvas, box, label, color, font)
    return drawn


def _draw_label(
    canvas: ImageDraw.ImageDraw, box: Sequence[float], label: str, color: Color, font: ImageFont.FreeTypeFont
) -> None:
    ascent, descent = font.getmetrics()
    width, height = math.ceil(font.getlength(label)) + 2 * _PADDING, ascent + descent
    left = max(min(round(box[0]), canvas.im.size[0] - width), 0)
    above = round(box[1]) - height
    top = above if above >= 0 else max(min(round(box[1]), canvas.im.size[1] - height), 0)
    canvas.rectangle((left, top, left + width - 1, top + height - 1), fill=color)
    canvas.text((left + _PADDING, top), label, fill="black" if sum(color) > 3 * 127 else "white", font=font)
