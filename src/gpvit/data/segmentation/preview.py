"""What training will see, on one sheet: a look tells more than any check."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from gpvit.data.segmentation.drawing import IGNORED_COLOR, draw_legend, draw_overlay
from gpvit.data.segmentation.masks import IGNORE

if TYPE_CHECKING:
    from gpvit.data.segmentation.module import SegmentationData

_COLUMNS = 3
_WIDTH = 240  # of one picture on the sheet, in pixels
_GAP = 8


def preview_sheet(data: "SegmentationData", count: int = 12) -> Image.Image:
    """Draw training images as the network sees them, each beside its mask laid over it, above a legend.

    Crops, colours and padding are those of the augmentation; the random numbers of the training that follows stay as
    they are.

    Args:
        data: Set up for training.
        count: How many images, taken at even distances.

    Returns:
        A PIL image of mode RGB. The legend names the classes that occur on the sheet.
    """
    samples = data._ready(data.train_set)
    chosen = np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int)
    _, height, width = data.preprocessing.input_size
    cell = (_WIDTH, max(1, round(_WIDTH * height / width)))
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    sheet_width = columns * (2 * _WIDTH + _GAP) + _GAP
    sheet = Image.new("RGB", (sheet_width, rows * (cell[1] + _GAP) + _GAP), "white")
    seen: set[int] = set()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for number, index in enumerate(chosen):
            image, labels = samples[int(index)]
            picture, mask = _picture(image, data), labels.numpy().astype(np.uint8)
            seen.update(np.unique(mask).tolist())
            row, column = divmod(number, columns)
            x, y = _GAP + column * (2 * _WIDTH + _GAP), _GAP + row * (cell[1] + _GAP)
            sheet.paste(picture.resize(cell), (x, y))
            sheet.paste(draw_overlay(picture, mask, data.colors).resize(cell), (x + _WIDTH, y))
    entries = [(data.class_names[label], data.colors[label]) for label in sorted(seen - {IGNORE})]
    if IGNORE in seen:
        entries.append(("(ignored: darkened)", IGNORED_COLOR))
    legend = draw_legend(entries, sheet_width)
    whole = Image.new("RGB", (sheet_width, sheet.height + legend.height), "white")
    whole.paste(sheet, (0, 0))
    whole.paste(legend, (0, sheet.height))
    return whole


def _picture(image: torch.Tensor, data: "SegmentationData") -> Image.Image:
    """Undo the normalisation of `(C, H, W)`."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.preprocessing.mean, data.preprocessing.std))
    return F.to_pil_image((image * std + mean).clamp(0, 1)).convert("RGB")
