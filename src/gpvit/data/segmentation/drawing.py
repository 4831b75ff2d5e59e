"""Label maps for the eye: laid over their picture, with a legend."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gpvit.data.segmentation.masks import IGNORE

Color = tuple[int, int, int]

IGNORED_COLOR = (64, 64, 64)  # of the legend; over a picture, ignored pixels are darkened
_OPACITY = 0.55
_DARKENED = 0.3
_FONT_SIZE = 15
_LINE = 24  # height of a legend's line
_MARGIN = 8


def draw_overlay(picture: Image.Image, mask: np.ndarray, colors: Sequence[Color]) -> Image.Image:
    """Colour a picture by its labels; what is ignored turns dark.

    Args:
        picture: PIL image of mode RGB.
        mask: Labels `(H, W)`, uint8, of the picture's size; 255 is ignored.
        colors: One RGB colour, 0 to 255, per class.
    """
    table = np.zeros((IGNORE + 1, 3), np.float32)
    table[: len(colors)] = colors
    kept = np.where(mask == IGNORE, _DARKENED, 1 - _OPACITY)[..., None]
    blended = kept * np.asarray(picture, np.float32) + _OPACITY * table[mask]
    return Image.fromarray(np.rint(blended).astype(np.uint8))


def draw_legend(entries: Sequence[tuple[str, Color]], width: int) -> Image.Image:
    """Draw names beside their colours, on white, in as many columns as fit.

    Args:
        entries: Names and RGB colours, in the order to draw them in, column by column.
        width: Of the picture, in pixels; a column is as wide as the longest name, and at most all of it.
    """
    # DejaVu, which comes with matplotlib, has far more scripts than Pillow's own font
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", _FONT_SIZE)
    longest = max((font.getlength(name) for name, _ in entries), default=0)
    column_width = _LINE + int(longest) + 3 * _MARGIN
    columns = max(1, (width - _MARGIN) // column_width)
    rows = -(-len(entries) // columns)
    legend = Image.new("RGB", (width, rows * _LINE + 2 * _MARGIN), "white")
    draw = ImageDraw.Draw(legend)
    for number, (name, color) in enumerate(entries):
        column, row = divmod(number, rows)
        x, y = _MARGIN + column * column_width, _MARGIN + row * _LINE
        draw.rectangle([x, y + 3, x + _LINE - 6, y + _LINE - 3], fill=color, outline="black")
        draw.text((x + _LINE + 2, y + _LINE // 2), name, fill="black", font=font, anchor="lm")
    return legend
