"""What a classifier will see in training, on one sheet."""

from pathlib import Path

import matplotlib
import torch
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.v2 import functional as F

from gpvit.data.classification.module import ClassificationData

_CELL = 160  # pixels a side of one picture
_COLUMNS = 4
_LINE = 16  # pixels of height for a name
_GAP = 8


def preview_sheet(images: torch.Tensor, labels: torch.Tensor, data: ClassificationData, count: int = 12) -> Image.Image:
    """Draw the first images of a training batch as the network sees them, the name of the class below each.

    Args:
        images: `(B, C, H, W)`, normalised; the first three channels are shown.
        labels: `(B,)`.
        data: Says how images were normalised and what the classes are called.
        count: How many images at most.

    Returns:
        A PIL image of mode RGB.
    """
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.preprocessing.mean, data.preprocessing.std))
    count = min(count, len(images))
    columns = min(count, _COLUMNS)
    width, height = _CELL + _GAP, _CELL + _LINE + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, -(-count // columns) * height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    # DejaVu, which comes with matplotlib, has far more scripts than Pillow's own font
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 11)
    for place in range(count):
        row, column = divmod(place, columns)
        picture = _picture(images[place] * std + mean)
        scale = _CELL / max(picture.size)
        picture = picture.resize((max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)))
        x, y = _GAP + column * width, _GAP + row * height
        sheet.paste(picture, (x, y))
        draw.text((x, y + _CELL), data.class_names[int(labels[place])][: _CELL // 6], "black", font)
    return sheet


def _picture(image: torch.Tensor) -> Image.Image:
    visible = image[:3] if len(image) >= 3 else image[:1]
    return F.to_pil_image(visible.clamp(0, 1)).convert("RGB")
