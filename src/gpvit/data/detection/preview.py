"""What training will see, on one sheet: the quickest way to find out whether annotations are right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F
from torchvision.utils import make_grid

from gpvit.data.detection.drawing import draw_boxes

if TYPE_CHECKING:
    from gpvit.data.detection.module import DetectionData

_CELL = 384  # of one picture on the sheet, pixels a side
_COLUMNS = 4
_GAP = 8


def preview_sheet(data: "DetectionData", count: int = 12) -> Image.Image:
    """Draw training images as the network sees them, with the boxes, names and masks of their objects.

    Sizes, crops and mirror images are those of the augmentation; the random numbers of the training that follows stay
    as they are.

    Args:
        data: Set up for training.
        count: How many images, taken at even distances.

    Returns:
        A PIL image of mode RGB.
    """
    samples = data._ready(data.train_set)
    chosen = np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = [samples[int(index)] for index in chosen]
    cells = [draw_objects(image, target, data.class_names, data.colors) for image, target in drawn]
    sheet = make_grid(torch.stack(cells), min(_COLUMNS, len(cells)), _GAP, pad_value=255)
    return F.to_pil_image(sheet)


def draw_objects(
    image: torch.Tensor, target: dict[str, Any], class_names: Sequence[str], colors: Sequence[tuple[int, int, int]]
) -> torch.Tensor:
    """Draw one sample, as large as fits, into a square `(3, S, S)`, uint8.

    Args:
        image: `(3, H, W)`, float in [0, 1].
        target: Its objects, in torchvision's convention.
        class_names: Of the labels, from 1.
        colors: RGB, 0 to 255, of each class.
    """
    scale = _CELL / max(image.shape[1:])
    size = [max(round(side * scale), 1) for side in image.shape[1:]]
    picture = F.to_pil_image(F.to_dtype(F.resize(image, size), torch.uint8, scale=True))
    labels = target["labels"].tolist()
    masks = F.resize(target["masks"], size, InterpolationMode.NEAREST).bool().numpy() if "masks" in target else ()
    names, chosen = ([values[label - 1] for label in labels] for values in (class_names, colors))
    drawn = draw_boxes(picture, (target["boxes"] * scale).tolist(), names, chosen, masks)
    return F.pad(F.pil_to_tensor(drawn), [0, 0, _CELL - size[1], _CELL - size[0]], fill=255)
