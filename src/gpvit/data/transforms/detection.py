"""Training augmentation of detection: the published schedules 1x and 3x, and one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from gpvit.errors import UserError


@dataclass(frozen=True)
class DetectionAugmentation:
    """Random changes of a training image; the defaults are those of the published schedule 1x.

    The schedule 3x is `short_sides=(480, 512, ..., 800)`, `zoom_short_sides=(400, 500, 600)` and `largest_side=1024`
    (facts of the released configuration; it follows DETR).

    Args:
        horizontal_flip: Probability of a mirror image.
        short_sides: Pixels of the short side, one of which is chosen; the image keeps its shape. Empty keeps its
            size.
        long_side: Largest long side, in pixels; where it would be exceeded, the short side is smaller than chosen.
        zoom_short_sides: Short sides from which, for half of the images, a random part is cut out that is then
            resized to `short_sides`. Empty for no such part.
        zoom_crop: Fewest and most pixels of that part's height and width.
        largest_side: Images whose height or width is still larger are cut at random to it; None for no limit.
    """

    horizontal_flip: float = 0.5
    short_sides: tuple[int, ...] = (800,)
    long_side: int = 1333
    zoom_short_sides: tuple[int, ...] = ()
    zoom_crop: tuple[int, int] = (384, 600)
    largest_side: int | None = None

    def __post_init__(self) -> None:
        for name in ("short_sides", "zoom_short_sides", "zoom_crop"):  # lists from YAML
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not 0 <= self.horizontal_flip <= 1:
            raise UserError(f"horizontal_flip {self.horizontal_flip}: give a probability from 0 to 1")
        if len(self.zoom_crop) != 2 or not 1 <= self.zoom_crop[0] <= self.zoom_crop[1]:
            raise UserError(f"zoom_crop {self.zoom_crop}: give a fewest and a most, 1 or more, in this order")
        for side in (*self.short_sides, *self.zoom_short_sides, self.largest_side or 1):
            if not 1 <= side <= max(self.long_side, self.largest_side or 1):
                raise UserError(f"a side of {side} pixels: give sides from 1 to long_side {self.long_side}")
        if self.zoom_short_sides and not self.short_sides:
            raise UserError("zoom_short_sides needs short_sides, to which the part that is cut out is resized")


SCHEDULE_1X = DetectionAugmentation()
SCHEDULE_3X = DetectionAugmentation(
    short_sides=tuple(range(480, 801, 32)), zoom_short_sides=(400, 500, 600), largest_side=1024
)


def training_transform(augmentation: DetectionAugmentation = SCHEDULE_1X) -> v2.Transform:
    """Build the random transform of training, of `(image, target)` as tv_tensors.

    Boxes are cut off at the border; objects that leave the image or shrink below a pixel are dropped.
    """
    steps: list[v2.Transform] = [v2.RandomHorizontalFlip(augmentation.horizontal_flip)]
    if augmentation.short_sides:
        resize: v2.Transform = ResizeToFit(augmentation.short_sides, augmentation.long_side)
        if augmentation.zoom_short_sides:
            larger = ResizeToFit(augmentation.zoom_short_sides, augmentation.long_side)
            zoom = v2.Compose([larger, RandomSizeCrop(*augmentation.zoom_crop), resize])
            resize = v2.RandomChoice([resize, zoom])
        steps.append(resize)
    if augmentation.largest_side is not None:
        steps.append(RandomSizeCrop(augmentation.largest_side, augmentation.largest_side))
    return v2.Compose([*steps, v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(labels_getter=_values_per_object)])


class ResizeToFit(v2.RandomShortestSize):
    """Resize until the short or the long side reaches its limit, keeping the shape.

    code: unlike torchvision's, it rounds to the nearest pixel, as mmcv does, and never to none.
    """

    def __init__(self, short_sides: Sequence[int], long_side: int) -> None:
        super().__init__(list(short_sides), long_side, antialias=False)  # code: mmcv's bilinear filter has no antialias

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Choose the size."""
        size = v2.query_size(flat_inputs)
        short_side = self.min_size[int(torch.randint(len(self.min_size), ()))]
        scale = min(short_side / min(size), self.max_size / max(size))
        return {"size": [max(int(side * scale + 0.5), 1) for side in size]}


class RandomSizeCrop(v2.Transform):
    """Cut out a random part whose height and width are random, too, between two numbers or else the image's own."""

    def __init__(self, fewest: int, most: int) -> None:
        super().__init__()
        self.fewest, self.most = fewest, most

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Choose the part."""
        (top, height), (left, width) = map(self._span, v2.query_size(flat_inputs))
        return {"top": top, "left": left, "height": height, "width": width}

    def transform(self, value: Any, params: dict[str, Any]) -> Any:
        """Crop image, boxes or masks."""
        return F.crop(value, **params)

    def _span(self, side: int) -> tuple[int, int]:
        length = int(torch.randint(min(side, self.fewest), min(side, self.most) + 1, ()))
        return int(torch.randint(side - length + 1, ())), length


def _values_per_object(sample: Any) -> tuple[torch.Tensor, ...]:
    return tuple(sample[1][name] for name in ("labels", "area", "iscrowd"))
