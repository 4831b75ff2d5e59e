"""Detection data made on the spot."""

from typing import Literal

import numpy as np
from PIL import Image

from gpvit.data.detection import Categories, DetectionData, Sample
from gpvit.data.detection.annotations import Objects
from gpvit.data.transforms.detection import DetectionAugmentation


class Rectangles(DetectionData):
    """Grey pictures, each with a bright rectangle of class "white" and, every other one, a "black" one."""

    def __init__(
        self,
        images: int = 4,
        size: tuple[int, int] = (64, 64),
        masks: bool = True,
        augmentation: DetectionAugmentation | None = None,
    ):
        categories = Categories(("white", "black"), (3, 7))
        as_it_is = DetectionAugmentation(short_sides=(), horizontal_flip=0.0)
        super().__init__(categories, masks, augmentation or as_it_is, batch_size=2, num_workers=0)
        self.images, self.size = images, size

    def samples(self, split: Literal["train", "val"]) -> "DrawnRectangles":
        return DrawnRectangles(self.images, self.size, self.masks)


class DrawnRectangles:
    def __init__(self, count: int, size: tuple[int, int], masks: bool):
        self.count, self.size, self.masks = count, size, masks

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        pixels = np.full((*self.size, 3), 128, np.uint8)
        objects = self.objects(index)
        masks = np.zeros((len(objects.labels), *self.size), np.uint8)
        for mask, label, (left, top, right, bottom) in zip(
            masks, objects.labels, objects.boxes.astype(int), strict=True
        ):
            mask[top:bottom, left:right] = 1
            pixels[top:bottom, left:right] = 255 if label == 1 else 0
        return Sample(index, self.name(index), Image.fromarray(pixels), objects, masks if self.masks else None)

    @property
    def sizes(self) -> np.ndarray:
        return np.tile(self.size, (self.count, 1))

    def name(self, index: int) -> str:
        return f"rectangles {index}"

    def objects(self, index: int) -> Objects:
        height, width = self.size
        white = (4, 4, width // 2, height // 2 + 4 * (index % 2))
        black = (width // 2 + 4, height // 2, width - 4, height - 4)
        count = 1 + index % 2
        boxes = np.array([white, black][:count], np.float32)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return Objects(boxes, np.array([1, 2])[:count], areas, np.zeros(count, bool), [])
